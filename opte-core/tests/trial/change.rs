//! What live flows do when configuration changes under them.

use super::{BOUNDARY, answer_solicitations, external_ports_used, name, stats, world};
use crate::sim::Sled;
use crate::sim::frame::{Flow, assert_checksums};
use crate::{ALLOW_ALL, G1, G2, G3, MacAddr, V2p, Verdict, Vni, geneve, port};
use opte_core::api::{Command, ExternalIps, PortSpec, Response, Setup, V2b};
use opte_core::frame::Offload;
use opte_core::{DropReason, LayerId};
use std::net::IpAddr;

const SNAT: &str = r#"
external = { snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 8191 }] }
options = { tcp_mid_stream = false }"#;

const FLOATING: &str = r#"
external = { floating = [{ address = "203.0.113.5" }, { address = "203.0.113.6" }] }
rules = ["dir=in priority=1 action=allow"]"#;

/// The inner frame that a guest's frame leaves with.
fn left(sled: &Sled, frame: &[u8]) -> Vec<u8> {
    let (verdict, sent) = sled.tx("g1", frame);
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    let inner = sent.links.last().unwrap().1[70..].to_vec();
    assert_checksums(&inner);
    inner
}

fn source(inner: &[u8]) -> (IpAddr, u16) {
    let addr: [u8; 4] = inner[26..30].try_into().unwrap();
    (addr.into(), u16::from_be_bytes([inner[34], inner[35]]))
}

/// A frame from outside to an external address of g1.
fn call(text: &str) -> Flow {
    Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, text)
    }
}

fn clear(sled: &Sled) {
    sled.command(Command::ClearLft(name("g1"), LayerId::Firewall))
        .unwrap();
}

#[test]
fn a_flow_that_comes_to_need_an_external_address_begins_anew_with_one() {
    let sled = world(SNAT);
    let by_g2 = "198.51.100.0/24 ip4=10.0.0.2 custom";
    sled.command(Command::AddRoute(name("g1"), by_g2.parse().unwrap()))
        .unwrap();
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:53");
    let (verdict, _) = sled.tx("g1", &flow.udp(b"1"));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NotForPort), "by g2");
    sled.command(Command::DelRoute(name("g1"), by_g2.parse().unwrap()))
        .unwrap();
    for _ in 0..3 {
        let (addr, port) = source(&left(&sled, &flow.udp(b"2")));
        assert_eq!(addr, IpAddr::from([203, 0, 113, 9]));
        assert!((4096..8192).contains(&port));
    }
    assert_eq!(external_ports_used(&sled), 1);
    // And back: the peer sees the guest's own address again.
    sled.command(Command::AddRoute(name("g1"), by_g2.parse().unwrap()))
        .unwrap();
    let _ = sled.tx("g1", &flow.udp(b"3"));
    assert_eq!(external_ports_used(&sled), 0);
    clear(&sled);
    assert_eq!(external_ports_used(&sled), 0);
}

#[test]
fn a_flow_from_inside_is_not_answered_outside() {
    let sled = world(&format!("{SNAT}\n{ALLOW_ALL}"));
    let call = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:53");
    sled.local("g2", &call.udp(b"")).unwrap();
    let route = "10.0.0.0/24 sub4=10.0.0.0/24 system".parse().unwrap();
    sled.command(Command::DelRoute(name("g1"), route)).unwrap();
    // The answer's only route is the internet gateway now.
    let (verdict, _) = sled.tx("g1", &call.back(G1).udp(b""));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoRoute));
    assert_eq!(external_ports_used(&sled), 0);
}

