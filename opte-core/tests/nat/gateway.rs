//! Several external addresses, several internet gateways.

use super::*;
use crate::trial::name;
use opte_core::api::Command;
use std::collections::BTreeSet;

/// Two gateways with an address each, a prefix by each of them, and the rest
/// by no certain one, for which there is an ephemeral address.
const TWO_GATEWAYS: &str = r#"
external = { floating = [
    { address = "203.0.113.11", gateway = "00000000-0000-0000-0000-000000000001" },
    { address = "203.0.113.12", gateway = "00000000-0000-0000-0000-000000000002" }],
    ephemeral = ["203.0.113.10"] }
rules = ["dir=in priority=1 action=allow"]"#;

const BY_1: &str = "198.51.100.0/25 ig=00000000-0000-0000-0000-000000000001 custom";
const BY_2: &str = "198.51.100.128/25 ig=00000000-0000-0000-0000-000000000002 custom";

fn two_gateways() -> Sled {
    let sled = world(TWO_GATEWAYS);
    for route in [BY_1, BY_2] {
        sled.command(Command::AddRoute(name("g1"), route.parse().unwrap()))
            .unwrap();
    }
    sled
}

#[test]
fn each_gateway_shows_the_guest_by_its_own_address() {
    let sled = two_gateways();
    for (to, seen) in [
        ("198.51.100.1", "203.0.113.11"),
        ("198.51.100.200", "203.0.113.12"),
        // A route to no certain gateway uses the address of none.
        ("192.0.2.7", "203.0.113.10"),
    ] {
        for port in [1000, 1001, 1002] {
            let left = leaves(&sled, &out(&format!("10.0.0.1:{port} > {to}:53")).udp(b""));
            assert_eq!(source(&left), (seen.parse().unwrap(), port));
        }
    }
}

#[test]
fn a_gateway_without_an_address_is_none() {
    let more = TWO_GATEWAYS.replace(",\n    ephemeral = [\"203.0.113.10\"]", "");
    let sled = world(&more);
    let (verdict, _) = sled.tx("g1", &out("10.0.0.1:1000 > 192.0.2.7:53").udp(b""));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoExternalAddress));
}

#[test]
fn replies_leave_by_the_address_of_arrival_whatever_the_route() {
    let sled = two_gateways();
    for from in ["198.51.100.1", "198.51.100.200", "192.0.2.7"] {
        for (n, to) in ["203.0.113.10", "203.0.113.11", "203.0.113.12"]
            .into_iter()
            .enumerate()
        {
            let call = call(&format!("{from}:{} > {to}:80", 5000 + n));
            comes(&sled, &call.tcp("S", 1, 0, b"")).unwrap();
            let answer = out(&format!("10.0.0.1:80 > {from}:{}", 5000 + n));
            let left = leaves(&sled, &answer.tcp("SA", 9, 2, b""));
            assert_eq!(source(&left), (to.parse().unwrap(), 80), "{from}");
        }
    }
}

#[test]
fn a_flow_keeps_its_address_when_others_come_and_go() {
    let floating = |hosts: &[u8]| {
        let list: Vec<_> = hosts
            .iter()
            .map(|host| format!("{{ address = \"203.0.113.{host}\" }}"))
            .collect();
        toml::from_str(&format!("floating = [{}]", list.join(", "))).unwrap()
    };
    let sled = world("");
    let set = |hosts: &[u8]| {
        let external = floating(hosts);
        sled.command(Command::SetExternalIps(name("g1"), external))
            .unwrap();
    };
    set(&[1, 2, 3, 4]);
    let flow = out("10.0.0.1:1000 > 198.51.100.1:80");
    let (mine, _) = source(&leaves(&sled, &flow.tcp("S", 1, 0, b"")));
    let IpAddr::V4(v4) = mine else { panic!() };
    let mine = v4.octets()[3];
    for hosts in [&[5, 6, 7, mine][..], &[mine, 8], &[mine]] {
        set(hosts);
        let left = leaves(&sled, &flow.tcp("A", 2, 10, b""));
        assert_eq!(source(&left).0, IpAddr::from(v4));
    }
    // New flows go by what is there now, all by the same (RFC 4787 REQ-2).
    set(&[21, 22, 23, mine]);
    let seen: BTreeSet<_> = (2000..2020)
        .map(|port| out(&format!("10.0.0.1:{port} > 198.51.100.1:80")))
        .map(|flow| source(&leaves(&sled, &flow.udp(b""))).0)
        .collect();
    assert_eq!(seen.len(), 1);
}
