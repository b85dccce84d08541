//! Protocols of which translation changes addresses only, and the checksum that
//! covers those.

use super::*;
use crate::icmp::{error, ip, told};

const ADDRESSES: &str = r#"
external = { ephemeral = ["203.0.113.7", "2001:db8::7"] }
rules = ["dir=in priority=1 action=allow"]"#;

/// A DCCP request (RFC 4340 section 5.1), with what of it the checksum covers.
fn dccp(coverage: u8, data: &[u8]) -> Vec<u8> {
    let header = [3, 232, 7, 208, 5, coverage, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1];
    [&header, &[0, 0, 0, 9][..], data].concat()
}

/// A UDP-Lite datagram, all of which the checksum covers (RFC 3828 section 3.1).
fn udp_lite(data: &[u8]) -> Vec<u8> {
    [&[3, 232, 7, 208, 0, 0, 0, 0], data].concat()
}

/// A message of Mobile IPv6 or HIP: the checksum is at its fifth byte.
fn message(data: &[u8]) -> Vec<u8> {
    [&[59, 1, 0, 0, 0, 0, 0, 7], data].concat()
}

#[test]
fn a_checksum_that_covers_the_addresses_is_right_on_both_sides() {
    let sled = world(ADDRESSES);
    for (out, call) in [
        (
            out("10.0.0.1:0 > 198.51.100.1:0"),
            call("198.51.100.1:0 > 203.0.113.7:0"),
        ),
        (
            out("[fd00:7::1]:0 > [2001:db8:1::1]:0"),
            call("[2001:db8:1::1]:0 > [2001:db8::7]:0"),
        ),
    ] {
        for (proto, body, sum_at) in [
            (33, dccp(0, b"all of it"), 6),
            (33, dccp(1, b""), 6),
            (136, udp_lite(b"odd"), 6),
            (136, udp_lite(b"even"), 6),
            (135, message(b"binding!"), 4),
            (139, message(b"identity"), 4),
        ] {
            // Both look at checksums.
            let left = leaves(&sled, &out.ip(proto, body.clone(), sum_at));
            assert_eq!(source(&left).0, call.dst);
            comes(&sled, &call.ip(proto, body, sum_at)).unwrap();
        }
    }
}

#[test]
fn an_error_about_such_a_packet_quotes_it_as_it_was_sent() {
    let sled = world(ADDRESSES);
    let flow = out("10.0.0.1:0 > 198.51.100.1:0");
    for (proto, body) in [(33, dccp(0, b"data")), (136, udp_lite(b"data"))] {
        let sent = flow.ip(proto, body, 6);
        let left = leaves(&sled, &sent);
        let report = error(
            &call("198.51.100.1:0 > 203.0.113.7:0"),
            (3, 3),
            0,
            &left[14..],
        );
        let told = told(&comes(&sled, &report).unwrap());
        assert_eq!((told.to, told.what), (ip("10.0.0.1"), (3, 3)));
        assert_eq!(told.quote, sent[14..]);
    }
}

#[test]
fn a_checksum_of_zero_is_none_in_udp_lite_and_a_number_in_dccp() {
    let sled = world(ADDRESSES);
    let flow = out("10.0.0.1:0 > 198.51.100.1:0");
    // By the address that the guest has outside, the sum of the rest is such
    // that the checksum comes out as zero.
    let seen = out("203.0.113.7:0 > 198.51.100.1:0");
    for (proto, mut body, zero) in [
        (33, dccp(0, &[0, 0]), [0, 0]),
        (136, udp_lite(&[0, 0]), [0xff, 0xff]),
    ] {
        let last = body.len() - 2;
        let sum = seen.ip(proto, body.clone(), 6)[40..42].to_vec();
        body[last..].copy_from_slice(&sum);
        let left = leaves(&sled, &flow.ip(proto, body, 6));
        assert_eq!(left[40..42], zero, "{proto}");
    }
    // And one that wasn't made is not made up: the receiver discards it.
    let mut none = flow.ip(136, udp_lite(b"data"), 6);
    none[40..42].fill(0);
    let (verdict, sent) = sled.tx("g1", &none);
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    assert_eq!(sent.links[0].1[70 + 40..][..2], [0, 0]);
}
