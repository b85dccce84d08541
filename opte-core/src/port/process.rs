//! One frame through a port.

use super::fast::{NoHit, Onward};
use super::{Dropped, Env, Port};
use crate::event::{Observer, Path, Probe, observe};
use crate::flow::{Flow, Proto, Tuple};
use crate::frame::Frame;
use crate::hairpin;
use crate::layer::gateway;
use crate::verdict::{Output, Verdict};
use crate::wire::icmpv6;
use crate::wire::packet::{self, Packet, Reject};
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
    #[inline(always)]
    pub(super) fn may_join(&self, flow: &Flow) -> bool {
        self.dir == Direction::Out || self.external == flow.external
    }
}

/// What a port makes of the headers of a frame, worked out before the flow
/// table is asked, so that its memory can be asked for ahead.
pub(crate) type Read = Result<Lookup, Keyless>;

/// A frame that has a flow key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup {
    /// Of the key, in the port's flow table.
    pub(super) hash: u64,
    /// Whether the guest's frame is for a group.
    is_for_many: bool,
}

/// Why a frame has no flow key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keyless {
    /// Its MAC addresses aren't allowed.
    Macs(DropReason),
    /// Its headers don't yield one.
    Headers(Reject),
}

impl<R: RawMutex> Port<R> {
    /// Takes a frame of the guest (`Out`) or for it (`In`) through the port,
    /// and says where it goes on, rewritten, or what became of it otherwise.
    /// Replies to the guest go to `out`.
    ///
    /// All that a hit needs is in one piece of code; whatever is rarer is out
    /// of its line.
    #[inline(always)]
    pub(crate) fn process<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (dir, external): (Direction, bool),
        (read, packet): (&Read, &Packet),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<Onward, Verdict> {
        let len = frame.frame_len();
        let counters = self.stats.lane(env.lane).dir(dir);
        counters.packets.add(1);
        counters.bytes.add(u64::try_from(len).unwrap_or(0));
        observe!(
            env.observer,
            PortProcessEntry {
                port: self.id,
                dir,
                len: u32::try_from(len).unwrap_or(u32::MAX)
            }
        );
        let Lookup { hash, is_for_many } = match read {
            Ok(lookup) => *lookup,
            Err(keyless) => return Err(self.keyless(env, dir, frame, out, keyless)),
        };
        let arrival = Arrival {
            dir,
            packet,
            external,
            len,
        };
        let mtu = self.mtu.load(Ordering::Relaxed);
        let found = if is_for_many {
            Err(NoHit::Group)
        } else if u32::from(packet.ip_len) > mtu
            && u32::from(packet.len_cut(frame.offload().segment_len)) > mtu
        {
            Err(NoHit::TooBig)
        } else {
            self.fast(env, &arrival, hash, frame)
        };
        match found {
            Ok(onward) => {
                counters.hits.add(1);
                self.went_on(env, &arrival, frame, Path::Hit);
                Ok(onward)
            }
            Err(why) => self.missed(env, &arrival, frame, out, why),
        }
    }

    /// Checks the MAC addresses and finds the flow key. `packet` is a place
    /// that is there: each field is written once.
    #[inline(always)]
    pub(crate) fn read(&self, packet: &mut Packet, frame: &impl Frame, dir: Direction) -> Read {
        let head = frame.head();
        let is_for_many = self.check_macs(head, dir).map_err(Keyless::Macs)?;
        let read = packet.read(head, frame.frame_len(), dir);
        read.map_err(Keyless::Headers)?;
        Ok(Lookup {
            hash: self.table.hash(&packet.tuple),
            is_for_many,
        })
    }

    /// The guest sends from its own MAC address, and to the gateway. Whether
    /// its frame is for a group. A frame for it was brought here by its
    /// destination address, which the host has looked up.
    #[inline(always)]
    fn check_macs(&self, head: &[u8], dir: Direction) -> Result<bool, DropReason> {
        if dir == Direction::In || head.first_chunk() == Some(&self.macs_out) {
            return Ok(false);
        }
        let (dst, src) = packet::macs(head).ok_or(DropReason::Truncated)?;
        if src != self.mac {
            return Err(DropReason::SpoofedMac);
        }
        if dst != self.gateway_mac && !dst.is_multicast() {
            return Err(DropReason::BadDestinationMac);
        }
        Ok(dst.is_multicast())
    }

