//! The engine as a whole: guests, hosts, policy changes under live flows.

mod icmp;
mod nat;
mod sim;
mod trial;

use huge_pages::Scarce;
use opte_core::DropReason;
use opte_core::api::{Command, Name, Response, V2p};
use opte_core::verdict::Verdict;
use opte_core::wire::{MacAddr, Vni};
use sim::frame::{Flow, assert_checksums};
use sim::{Sled, carry};
use std::alloc::System;

/// Has no large blocks for an engine that is to do without
/// ([`Sled::scarce`]).
#[global_allocator]
static HEAP: Scarce<System> = Scarce::new(System);

const G1: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
const G2: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 2]);
const G3: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 3]);

fn port(name: &str, host: u8, more: &str) -> String {
    format!(
        r#"
[[port]]
name = "{name}"
mac = "A8:40:25:F0:00:0{host}"
vni = 7
routes = ["10.0.0.0/24 sub4=10.0.0.0/24 system", "fd00:7::/64 sub6=fd00:7::/64 system",
          "0.0.0.0/0 ig system", "::/0 ig system"]
ipv4 = {{ address = "10.0.0.{host}", gateway = "10.0.0.254" }}
ipv6 = {{ address = "fd00:7::{host}", gateway = "fd00:7::fe" }}
{more}
"#
    )
}

fn underlay(host: u8) -> String {
    format!(
        r#"
v2b = [{{ prefix = "0.0.0.0/0", endpoints = ["fd00:99::1"] }},
       {{ prefix = "::/0", endpoints = ["fd00:99::1"] }}]
[underlay]
address = "fd00:{host}::1"
link = [{{ name = "u0" }}]
route = [{{ dest = "fd00::/16", link = "u0" }}]
"#
    )
}

fn v2p(host: u8, sled: u8) -> String {
    format!(
        r#"
[[v2p]]
vni = 7
address = "10.0.0.{host}"
mac = "A8:40:25:F0:00:0{host}"
sled = "fd00:{sled}::1"
[[v2p]]
vni = 7
address = "fd00:7::{host}"
mac = "A8:40:25:F0:00:0{host}"
sled = "fd00:{sled}::1"
"#
    )
}

const ALLOW_ALL: &str = r#"rules = ["dir=in priority=100 action=allow"]"#;

fn two_guests(rules: &str) -> Sled {
    Sled::with(1, &(port("g1", 1, ALLOW_ALL) + &port("g2", 2, rules)))
}

/// Two sleds; g1 on the first, g3 on the second.
fn two_sleds(rules: &str) -> (Sled, Sled) {
    let a = underlay(1) + &v2p(3, 2) + &port("g1", 1, ALLOW_ALL);
    let b = underlay(2) + &v2p(1, 1) + &port("g3", 3, rules);
    (Sled::with(1, &a), Sled::with(2, &b))
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn guests_of_one_host_reach_each_other() {
    let sled = two_guests(ALLOW_ALL);
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:53",
        "[fd00:7::1]:1000 > [fd00:7::2]:53",
    ] {
        let flow = Flow::new(G1, text);
        let frame = sled.local("g1", &flow.udp(b"hello")).unwrap();
        assert_eq!(frame[..6], G2.0, "addressed to the peer");
        assert_eq!(frame[6..12], MacAddr::GATEWAY.0, "from the gateway");
        assert_eq!(
            frame[14..],
            flow.udp(b"hello")[14..],
            "and otherwise as it was sent"
        );
        let reply = sled.local("g2", &flow.back(G2).udp(b"world")).unwrap();
        assert_eq!(reply[..6], G1.0);
    }
}

#[test]
fn the_firewall_decides_by_default_and_by_rule() {
    let sled = two_guests("");
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    assert_eq!(
        sled.local("g1", &flow.udp(b"")),
        Err(DropReason::FirewallDefault)
    );
    let rule = "dir=in priority=10 action=allow protocols=udp ports=53"
        .parse()
        .unwrap();
    let Ok(Response::Id(id)) = sled.command(Command::AddFwRule(name("g2"), rule)) else {
        panic!()
    };
    assert!(
        sled.local("g1", &flow.udp(b"")).is_ok(),
        "allowed by the rule"
    );
    let tcp = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80").tcp("S", 1, 0, b"");
    assert_eq!(sled.local("g1", &tcp), Err(DropReason::FirewallDefault));
    let rule = "dir=in priority=5 action=deny hosts=10.0.0.1"
        .parse()
        .unwrap();
    sled.command(Command::AddFwRule(name("g2"), rule)).unwrap();
    sled.events("");
    assert_eq!(
        sled.local("g1", &flow.udp(b"")),
        Err(DropReason::FirewallDeny),
        "and no longer"
    );
    let drop = sled.events("Drop");
    assert_eq!(drop.len(), 1, "{drop:?}");
    assert!(drop[0].contains("layer: Some(Firewall)") && drop[0].contains("FirewallDeny"));
    let remove = Command::RmFwRule(name("g2"), opte_core::Direction::In, id + 1);
    sled.command(remove).unwrap();
    assert!(sled.local("g1", &flow.udp(b"")).is_ok(), "allowed again");
}

