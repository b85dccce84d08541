//! ICMP of both families (RFC 792, RFC 4443).
//!
//! The two protocols say the same things with other numbers, so one
//! [`Message`] serves both and the family is a parameter; the numbers of
//! ICMPv6 are in [`super::icmpv6`]. Neighbour discovery is in [`super::ndp`].

use super::Writer;
use super::checksum::Sum;
use super::icmpv6;
use super::ip::Ends;
use crate::flow::{Family, Proto};
use crate::{Direction, DropReason};

/// Bytes before the data of an echo message or the quote of an error.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM_AT: usize = 2;

/// Code of an ICMP "unreachable": no such host.
pub const HOST_UNREACHABLE: u8 = 1;
/// Code of an ICMP "unreachable": nobody listens on the port.
pub const PORT_UNREACHABLE: u8 = 3;
/// Code of an ICMP "unreachable": forbidden (RFC 1812 section 5.2.7.1).
pub const PROHIBITED: u8 = 13;
/// Code of an ICMP "unreachable" that means too big.
const FRAGMENTATION_NEEDED: u8 = 4;

/// Whether messages of type `kind` report errors about a packet, which they
/// quote: unreachable, source quench, redirect, time exceeded, parameter
/// problem (RFC 1122 section 3.2.2).
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(kind, 3..=5 | 11 | 12)
}

/// What a flow key has where others have ports ([`Tuple`](crate::flow::Tuple)),
/// for a message that goes `dir`: the local and the remote one. `identifier` is
/// what queries have behind their checksum.
#[must_use]
pub const fn key_ports(
    family: Family,
    [kind, code]: [u8; 2],
    identifier: [u8; 2],
    dir: Direction,
) -> (u16, u16) {
    let Some(other) = other_half(family, kind) else {
        return (0, u16::from_be_bytes([kind, code]));
    };
    let of_guest = match dir {
        Direction::Out => kind,
        Direction::In => other,
    };
    // Some stacks answer with the code that they were asked with, others with zero.
    let pair = u16::from_be_bytes([of_guest, 0]);
    (u16::from_be_bytes(identifier), pair)
}

/// The type of the answers to a query, or of the queries that an answer is to:
/// echo, timestamp, information, address mask (RFC 792, RFC 950) and extended
/// echo (RFC 8335). Their identifiers are all in one place.
const fn other_half(family: Family, kind: u8) -> Option<u8> {
    match (family, kind) {
        (Family::V4, 8) => Some(0),
        (Family::V4, 0) => Some(8),
        (Family::V4, 13 | 15 | 17) => Some(kind.wrapping_add(1)),
        (Family::V4, 14 | 16 | 18) => Some(kind.wrapping_sub(1)),
        (Family::V4, 42 | 43) | (Family::V6, 128 | 129 | 160 | 161) => Some(kind ^ 1),
        _ => None,
    }
}

/// The numbers of one family.
pub(super) struct Numbers {
    pub(super) echo_request: u8,
    pub(super) echo_reply: u8,
    pub(super) unreachable: u8,
    /// Type and code.
    pub(super) too_big: (u8, u8),
    pub(super) time_exceeded: u8,
    pub(super) parameter_problem: u8,
}

const NUMBERS: Numbers = Numbers {
    echo_request: 8,
    echo_reply: 0,
    unreachable: 3,
    too_big: (3, FRAGMENTATION_NEEDED),
    time_exceeded: 11,
    parameter_problem: 12,
};

const fn numbers(family: Family) -> &'static Numbers {
    match family {
        Family::V4 => &NUMBERS,
        Family::V6 => &icmpv6::NUMBERS,
    }
}

/// The protocol number of a family's ICMP.
#[must_use]
pub const fn proto(family: Family) -> Proto {
    match family {
        Family::V4 => Proto::ICMP,
        Family::V6 => Proto::ICMPV6,
    }
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'p> {
    /// Are you there?
    EchoRequest(Echo<'p>),
    /// Yes.
    EchoReply(Echo<'p>),
    /// A packet didn't arrive.
    Error {
        /// Why.
        failure: Failure,
        /// The beginning of that packet, from its IP header on.
        quote: &'p [u8],
    },
    /// Anything else.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// What follows the checksum.
        body: &'p [u8],
    },
}

/// An echo request or reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'p> {
    /// Tells one pinging process from another.
    pub identifier: u16,
    /// Tells one request from another.
    pub sequence: u16,
    /// What has to come back.
    pub data: &'p [u8],
}

