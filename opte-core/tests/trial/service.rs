//! What the gateway does besides answering: it advertises itself, tells of
//! what guests complain about, and lets no stranger speak for it.

use super::{BOUNDARY, world};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, DropReason, G1, MacAddr, Verdict, geneve, port};
use opte_core::flow::tuple;
use std::net::IpAddr;

const GATEWAY: MacAddr = MacAddr::GATEWAY;
/// Seconds between two ticks of these tests.
const TICK_S: u64 = 1;

/// Seconds at which g1 hears router advertisements, and the frames.
fn listen(sled: &Sled, seconds: u64) -> Vec<(u64, Vec<u8>)> {
    let mut heard = Vec::new();
    for second in (0..seconds).step_by(TICK_S as usize) {
        let ports = sled.advance(TICK_S * 1_000).ports;
        let frames = ports.into_iter().map(|(_, frame)| frame);
        // ICMPv6, a router advertisement.
        let frames = frames.filter(|frame| frame[20] == 58 && frame[54] == 134);
        heard.extend(frames.map(|frame| (second, frame)));
    }
    heard
}

fn lifetime_s(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[60], frame[61]])
}

#[test]
fn advertisements_come_in_their_time() {
    for (more, least, most, lifetime) in [
        ("", 200, 600, 1_800),
        ("advertise = { interval_s = 30 }", 10, 30, 90),
        ("advertise = { interval_s = 4, lifetime_s = 0 }", 3, 4, 0),
    ] {
        let sled = Sled::with(1, &port("g1", 1, more));
        let heard = listen(&sled, 10 * most);
        let times: Vec<u64> = heard.iter().map(|(second, _)| *second).collect();
        assert_eq!(times[0], 0);
        for (count, pair) in times.windows(2).enumerate() {
            let wait = pair[1] - pair[0];
            let (least, most) = match count {
                0..3 => (least.min(16), most.min(16)),
                _ => (least, most),
            };
            // A tick is late by as much.
            assert!((least..=most + TICK_S).contains(&wait), "{count}: {wait}");
        }
        for (_, frame) in heard {
            assert_eq!(lifetime_s(&frame), lifetime);
        }
    }
}

#[test]
fn a_change_is_advertised_at_once() {
    let sled = Sled::with(1, &port("g1", 1, ""));
    listen(&sled, 2_000);
    let before = listen(&sled, 60).len();
    assert!(before < 2, "{before}");
    // What isn't said there doesn't count.
    sled.apply(&port("g1", 1, ALLOW_ALL)).unwrap();
    assert!(listen(&sled, 5).len() < 2);
    let changed = port("g1", 1, "advertise = { managed = false }");
    sled.apply(&changed).unwrap();
    let heard = listen(&sled, 60);
    assert!(heard.len() >= 3, "{}", heard.len());
    assert_eq!(heard[0].0, 0);
    assert_eq!(heard[0].1[59], 0x40, "other, no longer managed");
}

#[test]
fn what_makes_no_sense_is_not_advertised() {
    let sled = Sled::new(1);
    for (more, why) in [
        ("interval_s = 3", "advertise.interval_s 3"),
        ("interval_s = 1801", "advertise.interval_s 1801"),
        ("lifetime_s = 599", "advertise.lifetime_s 599"),
        ("lifetime_s = 9001", "advertise.lifetime_s 9001"),
        (
            "prefix = { prefix = \"10.0.0.0/8\" }",
            "advertise.prefix.prefix 10.0.0.0/8",
        ),
        (
            "prefix = { prefix = \"fe80::/64\" }",
            "advertise.prefix.prefix fe80::/64",
        ),
        (
            "prefix = { prefix = \"ff00::/8\" }",
            "advertise.prefix.prefix ff00::/8",
        ),
        (
            "prefix = { prefix = \"fd00:7::/64\", valid_s = 1, preferred_s = 2 }",
            "advertise.prefix.preferred_s 2",
        ),
    ] {
        let setup = port("g1", 1, &format!("advertise = {{ {more} }}"));
        let error = sled.apply(&setup).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    let good = "lifetime_s = 600, prefix = { prefix = \"fd00:7::/64\", on_link = true }";
    sled.apply(&port("g1", 1, &format!("advertise = {{ {good} }}")))
        .unwrap();
}

/// A DHCPDECLINE of g1's address.
fn decline4() -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 9, 9, 9, 9];
    message.resize(28, 0);
    message.extend(G1.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99, 53, 1, 4, 50, 4, 10, 0, 0, 1]);
    message.extend([54, 4, 10, 0, 0, 254, 255]);
    let flow = Flow {
        dst_mac: MacAddr::BROADCAST,
        ..Flow::new(G1, "0.0.0.0:68 > 255.255.255.255:67")
    };
    flow.udp(&message)
}

