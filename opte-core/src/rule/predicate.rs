//! What a firewall rule asks of a flow, in two forms that mean the same: a
//! direct test, and prefixes of numbers for the classifier.
//!
//! An empty list asks nothing. Port lists ask for a protocol with ports, and
//! an ICMP type for a message whose type is known.
//!
//! A predicate becomes prefixes as follows; all but an address are written as
//! IPv4 prefixes, which are just strings of up to 32 bits here:
//!
//! | predicate | bits |
//! | --- | --- |
//! | address, address set | as it is |
//! | VNI | 24 bits, whole |
//! | protocol | 8 bits, then a one, 8 bits of type and 8 of code, as far as given |
//! | port | 16 bits; a range is cut into aligned blocks |

use super::address_set::AddressSets;
use crate::Direction;
use crate::api::{FwRule, HostFilter, PortRange, Prefix, ProtoFilter};
use crate::flow::Proto;
use crate::wire::Vni;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// All that a firewall rule can ask about a flow: its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which way the packet goes.
    pub dir: Direction,
    /// The far side's address: destination of outbound, source of inbound.
    pub remote: IpAddr,
    /// The VPC that the far side is in, if it is in one.
    pub remote_vni: Option<Vni>,
    /// The protocol.
    pub proto: Proto,
    /// Type and code of an ICMP message of either family.
    pub icmp: Option<(u8, u8)>,
    /// The packet's source port; counts only for protocols with ports.
    pub source_port: u16,
    /// The packet's destination port; counts only for protocols with ports.
    pub dest_port: u16,
}

/// Whether `rule` matches, direction aside. Takes time for each list entry.
pub(super) fn matches(rule: &FwRule, sets: &AddressSets, query: &Query) -> bool {
    let ports = |ranges: &[PortRange], port: u16| {
        ranges.is_empty()
            || query.proto.has_ports()
                && ranges
                    .iter()
                    .any(|range| (range.first..=range.last).contains(&port))
    };
    let host = |filter: &HostFilter| match filter {
        HostFilter::Prefix(prefix) => prefix.contains(&query.remote),
        HostFilter::Vni(vni) => query.remote_vni == Some(*vni),
        HostFilter::Set(name) => sets.holds(name, &query.remote),
    };
    (rule.protocols.is_empty() || rule.protocols.iter().any(|filter| is_proto(filter, query)))
        && ports(&rule.ports, query.dest_port)
        && ports(&rule.source_ports, query.source_port)
        && (rule.hosts.is_empty() || rule.hosts.iter().any(host))
}

fn is_proto(filter: &ProtoFilter, query: &Query) -> bool {
    let icmp = match (filter.icmp_type, filter.icmp_code, query.icmp) {
        (None, ..) => true,
        (Some(_), _, None) => false,
        (Some(want), None, Some((kind, _))) => want == kind,
        (Some(want), Some(want_code), Some(got)) => (want, want_code) == got,
    };
    filter.proto == query.proto && icmp
}

/// A VNI's bits.
pub(super) fn vni_bits(vni: Vni) -> u32 {
    vni.get().wrapping_shl(8)
}

/// The prefix of a VNI.
pub(super) fn vni_prefix(vni: Vni) -> Option<Prefix> {
    prefix(vni_bits(vni), 24)
}

/// A packet's protocol, ICMP type and code as bits.
pub(super) fn proto_bits(proto: Proto, icmp: Option<(u8, u8)>) -> u32 {
    let (kind, code) = icmp.unwrap_or_default();
    u32::from_be_bytes([proto.0, 0, 0, 0])
        | u32::from(icmp.is_some()).wrapping_shl(23)
        | u32::from(kind).wrapping_shl(15)
        | u32::from(code).wrapping_shl(7)
}

