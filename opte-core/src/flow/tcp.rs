//! TCP connections as seen from the middle (RFC 9293).
//!
//! Purpose   tell from the segments of both sides which state the guest's end
//!           of a connection is in, so that it lives as long as it should.
//! Shape     each side is tracked by what it has said (SYN, FIN) and what the
//!           other side has acknowledged of that. The state follows from the
//!           two; simultaneous open and close, data with FIN and any
//!           retransmission need no case of their own.
//! Rules     tracking never refuses a segment of a live connection; it only
//!           refuses flags that no TCP sends. A reset or SYN that a stranger
//!           could have sent blindly changes no state.

use crate::wire::packet::Segment;
use crate::{Direction, DropReason};

/// State of the guest's end of a connection (RFC 9293 section 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing, or all is over.
    Closed = 0,
    /// The far end has asked; the guest has not answered.
    Listen = 1,
    /// The guest has asked.
    SynSent = 2,
    /// The guest has answered the far end's SYN.
    SynReceived = 3,
    /// Both directions are open.
    Established = 4,
    /// The guest has closed its direction.
    FinWait1 = 5,
    /// The guest's close is acknowledged.
    FinWait2 = 6,
    /// The far end has closed its direction.
    CloseWait = 7,
    /// Both closed at once; the guest's close isn't acknowledged.
    Closing = 8,
    /// The guest has closed after the far end.
    LastAck = 9,
    /// Both closes are acknowledged.
    TimeWait = 10,
    /// One side has reset the connection.
    Reset = 11,
}

impl State {
    /// The state's number in probes.
    #[must_use]
    #[inline]
    #[expect(clippy::as_conversions, reason = "the variant's own number")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state's one spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Reset => "RESET",
        }
    }

    /// Whether a new connection may take this one's place at once.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Closed | Self::TimeWait | Self::Reset)
    }
}

/// What one side has said, and what of it was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Side {
    /// Sequence number after the last byte (or SYN, or FIN) sent.
    end: u32,
    said: u8,
}

impl Side {
    const SYN: u8 = 1;
    const SYN_ACKED: u8 = 2;
    const FIN: u8 = 4;
    const FIN_ACKED: u8 = 8;
    /// This side's FIN came before the other's.
    const FIRST: u8 = 16;

    const fn has(self, bits: u8) -> bool {
        self.said & bits == bits
    }
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    guest: Side,
    far: Side,
    /// The state that follows from the sides, kept so that a packet that
    /// changes nothing computes nothing.
    state: State,
}

impl Connection {
    /// A flow that isn't TCP, or has seen no segment.
    pub const NONE: Self = Self {
        guest: Side { end: 0, said: 0 },
        far: Side { end: 0, said: 0 },
        state: State::Closed,
    };

    /// The guest's state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// A connection whose first segment seen is `segment`, sent `dir`.
    ///
    /// A segment from the middle of a stream makes an established connection
    /// when `mid_stream` allows it: the engine may have been restarted under
    /// a running guest.
    ///
    /// # Errors
    ///
    /// When the segment neither opens a connection nor may join one.
    pub fn open(segment: &Segment, dir: Direction, mid_stream: bool) -> Result<Self, DropReason> {
        check_flags(segment)?;
        let mut connection = Self::NONE;
        if segment.has(Segment::RST) {
            return Err(DropReason::TcpNoFlow);
        }
        if !segment.has(Segment::SYN) || segment.has(Segment::ACK) {
            if !mid_stream || segment.has(Segment::SYN) {
                return Err(DropReason::TcpNoFlow);
            }
            connection.guest.said = Side::SYN | Side::SYN_ACKED;
            connection.far.said = Side::SYN | Side::SYN_ACKED;
        }
        connection.step(segment, dir)?;
        Ok(connection)
    }

    /// Takes one segment into account and returns the state before it.
    ///
    /// # Errors
    ///
    /// When the segment has flags that no TCP sends; nothing changes then.
    #[inline(always)]
    pub fn step(&mut self, segment: &Segment, dir: Direction) -> Result<State, DropReason> {
        let before = self.state;
        // Most segments: data or an acknowledgement on an open connection.
        if before == State::Established
            && segment.flags & (Segment::SYN | Segment::FIN | Segment::RST) == 0
        {
            let sender = match dir {
                Direction::Out => &mut self.guest,
                Direction::In => &mut self.far,
            };
            sender.end = later(sender.end, segment.seq.wrapping_add(segment.len));
            return Ok(before);
        }
        self.step_slow(segment, dir)?;
        Ok(before)
    }

