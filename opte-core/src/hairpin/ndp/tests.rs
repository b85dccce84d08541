//! Neighbour and router solicitations, and the answers to them.

use super::super::testing::*;
use super::super::{Config, advertisement, outbound};
use super::*;
use crate::api::{Advertise, AdvertisedPrefix, Prefix};
use std::string::ToString;

fn payload(ends: &Ends, message: &Message, options: &[Opt<'_>]) -> Vec<u8> {
    let mut out = Writer::default();
    message.emit(ends, options, &mut out);
    out.into_bytes()
}

/// A message from the guest, to where its destination says.
fn framed(ends: Ends, message: &Message, options: &[Opt<'_>]) -> Vec<u8> {
    let payload = payload(&ends, message, options);
    let destination = ends.destination();
    let mac = if destination.is_multicast() {
        MacAddr::of_group(destination)
    } else {
        GATEWAY_MAC
    };
    from_guest(mac, &datagram(ends, Proto::ICMPV6, 255, &payload))
}

fn solicit(source: Ipv6Addr, destination: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let mac = [Opt::SourceLinkAddr(MAC)];
    let options = if source.is_unspecified() {
        &[][..]
    } else {
        &mac
    };
    let message = Message::NeighbourSolicitation { target };
    framed(ends(source, destination), &message, options)
}

/// The message in a reply, its addresses and options.
fn read(reply: &[u8]) -> (MacAddr, Ends, Message, Vec<Opt<'_>>) {
    let (ethernet, datagram) = split(reply);
    assert_eq!((datagram.hop_limit, datagram.traffic_class), (255, 0));
    let (message, options) = Message::parse(&datagram).unwrap();
    (
        ethernet.destination,
        datagram.ends,
        message,
        options.iter().collect(),
    )
}

#[test]
fn a_solicitation_for_the_gateway_is_answered() {
    for target in [GATEWAY6, gateway_local()] {
        for source in [IP6, LOCAL6] {
            for destination in [target, ipv6::solicited_node(target)] {
                let reply = reply(&config(), &solicit(source, destination, target));
                let (mac, found, message, options) = read(&reply);
                assert_eq!(mac, MAC);
                assert_eq!(found, ends(target, source));
                assert_eq!(
                    message,
                    Message::NeighbourAdvertisement {
                        target,
                        router: true,
                        solicited: true,
                        overrides: true,
                    }
                );
                assert_eq!(options, [Opt::TargetLinkAddr(GATEWAY_MAC)]);
            }
        }
    }
}

#[test]
fn a_probe_for_the_gateways_address_is_answered_to_all() {
    let none = Ipv6Addr::UNSPECIFIED;
    for target in [GATEWAY6, gateway_local()] {
        let reply = reply(
            &config(),
            &solicit(none, ipv6::solicited_node(target), target),
        );
        let (mac, found, message, options) = read(&reply);
        assert_eq!(mac.to_string(), "33:33:00:00:00:01");
        assert_eq!(found, ends(target, ipv6::ALL_NODES));
        assert_eq!(
            message,
            Message::NeighbourAdvertisement {
                target,
                router: true,
                solicited: false,
                overrides: true,
            }
        );
        assert_eq!(options, [Opt::TargetLinkAddr(GATEWAY_MAC)]);
    }
}

#[test]
fn the_guests_own_addresses_meet_no_objection() {
    let none = Ipv6Addr::UNSPECIFIED;
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    for target in [IP6, LOCAL6, other] {
        let group = ipv6::solicited_node(target);
        for frame in [
            solicit(none, group, target),
            solicit(IP6, group, target),
            solicit(IP6, target, target),
        ] {
            assert_eq!(refused(&config(), &frame), DropReason::NdpNotAnswered);
        }
    }
    // The gateway's, asked of somebody else.
    let frame = solicit(IP6, other, GATEWAY6);
    assert_eq!(refused(&config(), &frame), DropReason::NdpNotAnswered);
}

#[test]
fn messages_that_guests_have_no_business_to_send_are_not_answered() {
    let all = ipv6::ALL_NODES;
    let advertisement = Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit: 0,
        managed: false,
        other: false,
        lifetime_s: 1,
        reachable_ms: 0,
        retransmit_ms: 0,
    });
    let announcement = |target| Message::NeighbourAdvertisement {
        target,
        router: false,
        solicited: false,
        overrides: true,
    };
    for (ends, message) in [
        (ends(LOCAL6, all), advertisement),
        (ends(LOCAL6, all), announcement(LOCAL6)),
        (ends(IP6, all), announcement(GATEWAY6)),
        (ends(IP6, GATEWAY6), announcement(IP6)),
        (
            ends(IP6, "fd00::9".parse::<Ipv6Addr>().unwrap()),
            announcement(IP6),
        ),
        (ends(LOCAL6, all), Message::RouterSolicitation),
    ] {
        let frame = framed(ends, &message, &[]);
        assert_eq!(
            refused(&config(), &frame),
            DropReason::NdpNotAnswered,
            "{ends:?} {message:?}"
        );
    }
    // A redirect.
    let ends = ends(LOCAL6, all);
    let mut out = Writer::default();
    crate::wire::icmp::Message::Other {
        kind: 137,
        code: 0,
        body: &[0; 36],
    }
    .emit(&ends, &mut out);
    let mac = MacAddr::of_group(all.into());
    let frame = from_guest(mac, &datagram(ends, Proto::ICMPV6, 255, out.bytes()));
    assert_eq!(refused(&config(), &frame), DropReason::BadNdp);
}