/// The prefix of a protocol filter. A code without a type asks nothing.
pub(super) fn proto_prefix(filter: &ProtoFilter) -> Option<Prefix> {
    let (icmp, len) = match (filter.icmp_type, filter.icmp_code) {
        (None, _) => (None, 8),
        (Some(kind), None) => (Some((kind, 0)), 17),
        (Some(kind), Some(code)) => (Some((kind, code)), 25),
    };
    prefix(proto_bits(filter.proto, icmp), len)
}

/// A port as bits.
pub(super) fn port_bits(port: u16) -> u32 {
    u32::from(port).wrapping_shl(16)
}

/// The aligned blocks that `ranges` consist of. With `spare` bits each range
/// is widened to multiples of `1 << spare` first, so there are fewer blocks.
pub(super) fn port_prefixes(ranges: &[PortRange], spare: u32, mut take: impl FnMut(Prefix)) {
    let low = 1_u32.unbounded_shl(spare).wrapping_sub(1);
    let mut wide: Vec<(u32, u32)> = ranges
        .iter()
        .map(|range| (u32::from(range.first) & !low, u32::from(range.last) | low))
        .collect();
    wide.sort_unstable();
    // The next port that no block has been made for yet.
    let mut next = 0_u32;
    for (first, last) in wide {
        let mut first = first.max(next);
        while first <= last {
            let mut bits = first.trailing_zeros().min(16);
            let end = loop {
                let end = first.saturating_add(1_u32.unbounded_shl(bits));
                if end <= last.saturating_add(1) {
                    break end;
                }
                // A block of one port always fits.
                bits = bits.saturating_sub(1);
            };
            let len = 16_u32.saturating_sub(bits);
            if let Some(block) = prefix(first.wrapping_shl(16), u8::try_from(len).unwrap_or(16)) {
                take(block);
            }
            first = end;
        }
        next = next.max(first);
    }
}

/// The address that has these bits.
pub(super) fn address(bits: u32) -> IpAddr {
    Ipv4Addr::from_bits(bits).into()
}

fn prefix(bits: u32, len: u8) -> Option<Prefix> {
    Prefix::new(address(bits), len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    fn blocks(ranges: &[(u16, u16)], spare: u32) -> Vec<(u16, u16)> {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(first, last)| PortRange { first, last })
            .collect();
        let mut blocks = vec![];
        port_prefixes(&ranges, spare, |block| {
            let IpAddr::V4(addr) = block.addr() else {
                panic!()
            };
            let first = (addr.to_bits() >> 16) as u16;
            let size = 1_u32 << (16 - block.bits());
            blocks.push((first, (u32::from(first) + size - 1) as u16));
        });
        blocks
    }

    #[test]
    fn ranges_become_aligned_blocks() {
        assert_eq!(blocks(&[(0, 65_535)], 0), [(0, 65_535)]);
        assert_eq!(blocks(&[(65_535, 65_535)], 0), [(65_535, 65_535)]);
        assert_eq!(blocks(&[(1, 6)], 0), [(1, 1), (2, 3), (4, 5), (6, 6)]);
        // Overlapping and out of order: every port once.
        assert_eq!(
            blocks(&[(8, 11), (4, 9), (20, 20)], 0),
            [(4, 7), (8, 9), (10, 11), (20, 20)]
        );
        assert_eq!(blocks(&[(5, 9)], 2), [(4, 7), (8, 11)]);
        assert_eq!(blocks(&[(5, 9)], 16), [(0, 65_535)]);
    }

    #[test]
    fn an_icmp_type_is_not_the_absence_of_one() {
        let echo_reply: ProtoFilter = "icmp:0/0".parse().unwrap();
        let any: ProtoFilter = "icmp".parse().unwrap();
        let known = address(proto_bits(Proto::ICMP, Some((0, 0))));
        let unknown = address(proto_bits(Proto::ICMP, None));
        assert!(proto_prefix(&echo_reply).unwrap().contains(&known));
        assert!(!proto_prefix(&echo_reply).unwrap().contains(&unknown));
        assert!(proto_prefix(&any).unwrap().contains(&known));
        assert!(proto_prefix(&any).unwrap().contains(&unknown));
    }
}
