//! What a sender is told about a packet that goes nowhere.
//!
//! Purpose   makes the ICMP errors of a router (RFC 792, RFC 1812 section 4.3,
//!           RFC 4443 section 2.4) and the reset of a TCP connection that is
//!           refused (RFC 9293 section 3.10.7.1). How often, and which way the
//!           answer goes, is the caller's to say.
//! Terms     offender   the packet that goes nowhere
//!           quote      the beginning of the offender, as the error carries it
//! Rules     T1  nothing is said about an ICMP error, a reset, a fragment other
//!               than the first, or a packet that didn't come from one host and
//!               go to one (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e)).
//!               So no answer is ever answered.
//!           T2  as much is quoted as fits the smallest packet that every link
//!               carries: 576 bytes (RFC 1812 section 4.3.2.3), 1280 for IPv6
//!               (RFC 4443 section 2.4 (c)).
//!           T3  an answer is at most 48 bytes longer than its offender, so that
//!               a forged source address gains an attacker nothing.
//! Failure   no answer: rule T1, or what is at hand isn't all of the headers.

use super::icmp::{self, Failure, Message};
use super::ip::{Datagram, Ends, Fragment};
use super::tcp::{self, Flags};
use super::{Writer, icmpv6, ipv4, ipv6};
use crate::flow::{Family, Proto};
use alloc::vec::Vec;
use core::net::IpAddr;

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The packet is longer than what is ahead carries.
    TooBig {
        /// Bytes of IP packet that it carries.
        mtu: u16,
    },
    /// Its hops are used up.
    TimeExceeded,
    /// It isn't allowed, or there is nothing left to serve it with (RFC 5508
    /// REQ-8).
    Prohibited,
    /// Somebody doesn't want it and says so: a reset to TCP, otherwise the
    /// same as [`Notice::Prohibited`].
    Refused,
}

impl Notice {
    /// The IP packet that tells the sender of `packet`, of which there may be
    /// only the beginning, header first. An ICMP error comes from `router`; a
    /// reset comes from whom the packet was for.
    ///
    /// `None` when there must be no answer, or `router` is of the other family.
    #[must_use]
    pub fn about(self, packet: &[u8], router: IpAddr) -> Option<Vec<u8>> {
        let offender = Offender::read(packet)?;
        if !offender.may_be_answered() {
            return None;
        }
        if self == Self::Refused && offender.proto == Proto::TCP {
            return offender.reset();
        }
        let family = offender.ends.family();
        let failure = self.failure(family);
        let ends = match (offender.ends.reverse(), router) {
            (Ends::V4 { destination, .. }, IpAddr::V4(source)) => Ends::V4 {
                source,
                destination,
            },
            (Ends::V6 { destination, .. }, IpAddr::V6(source)) => Ends::V6 {
                source,
                destination,
            },
            _ => return None,
        };
        let quote_max = match family {
            Family::V4 => V4_LEN_MAX.saturating_sub(ipv4::HEADER_LEN),
            Family::V6 => V6_LEN_MAX.saturating_sub(ipv6::HEADER_LEN),
        }
        .saturating_sub(icmp::HEADER_LEN);
        let quote = offender.bytes.get(..quote_max).unwrap_or(offender.bytes);
        let mut message = Writer::with_capacity(icmp::HEADER_LEN.saturating_add(quote.len()));
        Message::Error { failure, quote }.emit(&ends, &mut message);
        Some(datagram(ends, icmp::proto(family), CONTROL, &message))
    }

    fn failure(self, family: Family) -> Failure {
        match self {
            Self::TooBig { mtu } => Failure::TooBig {
                mtu: u32::from(mtu),
            },
            Self::TimeExceeded => Failure::TimeExceeded { code: 0 },
            Self::Prohibited | Self::Refused => Failure::Unreachable {
                code: match family {
                    Family::V4 => icmp::PROHIBITED,
                    Family::V6 => icmpv6::PROHIBITED,
                },
            },
        }
    }
}

/// Bytes of an ICMP error at most.
const V4_LEN_MAX: usize = 576;
/// Bytes of an ICMPv6 error at most.
const V6_LEN_MAX: usize = 1_280;
/// Traffic class of an error: internetwork control (RFC 1812 section 4.3.2.5).
const CONTROL: u8 = 0xc0;
/// Hops that an answer may take.
const HOP_LIMIT: u8 = 64;

/// A packet that goes nowhere.
struct Offender<'p> {
    ends: Ends,
    proto: Proto,
    fragment: Option<Fragment>,
    /// What there is of it, without what Ethernet pads.
    bytes: &'p [u8],
    /// What there is of it behind the IP headers.
    upper: &'p [u8],
    /// How long that is in the whole packet.
    upper_len: usize,
}

