//! Rewriting a frame in place.

use super::Port;
use crate::Direction;
use crate::flow::record::{Difference, Flow, NatKind};
use crate::flow::{Family, Proto};
use crate::frame::{Frame, Offload};
use crate::wire::packet::{ETHERNET_LEN, Packet};
use lock_api::RawMutex;

impl<R: RawMutex> Port<R> {
    /// Rewrites the frame of a packet of `flow` for its way on.
    #[inline(always)]
    pub(super) fn edit(
        &self,
        flow: &Flow,
        packet: &Packet,
        dir: Direction,
        frame: &mut impl Frame,
    ) {
        let offload = frame.offload();
        let head = frame.head_mut();
        self.address(flow, dir, head);
        if flow.nat != NatKind::None {
            NearEnd::of(flow, dir).apply(head, packet, dir, offload);
        }
    }

    /// Writes the MAC addresses of a frame of `flow`.
    #[inline(always)]
    pub(super) fn address(&self, flow: &Flow, dir: Direction, head: &mut [u8]) {
        match dir {
            Direction::Out => put(head, 0, flow.forward.mac.0),
            Direction::In => put(head, 0, self.macs_in),
        }
    }
}

/// Offset of the source address, or of the destination's, in an IP header.
#[inline(always)]
pub(super) const fn address_at(family: Family, is_source: bool) -> usize {
    match (family, is_source) {
        (Family::V4, true) => 12,
        (Family::V4, false) => 16,
        (Family::V6, true) => 8,
        (Family::V6, false) => 24,
    }
}

/// The new near end of a translated flow's packet: source outbound,
/// destination inbound.
#[derive(Clone, Copy, Debug)]
pub(super) struct NearEnd {
    /// The address, in its 16-byte form.
    pub(super) addr: [u8; 16],
    /// The port or echo identifier.
    pub(super) port: u16,
    /// What the new end adds to the checksums.
    pub(super) diff: Difference,
}

impl NearEnd {
    #[inline(always)]
    pub(super) fn of(flow: &Flow, dir: Direction) -> Self {
        match dir {
            Direction::Out => Self {
                addr: flow.outside_local,
                port: flow.outside_port,
                diff: flow.diff,
            },
            Direction::In => Self {
                addr: flow.inside.local,
                port: flow.inside.local_port,
                diff: flow.diff.reverse(),
            },
        }
    }

    #[inline(always)]
    pub(super) fn apply(&self, head: &mut [u8], packet: &Packet, dir: Direction, offload: Offload) {
        self.apply_address(head, packet.tuple.family, dir);
        let Some(transport) = head.get_mut(packet.transport..) else {
            return;
        };
        // Each of a length that is known, so that it is checked once.
        match packet.tuple.proto {
            Proto::TCP => {
                if let Some(header) = transport.first_chunk_mut::<18>() {
                    self.apply_port(header, packet, (near_port(dir), 16), offload);
                }
            }
            Proto::UDP => {
                if let Some(header) = transport.first_chunk_mut::<8>() {
                    self.apply_port(header, packet, (near_port(dir), 6), offload);
                }
            }
            Proto::ICMP | Proto::ICMPV6 if packet.tuple.is_echo() => {
                self.apply_port(transport, packet, (4, 2), offload);
            }
            Proto::ICMP | Proto::ICMPV6 => self.fix_checksum(transport, packet, 2, offload),
            _ => self.apply_rare(transport, packet, offload),
        }
    }

    /// The checksum of the protocols that hardly anybody uses.
    #[cold]
    fn apply_rare(&self, transport: &mut [u8], packet: &Packet, offload: Offload) {
        if let Some(at) = packet.tuple.proto.covering_checksum_at() {
            self.fix_checksum(transport, packet, at, offload);
        }
    }

    /// The transport header's part: the port or echo identifier, and the
    /// checksum, at these offsets.
    #[inline(always)]
    fn apply_port(
        &self,
        header: &mut [u8],
        packet: &Packet,
        (port_at, sum_at): (usize, usize),
        offload: Offload,
    ) {
        put(header, port_at, self.port.to_be_bytes());
        self.fix_checksum(header, packet, sum_at, offload);
    }

    /// The IP header's part, which is all that a later fragment has.
    #[inline(always)]
    pub(super) fn apply_address(&self, head: &mut [u8], family: Family, dir: Direction) {
        let at = |family| ETHERNET_LEN.wrapping_add(address_at(family, dir == Direction::Out));
        match family {
            Family::V4 => {
                let at = at(Family::V4);
                let [.., a, b, c, d] = self.addr;
                put(head, at, [a, b, c, d]);
                update(head, ETHERNET_LEN + 10, |sum| {
                    self.diff.addresses.apply(sum)
                });
            }
            Family::V6 => put(head, at(Family::V6), self.addr),
        }
    }

    /// Mends the checksum at this offset of the transport header.
    #[inline(always)]
    fn fix_checksum(&self, header: &mut [u8], packet: &Packet, at: usize, offload: Offload) {
        let diff = self.diff.transport;
        if offload.checksum_partial && packet.tuple.proto.has_ports() {
            // The field holds the pseudo-header's sum: addresses count, ports don't.
            update(header, at, |sum| self.diff.addresses.apply_partial(sum));
        } else if matches!(packet.tuple.proto, Proto::UDP | Proto::UDP_LITE) {
            update(header, at, |sum| diff.apply_udp(sum));
        } else {
            update(header, at, |sum| diff.apply(sum));
        }
    }
}

/// Where the near end's port is in a transport header.
#[inline(always)]
const fn near_port(dir: Direction) -> usize {
    match dir {
        Direction::Out => 0,
        Direction::In => 2,
    }
}

/// Writes `bytes` at `at`; the parser has checked that they are there.
#[inline(always)]
pub(super) fn put<const N: usize>(head: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Replaces a 16-bit field.
#[inline(always)]
pub(super) fn update(head: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}
