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
        let head = frame.head_mut();
        match dir {
            Direction::Out => put(head, 0, flow.forward.mac.0),
            Direction::In => put(head, 0, self.macs_in),
        }
        if flow.nat != NatKind::None {
            let offload = frame.offload();
            NearEnd::of(flow, dir).apply(frame.head_mut(), packet, dir, offload);
        }
    }
}

/// The new near end of a translated flow's packet: source outbound,
/// destination inbound.
struct NearEnd {
    /// The address, in its 16-byte form.
    addr: [u8; 16],
    /// The port or echo identifier.
    port: u16,
    /// What the new end adds to the checksums.
    diff: Difference,
}

impl NearEnd {
    #[inline(always)]
    fn of(flow: &Flow, dir: Direction) -> Self {
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
        let (port_at, sum_at) = match packet.tuple.proto {
            Proto::TCP => (near_port(dir), 16),
            Proto::UDP => (near_port(dir), 6),
            Proto::ICMP | Proto::ICMPV6 if packet.tuple.is_echo() => (4, 2),
            Proto::ICMP | Proto::ICMPV6 => return self.fix_checksum(head, packet, 2, offload),
            _ => return,
        };
        let port_at = packet.transport.wrapping_add(port_at);
        put(head, port_at, self.port.to_be_bytes());
        self.fix_checksum(head, packet, sum_at, offload);
    }

    /// Mends the checksum at this offset of the transport header.
    #[inline(always)]
    fn fix_checksum(&self, head: &mut [u8], packet: &Packet, at: usize, offload: Offload) {
        let diff = self.diff.transport;
        let at = packet.transport.wrapping_add(at);
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
fn put<const N: usize>(head: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(place) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Replaces a 16-bit field.
#[inline(always)]
fn update(head: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = head.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = change(u16::from_be_bytes(*field)).to_be_bytes();
    }
}
