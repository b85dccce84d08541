//! IPv6 headers and chains of extension headers.

use super::*;
use crate::wire::testing::{refuses_truncation, survives_anything};
use std::vec::Vec;

fn header() -> Header {
    Header {
        source: "fd00::1".parse().unwrap(),
        destination: "fd00::2".parse().unwrap(),
        next_header: Proto::TCP,
        hop_limit: 7,
        traffic_class: 0xa5,
        flow_label: 0x0b_cdef,
        payload_len: 3,
    }
}

fn packet() -> Vec<u8> {
    let mut out = Writer::default();
    header().emit(&mut out);
    out.put(&[1, 2, 3]);
    out.into_bytes()
}

#[test]
fn a_header_is_read_and_written() {
    let mut bytes = packet();
    assert_eq!(bytes[..8], [0x6a, 0x5b, 0xcd, 0xef, 0, 3, 6, 7]);
    bytes.extend([9; 5]);
    let (read, payload) = Header::parse(&bytes).unwrap();
    assert_eq!(read, header());
    assert_eq!(payload, [1, 2, 3]);
    assert_eq!(Header::read(&bytes).unwrap().1.len(), 8);
}

#[test]
fn other_packets_are_refused() {
    refuses_truncation(&packet(), Header::parse);
    let mut bytes = packet();
    bytes[0] = 0x45;
    assert_eq!(Header::parse(&bytes), Err(Error::Version));
    survives_anything(&packet(), |bytes| _ = Header::parse(bytes));
}

/// Extension headers, one after another, and the first one's protocol.
fn chain(headers: &[(Proto, &[u8])], last: Proto) -> (Proto, Vec<u8>) {
    let mut bytes = Vec::new();
    for (i, (_, body)) in headers.iter().enumerate() {
        bytes.push(headers.get(i + 1).map_or(last, |(proto, _)| *proto).0);
        bytes.extend(*body);
    }
    (headers.first().map_or(last, |(proto, _)| *proto), bytes)
}

const PAD: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
const LONG: &[u8] = &[1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn walked(headers: &[(Proto, &[u8])], last: Proto) -> Result<Extensions, Error> {
    let (first, mut bytes) = chain(headers, last);
    bytes.extend([0xaa; 4]);
    walk(first, &bytes)
}

#[test]
fn nothing_to_walk() {
    for proto in [Proto::TCP, Proto(50), Proto(59), Proto(255)] {
        let found = walk(proto, &[]).unwrap();
        assert_eq!((found.proto, found.len), (proto, 0));
        assert_eq!((found.fragment, found.segments_left), (None, 0));
    }
}

#[test]
fn every_kind_of_header_is_walked() {
    let routing: &[u8] = &[0, 4, 2, 0, 0, 0, 0];
    let fragment: &[u8] = &[0, 0, 1, 0xde, 0xad, 0xbe, 0xef];
    let authentication: &[u8] = &[
        4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ];
    let headers = [
        (HOP_BY_HOP, PAD),
        (DESTINATION, LONG),
        (ROUTING, routing),
        (FRAGMENT, fragment),
        (AUTHENTICATION, authentication),
        (DESTINATION, PAD),
    ];
    let found = walked(&headers, Proto::UDP).unwrap();
    assert_eq!(
        found,
        Extensions {
            proto: Proto::UDP,
            len: 8 + 16 + 8 + 8 + 24 + 8,
            whole_len: 8 + 16 + 8 + 8,
            fragment: Some(Fragment {
                offset: 0,
                more: true,
                identification: 0xdead_beef
            }),
            segments_left: 2,
        }
    );
    let (first, bytes) = chain(&headers, Proto::UDP);
    refuses_truncation(&bytes, |bytes| walk(first, bytes));
    survives_anything(&bytes, |bytes| _ = walk(first, bytes));
}

#[test]
fn a_later_fragment_ends_the_walk() {
    // What follows looks like one more header, and isn't (X3).
    let later: &[u8] = &[0, 0, 8, 0, 0, 0, 1];
    let found = walked(&[(FRAGMENT, later), (DESTINATION, PAD)], Proto::UDP).unwrap();
    assert_eq!((found.proto, found.len), (DESTINATION, 8));
    assert_eq!(found.fragment.map(|f| f.offset), Some(8));
}

#[test]
fn places_and_bounds_are_kept() {
    let fragment: &[u8] = &[0, 0, 1, 0, 0, 0, 1];
    assert_eq!(
        walked(&[(DESTINATION, PAD), (HOP_BY_HOP, PAD)], Proto::UDP),
        Err(Error::ExtensionOrder)
    );
    assert_eq!(
        walked(&[(FRAGMENT, fragment), (FRAGMENT, fragment)], Proto::UDP),
        Err(Error::ExtensionOrder)
    );
    assert_eq!(
        walked(&[(ROUTING, &[0, 0, 1, 0, 0, 0, 0])], Proto::UDP),
        Err(Error::RoutingZero)
    );
    assert!(walked(&[(ROUTING, &[0, 0, 0, 0, 0, 0, 0])], Proto::UDP).is_ok());
    let most = [(DESTINATION, PAD); IPV6_EXTENSIONS_MAX];
    assert!(walked(&most, Proto::UDP).is_ok());
    let more = [(DESTINATION, PAD); IPV6_EXTENSIONS_MAX + 1];
    assert_eq!(walked(&more, Proto::UDP), Err(Error::ExtensionLimit));
    let mut body = std::vec![0; IPV6_EXTENSION_BYTES_MAX + 7];
    body[0] = (IPV6_EXTENSION_BYTES_MAX / 8) as u8;
    assert_eq!(
        walked(&[(DESTINATION, &body)], Proto::UDP),
        Err(Error::ExtensionLimit)
    );
}

#[test]
fn addresses_of_the_link() {
    assert_eq!(
        solicited_node("fd00::12:3456:789a".parse().unwrap()),
        "ff02::1:ff56:789a".parse::<Ipv6Addr>().unwrap()
    );
    assert!(is_link_local("fe80::1:2:3:4".parse().unwrap()));
    assert!(!is_link_local("fe80:1::1".parse().unwrap()));
    assert!(!is_link_local("fe90::1".parse().unwrap()));
}