#[test]
fn an_external_address_that_goes_takes_its_flows_along_both_ways() {
    let sled = world(FLOATING);
    let to_5 = call("198.51.100.1:5000 > 203.0.113.5:80");
    let to_6 = call("198.51.100.1:5001 > 203.0.113.6:80");
    for flow in [to_5, to_6] {
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &flow.tcp("S", 1, 0, b"")));
        assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    }
    let only_6: ExternalIps =
        toml::from_str(r#"floating = [{ address = "203.0.113.6" }]"#).unwrap();
    sled.command(Command::SetExternalIps(name("g1"), only_6))
        .unwrap();
    let (verdict, _) = sled.rx(&geneve(BOUNDARY, &to_5.tcp("A", 2, 1, b"x")));
    assert!(matches!(verdict, Verdict::Dropped(_)), "{verdict:?}");
    let (verdict, _) = sled.rx(&geneve(BOUNDARY, &to_6.tcp("A", 2, 1, b"x")));
    assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    let answer = Flow::new(G1, "10.0.0.1:80 > 198.51.100.1:5001");
    let (addr, _) = source(&left(&sled, &answer.tcp("SA", 1, 2, b"")));
    assert_eq!(addr, IpAddr::from([203, 0, 113, 6]));
}

#[test]
fn a_way_that_is_lost_for_a_while_costs_no_state() {
    let sled = world(SNAT);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:80");
    let before = source(&left(&sled, &flow.tcp("S", 1, 0, b"")));
    let reply = Flow {
        dst: before.0,
        dport: before.1,
        ..call("198.51.100.1:80 > 203.0.113.9:0")
    };
    let _ = sled.rx(&geneve(BOUNDARY, &reply.tcp("SA", 9, 2, b"")));
    left(&sled, &flow.tcp("A", 2, 10, b""));
    let all = "0.0.0.0/0".parse().unwrap();
    sled.command(Command::ClearV2b(all, vec![])).unwrap();
    let (verdict, _) = sled.tx("g1", &flow.tcp("A", 2, 10, b"x"));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoV2b));
    let mapping = "prefix = \"0.0.0.0/0\"\nendpoints = [\"fd00:99::1\"]";
    let V2b { endpoints, .. } = toml::from_str(mapping).unwrap();
    sled.command(Command::SetV2b(all, endpoints)).unwrap();
    let after = source(&left(&sled, &flow.tcp("A", 2, 10, b"x")));
    assert_eq!(before, after);
}

#[test]
fn a_path_that_was_forgotten_is_found_again() {
    let sled = world(&SNAT.replace("options = {", "options = { uft_s = 86400,"));
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:80");
    let before = source(&left(&sled, &flow.tcp("S", 1, 0, b"")));
    let reply = Flow {
        dst: before.0,
        dport: before.1,
        ..call("198.51.100.1:80 > 203.0.113.9:0")
    };
    let _ = sled.rx(&geneve(BOUNDARY, &reply.tcp("SA", 9, 2, b"")));
    left(&sled, &flow.tcp("A", 2, 10, b""));
    for _ in 0..400 {
        sled.advance(5_000);
    }
    let verdicts: Vec<_> = (0..2)
        .map(|_| sled.tx("g1", &flow.tcp("A", 2, 10, b"x")).0)
        .collect();
    assert!(
        matches!(verdicts[1], Verdict::Held | Verdict::Link(_)),
        "{verdicts:?}"
    );
    assert!(sled.drops(DropReason::NoUnderlayRoute) <= 1, "{verdicts:?}");
}

