//! Guests that meet by their external addresses (RFC 4787 REQ-9, RFC 5382
//! REQ-8, RFC 5508 REQ-7).

use super::*;
use crate::trial::{answer_solicitations, name};
use crate::{G2, G3, port, underlay};
use opte_core::api::{Command, ExternalIps};

/// g1 behind a shared address, of both families.
const SHARED: &str = r#"external = { snat = [
    { address = "203.0.113.9", first_port = 4096, last_port = 8191 },
    { address = "2001:db8::9", first_port = 4096, last_port = 8191 }] }"#;

/// g2 by an address of its own, of both families.
const ALONE: &str = r#"external = { floating = [{ address = "203.0.113.200" },
    { address = "2001:db8::200" }] }
rules = ["dir=in priority=100 action=allow"]"#;

/// What the other end of a flow says.
type Answer = fn(&Flow) -> Vec<u8>;

fn next_door() -> Sled {
    quiet(&(port("g1", 1, SHARED) + &port("g2", 2, ALONE)))
}

/// A host with these ports that has said all that it says at first.
fn quiet(ports: &str) -> Sled {
    let sled = Sled::with(1, &(underlay(1) + ports));
    sled.wire.borrow_mut().clear();
    sled
}

/// What a guest's frame becomes at a guest of this host; nothing leaves it.
fn delivered(sled: &Sled, from: &str, frame: &[u8]) -> Vec<u8> {
    let got = sled.local(from, frame).unwrap();
    assert_checksums(&got);
    assert!(sled.wire.borrow().is_empty());
    got
}

#[test]
fn a_guest_meets_its_neighbour_by_an_external_address_and_is_seen_by_its_own() {
    let sled = next_door();
    for (text, mine, its, inside) in [
        (
            "10.0.0.1:1000 > 203.0.113.200:80",
            "203.0.113.9",
            "203.0.113.200",
            "10.0.0.2",
        ),
        (
            "[fd00:7::1]:1000 > [2001:db8::200]:80",
            "2001:db8::9",
            "2001:db8::200",
            "fd00:7::2",
        ),
    ] {
        let (mine, its): (IpAddr, IpAddr) = (mine.parse().unwrap(), its.parse().unwrap());
        let flow = Flow::new(G1, text);
        let sent: [(Vec<u8>, Answer); 3] = [
            (flow.udp(b"hello"), |flow| flow.udp(b"world")),
            (flow.tcp("S", 1, 0, b""), |flow| flow.tcp("SA", 9, 2, b"")),
            (flow.ping(), Flow::pong),
        ];
        for (frame, answer) in sent {
            let got = delivered(&sled, "g1", &frame);
            assert_eq!(got[..6], G2.0);
            let (src, sport) = source(&got);
            assert_eq!(src, mine, "REQ-9a: the external source address");
            assert!((4096..8192).contains(&sport), "REQ-9a: and port, {sport}");
            assert_eq!(destination(&got).0, inside.parse::<IpAddr>().unwrap());
            // As g2 sees it, and answers it.
            let seen = Flow {
                src,
                sport,
                dst: inside.parse().unwrap(),
                ..flow
            };
            let got = delivered(&sled, "g2", &answer(&seen.back(G2)));
            assert_eq!(got[..6], G1.0);
            assert_eq!(source(&got).0, its);
            let (dst, dport) = destination(&got);
            assert_eq!((dst, dport), (flow.src, flow.sport));
        }
    }
    assert_eq!(sled.events("GuestLoopback").len(), 12);
}

