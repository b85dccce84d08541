//! External addresses: choice, mappings, rest, and changes under live flows.

use super::*;
use crate::api::{Behaviour, ErrorCode, Floating, NatOptions, Snat};
use crate::flow::tuple::from_ip;
use crate::limits::{FLOATING_MAX, SNAT_REST_MS, SNAT_REST_MS_MIN};
use crate::rng::Rng;
use alloc::string::ToString;
use std::collections::{BTreeMap, BTreeSet};

mod mode;
mod model;

type Sut = Nat<parking_lot::RawMutex>;

const SNAT4: &str = "203.0.113.1";
const SNAT6: &str = "2001:db8:1::1";
const G1: GatewayId = GatewayId([1; 16]);
const G2: GatewayId = GatewayId([2; 16]);
const NOW: Instant = Instant::from_millis(1_000_000);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nat() -> Sut {
    Nat::new(
        7,
        Some("10.0.0.5".parse().unwrap()),
        Some("fd00::5".parse().unwrap()),
    )
}

fn nat_with(ips: &ExternalIps) -> Sut {
    let nat = nat();
    set(&nat, ips);
    nat
}

fn set(nat: &Sut, ips: &ExternalIps) {
    nat.commit(nat.plan(&"guest0".parse().unwrap(), ips).unwrap());
}

fn snat(address: &str, first_port: u16, last_port: u16) -> Snat {
    Snat {
        address: ip(address),
        first_port,
        last_port,
    }
}

fn only_snat(address: &str, first_port: u16, last_port: u16) -> ExternalIps {
    ExternalIps {
        snat: [snat(address, first_port, last_port)].into(),
        ..ExternalIps::default()
    }
}

fn floating(address: &str, gateway: Option<GatewayId>) -> Floating {
    Floating {
        address: ip(address),
        gateway,
    }
}

fn flow(proto: Proto, family: Family, local_port: u16, remote_port: u16) -> Tuple {
    let (local, remote) = match family {
        Family::V4 => ("10.0.0.5", "198.51.100.9"),
        Family::V6 => ("fd00::5", "2001:db8:9::9"),
    };
    Tuple {
        local: from_ip(ip(local)),
        remote: from_ip(ip(remote)),
        local_port,
        remote_port,
        proto,
        family,
    }
}

fn tcp(local_port: u16) -> Tuple {
    flow(Proto::TCP, Family::V4, local_port, 443)
}

fn valid(nat: &Sut, inside: &Tuple, held: &Outside) -> bool {
    nat.still_valid(inside, held, Via::Gateway(None))
}

fn came_in(nat: &Sut, outside: &Tuple) -> Option<(Tuple, Outside)> {
    let inbound = nat.inbound(outside)?;
    Some((inbound.inside, inbound.by))
}

fn seen_as(inside: &Tuple, outside: &Outside) -> Tuple {
    inside.with_local(outside.addr, outside.port)
}

#[test]
fn one_inside_end_has_one_external_port() {
    for (address, family, icmp, echo) in [
        (SNAT4, Family::V4, Proto::ICMP, 0x800),
        (SNAT6, Family::V6, Proto::ICMPV6, 0x8000),
    ] {
        let nat = nat_with(&only_snat(address, 2_000, 2_999));
        for proto in [Proto::TCP, Proto::UDP, icmp] {
            let (a, b) = (
                flow(proto, family, 700, echo),
                flow(proto, family, 701, echo),
            );
            let first = nat.outbound(&a, None, NOW).unwrap();
            let other_remote = Tuple {
                remote: [0xee; 16],
                ..a
            };
            assert_eq!(nat.outbound(&other_remote, None, NOW), Ok(first));
            assert_eq!((first.addr, first.kind), (ip(address), Kind::Snat));
            assert!((2_000..=2_999).contains(&first.port));
            let second = nat.outbound(&b, None, NOW).unwrap();
            assert_ne!(first.port, second.port);
            // Inbound finds it, from anywhere, and shares it.
            assert_eq!(came_in(&nat, &seen_as(&a, &first)), Some((a, first)));
            for _ in 0..2 {
                nat.release(&a, &first, NOW);
                assert!(valid(&nat, &a, &first));
            }
            nat.release(&a, &first, NOW);
            assert!(!valid(&nat, &a, &first));
            assert_eq!(nat.inbound(&seen_as(&a, &first)), None);
            assert!(valid(&nat, &b, &second));
        }
        let used: usize = nat.usage().iter().map(|usage| usage.used).sum();
        assert_eq!(used, 3, "the second flow of each protocol");
    }
}

