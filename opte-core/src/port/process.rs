//! One frame through a port.

use super::edit::Edit;
use super::fast::Fast;
use super::{Dropped, Env, Port};
use crate::event::{Observer, Path, observe};
use crate::flow::record::Forward;
use crate::flow::{Flow, Proto};
use crate::frame::Frame;
use crate::hairpin;
use crate::layer::gateway;
use crate::stats::DirCounters;
use crate::wire::icmpv6;
use crate::wire::packet::{self, Detail, Packet, Reject};
use crate::{Direction, DropReason, LayerId};
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use lock_api::RawMutex;

/// A parsed packet at a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'p> {
    pub(crate) dir: Direction,
    pub(crate) packet: &'p Packet,
    /// Whether it came from outside of the VPC.
    pub(crate) external: bool,
    /// Bytes of the frame.
    pub(crate) len: usize,
}

impl Arrival<'_> {
    /// Whether the packet, which has the flow's key, may belong to it: nobody
    /// outside of the VPC speaks for a guest of it, nor the other way.
    #[inline]
    pub(super) fn may_join(&self, flow: &Flow) -> bool {
        self.dir == Direction::Out || self.external == flow.external
    }
}

/// What becomes of a frame.
#[derive(Debug)]
pub(crate) enum Done {
    /// It was rewritten and goes on. Inbound frames go to the guest, and their
    /// `forward` means nothing.
    Forward(Forward, Packet),
    /// It was answered with this frame, to the guest.
    Reply(Vec<u8>),
}

