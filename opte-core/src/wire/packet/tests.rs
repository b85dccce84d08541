//! Frames made by hand, cut at every byte, and mutated.

use super::*;
use std::vec::Vec;

fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(proto: u8, payload: &[u8], flags: u16) -> Vec<u8> {
    let mut packet = Vec::from([0x45, 0]);
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(flags.to_be_bytes());
    packet.extend([64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::from([0x60, 0, 0, 0]);
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

const TCP: [u8; 24] = [
    0x04, 0x00, 0x00, 0x50, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x12, 0x20, 0, 0, 0, 0, 0, b'd', b'a',
    b't', b'a',
];
const UDP: [u8; 12] = [0x04, 0x00, 0x00, 0x35, 0, 12, 0, 0, 1, 2, 3, 4];

fn all(frame: &[u8], dir: Direction) -> Result<Packet, Reject> {
    parse(frame, frame.len(), dir)
}

#[test]
fn both_directions_of_a_flow_have_one_key() {
    let out = all(&ipv4(6, &TCP, 0), Direction::Out).unwrap();
    assert_eq!(
        std::format!("{}", out.tuple),
        "tcp 10.0.0.1:1024 10.0.0.2:80"
    );
    assert_eq!((out.transport, out.ip_len), (34, 44));
    let segment = out.segment;
    assert_eq!((segment.seq, segment.ack, segment.len), (7, 9, 4));
    assert!(segment.has(Segment::SYN) && segment.has(Segment::ACK) && !segment.has(Segment::FIN));
    let inbound = all(&ipv4(6, &TCP, 0), Direction::In).unwrap();
    assert_eq!(
        std::format!("{}", inbound.tuple),
        "tcp 10.0.0.2:80 10.0.0.1:1024"
    );
}

#[test]
fn query_keys_carry_the_identifier_and_who_asks_and_other_icmp_the_type() {
    let key = |kind, dir| {
        let packet = all(&ipv4(1, &[kind, 0, 0, 0, 0x12, 0x34, 0, 1], 0), dir).unwrap();
        assert_eq!(packet.icmp, (kind, 0));
        (packet.tuple.local_port, packet.tuple.remote_port)
    };
    for (query, reply) in [(8, 0), (13, 14)] {
        let asked = (0x1234, u16::from(query) << 8);
        assert_eq!(key(query, Direction::Out), asked);
        assert_eq!(key(reply, Direction::In), asked);
        let answered = (0x1234, u16::from(reply) << 8);
        assert_eq!(key(query, Direction::In), answered);
        assert_eq!(key(reply, Direction::Out), answered);
    }
    let error = all(&ipv4(1, &[3, 4, 0, 0, 0, 0, 0, 0], 0), Direction::In).unwrap();
    assert_eq!(
        (error.tuple.local_port, error.tuple.remote_port),
        (0, 0x0304)
    );
    assert_eq!(error.icmp, (3, 4));
    let echo6 = all(&ipv6(58, &[128, 0, 0, 0, 0, 7, 0, 1]), Direction::Out).unwrap();
    assert_eq!(
        (echo6.tuple.local_port, echo6.tuple.remote_port),
        (7, 0x8000)
    );
}

#[test]
fn extension_headers_are_walked_with_a_bound() {
    let mut chain = Vec::from([60, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop, then
    chain.extend([17, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options
    chain.extend(UDP);
    let packet = all(&ipv6(0, &chain), Direction::Out).unwrap();
    assert_eq!(packet.transport, 14 + 40 + 24);
    assert_eq!(
        (packet.tuple.proto, packet.tuple.remote_port),
        (Proto::UDP, 53)
    );

    let endless: Vec<u8> = [0, 0, 1, 4, 0, 0, 0, 0].repeat(IPV6_EXTENSIONS_MAX + 1);
    assert_eq!(
        all(&ipv6(0, &endless), Direction::Out),
        Err(DropReason::BadExtension.into())
    );
    let long = [17, 255, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        all(&ipv6(0, &long), Direction::Out),
        Err(DropReason::BadExtension.into())
    );
}

#[test]
fn fragments_are_told_apart() {
    assert_eq!(
        all(&ipv4(17, &UDP, 0x2000), Direction::Out),
        Err(Reject::Fragment)
    );
    assert_eq!(
        all(&ipv4(17, &UDP, 0x0001), Direction::Out),
        Err(Reject::Fragment)
    );
    assert!(
        all(&ipv4(17, &UDP, 0x4000), Direction::Out).is_ok(),
        "don't fragment is no fragment"
    );
    let fragment = [17, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4];
    assert_eq!(
        all(&ipv6(44, &fragment), Direction::Out),
        Err(Reject::Fragment)
    );
}

#[test]
fn a_fragment_header_of_a_whole_packet_is_walked_past() {
    let mut atomic = Vec::from([17, 0, 0, 0, 0, 0, 0, 1]);
    atomic.extend(UDP);
    let packet = all(&ipv6(44, &atomic), Direction::Out).unwrap();
    assert_eq!(
        std::format!("{}", packet.tuple),
        "udp [fd00::1]:1024 [fd00::2]:53"
    );
    assert_eq!(packet.transport, 62);
    // The byte that is a length in other extension headers is reserved in
    // this one: receivers don't look at it.
    atomic[1] = 1;
    assert_eq!(all(&ipv6(44, &atomic), Direction::Out), Ok(packet));
    for (offset, at) in [(1, 3), (8, 3), (1, 2)] {
        let mut fragment = atomic.clone();
        fragment[at] = offset;
        assert_eq!(
            all(&ipv6(44, &fragment), Direction::Out),
            Err(Reject::Fragment)
        );
    }
    assert_eq!(
        all(&ipv6(44, &[17, 0, 0, 0]), Direction::Out),
        Err(DropReason::BadExtension.into())
    );
}

#[test]
fn other_frames_have_their_own_reason() {
    let frame = |ethertype| all(&ethernet(ethertype, &[0; 64]), Direction::Out);
    assert_eq!(frame(0x0806), Err(Reject::Arp));
    assert_eq!(frame(0x8100), Err(DropReason::VlanTagged.into()));
    assert_eq!(frame(0x1234), Err(DropReason::UnknownEthertype.into()));
    assert_eq!(frame(0x0800), Err(DropReason::BadIp.into()));
}

#[test]
fn padding_is_no_payload() {
    let mut frame = ipv4(6, &TCP, 0);
    frame.resize(100, 0);
    let segment = all(&frame, Direction::Out).unwrap().segment;
    assert_eq!(segment.len, 4);
}

#[test]
fn a_frame_cut_anywhere_is_refused_or_the_same() {
    let mut options = Vec::from([17, 0, 1, 4, 0, 0, 0, 0]);
    options.extend(UDP);
    for frame in [
        ipv4(6, &TCP, 0),
        ipv4(17, &UDP, 0),
        ipv6(6, &TCP),
        ipv6(0, &options),
    ] {
        let whole = all(&frame, Direction::Out).unwrap();
        for len in 0..frame.len() {
            assert!(all(&frame[..len], Direction::Out).is_err(), "{len}");
            // The head may be shorter than the frame; what was not looked at may be missing.
            if let Ok(packet) = parse(&frame[..len], frame.len(), Direction::Out) {
                assert_eq!(packet, whole);
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let seeds = [ipv4(6, &TCP, 0), ipv6(0, &UDP), ipv6(58, &UDP)];
    for round in 0..20_000 {
        let mut frame = seeds[round % seeds.len()].clone();
        for _ in 0..=(next() % 4) {
            let at = next() as usize % frame.len();
            frame[at] = next() as u8;
        }
        frame.truncate(next() as usize % (frame.len() + 1));
        for dir in [Direction::In, Direction::Out] {
            if let Ok(packet) = all(&frame, dir) {
                assert!(packet.transport <= frame.len());
            }
        }
    }
}
