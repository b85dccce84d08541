//! What is said about packets that go nowhere, and who believes it.

mod reject;

use crate::sim::frame::assert_checksums;
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
