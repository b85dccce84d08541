//! Frames with valid lengths and checksums.

use super::{LINK, TUNNEL};
use opte_core::wire::MacAddr;
use opte_core::wire::checksum::Sum;
use std::net::{IpAddr, Ipv6Addr};

/// Between whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub proto: u8,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
}

impl Ends {
    /// The way back.
    pub const fn back(self) -> Self {
        Self {
            proto: self.proto,
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const ACK: u8 = 16;

/// What a TCP segment says; of no meaning to UDP.
#[derive(Clone, Copy, Debug)]
pub struct Says {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
}

/// An Ethernet frame of `len` bytes, or as many as its headers need.
pub fn inner(dst: MacAddr, src: MacAddr, ends: &Ends, says: Says, len: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len.max(80));
    frame.extend(dst.0);
    frame.extend(src.0);
    let ip_len = if ends.src.is_ipv4() { 20 } else { 40 };
    let header_len = if ends.proto == TCP { 20 } else { 8 };
    let body_len = len.saturating_sub(14 + ip_len).max(header_len);
    let mut addresses = Vec::new();
    for ip in [ends.src, ends.dst] {
        match ip {
            IpAddr::V4(ip) => addresses.extend(ip.octets()),
            IpAddr::V6(ip) => addresses.extend(ip.octets()),
        }
    }
    let body_bytes = u16::try_from(body_len).unwrap().to_be_bytes();
    if ends.src.is_ipv4() {
        let mut header = vec![0x45, 0];
        header.extend(u16::try_from(body_len + 20).unwrap().to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, ends.proto, 0, 0]);
        header.extend(&addresses);
        let sum = Sum::ZERO.bytes(&header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend([8, 0]);
        frame.extend(header);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend(body_bytes);
        frame.extend([ends.proto, 64]);
        frame.extend(&addresses);
    }
    let mut body = Vec::with_capacity(body_len);
    body.extend(ends.sport.to_be_bytes());
    body.extend(ends.dport.to_be_bytes());
    let sum_at = if ends.proto == TCP {
        body.extend(says.seq.to_be_bytes());
        body.extend(says.ack.to_be_bytes());
        body.extend([0x50, says.flags, 0xff, 0xff, 0, 0, 0, 0]);
        16
    } else {
        body.extend(body_bytes);
        body.extend([0, 0]);
        6
    };
    body.resize(body_len, 0);
    let pseudo = Sum::ZERO
        .bytes(&addresses)
        .u32(u32::try_from(body_len).unwrap())
        .u16(u16::from(ends.proto));
    let sum = pseudo.bytes(&body).checksum();
    body[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
    frame.extend(body);
    frame
}

/// The frame in Geneve, as the underlay brings it. From outside of the fleet
/// it is marked as such.
pub fn geneve(vni: u32, external: bool, inner: &[u8]) -> Vec<u8> {
    let options: &[u8] = if external { &[1, 0x29, 0, 0] } else { &[] };
    let len = u16::try_from(16 + options.len() + inner.len())
        .unwrap()
        .to_be_bytes();
    let mut frame = Vec::with_capacity(80 + inner.len());
    frame.extend(LINK.0);
    frame.extend([2, 0xee, 0, 0, 0xff, 0, 0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(len);
    frame.extend([17, 64]);
    frame.extend(Ipv6Addr::new(0xfd00, 0x100, 0, 0, 0, 0, 0, 1).octets());
    frame.extend(TUNNEL.octets());
    frame.extend([0xc0, 0, 0x17, 0xc1]);
    frame.extend(len);
    let [_, v0, v1, v2] = vni.to_be_bytes();
    let words = u8::try_from(options.len() / 4).unwrap();
    frame.extend([0, 0, words, 0, 0x65, 0x58, v0, v1, v2, 0]);
    frame.extend(options);
    frame.extend(inner);
    frame
}