/// Why a packet didn't arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The destination, or something of it, can't be reached.
    Unreachable {
        /// The family's code.
        code: u8,
    },
    /// The packet is too big for a link, and may not be fragmented.
    TooBig {
        /// Bytes of IP packet that the link takes; 16 bits for ICMP, where old
        /// routers say zero (RFC 1191).
        mtu: u32,
    },
    /// It took too many hops, or too long to put together.
    TimeExceeded {
        /// Zero for hops, one for fragments.
        code: u8,
    },
    /// Something in its header is wrong.
    ParameterProblem {
        /// The family's code.
        code: u8,
        /// Offset of what is wrong; 8 bits for ICMP.
        pointer: u32,
    },
}

/// Why bytes are no ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// They end before the header does.
    Truncated,
    /// The checksum is wrong.
    Checksum,
    /// An echo message has a code.
    Code,
}

impl From<Error> for DropReason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated => Self::Truncated,
            Error::Checksum => Self::BadChecksum,
            Error::Code => Self::BadTransport,
        }
    }
}

impl<'p> Message<'p> {
    /// Reads the header of what may be only the beginning of a message, which
    /// is why the checksum isn't looked at.
    ///
    /// # Errors
    ///
    /// When the header is cut off or an echo message has a code.
    pub fn read(family: Family, bytes: &'p [u8]) -> Result<Self, Error> {
        let ([kind, code, _, _], body) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let (kind, code) = (*kind, *code);
        let numbers = numbers(family);
        let (word, rest) = body.split_first_chunk().ok_or(Error::Truncated)?;
        if kind == numbers.echo_request || kind == numbers.echo_reply {
            if code != 0 {
                return Err(Error::Code);
            }
            let [i0, i1, s0, s1] = *word;
            let echo = Echo {
                identifier: u16::from_be_bytes([i0, i1]),
                sequence: u16::from_be_bytes([s0, s1]),
                data: rest,
            };
            return Ok(if kind == numbers.echo_request {
                Self::EchoRequest(echo)
            } else {
                Self::EchoReply(echo)
            });
        }
        Ok(match Failure::read(family, kind, code, *word) {
            Some(failure) => Self::Error {
                failure,
                quote: rest,
            },
            None => Self::Other { kind, code, body },
        })
    }

    /// Reads a whole message that came between `ends`.
    ///
    /// # Errors
    ///
    /// As [`Message::read`], and when the checksum is wrong.
    pub fn parse(ends: &Ends, bytes: &'p [u8]) -> Result<Self, Error> {
        let message = Self::read(ends.family(), bytes)?;
        if checksum_is_right(ends, bytes) {
            Ok(message)
        } else {
            Err(Error::Checksum)
        }
    }

    /// Appends the message with its checksum, to go between `ends`.
    pub fn emit(&self, ends: &Ends, out: &mut Writer) {
        let start = out.len();
        let family = ends.family();
        let numbers = numbers(family);
        let mut header = |kind, code| {
            out.put_u8(kind);
            out.put_u8(code);
            out.put_u16(0);
        };
        match *self {
            Self::EchoRequest(echo) | Self::EchoReply(echo) => {
                let is_request = matches!(self, Self::EchoRequest(_));
                header(
                    if is_request {
                        numbers.echo_request
                    } else {
                        numbers.echo_reply
                    },
                    0,
                );
                out.put_u16(echo.identifier);
                out.put_u16(echo.sequence);
                out.put(echo.data);
            }
            Self::Error { failure, quote } => {
                let (kind, code, word) = failure.numbers(family);
                header(kind, code);
                out.put_u32(word);
                out.put(quote);
            }
            Self::Other { kind, code, body } => {
                header(kind, code);
                out.put(body);
            }
        }
        seal(ends, start, out);
    }
}