#[test]
fn pools_share_no_ports() {
    let nat = nat_with(&only_snat(SNAT4, 5_000, 5_000));
    let udp = flow(Proto::UDP, Family::V4, 1, 53);
    let echo = flow(Proto::ICMP, Family::V4, 1, 0x800);
    for one in [tcp(1), udp, echo] {
        assert_eq!(nat.outbound(&one, None, NOW).unwrap().port, 5_000);
    }
    assert_eq!(
        nat.outbound(&tcp(2), None, NOW),
        Err(DropReason::SnatExhausted)
    );
}

#[test]
fn what_snat_cannot_map_needs_an_address_of_its_own() {
    let mut ips = only_snat(SNAT4, 2_000, 2_999);
    let nat = nat_with(&ips);
    let gre = flow(Proto(47), Family::V4, 0, 0);
    let sctp = flow(Proto::SCTP, Family::V4, 9, 9);
    let unreachable = flow(Proto::ICMP, Family::V4, 0, 0x301);
    let timestamp = flow(Proto::ICMP, Family::V4, 9, 0xd00);
    for one in [
        gre,
        sctp,
        unreachable,
        timestamp,
        flow(Proto::TCP, Family::V6, 1, 1),
    ] {
        assert_eq!(
            nat.outbound(&one, None, NOW),
            Err(DropReason::NoExternalAddress)
        );
        assert_eq!(nat.inbound(&one.with_local(ip(SNAT4), 2_000)), None);
    }
    ips.ephemeral.push(ip("203.0.113.9"));
    set(&nat, &ips);
    for one in [gre, sctp, unreachable, timestamp] {
        let outside = nat.outbound(&one, None, NOW).unwrap();
        assert_eq!(
            (outside.addr, outside.port, outside.kind),
            (ip("203.0.113.9"), one.local_port, Kind::Ephemeral)
        );
        assert_eq!(
            came_in(&nat, &seen_as(&one, &outside)),
            Some((one, outside))
        );
    }
}

#[test]
fn a_whole_address_stands_for_the_guest_only() {
    let mut ips = only_snat(SNAT4, 2_000, 2_999);
    ips.ephemeral.push(ip("203.0.113.9"));
    let nat = nat_with(&ips);
    let forwarded = tcp(1).with_local(ip("10.9.9.9"), 1);
    let outside = nat.outbound(&forwarded, None, NOW).unwrap();
    assert_eq!(outside.kind, Kind::Snat);
    assert_eq!(
        came_in(&nat, &seen_as(&forwarded, &outside)).unwrap().0,
        forwarded
    );
}

#[test]
fn floating_goes_before_ephemeral_before_snat() {
    let mut ips = only_snat(SNAT4, 2_000, 2_999);
    ips.ephemeral.push(ip("203.0.113.9"));
    ips.floating.push(floating("203.0.113.21", Some(G1)));
    let nat = nat_with(&ips);
    let kind = |gateway| nat.outbound(&tcp(1), gateway, NOW).unwrap().kind;
    assert_eq!(kind(Some(G1)), Kind::Floating);
    assert_eq!(kind(Some(G2)), Kind::Ephemeral);
    // A route to no certain gateway doesn't lead to this one (rule N5).
    assert_eq!(kind(None), Kind::Ephemeral);
    let held = nat.outbound(&tcp(1), Some(G1), NOW).unwrap();
    let holds = |via| nat.still_valid(&tcp(1), &held, via);
    assert!(holds(Via::Gateway(Some(G1))));
    assert!(!holds(Via::Gateway(None)));
    assert!(!holds(Via::Gateway(Some(G2))));
    // An address of any gateway serves all of them.
    ips.floating = [floating("203.0.113.22", None)].into();
    set(&nat, &ips);
    for gateway in [Some(G1), Some(G2), None] {
        let got = nat.outbound(&tcp(1), gateway, NOW).unwrap();
        assert_eq!(got.addr, ip("203.0.113.22"));
    }
    assert!(!nat.still_valid(&tcp(1), &held, Via::Gateway(Some(G1))));
    for owned in [SNAT4, "203.0.113.9", "203.0.113.22"] {
        assert!(nat.owns(&ip(owned)), "{owned}");
    }
    for foreign in ["203.0.113.21", "10.0.0.5", SNAT6] {
        assert!(!nat.owns(&ip(foreign)), "{foreign}");
    }
}