#[test]
fn a_connection_over_the_short_way_is_a_connection_like_any_other() {
    let sled = next_door();
    let flow = out("10.0.0.1:1000 > 203.0.113.200:80");
    let (src, sport) = source(&delivered(&sled, "g1", &flow.tcp("S", 1, 0, b"")));
    let seen = Flow {
        src,
        sport,
        dst: "10.0.0.2".parse().unwrap(),
        ..flow
    };
    let answer = seen.back(G2);
    delivered(&sled, "g2", &answer.tcp("SA", 9, 2, b""));
    delivered(&sled, "g1", &flow.tcp("A", 2, 10, b""));
    for n in 0..3 {
        delivered(&sled, "g1", &flow.tcp("PA", 2 + n, 10 + n, b"x"));
        delivered(&sled, "g2", &answer.tcp("PA", 10 + n, 3 + n, b"y"));
    }
    sled.events("");
    delivered(&sled, "g1", &flow.tcp("A", 5, 13, b""));
    assert_eq!(sled.events("UftHit").len(), 2, "both ports know the flow");
}

#[test]
fn guests_behind_shared_addresses_meet_where_the_other_has_a_mapping() {
    let other = r#"external = { snat = [{ address = "203.0.113.9", first_port = 8192, last_port = 8200 }] }
rules = ["dir=in priority=1 action=allow protocols=udp"]"#;
    // They share one address, and each has some of its ports.
    let sled = quiet(&(port("g1", 1, SHARED) + &port("g2", 2, other)));
    let server = Flow::new(G2, "10.0.0.2:53 > 198.51.100.1:9");
    let _ = sled.tx("g2", &server.udp(b""));
    let waited = answer_solicitations(&sled);
    let (_, mapped) = source(&waited[0][70..]);
    assert!((8192..=8200).contains(&mapped));
    sled.wire.borrow_mut().clear();
    let flow = out(&format!("10.0.0.1:1000 > 203.0.113.9:{mapped}"));
    let got = delivered(&sled, "g1", &flow.udp(b"hello"));
    assert_eq!(destination(&got), ("10.0.0.2".parse().unwrap(), 53));
    // A port of the range that nobody has, and one that no guest here may have.
    let unmapped = (8192..=8200).find(|port| *port != mapped).unwrap();
    let flow = out(&format!("10.0.0.1:1001 > 203.0.113.9:{unmapped}"));
    assert_eq!(sled.local("g1", &flow.udp(b"")), Err(DropReason::NoMapping));
    leaves(&sled, &out("10.0.0.1:1002 > 203.0.113.9:9000").udp(b""));
}

#[test]
fn a_guest_meets_itself_by_its_own_external_address() {
    let sled = next_door();
    let flow = Flow::new(G2, "10.0.0.2:1000 > 203.0.113.200:80");
    let got = delivered(&sled, "g2", &flow.udp(b"me?"));
    assert_eq!(source(&got), ("203.0.113.200".parse().unwrap(), 1000));
    assert_eq!(destination(&got), (flow.src, 80));
    let answer = Flow::new(G2, "10.0.0.2:80 > 203.0.113.200:1000");
    let got = delivered(&sled, "g2", &answer.udp(b"me!"));
    assert_eq!(source(&got), ("203.0.113.200".parse().unwrap(), 80));
    assert_eq!(destination(&got), (flow.src, 1000));
}

#[test]
fn guests_of_two_vpcs_meet_outside_only() {
    let stranger = port("g2", 2, ALONE).replace("vni = 7", "vni = 8");
    let sled = quiet(&(port("g1", 1, SHARED) + &stranger));
    let flow = out("10.0.0.1:1000 > 203.0.113.200:80");
    let got = delivered(&sled, "g1", &flow.udp(b""));
    assert_eq!(source(&got).0, "203.0.113.9".parse::<IpAddr>().unwrap());
    // To a rule about VPCs the neighbour is nobody of any.
    let rules = vec![
        "dir=in priority=1 action=allow hosts=vni=7"
            .parse()
            .unwrap(),
    ];
    sled.command(Command::SetFwRules(name("g2"), rules))
        .unwrap();
    let reason = sled.local("g1", &flow.udp(b"")).unwrap_err();
    assert_eq!(reason, DropReason::FirewallDefault);
}

