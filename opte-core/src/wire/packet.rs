//! The headers of an inner frame, walked once.
//!
//! Purpose   one pass over Ethernet, IP and the transport header yields all
//!           that the fast path needs: the flow key, where the transport
//!           header is, and what TCP tracking looks at. Each length is checked
//!           here and nowhere later.
//! Rules     bytes past the transport header are never looked at; a header
//!           that isn't all in the frame's head is [`DropReason::Truncated`].

mod piece;

use super::{MacAddr, icmp};
use crate::flow::tuple::{Family, Proto, Tuple};
use crate::limits::{IPV6_EXTENSION_BYTES_MAX, IPV6_EXTENSIONS_MAX};
use crate::{Direction, DropReason};

pub use piece::Piece;

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
    /// The TCP segment; meaningless when it is another protocol.
    pub segment: Segment,
    /// Type and code of an ICMP message of either family; meaningless when it
    /// is another protocol.
    pub icmp: (u8, u8),
}

impl Packet {
    /// Nothing yet, to [`Packet::read`] into.
    pub(crate) const EMPTY: Self = Self {
        tuple: Tuple {
            local: [0; 16],
            remote: [0; 16],
            local_port: 0,
            remote_port: 0,
            proto: Proto(0),
            family: Family::V4,
        },
        transport: 0,
        ip_len: 0,
        segment: Segment {
            seq: 0,
            ack: 0,
            len: 0,
            window: 0,
            flags: 0,
        },
        icmp: (0, 0),
    };

    /// Bytes of the largest IP packet that this one leaves as, when its
    /// payload is cut into segments of `segment_len` bytes; zero: not cut.
    #[must_use]
    pub fn len_cut(&self, segment_len: u16) -> u16 {
        let headers = if self.tuple.proto == Proto::TCP {
            u32::from(self.ip_len).saturating_sub(self.segment.len)
        } else {
            let before = self.transport.saturating_sub(ETHERNET_LEN);
            u32::try_from(before).unwrap_or(u32::MAX).saturating_add(8)
        };
        let cut = headers.saturating_add(u32::from(segment_len));
        match segment_len {
            0 => self.ip_len,
            _ => self.ip_len.min(u16::try_from(cut).unwrap_or(u16::MAX)),
        }
    }
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
#[inline(always)]
#[must_use]
pub fn macs(frame: &[u8]) -> Option<(MacAddr, MacAddr)> {
    let both: &[u8; 12] = frame.first_chunk()?;
    Some((MacAddr(field(both, 0)), MacAddr(field(both, 6))))
}

/// The bytes at a fixed place of a header, which must be inside of it. The
/// compiler sees both, so nothing is checked when a packet comes.
#[inline(always)]
pub(super) fn field<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
    bytes.copied().unwrap_or([0; N])
}

/// Walks the headers of `frame`, of which `frame_len` bytes exist in all.
///
/// # Errors
///
/// When there is no flow key: not IP, a fragment, or malformed.
#[inline]
pub fn parse(frame: &[u8], frame_len: usize, dir: Direction) -> Result<Packet, Reject> {
    let mut packet = Packet::EMPTY;
    packet.read(frame, frame_len, dir)?;
    Ok(packet)
}

