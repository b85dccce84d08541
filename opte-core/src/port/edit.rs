//! Rewriting a frame in place.

use crate::Direction;
use crate::flow::record::Difference;
use crate::flow::{Family, Proto};
use crate::frame::{Frame, Offload};
use crate::wire::MacAddr;
use crate::wire::packet::{ETHERNET_LEN, Packet};

/// What happens to a frame of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// The new near end: source outbound, destination inbound. None without
    /// translation.
    pub(crate) near: Option<NearEnd>,
    /// The new MAC addresses: destination, source; a zero one stays.
    pub(crate) macs: [MacAddr; 2],
}

/// The near end of a translated flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NearEnd {
    /// The address, in its 16-byte form.
    pub(crate) addr: [u8; 16],
    /// The port or echo identifier.
    pub(crate) port: u16,
    /// What the new end adds to the checksums.
    pub(crate) diff: Difference,
}

impl Edit {
    /// Rewrites `frame`, which was parsed as `packet` going `dir`.
    #[inline]
    pub(crate) fn apply(&self, frame: &mut impl Frame, packet: &Packet, dir: Direction) {
        let offload = frame.offload();
        let head = frame.head_mut();
        let [dst, src] = self.macs;
        if dst != MacAddr::ZERO {
            put(head, 0, dst.0);
        }
        if src != MacAddr::ZERO {
            put(head, 6, src.0);
        }
        if let Some(near) = &self.near {
            near.apply(head, packet, dir, offload);
        }
    }
}

impl NearEnd {
    #[inline(never)]
    fn apply(&self, head: &mut [u8], packet: &Packet, dir: Direction, offload: Offload) {
        // Offsets in the frame, whose Ethernet header has 14 bytes.
        match packet.tuple.family {
            Family::V4 => {
                let at = if dir == Direction::Out { 26 } else { 30 };
                let [.., a, b, c, d] = self.addr;
                put(head, at, [a, b, c, d]);
                update(head, ETHERNET_LEN + 10, |sum| {
                    self.diff.addresses.apply(sum)
                });
            }
            Family::V6 => {
                let at = if dir == Direction::Out { 22 } else { 38 };
                put(head, at, self.addr);
            }
        }
        let transport = packet.transport;
        let port = self.port.to_be_bytes();
        match packet.tuple.proto {
            Proto::TCP | Proto::UDP => {
                let at = if dir == Direction::Out { 0 } else { 2 };
                put(head, transport.saturating_add(at), port);
            }
            _ if packet.tuple.is_echo() => put(head, transport.saturating_add(4), port),
            _ => {}
        }
        self.fix_transport_checksum(head, packet, offload);
    }

    fn fix_transport_checksum(&self, head: &mut [u8], packet: &Packet, offload: Offload) {
        let diff = self.diff.transport;
        let at = match packet.tuple.proto {
            Proto::TCP => 16,
            Proto::UDP => 6,
            Proto::ICMP | Proto::ICMPV6 => 2,
            _ => return,
        };
        let at = packet.transport.saturating_add(at);
        if offload.checksum_partial && packet.tuple.proto.has_ports() {
            // The field holds the pseudo-header's sum: addresses count, ports don't.
            update(head, at, |sum| self.diff.addresses.apply_partial(sum));
        } else if packet.tuple.proto == Proto::UDP {
            update(head, at, |sum| diff.apply_udp(sum));
        } else {
            update(head, at, |sum| diff.apply(sum));
        }
    }
}

/// Writes `bytes` at `at`; the parser has checked that they are there.
#[inline]
fn put<const N: usize>(head: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Replaces a 16-bit field.
#[inline]
fn update(head: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}
