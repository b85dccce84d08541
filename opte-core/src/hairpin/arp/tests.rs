//! ARP requests as guests send them, and every field of the answers.

use super::super::testing::*;
use super::*;
use core::net::Ipv4Addr;

fn request() -> Packet {
    Packet {
        operation: Operation::REQUEST,
        sender_mac: MAC,
        sender: IP4,
        target_mac: MacAddr::ZERO,
        target: GATEWAY4,
    }
}

fn frame(destination: MacAddr, packet: &Packet) -> Vec<u8> {
    let mut out = Writer::default();
    ethernet::Header {
        destination,
        source: MAC,
        ethertype: EtherType::ARP,
    }
    .emit(&mut out);
    packet.emit(&mut out);
    // What Ethernet pads.
    out.pad_to(60);
    out.into_bytes()
}

#[test]
fn the_gateway_says_where_it_is() {
    for destination in [MacAddr::BROADCAST, GATEWAY_MAC] {
        let reply = reply(&config(), &frame(destination, &request()));
        assert_eq!(reply[..6], MAC.0);
        assert_eq!(reply[6..12], GATEWAY_MAC.0);
        assert_eq!(reply[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
        assert_eq!(reply[22..28], GATEWAY_MAC.0);
        assert_eq!(reply[28..32], GATEWAY4.octets());
        assert_eq!(reply[32..38], MAC.0);
        assert_eq!(reply[38..], IP4.octets());
    }
}

#[test]
fn a_probe_for_its_address_is_answered() {
    let probe = Packet {
        sender: Ipv4Addr::UNSPECIFIED,
        ..request()
    };
    let reply = reply(&config(), &frame(MacAddr::BROADCAST, &probe));
    assert_eq!(reply[28..32], GATEWAY4.octets());
    assert_eq!(reply[38..], [0; 4]);
}

#[test]
fn everything_else_is_not_answered() {
    let not_answered = [
        // A probe and an announcement of the guest's own, another address.
        Packet {
            sender: Ipv4Addr::UNSPECIFIED,
            target: IP4,
            ..request()
        },
        Packet {
            target: IP4,
            ..request()
        },
        Packet {
            target: Ipv4Addr::new(10, 0, 0, 9),
            ..request()
        },
        Packet {
            operation: Operation::REPLY,
            ..request()
        },
        Packet {
            operation: Operation(8),
            ..request()
        },
    ];
    for packet in not_answered {
        let frame = frame(MacAddr::BROADCAST, &packet);
        assert_eq!(
            refused(&config(), &frame),
            DropReason::ArpNotAnswered,
            "{packet:?}"
        );
    }
    let elsewhere = frame(MacAddr([2; 6]), &request());
    assert_eq!(refused(&config(), &elsewhere), DropReason::ArpNotAnswered);
}

#[test]
fn false_senders_are_refused() {
    let spoofed = Packet {
        sender: Ipv4Addr::new(10, 0, 0, 9),
        ..request()
    };
    let bytes = frame(MacAddr::BROADCAST, &spoofed);
    assert_eq!(refused(&config(), &bytes), DropReason::SpoofedIp);
    let spoofed = Packet {
        sender_mac: GATEWAY_MAC,
        ..request()
    };
    let bytes = frame(MacAddr::BROADCAST, &spoofed);
    assert_eq!(refused(&config(), &bytes), DropReason::SpoofedMac);
    let mut bytes = frame(MacAddr::BROADCAST, &request());
    bytes[6] ^= 2;
    assert_eq!(refused(&config(), &bytes), DropReason::SpoofedMac);
}

#[test]
fn malformed_packets_and_missing_families_are_refused() {
    let good = frame(MacAddr::BROADCAST, &request());
    survives(&good[..42]);
    let mut bad = good.clone();
    bad[14] = 1;
    assert_eq!(refused(&config(), &bad), DropReason::BadArp);
    assert_eq!(refused(&config(), &good[..41]), DropReason::Truncated);
    let only6 = Config {
        ipv4: None,
        ..config()
    };
    assert_eq!(refused(&only6, &good), DropReason::FamilyOff);
}
