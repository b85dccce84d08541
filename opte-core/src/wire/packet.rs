//! The headers of an inner frame, walked once.
//!
//! Purpose   one pass over Ethernet, IP and the transport header yields all
//!           that the fast path needs: the flow key, where the transport
//!           header is, and what TCP tracking looks at. Each length is checked
//!           here and nowhere later.
//! Rules     bytes past the transport header are never looked at; a header
//!           that isn't all in the frame's head is [`DropReason::Truncated`].

use super::MacAddr;
use crate::flow::tuple::{Family, Proto, Tuple};
use crate::limits::{IPV6_EXTENSION_BYTES_MAX, IPV6_EXTENSIONS_MAX};
use crate::{Direction, DropReason};

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// What is known of a frame after parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The flow key.
    pub tuple: Tuple,
    /// Offset of the transport header in the frame.
    pub transport: usize,
    /// Bytes of the IP packet, IP header included.
    pub ip_len: u16,
    /// The transport header, as far as the engine looks into it.
    pub detail: Detail,
}

impl Packet {
    /// Bytes of the largest IP packet that this one leaves as, when its
    /// payload is cut into segments of `segment_len` bytes; zero: not cut.
    #[must_use]
    pub fn len_cut(&self, segment_len: u16) -> u16 {
        let headers = match self.detail {
            Detail::Tcp(segment) => u32::from(self.ip_len).saturating_sub(segment.len),
            _ => {
                let before = self.transport.saturating_sub(ETHERNET_LEN);
                u32::try_from(before).unwrap_or(u32::MAX).saturating_add(8)
            }
        };
        let cut = headers.saturating_add(u32::from(segment_len));
        match segment_len {
            0 => self.ip_len,
            _ => self.ip_len.min(u16::try_from(cut).unwrap_or(u16::MAX)),
        }
    }
}

/// What the engine looks at in a transport header besides ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A TCP segment.
    Tcp(Segment),
    /// Type and code of an ICMP message of either family.
    Icmp(u8, u8),
    /// Nothing.
    Other,
}

/// A TCP segment as connection tracking sees it (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Acknowledgement number; meaningless without ACK.
    pub ack: u32,
    /// Bytes of payload.
    pub len: u32,
    /// Window field, unscaled.
    pub window: u16,
    /// The flag bits, FIN in bit 0 to CWR in bit 7.
    pub flags: u8,
}

impl Segment {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;

    /// Whether any of the flag bits is set.
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// Why a frame has no flow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// It is ARP, which the gateway looks at.
    Arp,
    /// It is a fragment; later ones have no transport header.
    Fragment,
    /// It is malformed or of no use.
    Bad(DropReason),
}

impl From<DropReason> for Reject {
    fn from(reason: DropReason) -> Self {
        Self::Bad(reason)
    }
}

/// Destination and source MAC address of a frame.
#[inline]
#[must_use]
pub fn macs(frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = frame.first_chunk()?;
    Some((
        MacAddr([d0, d1, d2, d3, d4, d5]),
        MacAddr([s0, s1, s2, s3, s4, s5]),
    ))
}

/// Walks the headers of `frame`, of which `frame_len` bytes exist in all.
///
/// # Errors
///
/// When there is no flow key: not IP, a fragment, or malformed.
#[inline]
pub fn parse(frame: &[u8], frame_len: usize, dir: Direction) -> Result<Packet, Reject> {
    let ethertype = frame.get(12..ETHERNET_LEN).ok_or(DropReason::Truncated)?;
    let room = frame_len.saturating_sub(ETHERNET_LEN);
    match ethertype {
        [0x08, 0x00] => parse_v4(frame, room, dir),
        [0x86, 0xdd] => parse_v6(frame, room, dir),
        [0x08, 0x06] => Err(Reject::Arp),
        [0x81, 0x00] | [0x88, 0xa8] => Err(DropReason::VlanTagged.into()),
        _ => Err(DropReason::UnknownEthertype.into()),
    }
}

/// What the IP header says about the rest.
struct Ip {
    src: [u8; 16],
    dst: [u8; 16],
    family: Family,
    proto: Proto,
    transport: usize,
    ip_len: u16,
    /// Bytes of the packet from the transport header on.
    transport_len: usize,
}

