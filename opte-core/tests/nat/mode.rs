//! Pools: what a port serves, who comes in by it, and when none is left.

use super::*;
use crate::trial::{counter, external_ports_used, name, stats};
use opte_core::api::{Command, ExternalIps, NatChange, Response};
use opte_core::limits::SNAT_REST_MS_MIN;
use std::collections::BTreeSet;

const PER_ENDPOINT: &str = ", nat = { mapping = \"address-and-port-dependent\" }";
const OPEN: &str = "rules = [\"dir=in priority=1 action=allow\"]";

/// Changes g1's external addresses to those of a port table.
fn set(sled: &Sled, table: &str) {
    let port: toml::Table = toml::from_str(table).unwrap();
    let external: ExternalIps = port["external"].clone().try_into().unwrap();
    sled.command(Command::SetNat(name("g1"), NatChange::to(external.nat)))
        .unwrap();
    sled.command(Command::SetExternalIps(name("g1"), external))
        .unwrap();
}

#[test]
fn one_port_carries_a_flow_to_every_far_end() {
    let sled = world(&snat(4096, 4096, PER_ENDPOINT));
    let mut flows = Vec::new();
    for n in 1..=40_u16 {
        let flow = out(&format!("10.0.0.1:{} > 198.51.100.{n}:443", 1000 + n));
        let left = leaves(&sled, &flow.tcp("S", 1, 0, b""));
        assert_eq!(source(&left), ("203.0.113.9".parse().unwrap(), 4096));
        flows.push((flow, left));
    }
    // Everybody's answer finds the socket that it is for.
    for (flow, left) in &flows {
        let got = comes(&sled, &back(flow, left).tcp("SA", 9, 2, b"")).unwrap();
        assert_eq!(destination(&got), (flow.src, flow.sport));
    }
    let pools = stats(&sled, Some("g1"));
    assert_eq!(counter(&pools, "snat_tcp4_ports"), 1);
    assert_eq!(counter(&pools, "snat_tcp4_used"), 40);
    // The same far end is not to be had twice.
    let twin = out("10.0.0.1:2000 > 198.51.100.1:443");
    let (verdict, _) = sled.tx("g1", &twin.tcp("S", 1, 0, b""));
    assert_eq!(verdict, Verdict::Dropped(DropReason::SnatExhausted));
}

#[test]
fn one_socket_is_one_port_outside() {
    let sled = world(&snat(4096, 8191, ""));
    let seen: BTreeSet<_> = (1..=20)
        .map(|n| out(&format!("10.0.0.1:1000 > 198.51.100.{n}:{n}")))
        .map(|flow| source(&leaves(&sled, &flow.udp(b""))))
        .collect();
    assert_eq!(seen.len(), 1);
    let icmp: BTreeSet<_> = (1..=20)
        .map(|n| out(&format!("10.0.0.1:7 > 198.51.100.{n}:0")))
        .map(|flow| source(&leaves(&sled, &flow.ping())))
        .collect();
    assert_eq!(icmp.len(), 1);
}

#[test]
fn strangers_come_in_by_a_mapping_as_filtering_and_firewall_say() {
    for (filtering, other_port, other_address) in [
        ("endpoint-independent", true, true),
        ("address-dependent", true, false),
        ("address-and-port-dependent", false, false),
    ] {
        let more = format!(", nat = {{ filtering = \"{filtering}\" }}");
        let sled = world(&(snat(4096, 8191, &more) + OPEN));
        let flow = out("10.0.0.1:1000 > 198.51.100.1:53");
        let (_, port) = source(&leaves(&sled, &flow.udp(b"")));
        for (from, passes) in [
            ("198.51.100.1:53", true),
            ("198.51.100.1:54", other_port),
            ("198.51.100.2:53", other_address),
        ] {
            let call = call(&format!("{from} > 203.0.113.9:{port}"));
            let got = comes(&sled, &call.udp(b""));
            match passes {
                true => assert_eq!(destination(&got.unwrap()), (flow.src, flow.sport)),
                false => assert_eq!(got, Err(DropReason::NatFiltered), "{filtering} {from}"),
            }
        }
        // What filtering lets in, the firewall may still refuse.
        sled.command(Command::SetFwRules(name("g1"), vec![]))
            .unwrap();
        let call = call(&format!("198.51.100.9:9 > 203.0.113.9:{port}"));
        let reason = comes(&sled, &call.udp(b"")).unwrap_err();
        let expected = match other_address {
            true => DropReason::FirewallDefault,
            false => DropReason::NatFiltered,
        };
        assert_eq!(reason, expected);
    }
}