#[test]
fn a_port_that_comes_back_next_door_is_found_again() {
    // An address that g2 forwards for: known by its mapping only.
    let behind = r#"transit = [{ prefix = "192.0.2.0/24" }]"#;
    let setup =
        crate::underlay(1) + &port("g1", 1, "") + &port("g2", 2, &format!("{ALLOW_ALL}\n{behind}"));
    let sled = Sled::with(1, &setup);
    let mapping = V2p {
        vni: Vni::new(7).unwrap(),
        address: "192.0.2.7".parse().unwrap(),
        mac: G2,
        sled: "fd00:1::1".parse().unwrap(),
    };
    sled.command(Command::SetV2p(vec![mapping])).unwrap();
    let route = "192.0.2.0/24 sub4=192.0.2.0/24 custom";
    sled.command(Command::AddRoute(name("g1"), route.parse().unwrap()))
        .unwrap();
    let flow = Flow::new(G1, "10.0.0.1:1000 > 192.0.2.7:53");
    assert_eq!(sled.local("g1", &flow.udp(b"")).unwrap()[..6], G2.0);
    sled.command(Command::DeletePort(name("g2"))).unwrap();
    assert!(sled.local("g1", &flow.udp(b"")).is_err());
    // Its number goes to another one first.
    let spec = |host: u8, more: &str| -> PortSpec {
        let setup: Setup = toml::from_str(&port(&format!("g{host}"), host, more)).unwrap();
        setup.ports[0].clone()
    };
    sled.command(Command::CreatePort(spec(3, ALLOW_ALL)))
        .unwrap();
    assert!(sled.local("g1", &flow.udp(b"")).is_err());
    let again = spec(2, &format!("{ALLOW_ALL}\n{behind}"));
    sled.command(Command::CreatePort(again)).unwrap();
    let _ = sled.tx("g1", &flow.udp(b""));
    assert_eq!(sled.local("g1", &flow.udp(b"")).unwrap()[..6], G2.0);
    assert_eq!(
        stats(&sled, Some("g3")).drops,
        vec![],
        "nothing strayed to g3: {G3:?}"
    );
}

#[test]
fn a_connection_that_is_over_makes_room_for_the_next_in_both_directions() {
    let sled = world(&format!(
        "{FLOATING}\noptions = {{ tcp_mid_stream = false }}"
    ));
    let call = call("198.51.100.1:5000 > 203.0.113.5:80");
    let answer = Flow::new(G1, "10.0.0.1:80 > 198.51.100.1:5000");
    let rx = |flags, seq, ack| {
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &call.tcp(flags, seq, ack, b"")));
        assert!(matches!(verdict, Verdict::Port(_)), "{flags} {verdict:?}");
    };
    let tx = |flags, seq, ack| {
        left(&sled, &answer.tcp(flags, seq, ack, b""));
    };
    for round in 0..2 {
        let base = round * 1_000_000;
        rx("S", base, 0);
        tx("SA", base + 500, base + 1);
        rx("A", base + 1, base + 501);
        rx("FA", base + 1, base + 501);
        tx("FA", base + 501, base + 2);
        rx("A", base + 2, base + 502);
    }
    // Then the guest calls from the same port, by either address.
    let (addr, _) = source(&left(&sled, &answer.tcp("S", 5_000_000, 0, b"")));
    let reply = Flow { dst: addr, ..call }.tcp("SA", 7_000_000, 5_000_001, b"");
    let (verdict, _) = sled.rx(&geneve(BOUNDARY, &reply));
    assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
    tx("A", 5_000_001, 7_000_001);
    assert_eq!(stats(&sled, Some("g1")).flows, 1);
}

#[test]
fn the_far_end_may_change_the_floating_address_that_it_calls() {
    let sled = world(FLOATING);
    for _ in 0..3 {
        for to in ["203.0.113.5", "203.0.113.6"] {
            let call = call(&format!("198.51.100.1:5000 > {to}:53"));
            let (verdict, sent) = sled.rx(&geneve(BOUNDARY, &call.udp(b"?")));
            assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
            assert_checksums(&sent.ports[0].1);
            let answer = Flow::new(G1, "10.0.0.1:53 > 198.51.100.1:5000");
            let (addr, _) = source(&left(&sled, &answer.udp(b"!")));
            assert_eq!(addr, to.parse::<IpAddr>().unwrap(), "by the same address");
        }
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 1);
}