#[test]
fn a_connection_survives_a_replaced_rule_set_and_another_is_cut_by_it() {
    let sled =
        two_guests(r#"rules = ["dir=in priority=1 action=allow protocols=tcp ports=80,81"]"#);
    let stays = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    let goes = Flow::new(G1, "10.0.0.1:1001 > 10.0.0.2:81");
    for flow in [stays, goes] {
        sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
        sled.local("g2", &flow.back(G2).tcp("SA", 9, 2, b""))
            .unwrap();
        sled.local("g1", &flow.tcp("A", 2, 10, b"")).unwrap();
    }
    let rules = vec![
        "dir=in priority=7 action=allow protocols=tcp ports=80"
            .parse()
            .unwrap(),
    ];
    sled.command(Command::SetFwRules(name("g2"), rules))
        .unwrap();
    sled.events("");
    // The guest that was called speaks first: the flow is judged as it was opened.
    sled.local("g2", &stays.back(G2).tcp("PA", 10, 2, b"data"))
        .unwrap();
    sled.local("g1", &stays.tcp("PA", 2, 14, b"more")).unwrap();
    assert_eq!(
        sled.events("FlowExpire").len(),
        0,
        "its state is the old one"
    );
    let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g2"), 0)) else {
        panic!()
    };
    let entry = page
        .entries
        .iter()
        .find(|e| e.key.local_port == 80)
        .unwrap();
    assert_eq!(
        (entry.state.as_str(), entry.packets_in, entry.packets_out),
        ("ESTABLISHED", 3, 2)
    );

    let cut = sled.local("g2", &goes.back(G2).tcp("PA", 10, 2, b"data"));
    assert_eq!(
        cut,
        Err(DropReason::FirewallDefault),
        "judged as an inbound flow"
    );
    let cut = sled.local("g1", &goes.tcp("PA", 2, 10, b"data"));
    assert_eq!(cut, Err(DropReason::FirewallDefault));
}

#[test]
fn guests_of_two_hosts_reach_each_other_through_the_underlay() {
    let (a, b) = two_sleds(ALLOW_ALL);
    for text in [
        "10.0.0.1:1000 > 10.0.0.3:53",
        "[fd00:7::1]:1000 > [fd00:7::3]:53",
    ] {
        let flow = Flow::new(G1, text);
        let _ = a.tx("g1", &flow.udp(b"hello"));
        let delivered = carry(&a, &b);
        let (_, frame) = delivered
            .last()
            .expect("neighbour discovery, then the frame");
        assert_eq!(frame[..6], G3.0);
        assert_eq!(frame[14..], flow.udp(b"hello")[14..]);
        let _ = b.tx("g3", &flow.back(G3).udp(b"world"));
        let delivered = carry(&a, &b);
        assert_eq!(delivered.last().unwrap().1[..6], G1.0);
    }
    let (verdict, sent) = a.tx(
        "g1",
        &Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53").udp(b"x"),
    );
    assert!(matches!(verdict, Verdict::Link(_)));
    let outer = &sent.links[0].1;
    assert_eq!(outer[12..15], [0x86, 0xdd, 0x60]);
    assert_eq!(outer[56..58], 6081_u16.to_be_bytes());
    assert_eq!(outer[60..62], [0, 0], "no outer UDP checksum");
    assert_eq!(outer[66..69], [0, 0, 7], "the VNI");
    assert!(
        u16::from_be_bytes([outer[54], outer[55]]) >= 49_152,
        "the source port"
    );
    assert_eq!(outer.len(), 70 + 14 + 20 + 8 + 1);
}

