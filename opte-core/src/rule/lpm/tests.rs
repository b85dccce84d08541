//! The table against a search through all prefixes.

use super::*;
use crate::rule::tests::Rng;
use core::net::{Ipv4Addr, Ipv6Addr};
use std::vec;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn cut(addr: IpAddr, len: u8) -> Prefix {
    let cut = match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(v4.to_bits() & mask).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(v6.to_bits() & mask).into()
        }
    };
    Prefix::new(cut, len).unwrap()
}

/// An address near `base`: the same but for some bits in a random place, so
/// that prefixes nest, touch and share long beginnings.
fn near(rng: &mut Rng, base: IpAddr) -> IpAddr {
    match base {
        IpAddr::V4(v4) => {
            let noise = (rng.next() as u32) >> rng.below(32);
            Ipv4Addr::from_bits(v4.to_bits() ^ noise).into()
        }
        IpAddr::V6(v6) => {
            let noise = u128::from(rng.next()) << 64 | u128::from(rng.next());
            let noise = (noise >> rng.below(128)) & (noise << rng.below(64));
            Ipv6Addr::from_bits(v6.to_bits() ^ noise).into()
        }
    }
}

fn oracle(entries: &[(Prefix, u32)], addr: &IpAddr) -> Option<u32> {
    entries
        .iter()
        .filter(|(prefix, _)| prefix.contains(addr))
        // Of equal prefixes `max_by_key` gives the last, as the table does.
        .max_by_key(|(prefix, _)| prefix.bits())
        .map(|(_, value)| *value)
}

#[test]
fn the_longest_prefix_wins() {
    let table = Lpm::build([
        (prefix("0.0.0.0/0"), 0),
        (prefix("10.0.0.0/8"), 8),
        (prefix("10.1.2.3"), 32),
        (prefix("10.1.0.0/16"), 16),
        (prefix("fd00::/64"), 64),
        (prefix("fd00::1"), 128),
    ]);
    for (addr, want) in [
        ("9.255.255.255", Some(0)),
        ("10.0.0.0", Some(8)),
        ("10.1.2.3", Some(32)),
        ("10.1.2.4", Some(16)),
        ("255.255.255.255", Some(0)),
        ("fd00::1", Some(128)),
        ("fd00::2", Some(64)),
        ("fd00:0:0:1::1", None),
    ] {
        let addr = addr.parse().unwrap();
        assert_eq!(table.lookup(&addr).copied(), want, "{addr}");
    }
    assert_eq!(table.len(), 6);
}

#[test]
fn an_empty_table_has_no_answer() {
    let table = Lpm::<u32>::default();
    assert!(table.is_empty());
    assert_eq!(table.lookup(&Ipv4Addr::UNSPECIFIED.into()), None);
    assert_eq!(table.lookup(&Ipv6Addr::LOCALHOST.into()), None);
}

#[test]
fn a_later_duplicate_replaces_the_earlier() {
    let one = prefix("10.0.0.0/8");
    let table = Lpm::build([(one, 1), (Prefix::V6_ANY, 7), (one, 2), (one, 3)]);
    assert_eq!(table.lookup(&"10.0.0.1".parse().unwrap()), Some(&3));
    assert_eq!(
        table.iter().collect::<std::vec::Vec<_>>(),
        vec![(one, &3), (Prefix::V6_ANY, &7)]
    );
}

#[test]
fn every_length_is_found_at_its_edges() {
    for base in ["255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
        let base: IpAddr = base.parse().unwrap();
        let bits = Prefix::host(base).bits();
        let entries: std::vec::Vec<_> = (0..=bits)
            .map(|len| (cut(base, len), u32::from(len)))
            .collect();
        let table = Lpm::build(entries.iter().copied());
        assert_eq!(table.lookup(&base), Some(&u32::from(bits)));
        for (prefix, len) in &entries {
            let want = oracle(&entries, &prefix.addr());
            assert_eq!(table.lookup(&prefix.addr()).copied(), want, "/{len}");
        }
    }
}

#[test]
fn the_table_agrees_with_a_linear_scan() {
    for seed in 0..if cfg!(miri) { 3 } else { 600 } {
        let mut rng = Rng::new(seed);
        let mut bases = vec![
            IpAddr::V4(Ipv4Addr::from_bits(rng.next() as u32)),
            IpAddr::V6(Ipv6Addr::from_bits(
                u128::from(rng.next()) << 64 | u128::from(rng.next()),
            )),
        ];
        let mut entries = std::vec::Vec::new();
        let size = [1, 5, 40, 400][rng.below(4) as usize];
        for value in 0..size {
            let base = bases[rng.below(bases.len() as u64) as usize];
            let addr = near(&mut rng, base);
            if rng.below(3) == 0 {
                bases.push(addr);
            }
            let bits = u64::from(Prefix::host(addr).bits());
            let len = if rng.below(4) == 0 {
                bits
            } else {
                rng.below(bits + 1)
            };
            entries.push((cut(addr, len as u8), value));
        }
        let table = Lpm::build(entries.iter().copied());
        for _ in 0..300 {
            let base = bases[rng.below(bases.len() as u64) as usize];
            let addr = near(&mut rng, base);
            let want = oracle(&entries, &addr);
            assert_eq!(table.lookup(&addr).copied(), want, "seed {seed} {addr}");
            let bytes = crate::flow::tuple::from_ip(addr);
            let found = table.lookup_bytes(Family::of(&addr), &bytes);
            assert_eq!(found.copied(), want, "seed {seed} {addr}");
        }
    }
}

#[test]
fn memory_follows_the_number_of_prefixes() {
    // Host routes spread evenly: the worst case for nodes and leaves.
    let mut rng = Rng::new(1);
    let table = Lpm::build((0..10_000_u32).map(|i| {
        let addr = Ipv6Addr::from_bits(u128::from(rng.next()) << 64 | u128::from(rng.next()));
        (Prefix::host(addr.into()), i)
    }));
    assert!(table.v6.nodes.len() <= 3 * 10_000);
    assert!(table.v6.leaves.len() <= 4 * 10_000);
    assert!(table.v6.skips.len() <= 10_000);
}
