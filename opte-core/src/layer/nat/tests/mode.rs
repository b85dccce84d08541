//! What mappings depend on, and who may come in by them.

use super::*;
use std::vec::Vec;

const FAR: [&str; 3] = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];

fn with(ips: &ExternalIps, mapping: Behaviour, filtering: Behaviour) -> ExternalIps {
    ExternalIps {
        nat: NatOptions {
            mapping,
            filtering,
            ..NatOptions::default()
        },
        ..ips.clone()
    }
}

fn udp(local_port: u16, remote: &str, remote_port: u16) -> Tuple {
    Tuple {
        remote: from_ip(ip(remote)),
        ..flow(Proto::UDP, Family::V4, local_port, remote_port)
    }
}

use Behaviour::{
    AddressAndPortDependent as PerEndpoint, AddressDependent as PerAddress,
    EndpointIndependent as Any,
};

#[test]
fn a_mapping_depends_on_what_it_is_told_to() {
    // Whether flows of one socket share a port: to another port of the same
    // far address, to another address.
    for (mapping, other_port, other_address) in [
        (Any, true, true),
        (PerAddress, true, false),
        (PerEndpoint, false, false),
    ] {
        let nat = nat_with(&with(&only_snat(SNAT4, 2_000, 2_999), mapping, Any));
        let port = |inside: Tuple| nat.outbound(&inside, None, NOW).unwrap().port;
        let one = port(udp(7, FAR[0], 53));
        assert_eq!(port(udp(7, FAR[0], 53)), one);
        assert_eq!(port(udp(7, FAR[0], 54)) == one, other_port);
        assert_eq!(port(udp(7, FAR[1], 53)) == one, other_address);
        assert_ne!(port(udp(9, FAR[0], 53)), one, "another socket");
    }
}

#[test]
fn a_pool_carries_more_flows_than_it_has_ports_if_their_far_ends_differ() {
    let ips = only_snat(SNAT4, 2_000, 2_007);
    for (mapping, ports, addresses, flows) in [
        (Any, 4, 3, 8),
        (PerAddress, 1, 3, 24),
        (PerEndpoint, 4, 3, 96),
    ] {
        let nat = nat_with(&with(&ips, mapping, Any));
        let mut seen = BTreeSet::new();
        for local in 1..=16 {
            for (at, far) in FAR[..addresses].iter().enumerate() {
                for port in 0..ports {
                    // A socket of its own for each flow.
                    let socket = local * 64 + at as u16 * 16 + port;
                    let inside = udp(socket, far, 53 + port);
                    match nat.outbound(&inside, None, NOW) {
                        Ok(outside) => {
                            let key = seen_as(&inside, &outside);
                            assert!(seen.insert(key), "two flows with one key outside: {key}");
                            assert_eq!(came_in(&nat, &key).unwrap().0, inside);
                        }
                        Err(reason) => assert_eq!(reason, DropReason::SnatExhausted),
                    }
                }
            }
        }
        assert_eq!(seen.len(), flows, "{mapping:?}");
        assert_eq!(nat.usage()[1].capacity, 8);
    }
}

#[test]
fn a_port_rests_for_its_own_far_end_only() {
    let ips = with(&only_snat(SNAT4, 2_000, 2_000), PerEndpoint, Any);
    let nat = nat_with(&ips);
    let first = udp(1, FAR[0], 53);
    let held = nat.outbound(&first, None, NOW).unwrap();
    nat.release(&first, &held, NOW);
    let again = udp(3, FAR[0], 53);
    assert_eq!(
        nat.outbound(&again, None, NOW),
        Err(DropReason::SnatExhausted)
    );
    assert!(nat.outbound(&udp(3, FAR[1], 53), None, NOW).is_ok());
    let soon = NOW.plus_millis(SNAT_REST_MS_MIN);
    assert_eq!(nat.outbound(&again, None, soon).unwrap().port, 2_000);
}

#[test]
fn what_rests_is_bounded_by_the_pool() {
    let nat = nat_with(&with(&only_snat(SNAT4, 2_000, 2_015), PerEndpoint, Any));
    for n in 0..5_000 {
        let inside = udp(1, FAR[n % 3], n as u16 + 1);
        let held = nat.outbound(&inside, None, NOW).unwrap();
        nat.release(&inside, &held, NOW);
    }
    let usage = nat.usage()[1];
    assert_eq!((usage.used, usage.resting, usage.capacity), (0, 16, 16));
}

