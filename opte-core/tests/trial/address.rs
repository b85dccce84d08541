//! Frames whose addresses or protocols make no sense beyond the port.

use super::{BOUNDARY, world};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, MacAddr, Verdict, geneve};
use opte_core::DropReason;

/// As permissive as a port can be.
const OPEN: &str = r#"
external = { floating = [{ address = "203.0.113.5" }, { address = "2001:db8::5" }] }
transit = [{ prefix = "0.0.0.0/0" }, { prefix = "::/0" }]
rules = ["dir=in priority=1 action=allow"]"#;

fn dropped(sled: &Sled, frame: &[u8]) -> DropReason {
    match sled.tx("g1", frame) {
        (Verdict::Dropped(reason), _) => reason,
        other => panic!("{other:?}"),
    }
}

fn dropped_inbound(sled: &Sled, flow: Flow) -> DropReason {
    let flow = Flow {
        dst_mac: G1,
        ..flow
    };
    match sled.rx(&geneve(BOUNDARY, &flow.udp(b""))) {
        (Verdict::Dropped(reason), _) => reason,
        other => panic!("{flow:?} {other:?}"),
    }
}

#[test]
fn groups_and_broadcasts_go_nowhere() {
    let sled = world(OPEN);
    use DropReason::{GroupScope, NoM2p, NoMulticast, TcpToGroup};
    for (text, group, udp, tcp) in [
        (
            "10.0.0.1:1 > 224.0.0.1:1",
            [1, 0, 0x5e, 0, 0, 1],
            GroupScope,
            GroupScope,
        ),
        (
            "10.0.0.1:1 > 239.1.2.3:1",
            [1, 0, 0x5e, 1, 2, 3],
            NoM2p,
            TcpToGroup,
        ),
        (
            "10.0.0.1:1 > 255.255.255.255:1",
            [0xff; 6],
            NoMulticast,
            NoMulticast,
        ),
        (
            "[fd00:7::1]:1 > [ff02::1]:1",
            [0x33, 0x33, 0, 0, 0, 1],
            GroupScope,
            GroupScope,
        ),
        (
            "[fd00:7::1]:1 > [ff0e::99]:1",
            [0x33, 0x33, 0, 0, 0, 0x99],
            NoM2p,
            TcpToGroup,
        ),
    ] {
        let mut flow = Flow::new(G1, text);
        for frame in [flow.udp(b""), flow.tcp("S", 1, 0, b"")] {
            assert_eq!(dropped(&sled, &frame), NoMulticast, "{flow:?}");
        }
        flow.dst_mac = MacAddr(group);
        assert_eq!(dropped(&sled, &flow.udp(b"")), udp, "{flow:?}");
        assert_eq!(dropped(&sled, &flow.tcp("S", 1, 0, b"")), tcp, "{flow:?}");
    }
}

#[test]
fn a_packet_for_one_in_a_frame_for_many_goes_nowhere() {
    let sled = world(OPEN);
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:53",
        "10.0.0.1:1000 > 198.51.100.1:53",
        "[fd00:7::1]:1000 > [fd00:7::2]:53",
    ] {
        let flow = Flow::new(G1, text);
        // Also once there is a flow.
        let _ = sled.tx("g1", &flow.udp(b""));
        for mac in [[0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
            let dst_mac = MacAddr(mac);
            let reason = dropped(&sled, &Flow { dst_mac, ..flow }.udp(b""));
            assert_eq!(reason, DropReason::BadDestinationMac);
        }
    }
}

#[test]
fn what_is_on_the_link_only_stays_there() {
    let sled = world(OPEN);
    for text in [
        "[fe80::1]:1 > [fd00:7::2]:1",
        "[fe80::1]:1 > [2001:db8:1::1]:1",
        "[fd00:7::1]:1 > [fe80::2]:1",
        "169.254.1.1:1 > 10.0.0.2:1",
        "10.0.0.1:1 > 169.254.1.1:1",
    ] {
        let reason = dropped(&sled, &Flow::new(G1, text).udp(b""));
        assert_eq!(reason, DropReason::Martian, "{text}");
    }
}

#[test]
fn addresses_that_no_host_has_go_nowhere() {
    let sled = world(OPEN);
    for text in [
        "0.0.0.0:1 > 10.0.0.2:1",
        "10.0.0.1:1 > 0.0.0.0:1",
        "127.0.0.1:1 > 10.0.0.2:1",
        "10.0.0.1:1 > 127.0.0.1:1",
        "224.0.0.1:1 > 10.0.0.2:1",
        "255.255.255.255:1 > 10.0.0.2:1",
        "10.0.0.1:1 > 10.0.0.1:1",
        "10.0.0.1:1 > 10.0.0.1:2",
        "[::]:1 > [fd00:7::2]:1",
        "[fd00:7::1]:1 > [::]:1",
        "[::1]:1 > [fd00:7::2]:1",
        "[fd00:7::1]:1 > [::1]:1",
        "[ff02::1]:1 > [fd00:7::2]:1",
        "[fd00:7::1]:1 > [fd00:7::1]:1",
        "[::ffff:10.0.0.1]:1 > [fd00:7::2]:1",
    ] {
        let reason = dropped(&sled, &Flow::new(G1, text).udp(b""));
        assert_eq!(reason, DropReason::Martian, "{text}");
    }
}