impl<R: RawMutex> Port<R> {
    /// Takes a frame of the guest (`Out`) or for it (`In`) through the port.
    #[inline]
    pub(crate) fn process<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        external: bool,
        frame: &mut impl Frame,
    ) -> Result<Done, Dropped> {
        let len = frame.frame_len();
        let counters = self.stats.lane(env.lane).dir(dir);
        counters.packets.add(1);
        counters.bytes.add(u64::try_from(len).unwrap_or(0));
        let port = self.id;
        observe!(
            env.observer,
            PortProcessEntry {
                port,
                dir,
                len: u32::try_from(len).unwrap_or(u32::MAX)
            }
        );
        let (path, before, result) = self.run(env, counters, dir, external, frame);
        if env.observer.enabled(crate::event::Probe::PortProcessReturn) {
            let after = match &result {
                Ok(Done::Forward(..)) => packet::parse(frame.head(), frame.frame_len(), dir)
                    .ok()
                    .map(|p| p.tuple),
                _ => None,
            };
            let drop = result.as_ref().err().map(|dropped| dropped.reason);
            let (before, after) = (before.as_ref().map(|p| &p.tuple), after.as_ref());
            observe!(
                env.observer,
                PortProcessReturn {
                    port,
                    dir,
                    before,
                    after,
                    path,
                    drop
                }
            );
        }
        result.inspect_err(|dropped| {
            let key = dropped.key.or(before.map(|p| p.tuple));
            self.dropped(env, dir, &Dropped { key, ..*dropped });
        })
    }

    /// Parses, looks up, decides and edits.
    #[inline]
    fn run<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        counters: &DirCounters,
        dir: Direction,
        external: bool,
        frame: &mut impl Frame,
    ) -> (Path, Option<Packet>, Result<Done, Dropped>) {
        let len = frame.frame_len();
        let is_for_many = match self.check_macs(frame.head(), dir) {
            Ok(is_for_many) => is_for_many,
            Err(dropped) => return (Path::None, None, Err(dropped)),
        };
        let packet = match packet::parse(frame.head(), len, dir) {
            Ok(packet) => packet,
            Err(reject) => {
                let result = self.no_key(env, counters, dir, frame.head(), reject);
                return (Path::None, None, result);
            }
        };
        let arrival = Arrival {
            dir,
            packet: &packet,
            external,
            len,
        };
        if is_for_many {
            let result = self.group(counters, frame.head(), &packet);
            return (Path::None, Some(packet), result);
        }
        let mtu = self.mtu.load(Ordering::Relaxed);
        if u32::from(packet.ip_len) > mtu
            && u32::from(packet.len_cut(frame.offload().segment_len)) > mtu
        {
            return (Path::None, Some(packet), Err(DropReason::TooBig.into()));
        }
        let (path, decided) = match self.fast(env, &arrival) {
            Fast::Hit(rewrite) => (Path::Hit, Ok(rewrite)),
            Fast::Refused(reason) => (Path::Hit, Err(reason.into())),
            Fast::Stale(inside) => (Path::Miss, self.slow(env, &arrival, Some(inside))),
            Fast::Miss => match self.hairpin(dir, frame.head(), Some(&packet)) {
                Ok(None) => (Path::Miss, self.slow(env, &arrival, None)),
                other => return (Path::None, Some(packet), hairpinned(counters, other)),
            },
        };
        match path {
            Path::Hit => counters.hits.add(1),
            _ => counters.misses.add(1),
        }
        let result = decided.map(|rewrite| {
            let edit: &Edit = &rewrite.edit;
            edit.apply(frame, &packet, dir);
            Done::Forward(rewrite.forward, packet)
        });
        (path, Some(packet), result)
    }

    /// The guest sends from its own MAC address, and to the gateway; a frame
    /// for it is addressed to it. Whether the guest's frame is for a group.
    #[inline]
    fn check_macs(&self, head: &[u8], dir: Direction) -> Result<bool, Dropped> {
        let (dst, src) = packet::macs(head).ok_or(DropReason::Truncated)?;
        let layer = LayerId::Gateway;
        match dir {
            Direction::Out if src != self.mac => Err(Dropped::by(layer, DropReason::SpoofedMac)),
            Direction::Out if dst != self.gateway_mac && !dst.is_multicast() => {
                Err(Dropped::by(layer, DropReason::BadDestinationMac))
            }
            Direction::In if dst != self.mac => {
                Err(Dropped::by(layer, DropReason::BadDestinationMac))
            }
            _ => Ok(dst.is_multicast()),
        }
    }

    /// A guest's frame for more than one. The gateway hears what is for it
    /// (neighbour discovery, DHCP); nobody else does, and no flow is made of it.
    #[inline(never)]
    fn group(&self, counters: &DirCounters, head: &[u8], packet: &Packet) -> Result<Done, Dropped> {
        match self.hairpin(Direction::Out, head, Some(packet)) {
            Ok(None) => {
                let is_group = gateway::is_group(&packet.tuple.remote_ip());
                // A packet for one host in a frame for many (RFC 1122 section 3.3.6).
                let reason = match is_group {
                    true => DropReason::NoMulticast,
                    false => DropReason::BadDestinationMac,
                };
                Err(Dropped::by(LayerId::Gateway, reason))
            }
            other => hairpinned(counters, other),
        }
    }

    /// What to do with a frame that has no flow key.
    fn no_key<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        counters: &DirCounters,
        dir: Direction,
        head: &[u8],
        reject: Reject,
    ) -> Result<Done, Dropped> {
        match reject {
            Reject::Arp if dir == Direction::In => {
                Err(Dropped::by(LayerId::Gateway, DropReason::ArpNotAnswered))
            }
            Reject::Arp => hairpinned(counters, self.hairpin(dir, head, None)),
            Reject::Fragment => Err(DropReason::Fragment.into()),
            Reject::Bad(reason) => {
                let len = u32::try_from(head.len()).unwrap_or(u32::MAX);
                observe!(
                    env.observer,
                    BadPacket {
                        port: self.id,
                        dir,
                        reason,
                        len
                    }
                );
                Err(reason.into())
            }
        }
    }

    /// Asks the virtual gateway. `Ok(None)` when the frame isn't for it.
    fn hairpin(
        &self,
        dir: Direction,
        head: &[u8],
        packet: Option<&Packet>,
    ) -> Result<Option<Vec<u8>>, Dropped> {
        let refused = |reason| Dropped::by(LayerId::Gateway, reason);
        match dir {
            // The guest's only neighbour is the gateway, which sends its own.
            Direction::In if packet.is_some_and(is_neighbour_discovery) => {
                Err(refused(DropReason::NdpNotAnswered))
            }
            Direction::In => Ok(None),
            Direction::Out => hairpin::outbound(&self.policy().hairpin, head).map_err(refused),
        }
    }

    /// Counts a drop at this port and says so.
    pub(crate) fn dropped<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        dropped: &Dropped,
    ) {
        self.stats.lane(env.lane).drop(dir, dropped.reason);
        observe!(
            env.observer,
            Drop {
                port: Some(self.id),
                dir,
                layer: dropped.layer,
                rule: dropped.rule,
                reason: dropped.reason,
                key: dropped.key.as_ref(),
            }
        );
    }
}

fn is_neighbour_discovery(packet: &Packet) -> bool {
    packet.tuple.proto == Proto::ICMPV6
        && matches!(packet.detail, Detail::Icmp(kind, _) if icmpv6::is_neighbour_discovery(kind))
}

/// A frame that is the gateway's: answered, or dropped without an answer.
fn hairpinned(
    counters: &DirCounters,
    reply: Result<Option<Vec<u8>>, Dropped>,
) -> Result<Done, Dropped> {
    counters.hairpins.add(1);
    match reply? {
        Some(reply) => Ok(Done::Reply(reply)),
        None => Err(DropReason::UnknownEthertype.into()),
    }
}
