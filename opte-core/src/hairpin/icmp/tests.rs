//! Echo requests of both families to the gateway.

use super::super::testing::*;
use super::*;
use crate::flow::Proto;
use crate::wire::icmp::{Echo, Failure, proto};
use crate::wire::{MacAddr, ipv6};

const ECHO: Echo<'static> = Echo {
    identifier: 0x1234,
    sequence: 0x5678,
    data: b"some odd payload.",
};

/// A message from the guest.
fn framed(mac: MacAddr, ends: Ends, message: &Message<'_>) -> Vec<u8> {
    let mut out = Writer::default();
    message.emit(&ends, &mut out);
    let request = Datagram {
        traffic_class: 0xbb,
        ..datagram(ends, proto(ends.family()), 3, out.bytes())
    };
    from_guest(mac, &request)
}

#[test]
fn a_ping_comes_back() {
    for ends in [
        ends(IP4, GATEWAY4),
        ends(IP6, GATEWAY6),
        ends(IP6, gateway_local()),
        ends(LOCAL6, gateway_local()),
        ends(LOCAL6, GATEWAY6),
    ] {
        let bytes = reply(
            &config(),
            &framed(GATEWAY_MAC, ends, &Message::EchoRequest(ECHO)),
        );
        let (ethernet, datagram) = split(&bytes);
        assert_eq!(ethernet.destination, MAC);
        assert_eq!(datagram.ends, ends.reverse());
        assert_eq!(datagram.proto, proto(ends.family()));
        assert_eq!((datagram.hop_limit, datagram.traffic_class), (64, 0xb8));
        assert_eq!(
            Message::parse(&datagram.ends, datagram.payload),
            Ok(Message::EchoReply(ECHO))
        );
    }
}

#[test]
fn an_empty_and_a_large_ping_come_back() {
    for len in [0, 1_472] {
        let data = std::vec![0xa5; len];
        let echo = Echo {
            data: &data,
            ..ECHO
        };
        let ends = ends(IP4, GATEWAY4);
        let frame = framed(GATEWAY_MAC, ends, &Message::EchoRequest(echo));
        let reply = reply(&config(), &frame);
        assert_eq!(reply.len(), frame.len());
        assert_eq!(reply[42..], data);
    }
}

#[test]
fn a_ping_to_the_link_is_answered_from_the_link() {
    for group in [ipv6::ALL_NODES, ipv6::ALL_ROUTERS] {
        let mac = MacAddr::of_group(group.into());
        let frame = framed(mac, ends(LOCAL6, group), &Message::EchoRequest(ECHO));
        let reply = reply(&config(), &frame);
        let (ethernet, datagram) = split(&reply);
        assert_eq!(ethernet.destination, MAC);
        assert_eq!(datagram.ends, ends(gateway_local(), LOCAL6));
    }
}

#[test]
fn other_messages_are_not_answered() {
    let failure = Failure::Unreachable { code: 3 };
    for ends in [ends(IP4, GATEWAY4), ends(IP6, GATEWAY6)] {
        for message in [
            Message::EchoReply(ECHO),
            Message::Error {
                failure,
                quote: &[0; 28],
            },
            Message::Other {
                kind: 200,
                code: 0,
                body: &[0; 16],
            },
        ] {
            let frame = framed(GATEWAY_MAC, ends, &message);
            assert_eq!(refused(&config(), &frame), DropReason::IcmpNotAnswered);
        }
    }
}

#[test]
fn damaged_pings_are_refused() {
    for (ends, start) in [(ends(IP4, GATEWAY4), 34), (ends(IP6, GATEWAY6), 54)] {
        let good = framed(GATEWAY_MAC, ends, &Message::EchoRequest(ECHO));
        survives(&good);
        let mut bad = good.clone();
        bad[start + 9] ^= 1;
        assert_eq!(refused(&config(), &bad), DropReason::BadChecksum);
        bad = good.clone();
        bad[start + 1] = 1;
        assert_eq!(refused(&config(), &bad), DropReason::BadTransport);
        let short = from_guest(
            GATEWAY_MAC,
            &datagram(ends, proto(ends.family()), 64, &good[start..start + 7]),
        );
        assert_eq!(refused(&config(), &short), DropReason::Truncated);
    }
}

#[test]
fn the_other_familys_ping_is_none() {
    let ends = ends(IP4, GATEWAY4);
    let mut out = Writer::default();
    Message::EchoRequest(ECHO).emit(&ends, &mut out);
    let frame = from_guest(GATEWAY_MAC, &datagram(ends, Proto::ICMPV6, 64, out.bytes()));
    assert_eq!(refused(&config(), &frame), DropReason::GatewayNotAnswered);
}
