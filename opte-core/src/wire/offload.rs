//! What a device does for whoever offers it unfinished packets, in software.
//!
//! Purpose   guests leave checksums and the cutting of large TCP segments to
//!           their device. No ordinary NIC does that inside of a tunnel, so
//!           shells do it, when the engine has decided where a packet goes.
//!
//! Terms     unfinished  a packet as the guest's stack made it: its transport
//!                       checksum is missing, or it is a large segment
//!           outer       the tunnel's headers in front of it, if it has them
//!           headers     everything in front of the payload, outer ones included
//!
//! Flow      [`Unfinished::read`], then for one packet [`Unfinished::finish`];
//!           for a large segment [`Unfinished::cuts`], and for each of them a
//!           copy of the headers and [`Unfinished::write_cut`]
//!
//! Rules     O1  a checksum is made from all that it covers. What a guest left
//!               in the field is a sum over part of it or nothing, depending on
//!               its system, and isn't looked at.
//!           O2  payload is read once and never copied here.
//!           O3  segments differ from the large one as a sender's own would
//!               (RFC 9293): sequence numbers run on, FIN and PSH are the last
//!               one's, CWR the first one's (RFC 3168 section 6.1.2); IPv4
//!               identifications run on (RFC 6864).

use super::checksum::Sum;
use super::packet::{self, ETHERNET_LEN, Packet};
use crate::Direction;
use crate::flow::{Family, Proto};

/// A sum over pieces that may have any length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pieces {
    sum: Sum,
    is_odd: bool,
}

impl Pieces {
    /// Adds the next bytes.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let sum = Sum::ZERO.bytes(bytes);
        // Behind an odd number of bytes each one is in the other half of its
        // word (RFC 1071 section 2 (A)).
        let sum = match self.is_odd {
            true => Sum::ZERO.u16(sum.fold().swap_bytes()),
            false => sum,
        };
        Self {
            sum: self.sum.plus(sum),
            is_odd: self.is_odd ^ (bytes.len() % 2 == 1),
        }
    }
}

/// Where the parts of an unfinished packet are, from its first byte.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished {
    packet: Packet,
    /// Bytes of the outer headers.
    outer: usize,
    /// The transport header.
    transport: usize,
    /// Bytes of all headers.
    headers: usize,
    /// Bytes of payload.
    payload: usize,
}

/// A segment of a large one: its place in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How many there are before it.
    index: u16,
    /// Bytes of payload before it.
    pub start: usize,
    /// Its bytes.
    pub len: usize,
    is_last: bool,
}

impl Unfinished {
    /// Reads the headers of a packet with `outer` bytes in front of the guest's
    /// frame; `None` when there is nothing in it that could be finished: it is
    /// neither TCP nor UDP, or its headers aren't all in `head`.
    #[must_use]
    pub fn read(head: &[u8], frame_len: usize, outer: usize) -> Option<Self> {
        let inner = head.get(outer..)?;
        let len = frame_len.checked_sub(outer)?;
        let packet = packet::parse(inner, len, Direction::Out).ok()?;
        let transport = outer.checked_add(packet.transport)?;
        let header = match packet.tuple.proto {
            Proto::TCP => usize::from(head.get(transport.checked_add(12)?)? >> 4).checked_mul(4)?,
            Proto::UDP => 8,
            _ => return None,
        };
        let headers = transport.checked_add(header)?;
        let end = outer
            .checked_add(ETHERNET_LEN)?
            .checked_add(usize::from(packet.ip_len))?;
        Some(Self {
            payload: end.checked_sub(headers)?,
            packet,
            outer,
            transport,
            headers,
        })
        .filter(|it| it.headers <= head.len())
    }

    /// Bytes of all headers.
    #[must_use]
    pub const fn headers(&self) -> usize {
        self.headers
    }

    /// Bytes of payload; what follows in the frame is padding.
    #[must_use]
    pub const fn payload(&self) -> usize {
        self.payload
    }

    /// Writes the transport checksum of a packet with these headers; `payload`
    /// is the sum of its payload.
    pub fn finish(&self, headers: &mut [u8], payload: Pieces) {
        self.write_checksum(headers, self.payload, payload);
    }

    /// The segments of at most `segment_len` bytes that the payload is cut into;
    /// one if it isn't TCP or needn't be cut.
    pub fn cuts(&self, segment_len: u16) -> impl Iterator<Item = Cut> + use<> {
        let payload = self.payload;
        let most = match (self.packet.tuple.proto, segment_len) {
            (Proto::TCP, 1..) => usize::from(segment_len),
            _ => payload.max(1),
        };
        let count = payload.div_ceil(most).max(1);
        (0..count).map(move |index| {
            let start = index.saturating_mul(most);
            Cut {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                start,
                len: payload.saturating_sub(start).min(most),
                is_last: index.saturating_add(1) == count,
            }
        })
    }