#[test]
fn a_connection_stays_by_the_address_that_it_was_opened_by() {
    let sled = world(&format!(
        "{FLOATING}\noptions = {{ tcp_mid_stream = true }}"
    ));
    let to = |addr: &str| call(&format!("198.51.100.1:5000 > {addr}:22"));
    let (one, other) = (to("203.0.113.5"), to("203.0.113.6"));
    let answer = Flow::new(G1, "10.0.0.1:22 > 198.51.100.1:5000");
    let rx = |frame: Vec<u8>| sled.rx(&geneve(BOUNDARY, &frame)).0;
    let passes = |frame| assert!(matches!(rx(frame), Verdict::Port(_)));
    let refused = Verdict::Dropped(DropReason::OtherAddress);
    passes(one.tcp("S", 100, 0, b""));
    assert_eq!(rx(other.tcp("S", 7_000, 0, b"")), refused, "half open");
    left(&sled, &answer.tcp("SA", 500, 101, b""));
    passes(one.tcp("A", 101, 501, b""));
    for (flags, seq, ack) in [
        ("A", 0xdead_beef, 0x1234_5678),
        ("A", 101, 501),
        ("S", 90_000, 0),
        ("FA", 101, 501),
    ] {
        assert_eq!(rx(other.tcp(flags, seq, ack, b"")), refused, "{flags}");
        let (addr, _) = source(&left(&sled, &answer.tcp("PA", 501, 101, b"x")));
        assert_eq!(addr, one.dst);
    }
    assert!(matches!(
        rx(other.tcp("R", 101, 0, b"")),
        Verdict::Dropped(_)
    ));
    assert_eq!(state(&sled), "ESTABLISHED");
    // It is over: another one may be opened, and by nothing but a SYN.
    passes(one.tcp("R", 101, 0, b""));
    assert_eq!(rx(other.tcp("A", 101, 501, b"")), refused);
    passes(other.tcp("S", 90_000, 0, b""));
    let (addr, _) = source(&left(&sled, &answer.tcp("SA", 1, 90_001, b"")));
    assert_eq!(addr, other.dst);
}

#[test]
fn a_datagram_to_another_address_takes_no_flow_from_the_guest() {
    let sled = world(FLOATING);
    let flow = Flow::new(G1, "10.0.0.1:5000 > 198.51.100.1:53");
    let (addr, _) = source(&left(&sled, &flow.udp(b"?")));
    for to in ["203.0.113.5", "203.0.113.6"] {
        let answer = call(&format!("198.51.100.1:53 > {to}:5000"));
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &answer.udp(b"!")));
        match answer.dst == addr {
            true => assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}"),
            false => assert_eq!(verdict, Verdict::Dropped(DropReason::OtherAddress)),
        }
        assert_eq!(source(&left(&sled, &flow.udp(b"?"))).0, addr);
    }
}

#[test]
fn an_attached_subnet_that_goes_takes_its_flows_along() {
    let sled = world(r#"rules = ["dir=in priority=1 action=allow"]"#);
    let subnet = "192.0.2.0/28".parse().unwrap();
    let flow = Flow::new(G1, "192.0.2.1:1000 > 198.51.100.1:80");
    let reply = Flow {
        dst_mac: G1,
        ..flow.back(BOUNDARY)
    };
    let spoofed = Verdict::Dropped(DropReason::SpoofedIp);
    assert_eq!(sled.tx("g1", &flow.udp(b"")).0, spoofed);
    for _ in 0..2 {
        sled.command(Command::AttachSubnet(name("g1"), subnet))
            .unwrap();
        assert_eq!(source(&left(&sled, &flow.udp(b""))), (flow.src, 1000));
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &reply.udp(b"")));
        assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
        sled.command(Command::DetachSubnet(name("g1"), subnet))
            .unwrap();
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &reply.udp(b"")));
        assert!(matches!(verdict, Verdict::Dropped(_)), "{verdict:?}");
        assert_eq!(sled.tx("g1", &flow.udp(b"")).0, spoofed);
    }
}

#[test]
fn boundary_frames_do_not_join_flows_of_the_vpc() {
    let sled = world(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    let forged = Flow {
        dst_mac: G1,
        ..flow.back(MacAddr([2; 6]))
    };
    let (verdict, _) = sled.rx(&geneve(BOUNDARY, &forged.udp(b"")));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoMapping));
}