#[inline]
fn parse_v4(frame: &[u8], room: usize, dir: Direction) -> Result<Packet, Reject> {
    let header: &[u8; 20] = frame
        .get(ETHERNET_LEN..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(DropReason::Truncated)?;
    let &[
        ver_ihl,
        _,
        l0,
        l1,
        _,
        _,
        f0,
        f1,
        _,
        proto,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = header;
    let header_len = usize::from(ver_ihl & 0x0f).wrapping_mul(4);
    let ip_len = u16::from_be_bytes([l0, l1]);
    let total = usize::from(ip_len);
    if ver_ihl >> 4 != 4 || header_len < 20 || total < header_len || total > room {
        return Err(DropReason::BadIp.into());
    }
    // More fragments, or an offset (RFC 791 section 3.1).
    if u16::from_be_bytes([f0, f1]) & 0x3fff != 0 {
        return Err(Reject::Fragment);
    }
    let ip = Ip {
        src: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, s0, s1, s2, s3],
        dst: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, d0, d1, d2, d3],
        family: Family::V4,
        proto: Proto(proto),
        transport: ETHERNET_LEN.wrapping_add(header_len),
        ip_len,
        transport_len: total.wrapping_sub(header_len),
    };
    parse_transport(frame, &ip, dir)
}

#[inline]
fn parse_v6(frame: &[u8], room: usize, dir: Direction) -> Result<Packet, Reject> {
    let header: &[u8; 40] = frame
        .get(ETHERNET_LEN..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(DropReason::Truncated)?;
    let (fixed, addresses) = header
        .split_first_chunk::<8>()
        .ok_or(DropReason::Truncated)?;
    let &[version, _, _, _, l0, l1, next, _] = fixed;
    let (src, dst) = addresses
        .split_first_chunk::<16>()
        .ok_or(DropReason::Truncated)?;
    let dst: &[u8; 16] = dst.first_chunk().ok_or(DropReason::Truncated)?;
    let payload = u16::from_be_bytes([l0, l1]);
    // A jumbo payload (length zero) cannot come from a guest: no MTU allows it.
    let ip_len = payload.checked_add(40).ok_or(DropReason::BadIp)?;
    if version >> 4 != 6 || usize::from(ip_len) > room {
        return Err(DropReason::BadIp.into());
    }
    let mut ip = Ip {
        src: *src,
        dst: *dst,
        family: Family::V6,
        proto: Proto(next),
        transport: ETHERNET_LEN.wrapping_add(40),
        ip_len,
        transport_len: usize::from(payload),
    };
    if !(ip.proto.has_ports() || ip.proto == Proto::ICMPV6) {
        walk_extensions(frame, &mut ip)?;
    }
    parse_transport(frame, &ip, dir)
}

/// Moves `ip` past its extension headers (RFC 8200 section 4).
fn walk_extensions(frame: &[u8], ip: &mut Ip) -> Result<(), Reject> {
    let mut walked = 0_usize;
    for _ in 0..IPV6_EXTENSIONS_MAX {
        let unit = match ip.proto {
            // Hop-by-hop, routing and destination options, in units of 8 bytes.
            Proto(0 | 43 | 60) => 8,
            // An authentication header counts in units of 4, less 2.
            Proto(51) => 4,
            Proto(44) => {
                ip.proto = atomic_fragment(frame, ip)?;
                ip.transport = ip.transport.wrapping_add(FRAGMENT_HEADER_LEN);
                ip.transport_len = ip.transport_len.wrapping_sub(FRAGMENT_HEADER_LEN);
                continue;
            }
            _ => return Ok(()),
        };
        let &[next, len] = frame
            .get(ip.transport..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(DropReason::Truncated)?;
        let units = match ip.proto {
            Proto(44) => 1,
            Proto(51) => usize::from(len).wrapping_add(2),
            _ => usize::from(len).wrapping_add(1),
        };
        let len = units.wrapping_mul(unit);
        walked = walked.wrapping_add(len);
        if len > ip.transport_len || walked > IPV6_EXTENSION_BYTES_MAX {
            return Err(DropReason::BadExtension.into());
        }
        ip.proto = Proto(next);
        ip.transport = ip.transport.wrapping_add(len);
        ip.transport_len = ip.transport_len.wrapping_sub(len);
    }
    Err(DropReason::BadExtension.into())
}

/// Bytes of an IPv6 fragment header.
const FRAGMENT_HEADER_LEN: usize = 8;

/// What follows a fragment header whose offset and M flag are zero: such a
/// packet is whole ("atomic fragment", RFC 6946). Any other is a fragment.
/// The header's second byte is reserved, and no length.
fn atomic_fragment(frame: &[u8], ip: &Ip) -> Result<Proto, Reject> {
    let header = frame.get(ip.transport..).and_then(<[u8]>::first_chunk);
    let &[next, _, offset, more, _, _, _, _] = header
        .filter(|_| ip.transport_len >= FRAGMENT_HEADER_LEN)
        .ok_or(DropReason::BadExtension)?;
    match u16::from_be_bytes([offset, more]) & 0xfff9 {
        0 => Ok(Proto(next)),
        _ => Err(Reject::Fragment),
    }
}

#[inline]
fn parse_transport(frame: &[u8], ip: &Ip, dir: Direction) -> Result<Packet, Reject> {
    let bytes = frame.get(ip.transport..).unwrap_or_default();
    let (ports, detail) = match ip.proto {
        Proto::TCP => tcp(bytes, ip.transport_len)?,
        Proto::UDP => udp(bytes, ip.transport_len)?,
        Proto::ICMP if ip.family == Family::V4 => icmp(bytes, ip.transport_len, 8, 0)?,
        Proto::ICMPV6 if ip.family == Family::V6 => icmp(bytes, ip.transport_len, 128, 129)?,
        Proto::SCTP if ip.transport_len >= 12 => {
            let &[s0, s1, d0, d1] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
            (
                Ports::Directed(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])),
                Detail::Other,
            )
        }
        // The other family's ICMP has no meaning here, and no checksum to mend.
        Proto::SCTP | Proto::ICMP | Proto::ICMPV6 => return Err(DropReason::BadTransport.into()),
        _ => (Ports::Fixed(0, 0), Detail::Other),
    };
    let (local, remote) = match dir {
        Direction::Out => (ip.src, ip.dst),
        Direction::In => (ip.dst, ip.src),
    };
    let (local_port, remote_port) = match (ports, dir) {
        (Ports::Directed(src, dst), Direction::Out) => (src, dst),
        (Ports::Directed(src, dst), Direction::In) => (dst, src),
        (Ports::Fixed(local, remote), _) => (local, remote),
    };
    Ok(Packet {
        tuple: Tuple {
            local,
            remote,
            local_port,
            remote_port,
            proto: ip.proto,
            family: ip.family,
        },
        transport: ip.transport,
        ip_len: ip.ip_len,
        detail,
    })
}