#[test]
fn a_changed_mapping_takes_effect_on_the_next_packet() {
    let (a, b) = two_sleds(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53");
    let _ = a.tx("g1", &flow.udp(b"1"));
    carry(&a, &b);
    let (_, sent) = a.tx("g1", &flow.udp(b"2"));
    assert_eq!(
        sent.links[0].1[38..54],
        "fd00:2::1".parse::<std::net::Ipv6Addr>().unwrap().octets()
    );
    carry(&a, &b);
    let moved = V2p {
        vni: Vni::new(7).unwrap(),
        address: "10.0.0.3".parse().unwrap(),
        mac: G3,
        sled: "fd00:5::1".parse().unwrap(),
    };
    a.command(Command::SetV2p(vec![moved])).unwrap();
    a.events("");
    let (verdict, _) = a.tx("g1", &flow.udp(b"3"));
    assert_eq!(
        verdict,
        Verdict::Held,
        "the new host's address isn't known yet"
    );
    assert_eq!(a.events("UftInvalidate").len(), 1);
    let (_, solicitation) = a.wire.borrow_mut().pop_back().unwrap();
    assert!(
        solicitation.len() > 80 && solicitation[54] == 135,
        "it asks for it"
    );
}

#[test]
fn a_next_hop_that_never_answers_costs_its_frames_with_the_reason() {
    let (a, _) = two_sleds(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53");
    assert_eq!(a.tx("g1", &flow.udp(b"1")).0, Verdict::Held);
    for _ in 0..50 {
        a.advance(100);
    }
    assert_eq!(a.drops(DropReason::NextHopUnresolved), 1);
}

#[test]
fn guests_hear_their_ipv6_router_and_flows_end_when_idle() {
    let sled = two_guests(ALLOW_ALL);
    let first = sled.advance(100).ports;
    assert_eq!(first.len(), 2, "an advertisement for each guest");
    assert_eq!(first[0].1[54], 134);
    assert!(sled.advance(100).ports.is_empty());
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    sled.events("");
    sled.advance(29_000);
    assert_eq!(sled.events("FlowExpire").len(), 0);
    sled.advance(3_000);
    let ended = sled.events("FlowExpire");
    assert_eq!(ended.len(), 2, "one at each port");
    assert!(ended[0].contains("why: Idle"));
}

#[test]
fn a_setup_that_is_there_already_changes_nothing() {
    let setup = underlay(1) + &v2p(3, 2) + &port("g1", 1, ALLOW_ALL) + &port("g2", 2, "");
    let sled = Sled::with(1, &setup);
    let Ok(Response::Applied(again)) = sled.apply(&setup) else {
        panic!()
    };
    assert_eq!((again.changes, again.generation), (vec![], 1));
    let Ok(Response::Applied(less)) = sled.apply(&underlay(1)) else {
        panic!()
    };
    let removed: Vec<_> = less.changes.iter().map(|c| c.object.as_str()).collect();
    assert_eq!(
        removed,
        ["v2p 7 10.0.0.3", "v2p 7 fd00:7::3", "port g1", "port g2"]
    );
    assert_eq!(less.generation, 2);
}

#[test]
fn snat_hides_a_guest_behind_a_port_of_a_shared_address() {
    let external = r#"external = { snat = [
        { address = "203.0.113.9", first_port = 4096, last_port = 8191 },
        { address = "2001:db8::9", first_port = 4096, last_port = 8191 }] }"#;
    let a = Sled::with(1, &(underlay(1) + &port("g1", 1, external)));
    let boundary = MacAddr([2, 0, 0, 0, 0, 0x99]);
    learn_boundary(&a, boundary);
    for text in [
        "10.0.0.1:1000 > 198.51.100.1:80",
        "[fd00:7::1]:1000 > [2001:db8:1::1]:80",
    ] {
        let flow = Flow::new(G1, text);
        let (verdict, sent) = a.tx("g1", &flow.tcp("S", 1, 0, b""));
        assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
        let inner = &sent.links[0].1[70..];
        assert_checksums(inner);
        assert_eq!(inner[..6], MacAddr::BOUNDARY.0);
        assert_eq!(sent.links[0].1[66..69], [0, 0, 99]);
        let l4 = if flow.src.is_ipv4() { 34 } else { 54 };
        let external_port = u16::from_be_bytes([inner[l4], inner[l4 + 1]]);
        assert!((4096..8192).contains(&external_port));

        let external: std::net::IpAddr = if flow.src.is_ipv4() {
            "203.0.113.9"
        } else {
            "2001:db8::9"
        }
        .parse()
        .unwrap();
        let reply = Flow {
            dst_mac: G1,
            dst: external,
            dport: external_port,
            ..flow.back(boundary)
        };
        let (verdict, sent) = a.rx(&geneve(boundary, &reply.tcp("SA", 7, 2, b"")));
        assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
        let frame = &sent.ports[0].1;
        assert_checksums(frame);
        assert_eq!(u16::from_be_bytes([frame[l4 + 2], frame[l4 + 3]]), 1000);
        let other = Flow {
            dport: external_port ^ 1,
            ..reply
        };
        let (verdict, _) = a.rx(&geneve(boundary, &other.tcp("S", 1, 0, b"")));
        assert_eq!(verdict, Verdict::Dropped(DropReason::NoMapping));
    }
    // Echo requests are told apart by their identifier.
    let flow = Flow::new(G1, "10.0.0.1:77 > 198.51.100.1:0");
    let (_, sent) = a.tx("g1", &flow.ping());
    let inner = &sent.links[0].1[70..];
    assert_checksums(inner);
    let id = u16::from_be_bytes([inner[38], inner[39]]);
    let external = "203.0.113.9".parse().unwrap();
    let reply = Flow {
        dst_mac: G1,
        dst: external,
        dport: id,
        ..flow.back(boundary)
    };
    let (verdict, sent) = a.rx(&geneve(boundary, &reply.pong()));
    assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    assert_checksums(&sent.ports[0].1);
    assert_eq!(sent.ports[0].1[38..40], 77_u16.to_be_bytes());
}

