//! What holds for all services: whose a frame is, and from whom it may come.

use super::testing::*;
use super::*;
use crate::wire::icmp::{Echo, Message};
use crate::wire::udp;

fn ping(ends: &Ends) -> Vec<u8> {
    let mut out = Writer::default();
    Message::EchoRequest(Echo {
        identifier: 1,
        sequence: 2,
        data: b"x",
    })
    .emit(ends, &mut out);
    out.into_bytes()
}

/// A ping from the guest.
fn ping_frame(mac: MacAddr, ends: Ends) -> Vec<u8> {
    let payload = ping(&ends);
    let proto = crate::wire::icmp::proto(ends.family());
    from_guest(mac, &datagram(ends, proto, 64, &payload))
}

fn udp_frame(mac: MacAddr, ends: Ends, port: u16) -> Vec<u8> {
    let mut out = Writer::default();
    udp::emit(&ends, 1_000, port, b"data", &mut out);
    from_guest(mac, &datagram(ends, Proto::UDP, 64, out.bytes()))
}

#[test]
fn what_is_for_others_is_left_to_the_layers() {
    let config = config();
    let other4 = Ipv4Addr::new(10, 0, 0, 9);
    let other6: Ipv6Addr = "fd00::9".parse().unwrap();
    let group: Ipv6Addr = "ff0e::1".parse().unwrap();
    let frames = [
        ping_frame(GATEWAY_MAC, ends(IP4, other4)),
        ping_frame(GATEWAY_MAC, ends(IP6, other6)),
        ping_frame(MacAddr::of_group(group.into()), ends(IP6, group)),
        udp_frame(GATEWAY_MAC, ends(IP4, other4), 67),
        udp_frame(MacAddr::BROADCAST, ends(IP4, Ipv4Addr::BROADCAST), 68),
        udp_frame(GATEWAY_MAC, ends(IP6, other6), 67),
        // Spoofed, which isn't for us to say here.
        ping_frame(GATEWAY_MAC, ends(other4, other4)),
    ];
    for frame in frames {
        assert_eq!(outbound(&config, &frame), Ok(None));
    }
    let mut tagged = ping_frame(GATEWAY_MAC, ends(IP4, GATEWAY4));
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(outbound(&config, &tagged), Ok(None));
}

#[test]
fn headers_are_enough_to_leave_a_frame_to_the_layers() {
    let config = config();
    for ends in [
        ends(IP4, Ipv4Addr::new(1, 1, 1, 1)),
        ends(IP6, "fd00::9".parse::<Ipv6Addr>().unwrap()),
    ] {
        let frame = udp_frame(GATEWAY_MAC, ends, 53);
        let head = &frame[..frame.len() - 4];
        assert_eq!(outbound(&config, head), Ok(None));
    }
}

#[test]
fn listener_reports_are_left_to_the_layers() {
    let config = config();
    let group: Ipv6Addr = "ff02::16".parse().unwrap();
    let ends = ends(LOCAL6, group);
    let mut out = Writer::default();
    Message::Other {
        kind: 143,
        code: 0,
        body: &[0; 4],
    }
    .emit(&ends, &mut out);
    let mac = MacAddr::of_group(group.into());
    let frame = from_guest(mac, &datagram(ends, Proto::ICMPV6, 1, out.bytes()));
    assert_eq!(outbound(&config, &frame), Ok(None));
}

#[test]
fn services_that_the_gateway_has_not_are_refused() {
    let config = config();
    for ends in [
        ends(IP4, GATEWAY4),
        ends(IP6, GATEWAY6),
        ends(LOCAL6, gateway_local()),
    ] {
        let frame = udp_frame(GATEWAY_MAC, ends, 53);
        assert_eq!(refused(&config, &frame), DropReason::GatewayNotAnswered);
        let frame = from_guest(GATEWAY_MAC, &datagram(ends, Proto::TCP, 64, &[0; 20]));
        assert_eq!(refused(&config, &frame), DropReason::GatewayNotAnswered);
    }
    let crossed = from_guest(
        GATEWAY_MAC,
        &datagram(ends(IP6, GATEWAY6), Proto::ICMP, 64, &[8; 8]),
    );
    assert_eq!(refused(&config, &crossed), DropReason::GatewayNotAnswered);
}

#[test]
fn addresses_are_checked() {
    let config = config();
    let good = ping_frame(GATEWAY_MAC, ends(IP4, GATEWAY4));
    let mut spoofed = good.clone();
    spoofed[11] ^= 1;
    assert_eq!(refused(&config, &spoofed), DropReason::SpoofedMac);
    for mac in [MacAddr::BROADCAST, MAC, MacAddr::ZERO] {
        let frame = ping_frame(mac, ends(IP4, GATEWAY4));
        assert_eq!(refused(&config, &frame), DropReason::BadDestinationMac);
    }
    let spoofed = [
        ends(Ipv4Addr::new(10, 0, 0, 6), GATEWAY4),
        ends(GATEWAY4, GATEWAY4),
        ends(Ipv4Addr::UNSPECIFIED, GATEWAY4),
        ends(Ipv4Addr::BROADCAST, GATEWAY4),
        ends(Ipv4Addr::new(192, 168, 8, 1), GATEWAY4),
        ends("fd00::6".parse::<Ipv6Addr>().unwrap(), GATEWAY6),
        ends(gateway_local(), GATEWAY6),
        ends(Ipv6Addr::UNSPECIFIED, GATEWAY6),
        ends("fe80:1::1".parse::<Ipv6Addr>().unwrap(), GATEWAY6),
        ends("ff02::1".parse::<Ipv6Addr>().unwrap(), GATEWAY6),
    ];
    for ends in spoofed {
        let frame = ping_frame(GATEWAY_MAC, ends);
        assert_eq!(refused(&config, &frame), DropReason::SpoofedIp, "{ends:?}");
        let frame = udp_frame(GATEWAY_MAC, ends, 53);
        assert_eq!(refused(&config, &frame), DropReason::SpoofedIp, "{ends:?}");
    }
    for ends in [
        ends(Ipv4Addr::new(192, 168, 7, 200), GATEWAY4),
        ends("fd77::1".parse::<Ipv6Addr>().unwrap(), GATEWAY6),
        ends(LOCAL6, GATEWAY6),
    ] {
        reply(&config, &ping_frame(GATEWAY_MAC, ends));
    }
}

