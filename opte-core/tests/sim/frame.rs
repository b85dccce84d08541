//! Frames of guests, made from words.

use opte_core::wire::MacAddr;
use std::net::IpAddr;

/// Who sends to whom.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub src_mac: MacAddr,
    pub dst_mac: MacAddr,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub sport: u16,
    pub dport: u16,
}

impl Flow {
    /// From a guest to an address, through its gateway: `10.0.0.1:5 > 10.0.0.2:80`.
    pub fn new(src_mac: MacAddr, text: &str) -> Self {
        let (src, dst) = text.split_once(" > ").unwrap();
        let end = |text: &str| -> (IpAddr, u16) {
            let (ip, port) = text.rsplit_once(':').unwrap();
            let ip = ip.trim_start_matches('[').trim_end_matches(']');
            (ip.parse().unwrap(), port.parse().unwrap())
        };
        let ((src, sport), (dst, dport)) = (end(src), end(dst));
        Self {
            src_mac,
            dst_mac: MacAddr::GATEWAY,
            src,
            dst,
            sport,
            dport,
        }
    }

    /// The way back, from the guest with this MAC address.
    pub fn back(self, src_mac: MacAddr) -> Self {
        Self {
            src_mac,
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            ..self
        }
    }

    pub fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let mut datagram = Vec::new();
        datagram.extend(self.sport.to_be_bytes());
        datagram.extend(self.dport.to_be_bytes());
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.ip(17, datagram, 6)
    }

    pub fn tcp(&self, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
        let bits = flags.chars().map(|c| match c {
            'F' => 1,
            'S' => 2,
            'R' => 4,
            'P' => 8,
            'A' => 16,
            _ => panic!("flag {c}"),
        });
        let mut segment = Vec::new();
        segment.extend(self.sport.to_be_bytes());
        segment.extend(self.dport.to_be_bytes());
        segment.extend(seq.to_be_bytes());
        segment.extend(ack.to_be_bytes());
        segment.extend([0x50, bits.sum(), 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        self.ip(6, segment, 16)
    }

    /// An echo request whose identifier is the source port.
    pub fn ping(&self) -> Vec<u8> {
        self.echo(if self.src.is_ipv4() { 8 } else { 128 }, self.sport)
    }

    /// The reply to such a request, sent the way back.
    pub fn pong(&self) -> Vec<u8> {
        self.echo(if self.src.is_ipv4() { 0 } else { 129 }, self.dport)
    }

    fn echo(&self, kind: u8, id: u16) -> Vec<u8> {
        let [i0, i1] = id.to_be_bytes();
        let message = vec![kind, 0, 0, 0, i0, i1, 0, 1, b'p', b'i', b'n', b'g'];
        self.ip(if self.src.is_ipv4() { 1 } else { 58 }, message, 2)
    }

    /// A packet of any protocol whose checksum is at `checksum_at` of `body`.
    pub fn ip(&self, proto: u8, mut body: Vec<u8>, checksum_at: usize) -> Vec<u8> {
        let sum = match proto {
            1 => checksum(&body),
            _ => transport_checksum(self.src, self.dst, proto, &body),
        };
        body[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::new();
        frame.extend(self.dst_mac.0);
        frame.extend(self.src_mac.0);
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = vec![0x45, 0];
                header.extend((20 + body.len() as u16).to_be_bytes());
                header.extend([0, 0, 0x40, 0, 64, proto, 0, 0]);
                header.extend(src.octets());
                header.extend(dst.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend([0x08, 0x00]);
                frame.extend(header);
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((body.len() as u16).to_be_bytes());
                frame.extend([proto, 64]);
                frame.extend(src.octets());
                frame.extend(dst.octets());
            }
            _ => panic!("two families"),
        }
        frame.extend(body);
        frame
    }
}

/// Checks every checksum of a frame, which must be IP.
pub fn assert_checksums(frame: &[u8]) {
    let (src, dst, proto, body): (IpAddr, IpAddr, u8, &[u8]) = match frame[12..14] {
        [0x08, 0x00] => {
            assert_eq!(checksum(&frame[14..34]), 0, "IPv4 header checksum");
            let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
            (v4(26), v4(30), frame[23], &frame[34..])
        }
        [0x86, 0xdd] => {
            let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
            (v6(22), v6(38), frame[20], &frame[54..])
        }
        _ => panic!("not IP"),
    };
    let sum = match proto {
        1 => checksum(body),
        17 if body[6..8] == [0, 0] => 0,
        _ => transport_checksum(src, dst, proto, body),
    };
    assert_eq!(sum, 0, "transport checksum");
}

fn transport_checksum(src: IpAddr, dst: IpAddr, proto: u8, body: &[u8]) -> u16 {
    let mut pseudo = Vec::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        _ => panic!("two families"),
    }
    pseudo.extend((body.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, proto]);
    pseudo.extend(body);
    checksum(&pseudo)
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An ICMPv6 message with hop limit 255.
pub fn icmp6(flow: &Flow, message: Vec<u8>) -> Vec<u8> {
    let mut frame = flow.ip(58, message, 2);
    frame[21] = 255;
    frame
}