#[test]
fn a_frame_that_waits_for_its_next_hop_is_finished_first() {
    let sled = world(ALLOW_ALL);
    for text in [
        "10.0.0.1:1000 > 10.0.0.3:53",
        "[fd00:7::1]:1000 > [fd00:7::3]:53",
    ] {
        let flow = Flow::new(G1, text);
        let (l4, whole) = (flow.src.is_ipv4(), flow.tcp("S", 1, 0, b"odd"));
        let at = if l4 { 34 + 16 } else { 54 + 16 };
        let mut partial = whole.clone();
        partial[at..at + 2].copy_from_slice(&pseudo_sum(&whole, at).to_be_bytes());
        let offload = Offload {
            checksum_partial: true,
            segment_len: 0,
        };
        let (verdict, _) = sled.tx_offloaded("g1", &partial, offload);
        assert_eq!(verdict, Verdict::Held);
        let large = Offload {
            segment_len: 1_448,
            ..offload
        };
        let (verdict, _) = sled.tx_offloaded("g1", &partial, large);
        let unresolved = Verdict::Dropped(DropReason::NextHopUnresolved);
        assert_eq!(verdict, unresolved, "nobody would cut it");
    }
    let sent = answer_solicitations(&sled);
    assert_eq!(sent.len(), 2);
    for frame in sent {
        assert_checksums(&frame[70..]);
    }
}

/// The sum that a guest leaves for its device to complete.
fn pseudo_sum(whole: &[u8], at: usize) -> u16 {
    let l4 = at - 16;
    let addresses = if l4 == 34 { 26..34 } else { 22..54 };
    let len = (whole.len() - l4) as u32;
    let words = whole[addresses].chunks(2);
    let words = words.map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum::<u32>() + 6 + len;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn a_blind_reset_or_syn_ends_no_connection() {
    let sled = world(FLOATING);
    let call = call("198.51.100.1:5000 > 203.0.113.5:80");
    let answer = Flow::new(G1, "10.0.0.1:80 > 198.51.100.1:5000");
    let rx = |flags, seq, ack| {
        let _ = sled.rx(&geneve(BOUNDARY, &call.tcp(flags, seq, ack, b"")));
        state(&sled)
    };
    rx("S", 100, 0);
    left(&sled, &answer.tcp("SA", 500, 101, b""));
    assert_eq!(rx("A", 101, 501), "ESTABLISHED");
    assert_eq!(rx("R", 900_000_000, 0), "ESTABLISHED");
    assert_eq!(rx("RA", 3_000_000_000, 77), "ESTABLISHED");
    assert_eq!(rx("S", 2_000_000_000, 0), "ESTABLISHED");
    assert_eq!(rx("SA", 2_000_000_000, 9), "ESTABLISHED");
    assert_eq!(rx("R", 101, 0), "RESET", "the right one does");
}

#[test]
fn a_refused_connection_is_over() {
    let sled = world(FLOATING);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("S", 100, 0, b"")).unwrap();
    let no = |ack| sled.local("g2", &flow.back(G2).tcp("RA", 0, ack, b""));
    no(77).unwrap();
    assert_eq!(state(&sled), "SYN_SENT", "it answers another segment");
    no(101).unwrap();
    assert_eq!(state(&sled), "RESET");
}

/// The state of g1's only connection.
fn state(sled: &Sled) -> String {
    let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g1"), 0)) else {
        panic!()
    };
    assert_eq!(page.entries.len(), 1);
    page.entries[0].state.clone()
}

/// How many flows the firewall of g1 lets pass.
fn firewall_flows(sled: &Sled) -> usize {
    // Flows come on pages of their own, behind those of the rules.
    let dump = |cursor| sled.command(Command::DumpLayer(name("g1"), LayerId::Firewall, cursor));
    let Ok(Response::Layer(rules)) = dump(0) else {
        panic!()
    };
    let Ok(Response::Layer(flows)) = dump(rules.next.unwrap()) else {
        panic!()
    };
    flows.entries.len()
}

