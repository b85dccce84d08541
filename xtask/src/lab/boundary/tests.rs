//! The boundary's decisions, on frames made by hand.

use super::*;

const GUEST_MAC: [u8; 6] = [0xa8, 0x40, 0x25, 0xf0, 0, 1];
const OUTSIDE: [u8; 4] = [203, 0, 113, 10];

fn table() -> Vec<Mapping> {
    let mapping = |external: &str, ports, last: u8| Mapping {
        external: Prefix::host(external.parse().unwrap()),
        ports,
        vni: 7,
        mac: [0xa8, 0x40, 0x25, 0xf0, 0, last],
        sled: Ipv6Addr::from([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
    };
    vec![
        mapping("198.51.100.1", 1_000..=1_999, 1),
        mapping("198.51.100.1", 2_000..=2_999, 2),
        mapping("198.51.100.2", 0..=u16::MAX, 3),
        mapping("2001:db8::3", 0..=u16::MAX, 4),
    ]
}

fn v4(proto: u8, source: [u8; 4], destination: [u8; 4], transport: &[u8]) -> Vec<u8> {
    let mut ip = vec![0; 20];
    ip[0] = 0x45;
    ip[9] = proto;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&destination);
    [ip, transport.to_vec()].concat()
}

fn v6(destination: &str, transport: &[u8]) -> Vec<u8> {
    let mut ip = vec![0; 40];
    ip[0] = 0x60;
    ip[6] = PROTO_TCP;
    ip[24..40].copy_from_slice(&destination.parse::<Ipv6Addr>().unwrap().octets());
    [ip, transport.to_vec()].concat()
}

fn to_mac(packet: &[u8]) -> Option<u8> {
    mapping(packet, &table()).map(|mapping| mapping.mac[5])
}

#[test]
fn packets_from_the_internet_go_to_the_guest_that_has_address_and_port() {
    let ports =
        |source: u16, destination: u16| [source.to_be_bytes(), destination.to_be_bytes()].concat();
    let shared = [198, 51, 100, 1];
    let own = [198, 51, 100, 2];
    for (packet, guest) in [
        (v4(PROTO_TCP, OUTSIDE, shared, &ports(80, 1_000)), Some(1)),
        (v4(PROTO_UDP, OUTSIDE, shared, &ports(53, 2_999)), Some(2)),
        (v4(PROTO_UDP, OUTSIDE, shared, &ports(53, 3_000)), None),
        (v4(PROTO_TCP, OUTSIDE, own, &ports(80, 3_000)), Some(3)),
        // An echo reply's identifier, and a protocol without ports.
        (
            v4(PROTO_ICMP, OUTSIDE, shared, &[0, 0, 0, 0, 7, 208, 0, 1]),
            Some(2),
        ),
        (v4(47, OUTSIDE, shared, &[0; 8]), None),
        (v4(47, OUTSIDE, own, &[0; 8]), Some(3)),
        (v4(PROTO_TCP, OUTSIDE, OUTSIDE, &ports(80, 1_000)), None),
        (v6("2001:db8::3", &ports(80, 9)), Some(4)),
        (v6("2001:db8::4", &ports(80, 9)), None),
    ] {
        assert_eq!(to_mac(&packet), guest, "{packet:02x?}");
    }
}

#[test]
fn an_icmp_error_goes_to_the_guest_whose_packet_it_quotes() {
    let shared = [198, 51, 100, 1];
    let quoted = v4(PROTO_UDP, shared, OUTSIDE, &[0x07, 0xd0, 0x00, 0x35]);
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0], &quoted[..]].concat();
    assert_eq!(to_mac(&v4(PROTO_ICMP, OUTSIDE, shared, &error)), Some(2));
}

#[test]
fn what_goes_in_says_that_it_comes_from_outside() {
    let packet = v4(PROTO_TCP, OUTSIDE, [198, 51, 100, 1], &[0, 80, 0x03, 0xe8]);
    let datagram = encapsulate(&packet, &table()[0]);
    let geneve = Geneve::parse(&datagram).unwrap();
    assert_eq!((geneve.vni, geneve.external), (7, true));
    assert_eq!(geneve.inner[..6], GUEST_MAC);
    assert_eq!(geneve.inner[6..12], BOUNDARY_MAC);
    assert_eq!(geneve.inner[12..14], [0x08, 0x00]);
    assert_eq!(geneve.inner[14..], packet);
}

#[test]
fn what_goes_out_keeps_to_the_rules() {
    let table = table();
    let packet = v4(PROTO_TCP, [198, 51, 100, 1], OUTSIDE, &[0x03, 0xe8, 0, 80]);
    let datagram = |vni, external, mac: [u8; 6], ethertype: [u8; 2], packet: &[u8]| {
        let inner = [&mac[..], &GUEST_MAC, &ethertype, packet].concat();
        Geneve {
            vni,
            external,
            inner: &inner,
        }
        .emit()
    };
    let good = datagram(99, false, BOUNDARY_MAC, [0x08, 0x00], &packet);
    assert_eq!(decapsulate(&good, &table), Some(&packet[..]));

    let internal = v4(PROTO_TCP, [10, 0, 0, 1], OUTSIDE, &[0x03, 0xe8, 0, 80]);
    for bad in [
        datagram(98, false, BOUNDARY_MAC, [0x08, 0x00], &packet),
        datagram(99, true, BOUNDARY_MAC, [0x08, 0x00], &packet),
        datagram(99, false, GUEST_MAC, [0x08, 0x00], &packet),
        datagram(99, false, BOUNDARY_MAC, [0x86, 0xdd], &packet),
        datagram(99, false, BOUNDARY_MAC, [0x08, 0x00], &internal),
    ] {
        assert_eq!(decapsulate(&bad, &table), None);
    }
    for len in 0..good.len() - packet.len() + 20 {
        assert_eq!(decapsulate(&good[..len], &table), None, "{len} bytes");
    }
}

#[test]
fn what_is_of_the_link_stays_there() {
    let from = |source: &str, destination: &str| {
        let mut packet = v6(destination, &[]);
        packet[8..24].copy_from_slice(&source.parse::<Ipv6Addr>().unwrap().octets());
        is_link_scope(&packet)
    };
    assert!(!from("2001:db8::10", "2001:db8::3"));
    for (source, destination) in [
        ("2001:db8::10", "ff02::2"),
        ("2001:db8::10", "fe80::1"),
        // A redirect about another's packet.
        ("fe80::1", "2001:db8::3"),
    ] {
        assert!(from(source, destination), "{source} {destination}");
    }
}