#[test]
fn a_flow_that_came_in_is_answered_by_the_address_that_it_came_to() {
    let mut ips = ExternalIps {
        floating: [
            floating("203.0.113.21", Some(G1)),
            floating("203.0.113.22", Some(G2)),
        ]
        .into(),
        ..ExternalIps::default()
    };
    let nat = nat_with(&ips);
    for address in ["203.0.113.21", "203.0.113.22"] {
        let call = tcp(80).with_local(ip(address), 80);
        let (inside, by) = came_in(&nat, &call).unwrap();
        assert_eq!((inside, by.addr), (tcp(80), ip(address)));
        assert!(nat.still_valid(&inside, &by, Via::Arrival));
    }
    let (inside, by) = came_in(&nat, &tcp(80).with_local(ip("203.0.113.22"), 80)).unwrap();
    ips.floating.pop();
    set(&nat, &ips);
    assert!(!nat.still_valid(&inside, &by, Via::Arrival));
}

#[test]
fn a_guest_keeps_its_floating_address() {
    let mut ips = ExternalIps {
        floating: ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
            .map(|a| floating(a, None))
            .into(),
        ..ExternalIps::default()
    };
    let nat = nat_with(&ips);
    let choose = |inside: Tuple| nat.outbound(&inside, None, NOW).unwrap().addr;
    let one = choose(tcp(1));
    for inside in [
        tcp(2),
        flow(Proto::UDP, Family::V4, 700, 53),
        flow(Proto::ICMP, Family::V4, 9, 0),
        flow(Proto(47), Family::V4, 0, 0),
    ] {
        assert_eq!(choose(inside), one, "{inside}");
    }
    // Another one goes: no difference. This one goes: all move together.
    let at = ips.floating.iter().position(|f| f.address != one).unwrap();
    ips.floating.remove(at);
    set(&nat, &ips);
    assert_eq!(choose(tcp(1)), one);
    ips.floating.retain(|f| f.address != one);
    set(&nat, &ips);
    assert_eq!(choose(tcp(1)), ips.floating[0].address);
}

#[test]
fn a_socket_keeps_its_floating_address_and_sockets_spread_if_they_may() {
    let addresses: [&str; 4] = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"];
    let ips = ExternalIps {
        floating: addresses.map(|a| floating(a, None)).into(),
        nat: NatOptions {
            pooling: Pooling::Arbitrary,
            ..NatOptions::default()
        },
        ..ExternalIps::default()
    };
    let nat = nat_with(&ips);
    let choose = |port, remote_port| {
        let inside = flow(Proto::UDP, Family::V6, port, remote_port);
        nat.outbound(&inside, None, NOW).unwrap().addr
    };
    let before: std::vec::Vec<_> = (0..4_000).map(|port| choose(port, 1)).collect();
    for address in addresses {
        let count = before.iter().filter(|a| **a == ip(address)).count();
        assert!((850..1_150).contains(&count), "{address}: {count}");
    }
    // The far end doesn't matter, nor does the order of the list.
    let mut fewer = ips.clone();
    fewer.floating.reverse();
    set(&nat, &fewer);
    assert!((0..4_000).all(|port| choose(port, 2) == before[usize::from(port)]));
    // Without one address, only its flows move.
    fewer.floating.retain(|f| f.address != ip(addresses[1]));
    set(&nat, &fewer);
    for port in 0..4_000 {
        let was = before[usize::from(port)];
        assert!(was == ip(addresses[1]) || choose(port, 3) == was);
    }
}

#[test]
fn the_class_of_a_port_is_kept_while_it_lasts() {
    let nat = nat_with(&only_snat(SNAT4, 0, 2_047));
    let mut seen = BTreeSet::new();
    // 512 ports of each class, but one less where port zero would be.
    for (first, count) in [(0_u16, 511), (1, 512), (4_096, 512), (4_097, 512)] {
        for n in 0..count {
            let local = first + 2 * n;
            let port = nat.outbound(&tcp(local), None, NOW).unwrap().port;
            assert_eq!(port % 2, local % 2);
            assert_eq!(port < 1_024, local < 1_024);
            assert!(port != 0 && seen.insert(port));
        }
    }
    assert_eq!(
        nat.outbound(&tcp(9_999), None, NOW),
        Err(DropReason::SnatExhausted)
    );
    assert_eq!(nat.usage()[0].capacity, 2_047);
}

#[test]
fn parity_yields_before_the_guest_does() {
    let nat = nat_with(&only_snat(SNAT4, 2_000, 2_003));
    let ports: std::vec::Vec<_> = [2, 4, 6, 8]
        .iter()
        .map(|local| nat.outbound(&tcp(*local), None, NOW).unwrap().port % 2)
        .collect();
    assert_eq!(ports, [0, 0, 1, 1]);
}