/// The two port fields of a key.
enum Ports {
    /// Source and destination.
    Directed(u16, u16),
    /// Local and remote, whichever way the packet goes.
    Fixed(u16, u16),
}

#[inline]
fn tcp(bytes: &[u8], len: usize) -> Result<(Ports, Detail), DropReason> {
    let header: &[u8; 20] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
    let &[
        s0,
        s1,
        d0,
        d1,
        q0,
        q1,
        q2,
        q3,
        a0,
        a1,
        a2,
        a3,
        offset,
        flags,
        w0,
        w1,
        ..,
    ] = header;
    let header_len = usize::from(offset >> 4).wrapping_mul(4);
    if header_len < 20 || header_len > len {
        return Err(DropReason::BadTransport);
    }
    let segment = Segment {
        seq: u32::from_be_bytes([q0, q1, q2, q3]),
        ack: u32::from_be_bytes([a0, a1, a2, a3]),
        len: u32::try_from(len.wrapping_sub(header_len)).unwrap_or(u32::MAX),
        window: u16::from_be_bytes([w0, w1]),
        flags,
    };
    let ports = Ports::Directed(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    Ok((ports, Detail::Tcp(segment)))
}

#[inline]
fn udp(bytes: &[u8], len: usize) -> Result<(Ports, Detail), DropReason> {
    let &[s0, s1, d0, d1, l0, l1, _, _] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
    let udp_len = usize::from(u16::from_be_bytes([l0, l1]));
    if udp_len < 8 || udp_len > len {
        return Err(DropReason::BadTransport);
    }
    let ports = Ports::Directed(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    Ok((ports, Detail::Other))
}

/// ICMP of either family, whose echo request and reply have these types.
#[inline]
fn icmp(bytes: &[u8], len: usize, request: u8, reply: u8) -> Result<(Ports, Detail), DropReason> {
    let &[kind, code, _, _, i0, i1, _, _] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
    if len < 8 {
        return Err(DropReason::BadTransport);
    }
    let ports = if kind == request || kind == reply {
        Ports::Fixed(u16::from_be_bytes([i0, i1]), 0)
    } else if kind == 0 {
        // Reserved in ICMPv6 (RFC 4443 section 2.1), echo reply in ICMP.
        return Err(DropReason::BadTransport);
    } else {
        Ports::Fixed(0, u16::from_be_bytes([kind, code]))
    };
    Ok((ports, Detail::Icmp(kind, code)))
}

#[cfg(test)]
mod tests;