    /// Makes a copy of the headers that of a segment; `payload` is the sum of
    /// its payload.
    pub fn write_cut(&self, headers: &mut [u8], cut: Cut, payload: Pieces) {
        let with = |len: usize| u16::try_from(len.saturating_add(cut.len)).unwrap_or(u16::MAX);
        if self.outer != 0 {
            // IPv6's payload, and UDP (`host::encap`).
            let behind_ip = self.headers.saturating_sub(ETHERNET_LEN + 40);
            put(headers, ETHERNET_LEN + 4, with(behind_ip).to_be_bytes());
            put(headers, ETHERNET_LEN + 44, with(behind_ip).to_be_bytes());
        }
        let ip = self.outer.saturating_add(ETHERNET_LEN);
        let from_ip = self.headers.saturating_sub(ip);
        match self.packet.tuple.family {
            Family::V4 => {
                put(headers, ip.saturating_add(2), with(from_ip).to_be_bytes());
                change(headers, ip.saturating_add(4), |id| {
                    id.wrapping_add(cut.index)
                });
                let sum_at = ip.saturating_add(10);
                put(headers, sum_at, [0, 0]);
                let header = headers.get(ip..self.transport).unwrap_or_default();
                let sum = Sum::ZERO.bytes(header).checksum();
                put(headers, sum_at, sum.to_be_bytes());
            }
            Family::V6 => {
                let behind_ip = from_ip.saturating_sub(40);
                put(headers, ip.saturating_add(4), with(behind_ip).to_be_bytes());
            }
        }
        if self.packet.tuple.proto == Proto::TCP {
            self.write_tcp(headers, cut);
        }
        self.write_checksum(headers, cut.len, payload);
    }

    /// Sequence number and flags of a segment (rule O3).
    fn write_tcp(&self, headers: &mut [u8], cut: Cut) {
        const FIN_PSH: u8 = 0x09;
        const CWR: u8 = 0x80;
        let start = u32::try_from(cut.start).unwrap_or(u32::MAX);
        let sequence = self.packet.segment.seq.wrapping_add(start);
        let at = self.transport;
        put(headers, at.saturating_add(4), sequence.to_be_bytes());
        if let Some(flags) = headers.get_mut(at.saturating_add(13)) {
            if !cut.is_last {
                *flags &= !FIN_PSH;
            }
            if cut.index != 0 {
                *flags &= !CWR;
            }
        }
    }

    /// Makes the checksum of a packet with so many bytes of payload (rule O1).
    fn write_checksum(&self, headers: &mut [u8], payload_len: usize, payload: Pieces) {
        let proto = self.packet.tuple.proto;
        let at = match proto {
            Proto::TCP => 16,
            _ => 6,
        };
        let at = self.transport.saturating_add(at);
        put(headers, at, [0, 0]);
        let (addresses, len) = match self.packet.tuple.family {
            Family::V4 => (12, 8),
            Family::V6 => (8, 32),
        };
        let ip = self.outer.saturating_add(ETHERNET_LEN);
        let start = ip.saturating_add(addresses);
        let ends = headers.get(start..start.saturating_add(len));
        let Some(header) = headers.get(self.transport..self.headers) else {
            return;
        };
        let length = header.len().saturating_add(payload_len);
        // Header lengths are even, so that payload starts a word.
        let sum = Sum::ZERO
            .bytes(ends.unwrap_or_default())
            .u16(u16::from(proto.0))
            .u32(u32::try_from(length).unwrap_or(u32::MAX))
            .bytes(header)
            .plus(payload.sum)
            .checksum();
        // Zero says that there is none (RFC 768).
        let sum = match (proto, sum) {
            (Proto::UDP, 0) => 0xffff,
            (_, sum) => sum,
        };
        put(headers, at, sum.to_be_bytes());
    }
}

/// Bytes of the largest packet that a guest may leave uncut: with the outer
/// headers it has to be a packet still.
pub const LARGE_MAX: u16 = 60 << 10;

/// Writes `bytes` at `at`.
fn put<const N: usize>(headers: &mut [u8], at: usize, bytes: [u8; N]) {
    let place = headers.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = bytes;
    }
}

/// Changes the number at `at`.
fn change(headers: &mut [u8], at: usize, to: impl FnOnce(u16) -> u16) {
    let place = headers.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    if let Some(place) = place {
        *place = to(u16::from_be_bytes(*place)).to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