#[test]
fn a_port_rests_before_another_gets_it() {
    let nat = nat_with(&only_snat(SNAT4, 2_000, 2_001));
    let first = nat.outbound(&tcp(1), None, NOW).unwrap();
    nat.release(&tcp(1), &first, NOW);
    assert_eq!(nat.usage()[0].resting, 1);
    let second = nat.outbound(&tcp(3), None, NOW).unwrap();
    assert_ne!(second.port, first.port, "the other one was free");
    let at = |ms| nat.outbound(&tcp(5), None, NOW.plus_millis(ms));
    assert_eq!(at(SNAT_REST_MS_MIN - 1), Err(DropReason::SnatExhausted));
    let third = at(SNAT_REST_MS_MIN).unwrap();
    assert_eq!(third.port, first.port);
    // The old holder's end of the port is not the new one's.
    assert!(!valid(&nat, &tcp(1), &first));
    nat.release(&tcp(1), &first, NOW);
    assert!(valid(&nat, &tcp(5), &third));
    // With time enough, even a full rest needs no other port.
    nat.release(&tcp(5), &third, NOW);
    nat.outbound(&tcp(7), None, NOW.plus_millis(SNAT_REST_MS))
        .unwrap();
}

#[test]
fn a_change_keeps_every_mapping_that_is_still_valid() {
    let mut ips = only_snat(SNAT4, 2_000, 2_063);
    let nat = nat_with(&ips);
    let held: BTreeMap<u16, Outside> = (1..=64)
        .map(|local| (local, nat.outbound(&tcp(local), None, NOW).unwrap()))
        .collect();
    let check = |stays: &dyn Fn(u16) -> bool| {
        for (local, outside) in &held {
            assert_eq!(valid(&nat, &tcp(*local), outside), stays(outside.port));
            let back = came_in(&nat, &seen_as(&tcp(*local), outside));
            assert_eq!(back, stays(outside.port).then_some((tcp(*local), *outside)));
        }
    };
    // A 1:1 address comes and goes; the range moves and overlaps.
    ips.ephemeral.push(ip("203.0.113.9"));
    set(&nat, &ips);
    check(&|_| true);
    ips.ephemeral.clear();
    ips.snat = [snat(SNAT4, 2_032, 2_095)].into();
    set(&nat, &ips);
    check(&|port| port >= 2_032);
    // What is kept isn't given out again.
    let mut ports: BTreeSet<u16> = held.values().map(|o| o.port).collect();
    ports.retain(|port| *port >= 2_032);
    for local in 100..132 {
        assert!(ports.insert(nat.outbound(&tcp(local), None, NOW).unwrap().port));
    }
    assert_eq!(ports.len(), 64);
    // Another address, and back: nothing of the old is believed.
    set(&nat, &only_snat("203.0.113.2", 2_032, 2_095));
    check(&|_| false);
    set(&nat, &ips);
    let fresh = nat.outbound(&tcp(1), None, NOW).unwrap();
    for (local, outside) in &held {
        assert!(!valid(&nat, &tcp(*local), outside));
        nat.release(&tcp(*local), outside, NOW);
    }
    assert!(valid(&nat, &tcp(1), &fresh));
}

#[test]
fn the_choice_of_a_port_is_even_and_depends_on_the_seed() {
    // 8 000 even ports in 50 bins, 4 000 taken: expect 80 in each.
    let mut bins = [0_i64; 50];
    let nat = nat_with(&only_snat(SNAT4, 16_384, 32_383));
    let mut ports = std::vec::Vec::new();
    for local in 0..4_000 {
        let port = nat
            .outbound(&tcp(2_000 + 2 * local), None, NOW)
            .unwrap()
            .port;
        bins[usize::from(port - 16_384) / 320] += 1;
        ports.push(port);
    }
    let chi: i64 = bins.iter().map(|n| (n - 80) * (n - 80)).sum::<i64>() / 80;
    // 49 degrees of freedom; half of them at most, for want of replacement.
    assert!(chi < 86, "chi-square {chi}");
    // Neighbours in time are no neighbours in number.
    let near = ports.windows(2).filter(|w| w[0].abs_diff(w[1]) < 160);
    assert!(near.count() < 240);
    let other = Sut::new(8, Some("10.0.0.5".parse().unwrap()), None);
    set(&other, &only_snat(SNAT4, 16_384, 32_383));
    let same = (0..100).filter(|n| {
        let port = other.outbound(&tcp(2_000 + 2 * n), None, NOW).unwrap().port;
        port == ports[usize::from(*n)]
    });
    assert!(same.count() < 5);
}