/// A Decline of g1's address.
fn decline6() -> Vec<u8> {
    let mut message = vec![9, 1, 2, 3, 0, 1, 0, 10, 0, 3, 0, 1];
    message.extend(G1.0);
    message.extend([0, 2, 0, 10, 0, 3, 0, 1]);
    message.extend(GATEWAY.0);
    message.extend([0, 3, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24]);
    message.extend([0xfd, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    message.extend([0; 8]);
    let flow = Flow {
        dst_mac: MacAddr([0x33, 0x33, 0, 1, 0, 2]),
        ..Flow::new(G1, "[fe80::1]:546 > [ff02::1:2]:547")
    };
    flow.udp(&message)
}

#[test]
fn a_declined_address_is_an_event_and_stays_the_ports() {
    let sled = world(ALLOW_ALL);
    sled.events("");
    let (verdict, _) = sled.tx("g1", &decline4());
    assert_eq!(verdict, Verdict::Dropped(DropReason::DhcpDeclined));
    assert_eq!(sled.drops(DropReason::DhcpDeclined), 1);
    let event = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        let address = tuple::from_ip(address);
        format!("DhcpDecline {{ port: g1 0, address: {address:?} }}")
    };
    assert_eq!(sled.events("DhcpDecline {"), [event("10.0.0.1")]);
    let (verdict, sent) = sled.tx("g1", &decline6());
    assert_eq!(verdict, Verdict::Consumed);
    assert_eq!(sent.ports.len(), 1, "it is answered");
    assert_eq!(sled.events("DhcpDecline {"), [event("fd00:7::1")]);
    // The address works as before.
    let flow = Flow::new(G1, "10.0.0.1:1 > 10.0.0.2:2");
    sled.local("g1", &flow.udp(b"x")).unwrap();
}

#[test]
fn nobody_else_is_the_guests_dhcp_server() {
    let sled = world(ALLOW_ALL);
    for text in [
        "10.0.0.2:67 > 10.0.0.1:68",
        "[fd00:7::2]:547 > [fd00:7::1]:546",
    ] {
        let flow = Flow::new(crate::G2, text);
        let refused = sled.local("g2", &flow.udp(b"offer")).unwrap_err();
        assert_eq!(refused, DropReason::DhcpCrossing);
    }
    // From outside of the VPC, too.
    let flow = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "[2001:db8:1::1]:547 > [fd00:7::1]:546")
    };
    let (verdict, _) = sled.rx(&geneve(BOUNDARY, &flow.udp(b"offer")));
    assert!(matches!(verdict, Verdict::Dropped(_)), "{verdict:?}");
    // A guest that has asked is answered.
    let flow = Flow::new(G1, "10.0.0.1:68 > 10.0.0.2:67");
    sled.local("g1", &flow.udp(b"discover")).unwrap();
    let back = Flow::new(crate::G2, "10.0.0.2:67 > 10.0.0.1:68");
    sled.local("g2", &back.udp(b"offer")).unwrap();
}