#[test]
fn an_exhausted_pool_says_so_and_keeps_who_is_connected() {
    let sled = world(&snat(4096, 4097, ""));
    let connect = |local: u16| {
        let flow = out(&format!("10.0.0.1:{local} > 198.51.100.1:80"));
        let left = leaves(&sled, &flow.tcp("S", 1, 0, b""));
        comes(&sled, &back(&flow, &left).tcp("SA", 9, 2, b"")).unwrap();
        leaves(&sled, &flow.tcp("A", 2, 10, b""));
        (flow, left)
    };
    let live = [connect(1000), connect(1001)];
    sled.events("");
    sled.advance(SNAT_REST_MS_MIN + 1_000);
    let one_more = out("10.0.0.1:1002 > 198.51.100.1:80");
    let (verdict, _) = sled.tx("g1", &one_more.tcp("S", 1, 0, b""));
    assert_eq!(verdict, Verdict::Dropped(DropReason::SnatExhausted));
    assert_eq!(sled.events("NatExhausted").len(), 1);
    assert_eq!(sled.drops(DropReason::SnatExhausted), 1);
    for (flow, left) in &live {
        assert_eq!(
            source(&leaves(&sled, &flow.tcp("A", 2, 10, b"x"))),
            source(left)
        );
    }
    // UDP and ICMP have ports of their own.
    leaves(&sled, &out("10.0.0.1:1002 > 198.51.100.1:80").udp(b""));
    leaves(&sled, &out("10.0.0.1:1002 > 198.51.100.1:0").ping());
}

#[test]
fn who_was_never_answered_gives_way_when_no_port_is_left() {
    let sled = world(&snat(4096, 4099, ""));
    let open = |local: u16| {
        let flow = out(&format!("10.0.0.1:{local} > 198.51.100.1:80"));
        sled.tx("g1", &flow.tcp("S", 1, 0, b"")).0
    };
    for local in 1000..1004 {
        assert!(matches!(open(local), Verdict::Link(_)));
    }
    let refused = Verdict::Dropped(DropReason::SnatExhausted);
    assert_eq!(open(1004), refused, "they have only just begun");
    sled.advance(SNAT_REST_MS_MIN + 500);
    // Tables of this size have many parts, and each looks in its own only.
    let got = (1004..1404).filter(|local| open(*local) != refused).count();
    assert!((1..=4).contains(&got), "{got}");
    assert_eq!(external_ports_used(&sled), 4);
}

#[test]
fn flows_keep_their_ports_when_the_mode_changes() {
    let modes = [
        "",
        PER_ENDPOINT,
        ", nat = { mapping = \"address-dependent\", filtering = \"address-dependent\" }",
    ];
    let sled = world(&snat(4096, 4127, ""));
    let mut live = Vec::new();
    for (round, mode) in modes.into_iter().cycle().take(7).enumerate() {
        set(&sled, &snat(4096, 4127, mode));
        for (flow, left) in &live {
            let left: &Vec<u8> = left;
            let now = leaves(&sled, &Flow::udp(flow, b"more"));
            assert_eq!(source(&now), source(left), "round {round}");
            comes(&sled, &back(flow, left).udp(b"reply")).unwrap();
        }
        let flow = out(&format!("10.0.0.1:{} > 198.51.100.1:9", 1000 + round));
        let left = leaves(&sled, &flow.udp(b""));
        live.push((flow, left));
    }
    let seen: BTreeSet<_> = live.iter().map(|(_, left)| source(left)).collect();
    assert_eq!(seen.len(), live.len());
}

#[test]
fn a_port_shows_its_options_and_how_full_its_pools_are() {
    let sled = world(&snat(4096, 4127, PER_ENDPOINT));
    leaves(&sled, &out("10.0.0.1:1000 > 198.51.100.1:9").udp(b""));
    let Ok(Response::Nat(nat)) = sled.command(Command::ShowNat(name("g1"))) else {
        panic!()
    };
    let pools: Vec<_> = nat
        .pools
        .iter()
        .map(|p| (p.mappings, p.resting, p.ports))
        .collect();
    assert_eq!(pools, [(0, 0, 32), (1, 0, 32), (0, 0, 32)]);
    // New addresses leave the options alone.
    let other = toml::from_str("ephemeral = [\"203.0.113.7\"]").unwrap();
    sled.command(Command::SetExternalIps(name("g1"), other))
        .unwrap();
    let Ok(Response::Nat(after)) = sled.command(Command::ShowNat(name("g1"))) else {
        panic!()
    };
    assert_eq!((after.options, after.pools), (nat.options, vec![]));
}
