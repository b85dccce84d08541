//! The packet that an ICMP error quotes.
//!
//! Purpose   finds which flow an error is about. A quote is the beginning of a
//!           packet, of which 64 bits behind the IP header are sure to be there
//!           (RFC 792); with ports or an identifier among them that is enough.
//! Failure   none: cut off too early, of the other family, a fragment that
//!           isn't the first, or an error itself, which nobody reports about.

use super::{icmp, icmpv6, ipv4, ipv6};
use crate::Direction;
use crate::flow::tuple::{Family, Proto, Tuple, from_ip};

/// What a quote says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The packet's flow key.
    pub tuple: Tuple,
    /// Where its transport header begins, in bytes from the quote's start.
    pub transport: usize,
    /// Its sequence number, if it is TCP.
    pub sequence: Option<u32>,
}

impl Quote {
    /// Reads what an error of `family` quotes. The quoted packet went `dir`.
    #[must_use]
    pub fn parse(family: Family, bytes: &[u8], dir: Direction) -> Option<Self> {
        let (source, destination, proto, transport) = match family {
            Family::V4 => {
                let (header, _) = ipv4::Header::read(bytes).ok()?;
                if header.fragment_offset != 0 {
                    return None;
                }
                let source = from_ip(header.source.into());
                let destination = from_ip(header.destination.into());
                (source, destination, header.proto, header.header_len())
            }
            Family::V6 => {
                let (header, rest) = ipv6::Header::read(bytes).ok()?;
                let found = ipv6::walk(header.next_header, rest).ok()?;
                if found.fragment.is_some_and(|fragment| fragment.offset != 0) {
                    return None;
                }
                let transport = found.len.saturating_add(ipv6::HEADER_LEN);
                let (source, destination) = (header.source.octets(), header.destination.octets());
                (source, destination, found.proto, transport)
            }
        };
        let (local, remote) = match dir {
            Direction::Out => (source, destination),
            Direction::In => (destination, source),
        };
        let mut quote = Self {
            tuple: Tuple {
                local,
                remote,
                local_port: 0,
                remote_port: 0,
                proto,
                family,
            },
            transport,
            sequence: None,
        };
        quote.read_transport(bytes.get(transport..)?, dir)?;
        Some(quote)
    }

    /// Reads ports, or type and identifier.
    fn read_transport(&mut self, bytes: &[u8], dir: Direction) -> Option<()> {
        let tuple = &mut self.tuple;
        if !(tuple.proto.has_ports() || tuple.proto.is_icmp()) {
            return Some(());
        }
        let [a, b, c, d, i0, i1, i2, i3] = *bytes.first_chunk::<8>()?;
        if tuple.proto == Proto::TCP {
            self.sequence = Some(u32::from_be_bytes([i0, i1, i2, i3]));
        }
        if tuple.proto.has_ports() {
            let (source, destination) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            (tuple.local_port, tuple.remote_port) = match dir {
                Direction::Out => (source, destination),
                Direction::In => (destination, source),
            };
            return Some(());
        }
        let is_error = match (tuple.proto, tuple.family) {
            (Proto::ICMP, Family::V4) => icmp::is_error(a),
            (Proto::ICMPV6, Family::V6) => icmpv6::is_error(a),
            _ => return None,
        };
        if is_error {
            return None;
        }
        (tuple.local_port, tuple.remote_port) =
            icmp::key_ports(tuple.family, [a, b], [i0, i1], dir);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet;
    use crate::wire::testing::survives_anything;
    use std::vec::Vec;

    /// A UDP packet, a TCP segment and an echo request of each family.
    fn packets() -> Vec<(Family, Vec<u8>)> {
        let mut all = Vec::new();
        for proto in [17_u8, 6, 1, 132, 47] {
            let mut body = std::vec![3, 232, 0, 53, 0, 24, 0, 0, 0, 0, 0, 9, 0x50, 2, 1, 0];
            body.resize(24, 0);
            if proto == 1 {
                body[..6].copy_from_slice(&[8, 0, 0, 0, 0x12, 0x34]);
            }
            let mut v4 = std::vec![0x45, 0, 0, 44, 0, 0, 0x40, 0, 64, proto, 0, 0];
            v4.extend([10, 0, 0, 1, 10, 0, 0, 2]);
            v4.extend(&body);
            all.push((Family::V4, v4));
            if proto == 1 {
                body[0] = 128;
            }
            let proto = if proto == 1 { 58 } else { proto };
            let mut v6 = std::vec![0x60, 0, 0, 0, 0, 24, proto, 64];
            v6.extend([0xfd; 32]);
            v6[23] = 1;
            v6.extend(&body);
            all.push((Family::V6, v6));
        }
        all
    }

    #[test]
    fn a_quote_has_the_key_of_the_packet() {
        for (family, packet) in packets() {
            let ethertype: [u8; 2] = match family {
                Family::V4 => [8, 0],
                Family::V6 => [0x86, 0xdd],
            };
            let mut frame = std::vec![0; 12];
            frame.extend(ethertype);
            frame.extend(&packet);
            for dir in [Direction::In, Direction::Out] {
                let whole = packet::parse(&frame, frame.len(), dir).unwrap();
                for len in whole.transport - 14 + 8..packet.len() {
                    let quote = Quote::parse(family, &packet[..len], dir).unwrap();
                    assert_eq!(quote.tuple, whole.tuple);
                    assert_eq!(quote.transport, whole.transport - 14);
                }
            }
        }
    }

    #[test]
    fn what_is_cut_off_too_early_says_nothing() {
        for (family, packet) in packets() {
            let header = if family == Family::V4 { 20 } else { 40 };
            let sure = if packet[header - 11] == 47 || packet[6] == 47 {
                0
            } else {
                8
            };
            for len in 0..header + sure {
                let quote = Quote::parse(family, &packet[..len], Direction::Out);
                assert_eq!(quote, None, "{len} of {packet:?}");
            }
            survives_anything(&packet, |bytes| {
                _ = Quote::parse(family, bytes, Direction::In);
            });
        }
    }

    #[test]
    fn errors_and_later_fragments_are_not_quoted() {
        for (family, mut packet) in packets() {
            let (other, header) = match family {
                Family::V4 => (Family::V6, 20),
                Family::V6 => (Family::V4, 40),
            };
            assert_eq!(Quote::parse(other, &packet, Direction::Out), None);
            if [packet[9], packet[6]].contains(&if header == 20 { 1 } else { 58 }) {
                packet[header] = if header == 20 { 3 } else { 1 };
                assert_eq!(Quote::parse(family, &packet, Direction::Out), None);
            }
            if header == 20 {
                packet[7] = 1;
                assert_eq!(Quote::parse(family, &packet, Direction::Out), None);
            }
        }
    }
}
