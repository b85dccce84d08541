//! Rules that reject.

use super::{ip, told};
use crate::sim::frame::{Flow, assert_checksums};
use crate::sim::{Sled, carry};
use crate::trial::{BOUNDARY, world};
use crate::{ALLOW_ALL, G1, G2, MacAddr, Verdict, geneve, port, two_sleds};
use opte_core::DropReason;

const REJECT_OUT: &str =
    r#"rules = ["dir=out priority=1 action=reject", "dir=in priority=1 action=allow"]"#;
const REJECT_IN: &str = r#"
external = { floating = [{ address = "203.0.113.5" }, { address = "2001:db8::5" }] }
rules = ["dir=in priority=1 action=reject"]"#;

/// What a guest's refused frame brings back to it.
fn refused(sled: &Sled, port: &str, frame: &[u8]) -> Option<Vec<u8>> {
    let (verdict, sent) = sled.tx(port, frame);
    assert_eq!(verdict, Verdict::Dropped(DropReason::FirewallReject));
    assert!(sent.links.is_empty());
    let mut frames = sent.ports.into_iter();
    let (to, frame) = frames.next()?;
    assert_eq!((to, frames.next()), (sled.port(port), None));
    Some(frame)
}

/// Flags, sequence and acknowledgment number of a TCP segment.
fn segment(frame: &[u8]) -> (u8, u32, u32) {
    assert_checksums(frame);
    let at = if frame[12] == 8 { 34 } else { 54 };
    let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    (frame[at + 13], number(at + 4), number(at + 8))
}

#[test]
fn what_a_guest_may_not_send_is_answered_to_it() {
    let sled = world(REJECT_OUT);
    for (text, gateway, what) in [
        ("10.0.0.1:1000 > 198.51.100.1:53", "10.0.0.254", (3, 13)),
        (
            "[fd00:7::1]:1000 > [2001:db8:1::1]:53",
            "fd00:7::fe",
            (1, 1),
        ),
    ] {
        let flow = Flow::new(G1, text);
        let frame = refused(&sled, "g1", &flow.udp(b"hello")).unwrap();
        assert_eq!(frame[..12], [G1.0, MacAddr::GATEWAY.0].concat());
        let told = told(&frame);
        assert_eq!(
            (told.from, told.to, told.what),
            (ip(gateway), flow.src, what)
        );
        assert_eq!(told.quote, flow.udp(b"hello")[14..]);

        let frame = refused(&sled, "g1", &flow.tcp("S", 7, 0, b"")).unwrap();
        assert_eq!(segment(&frame), (0x14, 0, 8));
        assert_eq!(super::ends(&frame[14..]), (flow.dst, flow.src));
    }
    assert_eq!(sled.drops(DropReason::FirewallReject), 4);
    assert_eq!(crate::trial::stats(&sled, Some("g1")).flows, 0);
}

#[test]
fn a_guest_next_door_hears_that_it_is_rejected() {
    let sled = Sled::with(1, &(port("g1", 1, "") + &port("g2", 2, REJECT_IN)));
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:80",
        "[fd00:7::1]:1000 > [fd00:7::2]:80",
    ] {
        let flow = Flow::new(G1, text);
        let frame = refused(&sled, "g1", &flow.tcp("S", 7, 0, b"")).unwrap();
        assert_eq!(segment(&frame), (0x14, 0, 8));
        assert_eq!(frame[..12], [G1.0, MacAddr::GATEWAY.0].concat());
    }
}

#[test]
fn a_guest_of_another_sled_hears_that_it_is_rejected() {
    let (a, b) = two_sleds(REJECT_IN);
    for text in [
        "10.0.0.1:1000 > 10.0.0.3:80",
        "[fd00:7::1]:1000 > [fd00:7::3]:80",
    ] {
        let flow = Flow::new(G1, text);
        let _ = a.tx("g1", &flow.tcp("S", 7, 0, b""));
        let delivered = carry(&a, &b);
        assert_eq!(delivered.len(), 1, "{text}: the reset and nothing else");
        assert_eq!(segment(&delivered[0].1), (0x14, 0, 8));
        assert_eq!(delivered[0].1[..6], G1.0);
    }
    assert_eq!(b.drops(DropReason::FirewallReject), 2);
}