    /// What to do with a frame that has no flow key.
    #[inline(never)]
    fn keyless<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        frame: &impl Frame,
        out: &mut impl Output,
        keyless: &Keyless,
    ) -> Verdict {
        let head = frame.head();
        let result = match *keyless {
            Keyless::Macs(DropReason::Truncated) => Err(DropReason::Truncated.into()),
            Keyless::Macs(reason) => Err(Dropped::by(LayerId::Gateway, reason)),
            Keyless::Headers(Reject::Arp) if dir == Direction::In => {
                Err(Dropped::by(LayerId::Gateway, DropReason::ArpNotAnswered))
            }
            Keyless::Headers(Reject::Arp) => {
                self.hairpinned(env, dir, self.hairpin(dir, head, None))
            }
            Keyless::Headers(Reject::Fragment) => Err(DropReason::Fragment.into()),
            Keyless::Headers(Reject::Bad(reason)) => {
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
        };
        self.conclude(env, dir, None, Path::None, result, out)
    }

    /// What to do with a packet whose flow has no answer.
    #[inline(never)]
    fn missed<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        out: &mut impl Output,
        why: NoHit,
    ) -> Result<Onward, Verdict> {
        let dir = arrival.dir;
        let key = Some(&arrival.packet.tuple);
        let counters = self.stats.lane(env.lane).dir(dir);
        let decided = match why {
            NoHit::TooBig => {
                let drop = Err(DropReason::TooBig.into());
                return Err(self.conclude(env, dir, key, Path::None, drop, out));
            }
            NoHit::Group => {
                // Without its end it is refused, whatever it is.
                let _ = frame.gather();
                let result = self.group(env, frame.head(), arrival.packet);
                return Err(self.conclude(env, dir, key, Path::None, result, out));
            }
            NoHit::Refused(reason) => {
                counters.hits.add(1);
                let drop = Err(reason.into());
                return Err(self.conclude(env, dir, key, Path::Hit, drop, out));
            }
            NoHit::Stale(inside) => self.slow(env, arrival, Some(inside), frame),
            NoHit::Miss => match self.ask_gateway(dir, frame, arrival.packet) {
                Ok(None) => self.slow(env, arrival, None, frame),
                reply => {
                    let result = self.hairpinned(env, dir, reply);
                    return Err(self.conclude(env, dir, key, Path::None, result, out));
                }
            },
        };
        counters.misses.add(1);
        match decided {
            Ok(onward) => {
                self.went_on(env, arrival, frame, Path::Miss);
                Ok(onward)
            }
            Err(dropped) => Err(self.conclude(env, dir, key, Path::Miss, Err(dropped), out)),
        }
    }

    /// Has the gateway look at a frame; at all of it, when the head isn't enough.
    fn ask_gateway(
        &self,
        dir: Direction,
        frame: &mut impl Frame,
        packet: &Packet,
    ) -> Result<Option<Vec<u8>>, Dropped> {
        let reply = self.hairpin(dir, frame.head(), Some(packet));
        let is_whole = frame.head().len() == frame.frame_len();
        if reply.is_ok() || is_whole || !frame.gather() {
            return reply;
        }
        self.hairpin(dir, frame.head(), Some(packet))
    }

    /// Says that a frame goes on, as it is now.
    #[inline(always)]
    fn went_on<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
        path: Path,
    ) {
        if env.observer.enabled(Probe::PortProcessReturn) {
            let after = packet::parse(frame.head(), frame.frame_len(), arrival.dir);
            observe!(
                env.observer,
                PortProcessReturn {
                    port: self.id,
                    dir: arrival.dir,
                    before: Some(&arrival.packet.tuple),
                    after: after.as_ref().ok().map(|packet| &packet.tuple),
                    path,
                    drop: None
                }
            );
        }
    }

    /// Ends with a frame that doesn't go on: it was answered, or is dropped.
    #[inline(never)]
    fn conclude<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        before: Option<&Tuple>,
        path: Path,
        result: Result<Vec<u8>, Dropped>,
        out: &mut impl Output,
    ) -> Verdict {
        observe!(
            env.observer,
            PortProcessReturn {
                port: self.id,
                dir,
                before,
                after: None,
                path,
                drop: result.as_ref().err().map(|dropped| dropped.reason)
            }
        );
        match result {
            Ok(reply) => {
                out.to_port(self.id, &reply);
                Verdict::Consumed
            }
            Err(dropped) => {
                let key = dropped.key.or(before.copied());
                self.dropped(env, dir, &Dropped { key, ..dropped });
                Verdict::Dropped(dropped.reason)
            }
        }
    }

    /// A frame that is the gateway's: answered, or dropped without an answer.
    fn hairpinned<O>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        reply: Result<Option<Vec<u8>>, Dropped>,
    ) -> Result<Vec<u8>, Dropped> {
        self.stats.lane(env.lane).dir(dir).hairpins.add(1);
        reply?.ok_or_else(|| DropReason::UnknownEthertype.into())
    }

    /// A guest's frame for more than one. The gateway hears what is for it
    /// (neighbour discovery, DHCP); nobody else does, and no flow is made of it.
    fn group<O>(
        &self,
        env: &Env<'_, R, O>,
        head: &[u8],
        packet: &Packet,
    ) -> Result<Vec<u8>, Dropped> {
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
            reply => self.hairpinned(env, Direction::Out, reply),
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
    packet.tuple.proto == Proto::ICMPV6 && icmpv6::is_neighbour_discovery(packet.icmp.0)
}