impl<'p> Offender<'p> {
    fn read(packet: &'p [u8]) -> Option<Self> {
        if packet.first()? >> 4 == 4 {
            let (header, _) = ipv4::Header::read(packet).ok()?;
            let bytes = packet.get(..header.total_len.into()).unwrap_or(packet);
            return Some(Self {
                ends: Ends::V4 {
                    source: header.source,
                    destination: header.destination,
                },
                proto: header.proto,
                fragment: header.fragment(),
                bytes,
                upper: bytes.get(header.header_len()..)?,
                upper_len: header.payload_len(),
            });
        }
        let (header, rest) = ipv6::Header::read(packet).ok()?;
        let payload_len = usize::from(header.payload_len);
        let rest = rest.get(..payload_len).unwrap_or(rest);
        let found = ipv6::walk(header.next_header, rest).ok()?;
        let len = payload_len.saturating_add(ipv6::HEADER_LEN);
        Some(Self {
            ends: Ends::V6 {
                source: header.source,
                destination: header.destination,
            },
            proto: found.proto,
            fragment: found.fragment,
            bytes: packet.get(..len).unwrap_or(packet),
            upper: rest.get(found.len..)?,
            upper_len: payload_len.saturating_sub(found.len),
        })
    }

    /// Rule T1.
    fn may_be_answered(&self) -> bool {
        let is_later = self.fragment.is_some_and(|fragment| fragment.offset != 0);
        let is_answer = match (self.proto, self.ends.family(), self.upper.first()) {
            (Proto::ICMP, Family::V4, Some(kind)) => icmp::is_error(*kind),
            (Proto::ICMPV6, Family::V6, Some(kind)) => {
                icmpv6::is_error(*kind) || icmpv6::is_neighbour_discovery(*kind)
            }
            (Proto::TCP, _, _) => self.upper.get(13).is_none_or(|f| Flags(*f).has(Flags::RST)),
            // Without its type nobody knows.
            (Proto::ICMP | Proto::ICMPV6, _, _) => true,
            _ => false,
        };
        let ends = [self.ends.source(), self.ends.destination()];
        !(is_later || is_answer) && ends.iter().all(is_one_host)
    }

    /// The reset that refuses the segment (RFC 9293 section 3.10.7.1).
    fn reset(&self) -> Option<Vec<u8>> {
        let (header, _) = tcp::Header::parse(self.upper).ok()?;
        let control = [Flags::SYN, Flags::FIN];
        let control = control.into_iter().filter(|flag| header.flags.has(*flag));
        let len = self
            .upper_len
            .saturating_sub(header.header_len())
            .saturating_add(control.count());
        let (sequence, acknowledgment, flags) = match header.flags.has(Flags::ACK) {
            true => (header.acknowledgment, 0, Flags::RST),
            false => {
                let len = u32::try_from(len).unwrap_or(0);
                let next = header.sequence.wrapping_add(len);
                (0, next, Flags::RST.with(Flags::ACK))
            }
        };
        let reset = tcp::Header {
            source_port: header.destination_port,
            destination_port: header.source_port,
            sequence,
            acknowledgment,
            flags,
            window: 0,
            checksum: 0,
            urgent: 0,
            options: &[],
        };
        let ends = self.ends.reverse();
        let mut segment = Writer::with_capacity(tcp::HEADER_LEN);
        reset.emit(&ends, &[], &mut segment);
        Some(datagram(ends, Proto::TCP, 0, &segment))
    }
}

/// Whether an address is that of one host on a network (RFC 1122 section
/// 3.2.1.3).
fn is_one_host(addr: &IpAddr) -> bool {
    let many = match addr {
        // Class E, with the limited broadcast.
        IpAddr::V4(v4) => v4.is_multicast() || v4.octets() >= [240, 0, 0, 0],
        IpAddr::V6(v6) => v6.is_multicast(),
    };
    !(many || addr.is_unspecified() || addr.is_loopback())
}

fn datagram(ends: Ends, proto: Proto, traffic_class: u8, payload: &Writer) -> Vec<u8> {
    let datagram = Datagram {
        ends,
        proto,
        hop_limit: HOP_LIMIT,
        traffic_class,
        fragment: None,
        payload: payload.bytes(),
    };
    let len = ipv6::HEADER_LEN.saturating_add(payload.len());
    let mut out = Writer::with_capacity(len);
    datagram.emit(&mut out);
    out.into_bytes()
}

#[cfg(test)]
mod tests;
