//! How long the RFCs want a translated flow to live at least.
//!
//! A flow that holds a port of a shared address is the port's session. The
//! port's options say how long flows live; these are the least that keep what
//! is behind a shared address reachable by whom it talks to, whatever they say.

use crate::flow::tcp::State;
use crate::flow::{Proto, Tuple};

/// UDP: two minutes (RFC 4787 REQ-5).
pub(crate) const UDP_S_MIN: u32 = 120;
/// TCP, closed or reset: four minutes (RFC 5382 REQ-5, RFC 7857 section 2.2),
/// in which a late segment still finds the other side.
pub(crate) const TCP_CLOSED_S_MIN: u32 = 240;
/// ICMP queries: a minute (RFC 5508 REQ-2).
pub(crate) const ECHO_S_MIN: u32 = 60;
/// TCP, established: two hours and four minutes (RFC 5382 REQ-5).
pub(crate) const TCP_ESTABLISHED_S_MIN: u32 = 7_440;

/// The port of DNS, whose exchanges are over in seconds; RFC 4787 REQ-5a lets
/// them end sooner, and there are many.
const DNS: u16 = 53;

/// Seconds that a flow by a shared address lives at least without a packet.
///
/// A connection that isn't open yet, or of which only one side has said
/// anything, has no minimum: RFC 7857 section 2.1 lets it be short, for
/// half-open connections are what a flood leaves behind.
pub(crate) const fn least_s(inside: &Tuple, answered: bool, state: State) -> u32 {
    match inside.proto {
        Proto::TCP if !answered => 0,
        Proto::TCP => match state {
            State::Closed | State::Listen | State::SynSent | State::SynReceived => 0,
            State::Established => TCP_ESTABLISHED_S_MIN,
            State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Reset => TCP_CLOSED_S_MIN,
        },
        Proto::UDP if inside.remote_port == DNS => 0,
        Proto::UDP => UDP_S_MIN,
        _ => ECHO_S_MIN,
    }
}