/// Checks every field of the advertisement of [`config`].
fn check_advertisement(frame: &[u8], mac: MacAddr, destination: Ipv6Addr) {
    let (found_mac, found, message, options) = read(frame);
    assert_eq!(found_mac, mac);
    assert_eq!(found, ends(gateway_local(), destination));
    assert_eq!(
        message,
        Message::RouterAdvertisement(RouterAdvertisement {
            hop_limit: 64,
            managed: true,
            other: true,
            lifetime_s: 1_800,
            reachable_ms: 0,
            retransmit_ms: 0,
        })
    );
    let [lladdr, mtu, rdnss, dnssl] = &options[..] else {
        panic!("{options:?}")
    };
    assert_eq!(*lladdr, Opt::SourceLinkAddr(GATEWAY_MAC));
    assert_eq!(*mtu, Opt::Mtu(1_500));
    let Opt::Rdnss {
        lifetime_s: 1_800,
        servers,
    } = rdnss
    else {
        panic!("{rdnss:?}")
    };
    assert_eq!(servers.iter().collect::<Vec<_>>(), config().dhcp.dns6);
    let Opt::Dnssl {
        lifetime_s: 1_800,
        names,
    } = dnssl
    else {
        panic!("{dnssl:?}")
    };
    assert!(names.starts_with(b"\x03vpc\x07example\x03com\0\x07example\x03com\0"));
}

#[test]
fn a_router_solicitation_is_answered() {
    let rs = Message::RouterSolicitation;
    for source in [LOCAL6, IP6] {
        for destination in [ipv6::ALL_ROUTERS, gateway_local()] {
            let frame = framed(ends(source, destination), &rs, &[Opt::SourceLinkAddr(MAC)]);
            check_advertisement(&reply(&config(), &frame), MAC, source);
        }
    }
    let frame = framed(ends(Ipv6Addr::UNSPECIFIED, ipv6::ALL_ROUTERS), &rs, &[]);
    let all = ipv6::ALL_NODES;
    check_advertisement(
        &reply(&config(), &frame),
        MacAddr::of_group(all.into()),
        all,
    );
}

#[test]
fn an_advertisement_goes_to_all_from_time_to_time() {
    let all = ipv6::ALL_NODES;
    let frame = advertisement(&config()).unwrap();
    check_reply(&config(), &frame);
    check_advertisement(&frame, MacAddr::of_group(all.into()), all);
}