impl Failure {
    fn read(family: Family, kind: u8, code: u8, word: [u8; 4]) -> Option<Self> {
        let numbers = numbers(family);
        let [pointer, _, m0, m1] = word;
        Some(if (kind, code) == numbers.too_big {
            Self::TooBig {
                mtu: match family {
                    Family::V4 => u32::from(u16::from_be_bytes([m0, m1])),
                    Family::V6 => u32::from_be_bytes(word),
                },
            }
        } else if kind == numbers.unreachable {
            Self::Unreachable { code }
        } else if kind == numbers.time_exceeded {
            Self::TimeExceeded { code }
        } else if kind == numbers.parameter_problem {
            Self::ParameterProblem {
                code,
                pointer: match family {
                    Family::V4 => u32::from(pointer),
                    Family::V6 => u32::from_be_bytes(word),
                },
            }
        } else {
            return None;
        })
    }

    /// Type, code, and the four bytes between checksum and quote.
    fn numbers(self, family: Family) -> (u8, u8, u32) {
        let numbers = numbers(family);
        match self {
            Self::Unreachable { code } => (numbers.unreachable, code, 0),
            Self::TooBig { mtu } => {
                let (kind, code) = numbers.too_big;
                let mtu = match family {
                    Family::V4 => mtu.min(u32::from(u16::MAX)),
                    Family::V6 => mtu,
                };
                (kind, code, mtu)
            }
            Self::TimeExceeded { code } => (numbers.time_exceeded, code, 0),
            Self::ParameterProblem { code, pointer } => {
                let word = match family {
                    Family::V4 => (pointer & 0xff) << 24,
                    Family::V6 => pointer,
                };
                (numbers.parameter_problem, code, word)
            }
        }
    }
}

/// What the checksum of a message of `len` bytes covers besides the message:
/// nothing for ICMP, a pseudo-header for ICMPv6.
fn pseudo_header(ends: &Ends, len: usize) -> Sum {
    match ends.family() {
        Family::V4 => Sum::ZERO,
        Family::V6 => ends.pseudo_header(Proto::ICMPV6, len),
    }
}

/// Whether the checksum of a whole message that came between `ends` is right.
#[must_use]
pub fn checksum_is_right(ends: &Ends, message: &[u8]) -> bool {
    pseudo_header(ends, message.len()).bytes(message).is_valid()
}

