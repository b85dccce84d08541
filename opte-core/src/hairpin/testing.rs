//! A guest and its gateway, for the tests of every service.

use super::*;
use crate::wire::testing::survives_anything;
use std::string::ToString;
use std::vec;

pub(super) const MAC: MacAddr = MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]);
pub(super) const GATEWAY_MAC: MacAddr = MacAddr::GATEWAY;
pub(super) const IP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
pub(super) const GATEWAY4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(super) const IP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);
pub(super) const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
/// The guest's link-local address, not made of its MAC address.
pub(super) const LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4);

pub(super) fn config() -> Config {
    Config {
        mac: MAC,
        gateway_mac: GATEWAY_MAC,
        ipv4: Some(Ipv4Config {
            address: IP4,
            gateway: GATEWAY4,
        }),
        ipv6: Some(Ipv6Config {
            address: IP6,
            gateway: GATEWAY6,
        }),
        sources: vec![
            "192.168.7.0/24".parse().unwrap(),
            "fd77::/64".parse().unwrap(),
        ],
        mtu: 1_500,
        dhcp: DhcpOptions {
            hostname: Some("guest".to_string()),
            domain: Some("vpc.example.com.".to_string()),
            search: vec!["vpc.example.com".to_string(), "example.com".to_string()],
            dns4: vec![Ipv4Addr::new(9, 9, 9, 9), Ipv4Addr::new(8, 8, 8, 8)],
            dns6: vec![
                "2620:fe::fe".parse().unwrap(),
                "2620:fe::9".parse().unwrap(),
            ],
            ntp4: vec![Ipv4Addr::new(10, 9, 9, 9)],
            ntp6: vec![],
            lease_s: Some(3_600),
        },
        advertise: Advertise::default(),
    }
}

/// The gateway's link-local address.
pub(super) fn gateway_local() -> Ipv6Addr {
    GATEWAY_MAC.link_local()
}

/// Addresses of a packet, of the family that both have.
pub(super) fn ends(source: impl Into<IpAddr>, destination: impl Into<IpAddr>) -> Ends {
    match (source.into(), destination.into()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ends::V4 {
            source,
            destination,
        },
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ends::V6 {
            source,
            destination,
        },
        _ => panic!("one family"),
    }
}

/// A frame from the guest to `destination`.
pub(super) fn from_guest(destination: MacAddr, datagram: &Datagram<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    ethernet::Header {
        destination,
        source: MAC,
        ethertype: datagram.ethertype(),
    }
    .emit(&mut out);
    datagram.emit(&mut out);
    out.into_bytes()
}

/// A datagram from the guest.
pub(super) fn datagram(ends: Ends, proto: Proto, hop_limit: u8, payload: &[u8]) -> Datagram<'_> {
    Datagram {
        ends,
        proto,
        hop_limit,
        traffic_class: 0,
        fragment: None,
        payload,
    }
}

/// The reply to a frame that has to get one, after what holds for every reply
/// has been checked: who it is from and for, and its length.
pub(super) fn reply(config: &Config, frame: &[u8]) -> Vec<u8> {
    let reply = outbound(config, frame).unwrap().unwrap().frame;
    check_reply(config, &reply);
    reply
}

/// Why a frame is dropped.
pub(super) fn refused(config: &Config, frame: &[u8]) -> DropReason {
    outbound(config, frame).unwrap_err()
}

pub(super) fn check_reply(config: &Config, reply: &[u8]) {
    let (ethernet, rest) = ethernet::Header::parse(reply).unwrap();
    assert_eq!(ethernet.source, config.gateway_mac);
    assert!(ethernet.destination == config.mac || ethernet.destination.is_multicast());
    assert!(rest.len() <= usize::from(config.mtu));
    if ethernet.ethertype == EtherType::ARP {
        return;
    }
    let datagram = Datagram::parse(ethernet.ethertype, rest).unwrap();
    let headers = match datagram.ends {
        Ends::V4 { .. } => ipv4::HEADER_LEN,
        Ends::V6 { .. } => ipv6::HEADER_LEN,
    };
    assert_eq!(headers + datagram.payload.len(), rest.len());
    let is_right = match datagram.proto {
        Proto::UDP => {
            let pseudo = datagram
                .ends
                .pseudo_header(Proto::UDP, datagram.payload.len());
            pseudo.bytes(datagram.payload).is_valid()
        }
        _ => crate::wire::icmp::checksum_is_right(&datagram.ends, datagram.payload),
    };
    assert!(is_right);
    assert!(config.has_gateway(datagram.ends.source()));
}

/// Splits a reply into its Ethernet header and its datagram.
pub(super) fn split(reply: &[u8]) -> (ethernet::Header, Datagram<'_>) {
    let (ethernet, rest) = ethernet::Header::parse(reply).unwrap();
    let datagram = Datagram::parse(ethernet.ethertype, rest).unwrap();
    (ethernet, datagram)
}

/// `good` is answered; cut anywhere it isn't; with random bytes in it there is
/// no panic, and a reply is a good one.
pub(super) fn survives(good: &[u8]) {
    let config = config();
    reply(&config, good);
    for len in 0..good.len() {
        let cut = outbound(&config, &good[..len]);
        assert!(!matches!(cut, Ok(Some(_))), "the first {len} bytes");
    }
    survives_anything(good, |frame| {
        if let Ok(Some(reply)) = outbound(&config, frame) {
            check_reply(&config, &reply.frame);
        }
    });
}