const PREFIX: AdvertisedPrefix = AdvertisedPrefix {
    prefix: match Prefix::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0)), 64) {
        Ok(prefix) => prefix,
        Err(_) => unreachable!(),
    },
    on_link: true,
    autonomous: true,
    valid_s: 7_200,
    preferred_s: 3_600,
};

#[test]
fn an_advertisement_says_what_is_configured() {
    let config = Config {
        advertise: Advertise {
            managed: false,
            other: false,
            interval_s: 60,
            lifetime_s: Some(0),
            prefix: Some(PREFIX),
        },
        ..config()
    };
    let frame = advertisement(&config).unwrap();
    let (_, _, message, options) = read(&frame);
    let Message::RouterAdvertisement(advertisement) = message else {
        panic!("{message:?}")
    };
    assert!(!advertisement.managed && !advertisement.other);
    assert_eq!(advertisement.lifetime_s, 0);
    let expected = PrefixOption {
        prefix: "fd00::".parse().unwrap(),
        bits: 64,
        on_link: true,
        autonomous: true,
        valid_s: 7_200,
        preferred_s: 3_600,
    };
    assert_eq!(options[2], Opt::Prefix(expected));
    assert!(matches!(
        options[3],
        Opt::Rdnss {
            lifetime_s: 180,
            ..
        }
    ));
    assert!(matches!(
        options[4],
        Opt::Dnssl {
            lifetime_s: 180,
            ..
        }
    ));
}

#[test]
fn the_gateway_stands_in_for_neighbours_on_the_link() {
    let with = |on_link: bool| Config {
        advertise: Advertise {
            prefix: Some(AdvertisedPrefix { on_link, ..PREFIX }),
            ..Advertise::default()
        },
        sources: std::vec!["fd00::7:0/112".parse().unwrap()],
        ..config()
    };
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    let group = ipv6::solicited_node(other);
    let frame = solicit(IP6, group, other);
    let reply = reply(&with(true), &frame);
    let (mac, found, message, options) = read(&reply);
    assert_eq!(mac, MAC);
    assert_eq!(found, ends(gateway_local(), IP6));
    assert_eq!(
        message,
        Message::NeighbourAdvertisement {
            target: other,
            router: true,
            solicited: true,
            overrides: false,
        }
    );
    assert_eq!(options, [Opt::TargetLinkAddr(GATEWAY_MAC)]);
    assert_eq!(refused(&with(false), &frame), DropReason::NdpNotAnswered);
    // Nobody's, the guest's own, and all that it asks for before it has them.
    let none = Ipv6Addr::UNSPECIFIED;
    for (source, target) in [
        (IP6, "fd00:0:0:1::9"),
        (IP6, "fe80::9"),
        (IP6, "fd00::5"),
        (IP6, "fd00::7:1"),
        (LOCAL6, "fe80::1:2:3:4"),
        (none, "fd00::5"),
        (none, "fd00::7:1"),
        (none, "fd00::9"),
    ] {
        let target: Ipv6Addr = target.parse().unwrap();
        let frame = solicit(source, ipv6::solicited_node(target), target);
        let reason = refused(&with(true), &frame);
        assert_eq!(reason, DropReason::NdpNotAnswered, "{source} {target}");
    }
}

#[test]
fn an_advertisement_says_only_what_is_known() {
    let config = Config {
        mtu: 1_279,
        dhcp: DhcpOptions::default(),
        ..config()
    };
    let frame = advertisement(&config).unwrap();
    let (_, _, _, options) = read(&frame);
    assert_eq!(options, [Opt::SourceLinkAddr(GATEWAY_MAC)]);
}