impl Packet {
    /// As [`parse`], into a packet that is there, whatever it holds: each field
    /// that means something is written once, to its place. After an error none does.
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        frame: &[u8],
        frame_len: usize,
        dir: Direction,
    ) -> Result<(), Reject> {
        let ethertype = frame.get(12..ETHERNET_LEN).ok_or(DropReason::Truncated)?;
        let room = frame_len.saturating_sub(ETHERNET_LEN);
        match ethertype {
            [0x08, 0x00] => self.read_v4(frame, room, dir),
            [0x86, 0xdd] => self.read_v6(frame, room, dir),
            [0x08, 0x06] => Err(Reject::Arp),
            [0x81, 0x00] | [0x88, 0xa8] => Err(DropReason::VlanTagged.into()),
            _ => Err(DropReason::UnknownEthertype.into()),
        }
    }

    #[inline(always)]
    fn read_v4(&mut self, frame: &[u8], room: usize, dir: Direction) -> Result<(), Reject> {
        let header: &[u8; 20] = frame
            .get(ETHERNET_LEN..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(DropReason::Truncated)?;
        let [ver_ihl] = field(header, 0);
        let header_len = usize::from(ver_ihl & 0x0f).wrapping_mul(4);
        self.ip_len = u16::from_be_bytes(field(header, 2));
        let total = usize::from(self.ip_len);
        if ver_ihl >> 4 != 4 || header_len < 20 || total < header_len || total > room {
            return Err(DropReason::BadIp.into());
        }
        // More fragments, or an offset (RFC 791 section 3.1).
        if u16::from_be_bytes(field(header, 6)) & 0x3fff != 0 {
            return Err(Reject::Fragment);
        }
        let (src, dst) = (mapped(field(header, 12)), mapped(field(header, 16)));
        let [proto] = field(header, 9);
        self.set_ends(Family::V4, src, dst, dir);
        self.tuple.proto = Proto(proto);
        self.transport = ETHERNET_LEN.wrapping_add(header_len);
        self.read_transport(frame, total.wrapping_sub(header_len), dir)
    }

    #[inline(always)]
    fn read_v6(&mut self, frame: &[u8], room: usize, dir: Direction) -> Result<(), Reject> {
        let header: &[u8; 40] = frame
            .get(ETHERNET_LEN..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(DropReason::Truncated)?;
        let [version] = field(header, 0);
        let payload = u16::from_be_bytes(field(header, 4));
        let [next] = field(header, 6);
        // A jumbo payload (length zero) cannot come from a guest: no MTU allows it.
        self.ip_len = payload.checked_add(40).ok_or(DropReason::BadIp)?;
        if version >> 4 != 6 || usize::from(self.ip_len) > room {
            return Err(DropReason::BadIp.into());
        }
        self.set_ends(Family::V6, field(header, 8), field(header, 24), dir);
        self.tuple.proto = Proto(next);
        self.transport = ETHERNET_LEN.wrapping_add(40);
        let mut transport_len = usize::from(payload);
        if !(self.tuple.proto.has_ports() || self.tuple.proto == Proto::ICMPV6) {
            transport_len = self.walk_extensions(frame, transport_len)?;
        }
        self.read_transport(frame, transport_len, dir)
    }

    #[inline(always)]
    fn set_ends(&mut self, family: Family, src: [u8; 16], dst: [u8; 16], dir: Direction) {
        self.tuple.family = family;
        (self.tuple.local, self.tuple.remote) = match dir {
            Direction::Out => (src, dst),
            Direction::In => (dst, src),
        };
    }

    /// Moves past extension headers (RFC 8200 section 4). How many of
    /// `transport_len` bytes are left.
    #[inline(never)]
    fn walk_extensions(&mut self, frame: &[u8], transport_len: usize) -> Result<usize, Reject> {
        let (mut left, mut walked) = (transport_len, 0_usize);
        for _ in 0..IPV6_EXTENSIONS_MAX {
            let unit = match self.tuple.proto {
                // Hop-by-hop, routing and destination options, in units of 8 bytes.
                Proto(0 | 43 | 60) => 8,
                // An authentication header counts in units of 4, less 2.
                Proto(51) => 4,
                Proto(44) => {
                    self.tuple.proto = atomic_fragment(frame, self.transport, left)?;
                    self.transport = self.transport.wrapping_add(FRAGMENT_HEADER_LEN);
                    left = left.wrapping_sub(FRAGMENT_HEADER_LEN);
                    continue;
                }
                _ => return Ok(left),
            };
            let &[next, len] = frame
                .get(self.transport..)
                .and_then(<[u8]>::first_chunk)
                .ok_or(DropReason::Truncated)?;
            let units = usize::from(len).wrapping_add(if unit == 8 { 1 } else { 2 });
            let len = units.wrapping_mul(unit);
            walked = walked.wrapping_add(len);
            if len > left || walked > IPV6_EXTENSION_BYTES_MAX {
                return Err(DropReason::BadExtension.into());
            }
            self.tuple.proto = Proto(next);
            self.transport = self.transport.wrapping_add(len);
            left = left.wrapping_sub(len);
        }
        Err(DropReason::BadExtension.into())
    }

    #[inline(always)]
    fn read_transport(&mut self, frame: &[u8], len: usize, dir: Direction) -> Result<(), Reject> {
        let bytes = frame.get(self.transport..).unwrap_or_default();
        match (self.tuple.proto, self.tuple.family) {
            (Proto::TCP, _) => self.read_tcp(bytes, len, dir)?,
            (Proto::UDP, _) => self.read_udp(bytes, len, dir)?,
            (Proto::ICMP, Family::V4) => self.read_icmp(bytes, len, dir)?,
            (Proto::ICMPV6, Family::V6) => self.read_icmp(bytes, len, dir)?,
            (Proto::SCTP, _) => self.read_sctp(bytes, len, dir)?,
            // The other family's ICMP has no meaning here, and no checksum to mend.
            (Proto::ICMP | Proto::ICMPV6, _) => return Err(DropReason::BadTransport.into()),
            _ => (self.tuple.local_port, self.tuple.remote_port) = (0, 0),
        }
        Ok(())
    }

    /// Takes source and destination port from the first four bytes.
    #[inline(always)]
    fn set_ports(&mut self, header: &[u8], dir: Direction) {
        let src = u16::from_be_bytes(field(header, 0));
        let dst = u16::from_be_bytes(field(header, 2));
        (self.tuple.local_port, self.tuple.remote_port) = match dir {
            Direction::Out => (src, dst),
            Direction::In => (dst, src),
        };
    }

    #[inline(always)]
    fn read_tcp(&mut self, bytes: &[u8], len: usize, dir: Direction) -> Result<(), DropReason> {
        let header: &[u8; 20] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        let [offset, flags] = field(header, 12);
        let header_len = usize::from(offset >> 4).wrapping_mul(4);
        if header_len < 20 || header_len > len {
            return Err(DropReason::BadTransport);
        }
        self.segment = Segment {
            seq: u32::from_be_bytes(field(header, 4)),
            ack: u32::from_be_bytes(field(header, 8)),
            len: u32::try_from(len.wrapping_sub(header_len)).unwrap_or(u32::MAX),
            window: u16::from_be_bytes(field(header, 14)),
            flags,
        };
        self.set_ports(header, dir);
        Ok(())
    }

    #[inline(always)]
    fn read_udp(&mut self, bytes: &[u8], len: usize, dir: Direction) -> Result<(), DropReason> {
        let header: &[u8; 8] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        let udp_len = usize::from(u16::from_be_bytes(field(header, 4)));
        if udp_len < 8 || udp_len > len {
            return Err(DropReason::BadTransport);
        }
        self.set_ports(header, dir);
        Ok(())
    }

    /// The common header of SCTP and the first chunk (RFC 9260 section 3),
    /// which `flow::sctp` finds where a TCP segment would be.
    #[inline(never)]
    fn read_sctp(&mut self, bytes: &[u8], len: usize, dir: Direction) -> Result<(), DropReason> {
        if len < 16 {
            return Err(DropReason::BadTransport);
        }
        let header: &[u8; 16] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        let [kind, flags] = field(header, 12);
        let announced: Option<&[u8; 4]> = bytes.get(16..len).and_then(<[u8]>::first_chunk);
        self.segment = Segment {
            seq: u32::from_be_bytes(field(header, 4)),
            ack: announced.map_or(0, |tag| u32::from_be_bytes(*tag)),
            len: 0,
            window: u16::from(flags),
            flags: kind,
        };
        self.set_ports(header, dir);
        Ok(())
    }

    /// ICMP of either family.
    #[inline(never)]
    fn read_icmp(&mut self, bytes: &[u8], len: usize, dir: Direction) -> Result<(), DropReason> {
        let &[kind, code, _, _, i0, i1, _, _] = bytes.first_chunk().ok_or(DropReason::Truncated)?;
        if len < 8 {
            return Err(DropReason::BadTransport);
        }
        let family = self.tuple.family;
        if kind == 0 && family == Family::V6 {
            // Reserved (RFC 4443 section 2.1).
            return Err(DropReason::BadTransport);
        }
        (self.tuple.local_port, self.tuple.remote_port) =
            icmp::key_ports(family, [kind, code], [i0, i1], dir);
        self.icmp = (kind, code);
        Ok(())
    }
}

/// The IPv4-mapped form of an address.
#[inline(always)]
const fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Bytes of an IPv6 fragment header.
const FRAGMENT_HEADER_LEN: usize = 8;

/// What follows a fragment header whose offset and M flag are zero: such a
/// packet is whole ("atomic fragment", RFC 6946). Any other is a fragment.
/// The header's second byte is reserved, and no length.
fn atomic_fragment(frame: &[u8], transport: usize, left: usize) -> Result<Proto, Reject> {
    let header = frame.get(transport..).and_then(<[u8]>::first_chunk);
    let &[next, _, offset, more, _, _, _, _] = header
        .filter(|_| left >= FRAGMENT_HEADER_LEN)
        .ok_or(DropReason::BadExtension)?;
    match u16::from_be_bytes([offset, more]) & 0xfff9 {
        0 => Ok(Proto(next)),
        _ => Err(Reject::Fragment),
    }
}

#[cfg(test)]
mod tests;