#[test]
fn strangers_come_in_as_filtering_says() {
    // Whether these may open a flow to a port by which the guest has sent to
    // port 53 of the first: itself from another port, another address.
    for (filtering, other_port, other_address) in [
        (Any, true, true),
        (PerAddress, true, false),
        (PerEndpoint, false, false),
    ] {
        let nat = nat_with(&with(&only_snat(SNAT4, 2_000, 2_999), Any, filtering));
        let inside = udp(7, FAR[0], 53);
        let held = nat.outbound(&inside, None, NOW).unwrap();
        let admits = |remote, remote_port| {
            let outside = udp(7, remote, remote_port).with_local(held.addr, held.port);
            let inbound = nat.inbound(&outside).unwrap();
            assert_eq!(inbound.inside, udp(7, remote, remote_port));
            nat.release(&inbound.inside, &inbound.by, NOW);
            inbound.admits
        };
        for _ in 0..2 {
            assert_eq!(admits(FAR[0], 54), other_port, "{filtering:?}");
            assert_eq!(admits(FAR[1], 53), other_address, "{filtering:?}");
        }
        // A second flow to the same address, and the first ends.
        let second = udp(7, FAR[0], 99);
        let other = nat.outbound(&second, None, NOW).unwrap();
        nat.release(&inside, &held, NOW);
        assert_eq!(admits(FAR[0], 54), other_port);
        // Somebody else keeps the mapping; the address isn't known any more.
        nat.outbound(&udp(7, FAR[2], 1), None, NOW).unwrap();
        nat.release(&second, &other, NOW);
        assert_eq!(admits(FAR[0], 54), filtering == Any);
        assert_eq!(admits(FAR[2], 54), other_port);
    }
}

#[test]
fn a_mapping_for_one_far_end_is_no_way_in_for_others() {
    for mapping in [PerAddress, PerEndpoint] {
        let nat = nat_with(&with(&only_snat(SNAT4, 2_000, 2_999), mapping, Any));
        let held = nat.outbound(&udp(7, FAR[0], 53), None, NOW).unwrap();
        let from = |remote, port| {
            let outside = udp(7, remote, port).with_local(held.addr, held.port);
            nat.inbound(&outside).is_some()
        };
        assert!(from(FAR[0], 53));
        assert_eq!(from(FAR[0], 54), mapping == PerAddress);
        assert!(!from(FAR[1], 53));
    }
}

#[test]
fn mappings_outlive_a_change_of_the_mode() {
    let ips = only_snat(SNAT4, 2_000, 2_031);
    let modes = [Any, PerAddress, PerEndpoint];
    for (from, to) in modes.iter().flat_map(|a| modes.map(|b| (*a, b))) {
        let nat = nat_with(&with(&ips, from, Any));
        let hold = |local| {
            let inside = udp(local, FAR[usize::from(local % 3)], 53);
            (inside, nat.outbound(&inside, None, NOW).unwrap())
        };
        let old: Vec<_> = (1..=16).map(hold).collect();
        set(&nat, &with(&ips, to, Any));
        for (inside, held) in &old {
            assert!(valid(&nat, inside, held), "{from:?} {to:?}");
            let (back, _) = came_in(&nat, &seen_as(inside, held)).unwrap();
            assert_eq!(back, *inside);
            nat.release(inside, held, NOW);
        }
        // New mappings take no port away from an old one.
        let new: Vec<_> = (101..=116).map(hold).collect();
        let keys: BTreeSet<_> = old.iter().chain(&new).map(|(i, o)| seen_as(i, o)).collect();
        assert_eq!(keys.len(), 32, "{from:?} {to:?}");
        if from != to {
            let used = |all: &[(Tuple, Outside)]| all.iter().map(|(_, o)| o.port).collect();
            let (old, new): (BTreeSet<_>, BTreeSet<_>) = (used(&old), used(&new));
            assert!(old.is_disjoint(&new), "{from:?} {to:?}");
        }
        // And in the end nothing is left of either.
        for (inside, held) in old.iter().chain(&new) {
            nat.release(inside, held, NOW);
        }
        assert_eq!(nat.usage()[1].used, 0);
        let later = NOW.plus_millis(SNAT_REST_MS);
        let again = |local| nat.outbound(&udp(local, FAR[0], 53), None, later);
        assert!(
            (201..=232).all(|local| again(local).is_ok()),
            "{from:?} {to:?}"
        );
        assert_eq!(again(233), Err(DropReason::SnatExhausted));
    }
}