#[test]
fn the_firewall_of_the_neighbour_decides_as_about_any_stranger() {
    let sled = next_door();
    sled.command(Command::SetFwRules(name("g2"), vec![]))
        .unwrap();
    let flow = out("10.0.0.1:1000 > 203.0.113.200:80");
    let refused = sled.local("g1", &flow.tcp("S", 1, 0, b""));
    assert_eq!(refused, Err(DropReason::FirewallDefault));
}

#[test]
fn the_short_way_ends_with_the_address() {
    let sled = world(SHARED);
    let flow = out("10.0.0.1:1000 > 203.0.113.200:80");
    let before = source(&delivered(&sled, "g1", &flow.udp(b"1")));
    let none = ExternalIps::default();
    sled.command(Command::SetExternalIps(name("g2"), none))
        .unwrap();
    let after = source(&leaves(&sled, &flow.udp(b"2")));
    assert_eq!(before, after, "the same mapping");
    sled.wire.borrow_mut().clear();
    // It comes to g1's other neighbour, or back.
    let again: ExternalIps = toml::from_str("ephemeral = [\"203.0.113.200\"]").unwrap();
    sled.command(Command::SetExternalIps(name("g2"), again))
        .unwrap();
    let new = out("10.0.0.1:1001 > 203.0.113.200:80");
    delivered(&sled, "g1", &new.udp(b"3"));
    sled.command(Command::DeletePort(name("g2"))).unwrap();
    leaves(&sled, &new.udp(b"4"));
}

#[test]
fn guests_of_two_hosts_meet_by_the_boundary() {
    let elsewhere = ALONE.replace("203.0.113.200", "203.0.113.201");
    let there = Sled::with(2, &(underlay(2) + &port("g3", 3, &elsewhere)));
    let here = world(SHARED);
    let to_there = |frame: &[u8]| {
        let mut outer = geneve(BOUNDARY, frame);
        outer[4] = 2;
        outer[38..54].copy_from_slice(&"fd00:2::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        outer
    };
    let _ = there.tx(
        "g3",
        &Flow::new(G3, "10.0.0.3:9 > 198.51.100.99:9").udp(b""),
    );
    answer_solicitations(&there);
    let flow = out("10.0.0.1:1000 > 203.0.113.201:80");
    // The boundary sends it where the address is.
    let mut inner = leaves(&here, &flow.tcp("S", 1, 0, b""));
    inner[..6].copy_from_slice(&G3.0);
    let (verdict, sent) = there.rx(&to_there(&inner));
    assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    let got = &sent.ports[0].1;
    assert_checksums(got);
    let (src, sport) = source(got);
    assert_eq!(src, "203.0.113.9".parse::<IpAddr>().unwrap());
    let seen = Flow {
        src,
        sport,
        dst: "10.0.0.3".parse().unwrap(),
        ..flow
    };
    let (verdict, sent) = there.tx("g3", &seen.back(G3).tcp("SA", 9, 2, b""));
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    let mut inner = sent.links[0].1[70..].to_vec();
    assert_eq!(source(&inner), ("203.0.113.201".parse().unwrap(), 80));
    inner[..6].copy_from_slice(&G1.0);
    let got = comes(&here, &inner).unwrap();
    assert_eq!(destination(&got), (flow.src, flow.sport));
}

#[test]
fn the_boundary_may_send_it_back_to_the_same_host() {
    let sled = world(SHARED);
    let flow = out("10.0.0.1:1000 > 198.51.100.7:80");
    let inner = leaves(&sled, &flow.udp(b""));
    // As if 198.51.100.7 had been g2's address elsewhere on the way.
    let mut turned = inner;
    turned[..6].copy_from_slice(&G2.0);
    let seen = Flow {
        src: source(&turned).0,
        sport: source(&turned).1,
        dst: "203.0.113.200".parse().unwrap(),
        src_mac: BOUNDARY,
        dst_mac: G2,
        ..flow
    };
    let got = comes(&sled, &seen.udp(b"")).unwrap();
    assert_eq!(destination(&got), ("10.0.0.2".parse().unwrap(), 80));
}