#[test]
fn nobody_outside_is_the_guest_or_its_gateway() {
    let sled = world(OPEN);
    for text in [
        "10.0.0.1:1 > 203.0.113.5:1",
        "10.0.0.254:1 > 203.0.113.5:1",
        "127.0.0.1:1 > 203.0.113.5:1",
        "0.0.0.0:1 > 203.0.113.5:1",
        "224.0.0.1:1 > 203.0.113.5:1",
        "255.255.255.255:1 > 203.0.113.5:1",
        "[fd00:7::1]:1 > [2001:db8::5]:1",
        "[fd00:7::fe]:1 > [2001:db8::5]:1",
        "[fe80::1]:1 > [2001:db8::5]:1",
        "[ff02::1]:1 > [2001:db8::5]:1",
        "[::]:1 > [2001:db8::5]:1",
    ] {
        let reason = dropped_inbound(&sled, Flow::new(BOUNDARY, text));
        assert_eq!(reason, DropReason::Martian, "{text}");
    }
}

#[test]
fn no_neighbour_discovery_comes_in() {
    let sled = world(OPEN);
    let flow = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "[2001:db8:1::1]:0 > [2001:db8::5]:0")
    };
    for kind in [133, 134, 135, 136, 137] {
        let message = vec![kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let frame = crate::sim::frame::icmp6(&flow, message);
        let (verdict, _) = sled.rx(&geneve(BOUNDARY, &frame));
        assert_eq!(verdict, Verdict::Dropped(DropReason::NdpCrossing));
    }
}

#[test]
fn icmp_of_the_other_family_is_malformed() {
    let sled = world(OPEN);
    let body = vec![9, 9, 0, 0, 1, 2, 3, 4, 5, 6];
    for (text, proto) in [
        ("10.0.0.1:0 > 198.51.100.1:0", 58),
        ("[fd00:7::1]:0 > [2001:db8:1::1]:0", 1),
    ] {
        let frame = Flow::new(G1, text).ip(proto, body.clone(), 2);
        assert_eq!(dropped(&sled, &frame), DropReason::BadTransport);
    }
}

#[test]
fn every_protocol_number_makes_a_flow_that_ends() {
    let sled = world(OPEN);
    for proto in 0..=255_u8 {
        let flow = Flow::new(G1, "10.0.0.1:0 > 10.0.0.2:0");
        let mut body = vec![8, 0, 0, 8, 0, 20, 0, 0];
        body.resize(20, 0x50);
        let _ = sled.tx("g1", &flow.ip(proto, body.clone(), 6));
        let flow = Flow::new(G1, "[fd00:7::1]:0 > [fd00:7::2]:0");
        let _ = sled.tx("g1", &flow.ip(proto, body, 6));
    }
    assert!(super::stats(&sled, Some("g1")).flows > 250);
    for _ in 0..10 {
        sled.advance(60_000);
    }
    assert_eq!(super::stats(&sled, None).flows, 0);
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let sled = world(ALLOW_ALL);
    let flow = Flow::new(G1, "[fd00:7::1]:1000 > [fd00:7::2]:53");
    let fragment = |offset_and_more: u16| {
        let mut frame = flow.udp(b"data");
        frame[18..20].copy_from_slice(&20_u16.to_be_bytes());
        frame[20] = 44;
        let [o0, o1] = offset_and_more.to_be_bytes();
        frame.splice(54..54, [17, 0, o0, o1, 0, 0, 0, 7]);
        frame
    };
    // RFC 6946: processed as if there were no fragment header.
    let delivered = sled.local("g1", &fragment(0)).unwrap();
    assert_eq!(delivered[..6], G2.0);
    assert_eq!(delivered[14..], fragment(0)[14..]);
    // Others are parts of a packet: this one's first hasn't come.
    let (verdict, _) = sled.tx("g1", &fragment(8));
    assert_eq!(verdict, Verdict::Held);
    for odd in [1, 9] {
        assert_eq!(dropped(&sled, &fragment(odd)), DropReason::BadIp);
    }
}

#[test]
fn odd_but_lawful_packets_pass() {
    let sled = world(OPEN);
    for text in ["10.0.0.1:0 > 10.0.0.2:0", "[fd00:7::1]:0 > [fd00:7::2]:0"] {
        let flow = Flow::new(G1, text);
        let mut frame = flow.udp(b"");
        assert!(sled.local("g1", &frame).is_ok(), "port zero");
        // The gateway is one hop on the link and leaves hop limits alone.
        frame[if flow.src.is_ipv4() { 22 } else { 21 }] = 0;
        assert!(sled.local("g1", &frame).is_ok());
    }
}
