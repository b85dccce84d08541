//! What is said about packets that go nowhere, and who believes it.

mod fragment;
mod mtu;
mod query;
mod reject;
mod related;
mod sctp;

use crate::sim::frame::{Flow, assert_checksums};
use std::net::IpAddr;

/// An ICMP error of either family, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// Type and code.
    pub(crate) what: (u8, u8),
    /// The MTU, where there is one.
    pub(crate) mtu: u32,
    /// The quoted packet.
    pub(crate) quote: Vec<u8>,
}

/// What an ICMP error in a frame says; its checksums have to be right.
pub(crate) fn told(frame: &[u8]) -> Told {
    assert_checksums(frame);
    let (from, to) = ends(&frame[14..]);
    let at = if from.is_ipv4() { 34 } else { 54 };
    assert_eq!(
        frame[at - if at == 34 { 11 } else { 34 }],
        [1, 58][usize::from(at == 54)]
    );
    Told {
        from,
        to,
        what: (frame[at], frame[at + 1]),
        mtu: u32::from_be_bytes(frame[at + 4..at + 8].try_into().unwrap()),
        quote: frame[at + 8..].to_vec(),
    }
}

/// Source and destination of an IP packet.
pub(crate) fn ends(packet: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    match packet[0] >> 4 {
        4 => (v4(12), v4(16)),
        _ => (v6(8), v6(24)),
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An ICMP error between the ends of `flow`: type and code, the word behind
/// the checksum, and the quote.
pub(crate) fn error(flow: &Flow, (kind, code): (u8, u8), word: u32, quote: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(quote);
    flow.ip(if flow.src.is_ipv4() { 1 } else { 58 }, message, 2)
}

/// The fragments of a packet, with `size` bytes of payload each.
pub(crate) fn cut(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    let is_v4 = frame[12] == 8;
    let header = if is_v4 { 34 } else { 54 };
    let (headers, payload) = frame.split_at(header);
    let count = payload.chunks(size).count();
    let pieces = payload.chunks(size).enumerate();
    let piece = |(number, data): (usize, &[u8])| {
        let more = number + 1 < count;
        let offset = u16::try_from(number * size).unwrap();
        let mut piece = headers.to_vec();
        if is_v4 {
            let len = u16::try_from(20 + data.len()).unwrap();
            piece[16..18].copy_from_slice(&len.to_be_bytes());
            piece[18..20].copy_from_slice(&id.to_be_bytes()[2..]);
            let word = offset >> 3 | u16::from(more) << 13;
            piece[20..22].copy_from_slice(&word.to_be_bytes());
            piece[24..26].fill(0);
            let sum = piece[14..34].chunks(2).fold(0_u32, |sum, pair| {
                sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
            });
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            piece[24..26].copy_from_slice(&sum.to_be_bytes());
        } else {
            let len = u16::try_from(8 + data.len()).unwrap();
            piece[18..20].copy_from_slice(&len.to_be_bytes());
            let next = std::mem::replace(&mut piece[20], 44);
            piece.extend([next, 0]);
            piece.extend((offset | u16::from(more)).to_be_bytes());
            piece.extend(id.to_be_bytes());
        }
        piece.extend(data);
        piece
    };
    pieces.map(piece).collect()
}

/// A frame from the boundary as if it came from inside of VPC 7: its VNI, and
/// no option that says where it is from.
pub(crate) fn inside(outer: &[u8]) -> Vec<u8> {
    let mut outer = outer.to_vec();
    outer.splice(62..74, [0, 0, 0x65, 0x58, 0, 0, 7, 0]);
    for at in [18, 58] {
        let len = u16::from_be_bytes([outer[at], outer[at + 1]]) - 4;
        outer[at..at + 2].copy_from_slice(&len.to_be_bytes());
    }
    outer
}