#[test]
fn a_large_range_can_be_used_to_its_last_port() {
    let nat = nat_with(&only_snat(SNAT6, 0, u16::MAX));
    let udp = |local| flow(Proto::UDP, Family::V6, local, 53);
    let mut seen = std::vec![false; 65_536];
    let mut held = std::vec::Vec::new();
    for local in 1..=u16::MAX {
        let outside = nat.outbound(&udp(local), None, NOW).unwrap();
        assert!(!core::mem::replace(
            &mut seen[usize::from(outside.port)],
            true
        ));
        held.push((local, outside));
    }
    assert_eq!(
        nat.outbound(&udp(0), None, NOW),
        Err(DropReason::SnatExhausted)
    );
    for (local, outside) in held {
        nat.release(&udp(local), &outside, NOW);
    }
    let usage = nat.usage()[4];
    assert_eq!(
        (usage.used, usage.resting, usage.capacity),
        (0, 65_535, 65_535)
    );
}

#[test]
fn impossible_addresses_are_refused() {
    let name = "guest0".parse().unwrap();
    let v4_only = Sut::new(1, Some("10.0.0.5".parse().unwrap()), None);
    let refused = |snats: &[Snat], ephemeral: &[&str], floats: &[&str]| {
        let ips = ExternalIps {
            snat: snats.to_vec(),
            ephemeral: ephemeral.iter().map(|a| ip(a)).collect(),
            floating: floats.iter().map(|a| floating(a, None)).collect(),
            ..ExternalIps::default()
        };
        let error = v4_only.plan(&name, &ips).unwrap_err();
        (error.code, error.field)
    };
    use ErrorCode::*;
    let cases = [
        (
            refused(&[snat(SNAT4, 9, 8)], &[], &[]),
            OutOfRange,
            "external.snat",
        ),
        (
            refused(&[snat(SNAT4, 0, 0)], &[], &[]),
            OutOfRange,
            "external.snat",
        ),
        (
            refused(&[snat(SNAT6, 1, 9)], &[], &[]),
            FamilyMismatch,
            "external.snat",
        ),
        (
            refused(&[], &["1.1.1.1", "1.1.1.2"], &[]),
            LimitReached,
            "external.ephemeral",
        ),
        (
            refused(&[], &["1.1.1.1"; 3], &[]),
            LimitReached,
            "external.ephemeral",
        ),
        (
            refused(&[snat(SNAT4, 1, 9), snat("1.1.1.1", 1, 9)], &[], &[]),
            LimitReached,
            "external.snat",
        ),
        (
            refused(&[], &["224.0.0.1"], &[]),
            NotUnicast,
            "external.ephemeral",
        ),
        (
            refused(&[], &["255.255.255.255"], &[]),
            NotUnicast,
            "external.ephemeral",
        ),
        (
            refused(&[], &[], &["0.0.0.0"]),
            NotUnicast,
            "external.floating",
        ),
        (
            refused(&[], &[], &["127.0.0.1"]),
            NotUnicast,
            "external.floating",
        ),
        (
            refused(&[], &[], &["ff02::1"]),
            NotUnicast,
            "external.floating",
        ),
        (
            refused(&[], &[], &["::ffff:1.2.3.4"]),
            NotUnicast,
            "external.floating",
        ),
        (
            refused(&[], &[], &["1.1.1.1", "1.1.1.1"]),
            Conflict,
            "external.floating",
        ),
        (
            refused(&[snat(SNAT4, 1, 9)], &[SNAT4], &[]),
            Conflict,
            "external.ephemeral",
        ),
        (
            refused(&[], &["1.1.1.1"], &["1.1.1.1"]),
            Conflict,
            "external.floating",
        ),
        (
            refused(&[], &[], &["10.0.0.5"]),
            Conflict,
            "external.floating",
        ),
        (
            refused(&[], &[], &["1.1.1.1"; FLOATING_MAX + 1]),
            LimitReached,
            "external.floating",
        ),
    ];
    for (n, ((code, field), want_code, want_field)) in cases.into_iter().enumerate() {
        assert_eq!((code, field.as_str()), (want_code, want_field), "case {n}");
    }
    let twice = only_snat("10.0.0.5", 1, 9);
    assert_eq!(
        v4_only.plan(&name, &twice).unwrap_err().to_string(),
        "port guest0: external.snat 10.0.0.5 conflicts with another setting (it is the port's own address)"
    );
    assert!(!v4_only.owns(&ip("1.1.1.1")), "a plan changes nothing");
}