#[test]
fn a_floating_address_lets_strangers_in_and_answers_by_it() {
    let more = r#"external = { floating = [{ address = "203.0.113.5" }] }
rules = ["dir=in priority=1 action=allow protocols=tcp ports=80"]"#;
    let a = Sled::with(1, &(underlay(1) + &port("g1", 1, more)));
    let boundary = MacAddr([2, 0, 0, 0, 0, 0x99]);
    learn_boundary(&a, boundary);
    let call = Flow {
        dst_mac: G1,
        ..Flow::new(boundary, "198.51.100.1:5000 > 203.0.113.5:80")
    };
    let (verdict, sent) = a.rx(&geneve(boundary, &call.tcp("S", 1, 0, b"")));
    assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    let frame = &sent.ports[0].1;
    assert_checksums(frame);
    assert_eq!(frame[30..34], [10, 0, 0, 1]);
    let answer = Flow::new(G1, "10.0.0.1:80 > 198.51.100.1:5000");
    let (verdict, sent) = a.tx("g1", &answer.tcp("SA", 5, 2, b""));
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    let inner = &sent.links[0].1[70..];
    assert_checksums(inner);
    assert_eq!(inner[26..30], [203, 0, 113, 5]);
    let (verdict, _) = a.rx(&geneve(
        boundary,
        &Flow { dport: 81, ..call }.tcp("S", 1, 0, b""),
    ));
    assert_eq!(verdict, Verdict::Dropped(DropReason::FirewallDefault));
}

/// Lets a sled learn that the boundary end point has this MAC address.
fn learn_boundary(sled: &Sled, mac: MacAddr) {
    let flow = Flow::new(G1, "10.0.0.1:9 > 198.51.100.99:9");
    learn_boundary_by(sled, "g1", flow, mac);
}

/// The same, by a frame of that guest.
fn learn_boundary_by(sled: &Sled, port: &str, flow: Flow, mac: MacAddr) {
    let (verdict, sent) = sled.tx(port, &flow.udp(b""));
    assert_eq!(verdict, Verdict::Held);
    let ours = MacAddr(sent.links[0].1[6..12].try_into().unwrap());
    let boundary: std::net::Ipv6Addr = "fd00:99::1".parse().unwrap();
    let target = std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&sent.links[0].1[22..38]).unwrap());
    let mut advert = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    advert.extend(boundary.octets());
    advert.extend([2, 1]);
    advert.extend(mac.0);
    let flow = Flow {
        src_mac: mac,
        dst_mac: ours,
        src: boundary.into(),
        dst: target.into(),
        sport: 0,
        dport: 0,
    };
    let (verdict, sent) = sled.rx(&sim::frame::icmp6(&flow, advert));
    assert_eq!(verdict, Verdict::Consumed);
    assert_eq!(sent.links.len(), 1, "the frame that waited");
    sled.wire.borrow_mut().clear();
}

/// A frame from the boundary in Geneve.
fn geneve(mac: MacAddr, inner: &[u8]) -> Vec<u8> {
    let len = (8 + 8 + 4 + inner.len()) as u16;
    let mut frame = vec![2, 0xee, 0, 0, 1, 0];
    frame.extend(mac.0);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(len.to_be_bytes());
    frame.extend([17, 64]);
    frame.extend("fd00:99::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    frame.extend("fd00:1::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    frame.extend([0xc0, 0, 0x17, 0xc1]);
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0, 1, 0, 0x65, 0x58, 0, 0, 99, 0, 0x01, 0x29, 0, 0]);
    frame.extend(inner);
    frame
}