#[test]
fn an_advertisement_always_fits() {
    let label = "x".repeat(63);
    let name = [&label[..], &label, &label, &label[..61]].join(".");
    let config = Config {
        mtu: PORT_MTU_V6_MIN,
        advertise: Advertise {
            prefix: Some(PREFIX),
            ..Advertise::default()
        },
        dhcp: DhcpOptions {
            search: std::vec![name; DHCP_LIST_MAX + 1],
            dns6: std::vec![IP6; DHCP_LIST_MAX + 1],
            ..DhcpOptions::default()
        },
        ..config()
    };
    let frame = advertisement(&config).unwrap();
    assert!(frame.len() <= 14 + 1_280, "{}", frame.len());
    let (_, _, _, options) = read(&frame);
    let Opt::Rdnss { servers, .. } = options[3] else {
        panic!("{options:?}")
    };
    assert_eq!(servers.iter().count(), DHCP_LIST_MAX);
    let Opt::Dnssl { names, .. } = options[4] else {
        panic!("{options:?}")
    };
    assert_eq!(names.len(), 4 * 255 + 4);
}

#[test]
fn what_receipt_demands_is_demanded() {
    let ends = ends(IP6, GATEWAY6);
    let message = Message::NeighbourSolicitation { target: GATEWAY6 };
    let good = payload(&ends, &message, &[Opt::SourceLinkAddr(MAC)]);
    let sent = |proto, hop_limit, payload: &[u8]| {
        let frame = from_guest(GATEWAY_MAC, &datagram(ends, proto, hop_limit, payload));
        outbound(&config(), &frame).map(|reply| reply.is_some())
    };
    let icmp = Proto::ICMPV6;
    assert_eq!(sent(icmp, 255, &good), Ok(true));
    assert_eq!(sent(icmp, 254, &good), Err(DropReason::BadNdp));
    let with = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        sent(icmp, 255, &bad)
    };
    assert_eq!(with(1, 1), Err(DropReason::BadNdp));
    assert_eq!(with(2, good[2] ^ 1), Err(DropReason::BadChecksum));
    for len in 1..good.len() {
        // Cut and summed again.
        let mut out = Writer::default();
        out.put(&good[..len]);
        if len >= 4 {
            crate::wire::icmp::seal(&ends, 0, &mut out);
        }
        let expected = if len == 24 {
            Ok(true)
        } else {
            Err(DropReason::BadNdp)
        };
        assert_eq!(sent(icmp, 255, out.bytes()), expected, "{len}");
    }
    // Behind a fragment header for nothing, and behind options.
    let atomic = [&[58, 0, 0, 0, 0, 0, 0, 1][..], &good].concat();
    assert_eq!(sent(Proto(44), 255, &atomic), Err(DropReason::BadNdp));
    let options = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &good].concat();
    assert_eq!(sent(Proto(60), 255, &options), Ok(true));
    assert_eq!(sent(Proto(60), 64, &options), Err(DropReason::BadNdp));
}

#[test]
fn senders_are_checked() {
    let other: Ipv6Addr = "fd00::9".parse().unwrap();
    let group = ipv6::solicited_node(GATEWAY6);
    for source in [other, gateway_local(), GATEWAY6] {
        let frame = solicit(source, group, GATEWAY6);
        assert_eq!(refused(&config(), &frame), DropReason::SpoofedIp);
    }
    let mut frame = solicit(IP6, group, GATEWAY6);
    frame[0] = 0x35;
    assert_eq!(refused(&config(), &frame), DropReason::BadDestinationMac);
    let mut frame = solicit(IP6, group, GATEWAY6);
    frame[11] ^= 1;
    assert_eq!(refused(&config(), &frame), DropReason::SpoofedMac);
    let only4 = Config {
        ipv6: None,
        ..config()
    };
    let frame = solicit(IP6, group, GATEWAY6);
    assert_eq!(refused(&only4, &frame), DropReason::FamilyOff);
}

#[test]
fn anything_may_come() {
    survives(&solicit(IP6, ipv6::solicited_node(GATEWAY6), GATEWAY6));
    survives(&framed(
        ends(LOCAL6, ipv6::ALL_ROUTERS),
        &Message::RouterSolicitation,
        &[Opt::SourceLinkAddr(MAC), Opt::Mtu(9)],
    ));
}
