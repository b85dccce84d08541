//! ICMP and translation, beside what `crate::icmp` shows (RFC 5508).

use super::*;
use crate::G2;
use crate::icmp::{error, ip, told};

/// g2 is by itself outside, and hears whoever calls.
const NEXT_DOOR: &str = "203.0.113.200";

#[test]
fn errors_take_the_short_way_too() {
    let sled = world(&snat(4096, 8191, ""));
    let flow = out(&format!("10.0.0.1:1000 > {NEXT_DOOR}:9"));
    for sent in [flow.udp(b"data"), flow.tcp("S", 1, 0, b""), flow.ping()] {
        let got = sled.local("g1", &sent).unwrap();
        // g2 reports about what it got, to whom it got it from.
        let report = Flow {
            src_mac: G2,
            dst_mac: crate::MacAddr::GATEWAY,
            src: ip("10.0.0.2"),
            dst: source(&got).0,
            sport: 0,
            dport: 0,
        };
        let reported = error(&report, (3, 3), 0, &got[14..]);
        let told = told(&sled.local("g2", &reported).unwrap());
        assert_eq!((told.from, told.to), (ip(NEXT_DOOR), flow.src), "REQ-7a");
        assert_eq!(told.what, (3, 3));
        assert_eq!(told.quote, sent[14..], "what g1 sent, and every checksum");
    }
}

#[test]
fn a_guest_without_a_port_left_is_told() {
    let sled = world(&snat(4096, 4096, ""));
    leaves(&sled, &out("10.0.0.1:1000 > 198.51.100.1:9").udp(b""));
    let refused = out("10.0.0.1:1001 > 198.51.100.1:9").udp(b"data");
    let (verdict, sent) = sled.tx("g1", &refused);
    assert_eq!(verdict, Verdict::Dropped(DropReason::SnatExhausted));
    let told = told(&sent.ports[0].1);
    assert_eq!((told.from, told.to), (ip("10.0.0.254"), ip("10.0.0.1")));
    assert_eq!(
        told.what,
        (3, 13),
        "communication administratively prohibited"
    );
    assert_eq!(told.quote, refused[14..]);
}

/// An error of a router on the way about a packet that left, as a frame.
fn report(seen: &[u8]) -> Vec<u8> {
    let (dst, _) = crate::icmp::ends(seen);
    let router = call("192.0.2.77:0 > 203.0.113.9:0");
    error(&Flow { dst, ..router }, (11, 0), 0, seen)
}

#[test]
fn a_damaged_error_goes_nowhere() {
    let sled = world(&snat(4096, 8191, ""));
    let left = leaves(&sled, &out("10.0.0.1:1000 > 198.51.100.1:9").udp(b"data"));
    let good = report(&left[14..]);
    comes(&sled, &good).unwrap();
    let mut bad = good;
    bad[36] ^= 1;
    assert_eq!(comes(&sled, &bad), Err(DropReason::BadChecksum));
}

#[test]
fn options_of_a_quoted_header_are_walked() {
    let sled = world(&snat(4096, 8191, ""));
    let mut sent = out("10.0.0.1:1000 > 198.51.100.1:9").udp(b"data");
    // Three no-operations and the end of the list; the checksum by difference.
    sent.splice(34..34, [1, 1, 1, 0]);
    sent[14] += 1;
    sent[17] += 4;
    let sum = u16::from_be_bytes([sent[24], sent[25]]);
    let sum = [0x0100_u16, 4, 0x0101, 0x0100]
        .into_iter()
        .fold(sum, |sum, word| {
            let (sum, borrow) = sum.overflowing_sub(word);
            sum - u16::from(borrow)
        });
    sent[24..26].copy_from_slice(&sum.to_be_bytes());
    let (verdict, left) = sled.tx("g1", &sent);
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    let left = left.links[0].1[70..].to_vec();
    let got = comes(&sled, &report(&left[14..])).unwrap();
    assert_eq!(told(&got).quote, sent[14..]);
}