    #[inline(never)]
    fn step_slow(&mut self, segment: &Segment, dir: Direction) -> Result<(), DropReason> {
        check_flags(segment)?;
        if segment.has(Segment::RST) {
            if self.believes_reset(segment, dir) {
                self.state = State::Reset;
            }
            return Ok(());
        }
        if segment.has(Segment::SYN) && self.is_open() {
            // It can't belong to this connection; the end that gets it asks
            // whether it is meant (RFC 5961 section 4).
            return Ok(());
        }
        let (sender, receiver) = match dir {
            Direction::Out => (&mut self.guest, &mut self.far),
            Direction::In => (&mut self.far, &mut self.guest),
        };
        let syn = segment.has(Segment::SYN);
        let fin = segment.has(Segment::FIN);
        let control = u32::from(syn).wrapping_add(u32::from(fin));
        let end = segment.seq.wrapping_add(segment.len).wrapping_add(control);
        sender.end = if sender.end == 0 || syn {
            end
        } else {
            later(sender.end, end)
        };
        if syn {
            sender.said |= Side::SYN;
        }
        if fin {
            if !receiver.has(Side::FIN) {
                sender.said |= Side::FIRST;
            }
            sender.said |= Side::FIN;
        }
        if segment.has(Segment::ACK) {
            if receiver.has(Side::SYN) {
                receiver.said |= Side::SYN_ACKED;
            }
            // Nothing follows a FIN, so an acknowledgement of all covers it.
            if receiver.has(Side::FIN) && segment.ack == receiver.end {
                receiver.said |= Side::FIN_ACKED;
            }
        }
        if self.state != State::Reset {
            self.state = self.derive();
        }
        Ok(())
    }

    /// Whether both sides have opened the connection.
    const fn is_open(&self) -> bool {
        let both = Side::SYN | Side::SYN_ACKED;
        self.guest.has(both) && self.far.has(both)
    }

    /// Whether a reset is from somebody who knows the connection (RFC 5961
    /// section 3). One that isn't believed passes all the same: the end that
    /// gets it knows better, and here it only mustn't end the state.
    fn believes_reset(&self, segment: &Segment, dir: Direction) -> bool {
        let (sender, receiver) = match dir {
            Direction::Out => (&self.guest, &self.far),
            Direction::In => (&self.far, &self.guest),
        };
        let near = |a: u32, b: u32| {
            let distance = a.wrapping_sub(b);
            distance.min(distance.wrapping_neg()) <= RESET_DISTANCE
        };
        // It knows what it has said or, also before it has said anything, what
        // was said to it.
        let knows_own = sender.end != 0 && near(segment.seq, sender.end);
        knows_own || segment.has(Segment::ACK) && segment.ack == receiver.end
    }

    /// The guest's state, from what both sides have said.
    fn derive(&self) -> State {
        let (guest, far) = (self.guest, self.far);
        match (guest.has(Side::FIN), far.has(Side::FIN)) {
            (true, true) => match (guest.has(Side::FIN_ACKED), far.has(Side::FIN_ACKED)) {
                (true, true) => State::TimeWait,
                (true, false) => State::FinWait2,
                (false, _) if guest.has(Side::FIRST) => State::Closing,
                (false, _) => State::LastAck,
            },
            (true, false) if guest.has(Side::FIN_ACKED) => State::FinWait2,
            (true, false) => State::FinWait1,
            (false, true) => State::CloseWait,
            (false, false) => match (guest.has(Side::SYN), far.has(Side::SYN)) {
                (true, true) => {
                    if guest.has(Side::SYN_ACKED) && far.has(Side::SYN_ACKED) {
                        State::Established
                    } else {
                        State::SynReceived
                    }
                }
                (true, false) => State::SynSent,
                (false, true) => State::Listen,
                (false, false) => State::Closed,
            },
        }
    }
}

/// How far from what its sender said last a reset may be: a window without
/// scaling. Segments that were lost before they came here make it more than one.
const RESET_DISTANCE: u32 = 65_535;

/// The later of two sequence numbers (RFC 9293 section 3.4).
#[inline]
const fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < 1 << 31 { b } else { a }
}

