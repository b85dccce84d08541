//! Against what a receiver asks of each packet, and the payload put together again.

use super::*;
use crate::wire::packet::Segment;
use crate::wire::testing::Rng;
use std::vec;
use std::vec::Vec;

const OUTER: usize = 70;
/// TCP's header here, with twelve bytes of options.
const TCP: usize = 32;

/// A frame with this much payload and its checksum missing, behind `outer`
/// bytes. Its flags are all that a segment may have.
fn frame(rng: &mut Rng, (family, proto): (Family, Proto), outer: usize, len: usize) -> Vec<u8> {
    let header = if proto == Proto::TCP { TCP } else { 8 };
    let mut bytes = vec![0; outer];
    rng.fill(&mut bytes);
    bytes.extend([0xa8; 12]);
    let (behind, proto) = ((header + len) as u16, proto.0);
    match family {
        Family::V4 => {
            bytes.extend([8, 0, 0x45, 0]);
            bytes.extend((behind + 20).to_be_bytes());
            bytes.extend([0xff, 0xfe, 0x40, 0, 64, proto, 9, 9]);
            bytes.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        }
        Family::V6 => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend(behind.to_be_bytes());
            bytes.extend([proto, 64]);
            bytes.extend([0xfd; 15]);
            bytes.extend([1; 17]);
        }
    }
    bytes.extend([0x30, 0x39, 0, 80]);
    if header == TCP {
        bytes.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 7, 0x80, 0x99, 1, 0]);
        bytes.extend([3, 4, 0, 0, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    } else {
        bytes.extend(behind.to_be_bytes());
        bytes.extend([3, 4]);
    }
    let mut payload = vec![0; len];
    rng.fill(&mut payload);
    bytes.extend(payload);
    bytes
}

/// The packet without its outer headers, if a receiver takes it: it is as long
/// as its headers say and its checksums are right. Its payload, and its packet.
fn received(bytes: &[u8], outer: usize) -> (Packet, Vec<u8>) {
    if outer != 0 {
        let len = (bytes.len() - 54) as u16;
        assert_eq!(bytes[18..20], len.to_be_bytes());
        assert_eq!(bytes[58..60], len.to_be_bytes());
    }
    let inner = &bytes[outer..];
    let packet = packet::parse(inner, inner.len(), Direction::Out).unwrap();
    assert_eq!(usize::from(packet.ip_len) + ETHERNET_LEN, inner.len());
    let ends = match packet.tuple.family {
        Family::V4 => {
            assert!(Sum::ZERO.bytes(&inner[14..34]).is_valid());
            &inner[26..34]
        }
        Family::V6 => &inner[22..54],
    };
    let segment = &inner[packet.transport..];
    let sum = Sum::ZERO.bytes(ends).u16(packet.tuple.proto.0.into());
    let sum = sum.u32(segment.len() as u32).bytes(segment);
    assert!(sum.is_valid());
    let header = match packet.tuple.proto {
        Proto::TCP => TCP,
        _ => 8,
    };
    (packet, segment[header..].to_vec())
}

#[test]
fn pieces_of_any_length_have_the_sum_of_the_whole() {
    for seed in 0..500 {
        let mut rng = Rng::new(seed);
        let bytes = rng.bytes(200);
        let (mut pieces, mut rest) = (Pieces::default(), bytes.as_slice());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rng.below(rest.len() + 1));
            pieces = pieces.bytes(piece);
            rest = behind;
        }
        let want = Sum::ZERO.bytes(&bytes).fold();
        assert_eq!(pieces.sum.fold() % 0xffff, want % 0xffff, "seed {seed}");
    }
}

#[test]
fn a_checksum_is_finished() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        for family in [Family::V4, Family::V6] {
            for proto in [Proto::TCP, Proto::UDP] {
                for outer in [0, OUTER] {
                    let len = rng.below(1_500);
                    let mut bytes = frame(&mut rng, (family, proto), outer, len);
                    // The header's own sum is what the guest leaves right.
                    if family == Family::V4 {
                        let ip = outer + ETHERNET_LEN;
                        put(&mut bytes, ip + 10, [0, 0]);
                        let sum = Sum::ZERO.bytes(&bytes[ip..ip + 20]).checksum();
                        put(&mut bytes, ip + 10, sum.to_be_bytes());
                    }
                    // What is behind the packet isn't the packet's.
                    bytes.extend([7; 3]);
                    let it = Unfinished::read(&bytes, bytes.len(), outer).unwrap();
                    assert_eq!(it.payload(), len);
                    let (headers, payload) = bytes.split_at_mut(it.headers());
                    it.finish(headers, Pieces::default().bytes(&payload[..len]));
                    received_inner(&bytes[outer..bytes.len() - 3]);
                }
            }
        }
    }
}

fn received_inner(bytes: &[u8]) {
    received(bytes, 0);
}

#[test]
fn cuts_are_the_large_segment_again() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let family = [Family::V4, Family::V6][rng.below(2)];
        let outer = [0, OUTER][rng.below(2)];
        let len = rng.below(20_000);
        let most = 1 + rng.below(3_000) as u16;
        let bytes = frame(&mut rng, (family, Proto::TCP), outer, len);
        let it = Unfinished::read(&bytes, bytes.len(), outer).unwrap();
        let (headers, payload) = bytes.split_at(it.headers());
        let (mut again, mut next) = (Vec::new(), 0xffff_ff00_u32);
        let cuts: Vec<Cut> = it.cuts(most).collect();
        for (index, cut) in cuts.iter().enumerate() {
            let mut piece = headers.to_vec();
            let bytes = &payload[cut.start..cut.start + cut.len];
            it.write_cut(&mut piece, *cut, Pieces::default().bytes(bytes));
            piece.extend(bytes);
            let (packet, bytes) = received(&piece, outer);
            assert!(bytes.len() <= usize::from(most), "seed {seed}");
            assert_eq!(packet.segment.seq, next, "seed {seed}");
            let is_last = index + 1 == cuts.len();
            assert_eq!(packet.segment.has(0x09), is_last, "seed {seed}");
            assert_eq!(packet.segment.has(0x80), index == 0, "seed {seed}");
            assert!(packet.segment.has(Segment::ACK), "seed {seed}");
            next = next.wrapping_add(bytes.len() as u32);
            again.extend(bytes);
        }
        assert_eq!(again, payload, "seed {seed}");
    }
}

#[test]
fn what_cannot_be_finished_is_left() {
    let mut rng = Rng::new(1);
    let good = frame(&mut rng, (Family::V4, Proto::TCP), 0, 100);
    for len in 0..ETHERNET_LEN + 20 + TCP {
        let read = Unfinished::read(&good[..len], good.len(), 0);
        assert!(read.is_none(), "the first {len} bytes");
    }
    let mut icmp = good;
    icmp[23] = 1;
    assert!(Unfinished::read(&icmp, icmp.len(), 0).is_none());
    crate::wire::testing::survives_anything(&icmp, |bytes| {
        let Some(it) = Unfinished::read(bytes, bytes.len(), 0) else {
            return;
        };
        for cut in it.cuts(1).take(5) {
            let mut headers = bytes[..it.headers()].to_vec();
            it.write_cut(&mut headers, cut, Pieces::default());
        }
    });
}