#[test]
fn a_connection_that_was_cut_stays_cut() {
    let allow = r#"rules = ["dir=in priority=1 action=allow protocols=tcp ports=80"]"#;
    let sled = Sled::with(1, &(port("g1", 1, allow) + &port("g2", 2, "")));
    let call = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:80");
    let answer = call.back(G1);
    sled.local("g2", &call.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g1", &answer.tcp("SA", 9, 2, b"")).unwrap();
    sled.local("g2", &call.tcp("A", 2, 10, b"")).unwrap();
    assert_eq!(firewall_flows(&sled), 1);
    sled.command(Command::SetFwRules(name("g1"), vec![]))
        .unwrap();
    let cut = Err(DropReason::FirewallDefault);
    // Both kernels send again, ever less often.
    for wait_s in [0, 1, 2, 4, 8, 16, 32, 64, 120, 120] {
        assert_eq!(sled.local("g1", &answer.tcp("PA", 10, 2, b"x")), cut);
        assert_eq!(sled.local("g2", &call.tcp("PA", 2, 10, b"x")), cut);
        assert_eq!(state(&sled), "REVOKED");
        assert_eq!(firewall_flows(&sled), 0, "nothing of it passes");
        sled.advance(wait_s * 1_000);
    }
    // It isn't for ever: the same ends may open another connection.
    sled.local("g1", &answer.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g2", &call.tcp("SA", 1, 2, b"")).unwrap();
    sled.local("g1", &answer.tcp("A", 2, 2, b"")).unwrap();
}

#[test]
fn a_connection_that_was_cut_goes_on_when_it_may_again() {
    let allow = "dir=in priority=1 action=allow protocols=tcp ports=80";
    let rules = format!("options = {{ tcp_mid_stream = true }}\nrules = [\"{allow}\"]");
    let sled = Sled::with(1, &(port("g1", 1, &rules) + &port("g2", 2, "")));
    let call = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:80");
    sled.local("g2", &call.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g1", &call.back(G1).tcp("SA", 9, 2, b""))
        .unwrap();
    sled.local("g2", &call.tcp("A", 2, 10, b"")).unwrap();
    sled.command(Command::SetFwRules(name("g1"), vec![]))
        .unwrap();
    sled.local("g2", &call.tcp("PA", 2, 10, b"x")).unwrap_err();
    sled.command(Command::SetFwRules(
        name("g1"),
        vec![allow.parse().unwrap()],
    ))
    .unwrap();
    sled.local("g2", &call.tcp("PA", 2, 10, b"x")).unwrap();
    assert_eq!(state(&sled), "ESTABLISHED");
}

#[test]
fn refusals_count_for_who_refused() {
    let rules = r#"rules = ["dir=in priority=1 action=allow protocols=udp ports=53"]"#;
    let sled = Sled::with(1, &(port("g1", 1, rules) + &port("g2", 2, "")));
    let to = |port: u16| Flow::new(G2, &format!("10.0.0.2:1000 > 10.0.0.1:{port}"));
    sled.local("g2", &to(53).udp(b"")).unwrap();
    sled.local("g2", &to(99).udp(b"")).unwrap_err();
    let default_hits = || {
        let Ok(Response::Layers(layers)) = sled.command(Command::ListLayers(name("g1"))) else {
            panic!()
        };
        let of = |l| {
            layers
                .iter()
                .find(|e| e.layer == l)
                .unwrap()
                .default_hits_in
        };
        of(LayerId::Firewall)
    };
    assert_eq!(default_hits(), 1);
    let deny = "dir=in priority=0 action=deny protocols=udp"
        .parse()
        .unwrap();
    sled.command(Command::SetFwRules(name("g1"), vec![deny]))
        .unwrap();
    sled.local("g2", &to(53).udp(b"")).unwrap_err();
    sled.local("g2", &to(99).udp(b"")).unwrap_err();
    let Ok(Response::Layer(page)) =
        sled.command(Command::DumpLayer(name("g1"), LayerId::Firewall, 0))
    else {
        panic!()
    };
    let text = format!("{:?}", page.entries[0]);
    assert!(text.contains("packets: 2"), "{text}");
}