/// Fills in the checksum of the message that starts at `start`.
pub fn seal(ends: &Ends, start: usize, out: &mut Writer) {
    let len = out.len().saturating_sub(start);
    let at = start.saturating_add(CHECKSUM_AT);
    out.seal(start, at, pseudo_header(ends, len));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::{refuses_truncation, survives_anything};
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::vec::Vec;

    const V4: Ends = Ends::V4 {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };
    const V6: Ends = Ends::V6 {
        source: Ipv6Addr::LOCALHOST,
        destination: Ipv6Addr::UNSPECIFIED,
    };
    const ECHO: Echo<'static> = Echo {
        identifier: 0x0102,
        sequence: 0x0304,
        data: b"payload",
    };

    fn written(ends: &Ends, message: &Message<'_>) -> Vec<u8> {
        let mut out = Writer::default();
        out.put(b"in front");
        message.emit(ends, &mut out);
        out.into_bytes().split_off(8)
    }

    /// Every message, with type, code and the word of both families.
    fn messages() -> [(Message<'static>, [[u8; 6]; 2]); 6] {
        let error = |failure| Message::Error {
            failure,
            quote: b"quoted",
        };
        [
            (
                Message::EchoRequest(ECHO),
                [[8, 0, 1, 2, 3, 4], [128, 0, 1, 2, 3, 4]],
            ),
            (
                Message::EchoReply(ECHO),
                [[0, 0, 1, 2, 3, 4], [129, 0, 1, 2, 3, 4]],
            ),
            (
                error(Failure::Unreachable { code: 1 }),
                [[3, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]],
            ),
            (
                error(Failure::TooBig { mtu: 1_280 }),
                [[3, 4, 0, 0, 5, 0], [2, 0, 0, 0, 5, 0]],
            ),
            (
                error(Failure::TimeExceeded { code: 1 }),
                [[11, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]],
            ),
            (
                error(Failure::ParameterProblem {
                    code: 0,
                    pointer: 9,
                }),
                [[12, 0, 9, 0, 0, 0], [4, 0, 0, 0, 0, 9]],
            ),
        ]
    }

    #[test]
    fn messages_read_as_they_were_written() {
        for (message, wire) in messages() {
            for (ends, [kind, code, w @ ..]) in [V4, V6].iter().zip(wire) {
                let bytes = written(ends, &message);
                assert_eq!(bytes[..2], [kind, code], "{message:?}");
                assert_eq!(bytes[4..8], w, "{message:?}");
                assert!(checksum_is_right(ends, &bytes));
                assert_eq!(Message::parse(ends, &bytes), Ok(message));
            }
        }
    }

    #[test]
    fn other_messages_are_kept_whole() {
        let timestamp = Message::Other {
            kind: 13,
            code: 0,
            body: &[1; 16],
        };
        let bytes = written(&V4, &timestamp);
        assert_eq!(bytes.len(), 20);
        assert_eq!(Message::parse(&V4, &bytes), Ok(timestamp));
    }

    #[test]
    fn an_mtu_fits_its_field() {
        let big = Message::Error {
            failure: Failure::TooBig { mtu: 70_000 },
            quote: &[],
        };
        assert_eq!(written(&V4, &big)[4..], [0, 0, 0xff, 0xff]);
        assert_eq!(written(&V6, &big)[4..], [0, 1, 0x11, 0x70]);
    }

    #[test]
    fn damaged_messages_are_refused() {
        for ends in [V4, V6] {
            let good = written(&ends, &Message::EchoRequest(ECHO));
            refuses_truncation(&good, |bytes| Message::parse(&ends, bytes));
            refuses_truncation(&good[..8], |bytes| Message::read(ends.family(), bytes));
            survives_anything(&good, |bytes| _ = Message::parse(&ends, bytes));
            let mut bytes = good.clone();
            bytes[9] ^= 1;
            assert_eq!(Message::parse(&ends, &bytes), Err(Error::Checksum));
            bytes[1] = 1;
            assert_eq!(Message::parse(&ends, &bytes), Err(Error::Code));
        }
        // The pseudo-header counts for ICMPv6, so another sender is damage.
        let bytes = written(&V6, &Message::EchoRequest(ECHO));
        let other = Ends::V6 {
            source: Ipv6Addr::UNSPECIFIED,
            destination: Ipv6Addr::UNSPECIFIED,
        };
        assert_eq!(Message::parse(&other, &bytes), Err(Error::Checksum));
    }

    #[test]
    fn a_query_and_its_answer_have_one_key_and_the_other_way_round_another() {
        let key = |family, kind, dir| key_ports(family, [kind, 0], [0x12, 0x34], dir);
        for (family, query, answer) in [
            (Family::V4, 8, 0),
            (Family::V4, 13, 14),
            (Family::V4, 15, 16),
            (Family::V4, 17, 18),
            (Family::V4, 42, 43),
            (Family::V6, 128, 129),
            (Family::V6, 160, 161),
        ] {
            let guests = key(family, query, Direction::Out);
            assert_eq!(guests, (0x1234, u16::from(query) << 8));
            assert_eq!(key(family, answer, Direction::In), guests);
            let far = key(family, query, Direction::In);
            assert_eq!(far, (0x1234, u16::from(answer) << 8));
            assert_eq!(key(family, answer, Direction::Out), far);
        }
        // Whatever else there is says its type and code, and is nobody's answer.
        for (family, kind) in [(Family::V4, 9), (Family::V4, 128), (Family::V6, 130)] {
            for dir in [Direction::In, Direction::Out] {
                let ports = key_ports(family, [kind, 7], [1, 2], dir);
                assert_eq!(ports, (0, u16::from_be_bytes([kind, 7])));
            }
        }
    }
}