#[test]
fn somebody_outside_is_rejected_by_the_address_that_was_called() {
    let sled = world(REJECT_IN);
    for (call, what) in [
        ("198.51.100.1:1000 > 203.0.113.5:80", (3, 13)),
        ("[2001:db8:1::1]:1000 > [2001:db8::5]:80", (1, 1)),
    ] {
        let flow = Flow {
            dst_mac: G1,
            ..Flow::new(BOUNDARY, call)
        };
        for (frame, is_tcp) in [
            (flow.udp(b"hello"), false),
            (flow.tcp("S", 7, 0, b""), true),
        ] {
            let (verdict, sent) = sled.rx(&geneve(BOUNDARY, &frame));
            assert_eq!(verdict, Verdict::Dropped(DropReason::FirewallReject));
            assert_eq!((sent.ports.len(), sent.links.len()), (0, 1));
            let answer = &sent.links[0].1[70..];
            assert_eq!(answer[..12], [MacAddr::BOUNDARY.0, G1.0].concat());
            if is_tcp {
                assert_eq!(segment(answer), (0x14, 0, 8));
                assert_eq!(super::ends(&answer[14..]), (flow.dst, flow.src));
            } else {
                let told = told(answer);
                assert_eq!((told.from, told.to), (flow.dst, flow.src));
                assert_eq!((told.what, &told.quote[..]), (what, &frame[14..]));
            }
        }
    }
    assert_eq!(crate::trial::stats(&sled, Some("g1")).flows, 0);
}

#[test]
fn answers_have_a_rate_each_way() {
    let sled = world(
        r#"
external = { floating = [{ address = "203.0.113.5" }] }
rules = ["dir=in priority=1 action=reject", "dir=out priority=1 action=reject"]"#,
    );
    let call = |n: u16| {
        let flow = Flow {
            dst_mac: G1,
            sport: n,
            ..Flow::new(BOUNDARY, "198.51.100.1:1000 > 203.0.113.5:80")
        };
        sled.rx(&geneve(BOUNDARY, &flow.udp(b""))).1.links.len()
    };
    let asked = |n: u16| {
        let flow = Flow {
            sport: n,
            ..Flow::new(G1, "10.0.0.1:1 > 198.51.100.1:80")
        };
        usize::from(refused(&sled, "g1", &flow.udp(b"")).is_some())
    };
    assert_eq!((1..1_000).map(call).sum::<usize>(), 100, "a burst");
    assert_eq!(
        (1..1_000).map(asked).sum::<usize>(),
        100,
        "which leaves the guest its own"
    );
    sled.advance(50);
    assert_eq!((1..1_000).map(call).sum::<usize>(), 5, "and then a rate");
    assert_eq!(sled.drops(DropReason::FirewallReject), 2_997);
}

#[test]
fn a_connection_that_a_new_rule_rejects_is_reset() {
    let sled = crate::two_guests(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g2", &flow.back(G2).tcp("SA", 9, 2, b""))
        .unwrap();
    sled.local("g1", &flow.tcp("A", 2, 10, b"")).unwrap();
    let rules = vec!["dir=out priority=1 action=reject".parse().unwrap()];
    let set = opte_core::api::Command::SetFwRules(crate::name("g1"), rules);
    sled.command(set).unwrap();
    let frame = refused(&sled, "g1", &flow.tcp("PA", 2, 10, b"data")).unwrap();
    assert_eq!(segment(&frame), (0x04, 10, 0));
}

#[test]
fn nobody_is_answered_through_another_way_than_it_came() {
    // A VPC address that comes from outside, and the other way round.
    let sled = world(REJECT_IN);
    let flow = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "10.0.0.77:1000 > 203.0.113.5:80")
    };
    let (verdict, sent) = sled.rx(&geneve(BOUNDARY, &flow.udp(b"")));
    assert_eq!(verdict, Verdict::Dropped(DropReason::FirewallReject));
    assert!(sent.links.is_empty() && sent.ports.is_empty());
    let to = Flow {
        dst: ip("10.0.0.1"),
        ..flow
    };
    let mut inside = super::inside(&geneve(BOUNDARY, &to.udp(b"")));
    inside[70 + 26..70 + 30].copy_from_slice(&[198, 51, 100, 1]);
    let (verdict, sent) = sled.rx(&inside);
    assert_eq!(verdict, Verdict::Dropped(DropReason::FirewallReject));
    assert!(sent.links.is_empty() && sent.ports.is_empty());
}