#[test]
fn a_wide_transit_prefix_lets_no_group_be_a_source() {
    let config = Config {
        sources: std::vec![Prefix::V4_ANY, Prefix::V6_ANY],
        ..config()
    };
    reply(
        &config,
        &ping_frame(GATEWAY_MAC, ends(Ipv4Addr::new(1, 2, 3, 4), GATEWAY4)),
    );
    for source in [
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::UNSPECIFIED,
        GATEWAY4,
    ] {
        let frame = ping_frame(GATEWAY_MAC, ends(source, GATEWAY4));
        assert_eq!(refused(&config, &frame), DropReason::SpoofedIp, "{source}");
    }
}

#[test]
fn fragments_to_the_gateway_are_refused() {
    let config = config();
    // IPv4: more fragments, then a later one; the header's sum moves along.
    for flags in [[0x20, 0], [0, 2]] {
        let payload = [8; 16];
        let mut frame = from_guest(
            GATEWAY_MAC,
            &datagram(ends(IP4, GATEWAY4), Proto::ICMP, 64, &payload),
        );
        frame[20..22].copy_from_slice(&flags);
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = crate::wire::checksum::Sum::ZERO.bytes(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.checksum().to_be_bytes());
        assert_eq!(refused(&config, &frame), DropReason::Fragment);
    }
    for offset in [1, 8] {
        let payload = [&[58, 0, 0, offset, 0, 0, 0, 1][..], &[128; 16]].concat();
        let frame = from_guest(
            GATEWAY_MAC,
            &datagram(ends(IP6, GATEWAY6), Proto(44), 64, &payload),
        );
        assert_eq!(refused(&config, &frame), DropReason::Fragment);
    }
}

#[test]
fn a_later_fragment_has_no_header_to_be_known_by() {
    let config = config();
    // What would be a neighbour solicitation, and the port of a DHCP server.
    let payload = [&[58, 0, 0, 8, 0, 0, 0, 1][..], &[135; 24]].concat();
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    let frame = from_guest(
        GATEWAY_MAC,
        &datagram(ends(IP6, other), Proto(44), 255, &payload),
    );
    assert_eq!(outbound(&config, &frame), Ok(None));
    let mut frame = udp_frame(MacAddr::BROADCAST, ends(IP4, Ipv4Addr::BROADCAST), 67);
    frame[21] = 2;
    assert_eq!(outbound(&config, &frame), Ok(None));
}

#[test]
fn an_atomic_fragment_is_a_packet() {
    let ends = ends(IP6, GATEWAY6);
    let payload = [&[58, 0, 0, 0, 0, 0, 0, 1][..], &ping(&ends)].concat();
    let frame = from_guest(GATEWAY_MAC, &datagram(ends, Proto(44), 64, &payload));
    let reply = reply(&config(), &frame);
    assert_eq!(split(&reply).1.fragment, None);
}

#[test]
fn malformed_packets_have_their_reasons() {
    let config = config();
    let good4 = ping_frame(GATEWAY_MAC, ends(IP4, GATEWAY4));
    let good6 = ping_frame(GATEWAY_MAC, ends(IP6, GATEWAY6));
    let with = |frame: &[u8], at: usize, value: u8| {
        let mut frame = frame.to_vec();
        frame[at] = value;
        refused(&config, &frame)
    };
    assert_eq!(with(&good4, 14, 0x55), DropReason::BadIp);
    assert_eq!(with(&good4, 14, 0x42), DropReason::BadIp);
    assert_eq!(with(&good4, 17, 99), DropReason::Truncated);
    assert_eq!(with(&good4, 22, 9), DropReason::BadChecksum);
    assert_eq!(with(&good6, 14, 0x40), DropReason::BadIp);
    assert_eq!(with(&good6, 19, 99), DropReason::Truncated);
    // The ICMP type becomes the next header of a header that isn't there.
    assert_eq!(with(&good6, 20, 43), DropReason::BadExtension);
    assert_eq!(refused(&config, &good4[..13]), DropReason::Truncated);
    assert_eq!(refused(&config, &[]), DropReason::Truncated);
}

#[test]
fn a_port_of_one_family_has_one_gateway() {
    let only6 = Config {
        ipv4: None,
        ..config()
    };
    let only4 = Config {
        ipv6: None,
        ..config()
    };
    let ping4 = ping_frame(GATEWAY_MAC, ends(IP4, GATEWAY4));
    let ping6 = ping_frame(GATEWAY_MAC, ends(LOCAL6, gateway_local()));
    let groups = MacAddr::of_group(ipv6::ALL_NODES.into());
    assert_eq!(outbound(&only6, &ping4), Ok(None));
    assert_eq!(outbound(&only4, &ping6), Ok(None));
    assert_eq!(
        outbound(&only4, &ping_frame(groups, ends(LOCAL6, ipv6::ALL_NODES))),
        Ok(None)
    );
    reply(&only6, &ping6);
    reply(&only4, &ping4);
    assert_eq!(advertisement(&only4), None);
}
