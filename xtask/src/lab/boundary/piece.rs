//! Fragments from the internet: only the first of a packet has the port that
//! tells whose it is, and Linux sends it first.

use super::{Mapping, addresses, mapping};
use std::collections::HashMap;
use std::net::IpAddr;

/// The IPv6 header that a fragment has (RFC 8200 section 4.5).
pub(super) const HEADER: u8 = 44;
/// Packets of which something is remembered.
const PACKETS_MAX: usize = 4_096;

/// Which line of the table the first fragments had, by source, destination and
/// identification.
#[derive(Debug, Default)]
pub(super) struct Pieces(HashMap<(IpAddr, IpAddr, u32), usize>);

impl Pieces {
    /// Whose packet from the internet this is a part of, or all of.
    pub(super) fn mapping<'t>(
        &mut self,
        packet: &[u8],
        table: &'t [Mapping],
    ) -> Option<&'t Mapping> {
        let Some((id, offset)) = place(packet) else {
            return mapping(packet, table);
        };
        let (source, destination) = addresses(packet)?;
        let key = (source, destination, id);
        if offset > 0 {
            return table.get(*self.0.get(&key)?);
        }
        let found = mapping(packet, table)?;
        if self.0.len() >= PACKETS_MAX {
            self.0.clear();
        }
        let at = table.iter().position(|mapping| mapping == found)?;
        self.0.insert(key, at);
        Some(found)
    }
}

/// A fragment's identification, and where in its packet it is.
fn place(packet: &[u8]) -> Option<(u32, u16)> {
    let word = |at: usize| {
        let bytes = packet.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (id, field) = match packet.first()? >> 4 {
        4 => (u32::from(word(4)?), word(6)? & 0x3fff),
        6 if *packet.get(6)? == HEADER => {
            let id = u32::from(word(44)?) << 16 | u32::from(word(46)?);
            // The flag that others follow stands below the offset.
            let field = word(42)?;
            (id, field >> 3 | field << 13 & 0x2000)
        }
        _ => return None,
    };
    (field != 0).then_some((id, field & 0x1fff))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of 198.51.100.9 to 192.0.2.1, whose ports 100 to 199 are `sled` 1's.
    fn table() -> Vec<Mapping> {
        let line = |ports, sled: u16| Mapping {
            external: opte_core::api::Prefix::host("192.0.2.1".parse().unwrap()),
            ports,
            vni: 7,
            mac: [2; 6],
            sled: std::net::Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, sled]),
        };
        vec![line(0..=99, 0), line(100..=199, 1)]
    }

    fn fragment(id: u16, field: u16, port: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 28];
        packet.extend(id.to_be_bytes());
        packet.extend(field.to_be_bytes());
        packet.extend([64, 17, 0, 0, 198, 51, 100, 9, 192, 0, 2, 1]);
        packet.extend([0, 53]);
        packet.extend(port.to_be_bytes());
        packet.extend([0, 8, 0, 0]);
        packet
    }

    #[test]
    fn later_fragments_follow_the_first() {
        let (table, mut pieces) = (table(), Pieces::default());
        let mut sled = |packet: &[u8]| Some(pieces.mapping(packet, &table)?.sled.segments()[7]);
        assert_eq!(sled(&fragment(1, 0, 150)), Some(1), "whole");
        assert_eq!(
            sled(&fragment(1, 0x2001, 50)),
            None,
            "its first didn't come"
        );
        assert_eq!(sled(&fragment(1, 0x2000, 150)), Some(1));
        assert_eq!(sled(&fragment(2, 0x2000, 50)), Some(0));
        assert_eq!(sled(&fragment(1, 0x0001, 50)), Some(1));
        assert_eq!(sled(&fragment(2, 0x2001, 150)), Some(0));
        assert_eq!(sled(&fragment(3, 0x2000, 250)), None);
        assert_eq!(sled(&fragment(3, 0x0001, 50)), None);
    }

    #[test]
    fn the_ipv6_header_says_the_same() {
        let mut packet = vec![0; 56];
        (packet[0], packet[6]) = (0x60, HEADER);
        packet[44..48].copy_from_slice(&[1, 2, 3, 4]);
        assert_eq!(place(&packet), None, "all of it");
        packet[43] = 1;
        assert_eq!(place(&packet), Some((0x0102_0304, 0)));
        packet[42..44].copy_from_slice(&(185_u16 << 3).to_be_bytes());
        assert_eq!(place(&packet), Some((0x0102_0304, 185)));
        packet[6] = 17;
        assert_eq!(place(&packet), None);
    }
}