/// SYN goes with neither RST nor FIN, and some flag must be set.
fn check_flags(segment: &Segment) -> Result<(), DropReason> {
    let syn = segment.has(Segment::SYN);
    let ends = segment.has(Segment::RST | Segment::FIN);
    let any = segment.has(Segment::SYN | Segment::RST | Segment::FIN | Segment::ACK);
    if (syn && ends) || !any {
        Err(DropReason::TcpBadFlags)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{In, Out};

    fn segment(flags: &str, seq: u32, ack: u32, len: u32) -> Segment {
        let bit = |c| match c {
            'F' => Segment::FIN,
            'S' => Segment::SYN,
            'R' => Segment::RST,
            'A' => Segment::ACK,
            _ => panic!("flag {c}"),
        };
        let flags = flags.chars().map(bit).fold(0, |a, b| a | b);
        Segment {
            seq,
            ack,
            len,
            window: 1000,
            flags,
        }
    }

    /// Runs a script of (direction, flags, seq, ack, len, state afterwards).
    fn run(script: &[(Direction, &str, u32, u32, u32, State)]) {
        let (dir, flags, seq, ack, len, state) = script[0];
        let mut connection = Connection::open(&segment(flags, seq, ack, len), dir, false).unwrap();
        assert_eq!(connection.state(), state, "segment 0");
        for (i, &(dir, flags, seq, ack, len, state)) in script.iter().enumerate().skip(1) {
            connection
                .step(&segment(flags, seq, ack, len), dir)
                .unwrap();
            assert_eq!(connection.state(), state, "segment {i}");
        }
    }

    #[test]
    fn the_guest_opens_and_closes_first() {
        run(&[
            (Out, "S", 100, 0, 0, State::SynSent),
            (Out, "S", 100, 0, 0, State::SynSent),
            (In, "SA", 500, 101, 0, State::SynReceived),
            (Out, "A", 101, 501, 0, State::Established),
            (Out, "A", 101, 501, 10, State::Established),
            (In, "A", 501, 111, 20, State::Established),
            (Out, "FA", 111, 521, 0, State::FinWait1),
            (Out, "FA", 111, 521, 0, State::FinWait1),
            (In, "A", 521, 112, 0, State::FinWait2),
            (In, "A", 521, 112, 5, State::FinWait2),
            (In, "FA", 526, 112, 0, State::FinWait2),
            (Out, "A", 112, 527, 0, State::TimeWait),
        ]);
    }

    #[test]
    fn the_far_end_opens_and_closes_first_with_data_in_the_fin() {
        run(&[
            (In, "S", u32::MAX, 0, 0, State::Listen),
            (Out, "SA", 500, 0, 0, State::SynReceived),
            (In, "A", 0, 501, 0, State::Established),
            (In, "FA", 0, 501, 10, State::CloseWait),
            (Out, "A", 501, 11, 0, State::CloseWait),
            (Out, "FA", 501, 11, 7, State::LastAck),
            (In, "A", 11, 509, 0, State::TimeWait),
        ]);
    }

    #[test]
    fn both_open_at_once() {
        run(&[
            (Out, "S", 1, 0, 0, State::SynSent),
            (In, "S", 9, 0, 0, State::SynReceived),
            (Out, "SA", 1, 10, 0, State::SynReceived),
            (In, "SA", 9, 2, 0, State::Established),
        ]);
    }

    #[test]
    fn both_close_at_once() {
        run(&[
            (Out, "S", 1, 0, 0, State::SynSent),
            (In, "SA", 9, 2, 0, State::SynReceived),
            (Out, "A", 2, 10, 0, State::Established),
            (Out, "FA", 2, 10, 0, State::FinWait1),
            (In, "FA", 10, 2, 0, State::Closing),
            (Out, "A", 3, 11, 0, State::Closing),
            (In, "A", 11, 3, 0, State::TimeWait),
        ]);
    }

    #[test]
    fn a_reset_ends_it_for_good() {
        run(&[
            (Out, "S", 1, 0, 0, State::SynSent),
            (In, "RA", 0, 2, 0, State::Reset),
            (In, "A", 0, 2, 0, State::Reset),
        ]);
    }

    #[test]
    fn what_opens_nothing_is_refused() {
        let open =
            |flags, mid| Connection::open(&segment(flags, 1, 1, 0), Out, mid).map(|c| c.state());
        assert_eq!(open("A", false), Err(DropReason::TcpNoFlow));
        assert_eq!(open("A", true), Ok(State::Established));
        assert_eq!(open("SA", true), Err(DropReason::TcpNoFlow));
        assert_eq!(open("R", true), Err(DropReason::TcpNoFlow));
        assert_eq!(open("SF", true), Err(DropReason::TcpBadFlags));
        assert_eq!(open("SR", true), Err(DropReason::TcpBadFlags));
        assert_eq!(open("", true), Err(DropReason::TcpBadFlags));
    }
}
