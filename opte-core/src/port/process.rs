//! One frame through a port.

use super::fast::{NoHit, Onward};
use super::{Dropped, Env, Port, answer, related};
use crate::event::{Observer, Path, Probe, observe};
use crate::flow::{Flow, Proto, Tuple, tuple};
use crate::frame::Frame;
use crate::hairpin;
use crate::stats::DirCounters;
use crate::verdict::{Output, Verdict};
use crate::wire::icmpv6;
use crate::wire::notice::Notice;
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

impl Lookup {
    /// Of the key, in the port's flow table.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

/// Why a frame has no flow key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keyless {
    /// Its MAC addresses aren't allowed.
    Macs(DropReason),
    /// Its headers don't yield one.
    Headers(Reject),
}

/// What is left to do about a frame that is no hit.
#[derive(Debug)]
pub(crate) enum Left {
    /// It has no flow key.
    Keyless(Keyless),
    /// The guest sends it to a group.
    Group,
    /// It may be too long, or the port wants to see every packet. Its key's hash.
    Closer(u64),
    /// The flow table has no answer.
    Miss(NoHit),
}

/// What became of such a frame.
#[derive(Debug)]
pub(crate) enum Went {
    /// It goes on, rewritten.
    On(Onward),
    /// The guest's frame goes to the members of its group.
    ToGroup,
    /// It goes no further.
    Ended(Verdict),
}

impl Went {
    pub(super) fn of(result: Result<Onward, Verdict>) -> Self {
        result.map_or_else(Self::Ended, Self::On)
    }
}

impl<R: RawMutex> Port<R> {
    /// Takes a frame of the guest (`Out`) or for it (`In`) through the port,
    /// and says where it goes on, rewritten.
    ///
    /// All that a hit needs is in one piece of code. Whatever is rarer is left
    /// to [`Port::resume`], out of its line, so that where a hit goes stays in
    /// registers.
    #[inline(always)]
    pub(crate) fn process<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (dir, external): (Direction, bool),
        (read, packet): (&Read, &Packet),
        frame: &mut impl Frame,
    ) -> Result<Onward, Left> {
        let (len, counters) = self.enter(env, dir, frame);
        let Lookup { hash, is_for_many } = match read {
            Ok(lookup) => *lookup,
            Err(keyless) => return Err(Left::Keyless(*keyless)),
        };
        let arrival = Arrival {
            dir,
            packet,
            external,
            len,
        };
        if is_for_many {
            return Err(Left::Group);
        }
        let mtu = self.mtu.load(Ordering::Relaxed);
        if u32::from(packet.ip_len) > mtu
            && u32::from(packet.len_cut(frame.offload().segment_len)) > mtu
        {
            return Err(Left::Closer(hash));
        }
        let onward = self.fast(env, &arrival, hash, frame).map_err(Left::Miss)?;
        counters.hits.add(1);
        self.went_on(env, &arrival, frame, Path::Hit);
        Ok(onward)
    }

    /// Does what [`Port::process`] has left to do. Answers to the guest go to
    /// `out`; what else comes of the frame is an errand.
    #[inline(always)]
    pub(crate) fn resume<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        (dir, external): (Direction, bool),
        packet: &mut Packet,
        (frame, left): (&mut impl Frame, &Left),
        out: &mut impl Output,
    ) -> Went {
        let len = frame.frame_len();
        let first = match left {
            Left::Keyless(Keyless::Headers(Reject::Fragment)) => {
                match self.fragment(env, (dir, external), packet, frame, out) {
                    Ok(piece) => Some(piece),
                    Err(went) => return went,
                }
            }
            _ => None,
        };
        let arrival = Arrival {
            dir,
            packet,
            external,
            len,
        };
        let hash = match (left, &first) {
            (Left::Miss(why), _) => return Went::of(self.missed(env, &arrival, frame, out, why)),
            (Left::Closer(hash), _) => *hash,
            // The first fragment goes the way of every packet.
            (Left::Keyless(_), Some(first)) if !first.to_group => self.table.hash(&packet.tuple),
            (Left::Keyless(keyless), None) => {
                return Went::Ended(self.keyless(env, dir, frame, out, keyless));
            }
            (Left::Group, _) | (Left::Keyless(_), Some(_)) => {
                return match self.group(env, &arrival, first.as_ref(), frame, out) {
                    Ok(()) => Went::ToGroup,
                    Err(verdict) => Went::Ended(verdict),
                };
            }
        };
        let found = self.look_closer(env, &arrival, hash, frame);
        let went = found.or_else(|why| self.missed(env, &arrival, frame, out, &why));
        if let Some(piece) = &first {
            self.follow_first(env, &arrival, piece, went.is_ok(), out);
        }
        Went::of(went)
    }

    /// Counts a frame that comes to the port; its length, and the counters.
    #[inline(always)]
    pub(super) fn enter<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        frame: &impl Frame,
    ) -> (usize, &DirCounters) {
        let len = frame.frame_len();
        let counters = self.stats.lane(env.lane).dir(dir);
        counters.packets.add(1);
        counters.bytes.add(u64::try_from(len).unwrap_or(0));
        if O::CAN_WATCH && env.followed {
            self.entered(env, dir, len);
        }
        (len, counters)
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

    /// The guest sends from its own MAC address, and to the gateway or a group.
    /// Whether it is a group. A frame for it was brought here by its
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
                self.hairpinned(env, dir, self.hairpin(env, dir, head, None))
            }
            // Followed elsewhere.
            Keyless::Headers(Reject::Fragment) => Err(DropReason::Fragment.into()),
            Keyless::Headers(Reject::Bad(reason)) => {
                let len = u32::try_from(head.len()).unwrap_or(u32::MAX);
                observe!(
                    env.observer,
                    BadPacket {
                        port: &self.tag,
                        dir,
                        frame: head,
                        len,
                        reason
                    }
                );
                Err(reason.into())
            }
        };
        self.conclude(env, dir, None, Path::None, result, out)
    }

    /// What to do with a packet that is no hit at once.
    #[inline(never)]
    fn missed<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        out: &mut impl Output,
        why: &NoHit,
    ) -> Result<Onward, Verdict> {
        let stepped;
        let why = match why {
            NoHit::Uncommon => match self.step(env, arrival, frame) {
                Ok(onward) => {
                    self.stats.lane(env.lane).dir(arrival.dir).hits.add(1);
                    self.went_on(env, arrival, frame, Path::Hit);
                    return Ok(onward);
                }
                Err(other) => {
                    stepped = other;
                    &stepped
                }
            },
            why => why,
        };
        self.unanswered(env, arrival, frame, out, why)
    }

    /// What to do with a packet whose flow has no answer.
    fn unanswered<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        out: &mut impl Output,
        why: &NoHit,
    ) -> Result<Onward, Verdict> {
        let dir = arrival.dir;
        let key = Some(&arrival.packet.tuple);
        let counters = self.stats.lane(env.lane).dir(dir);
        let decided = match why {
            NoHit::TooBig => {
                let mtu = self.policy().spec.mtu;
                let notice = Notice::TooBig { mtu };
                // The answer quotes of it what there is room for.
                let _ = frame.gather();
                self.answer(env, arrival, frame.head(), notice, out);
                let drop = Err(DropReason::TooBig.into());
                return Err(self.conclude(env, dir, key, Path::None, drop, out));
            }
            NoHit::Refused(reason) => {
                counters.hits.add(1);
                let drop = Err((*reason).into());
                return Err(self.conclude(env, dir, key, Path::Hit, drop, out));
            }
            NoHit::Stale(inside) => self.slow(env, arrival, Some(*inside), frame),
            // The last of them is over with.
            NoHit::Miss | NoHit::Expired | NoHit::Uncommon => {
                if let Some(verdict) = self.replied(env, arrival, frame, out) {
                    return Err(verdict);
                }
                match why {
                    NoHit::Expired => Err(DropReason::TtlExceeded.into()),
                    _ if related::is_error(arrival.packet) => self.related(env, arrival, frame),
                    _ => self.slow(env, arrival, None, frame),
                }
            }
        };
        counters.misses.add(1);
        match decided {
            Ok(onward) => {
                self.went_on(env, arrival, frame, Path::Miss);
                Ok(onward)
            }
            Err(dropped) => {
                if let Some(notice) = answer::notice(dropped.reason, dir) {
                    let _ = frame.gather();
                    self.answer(env, arrival, frame.head(), notice, out);
                }
                Err(self.conclude(env, dir, key, Path::Miss, Err(dropped), out))
            }
        }
    }

    /// What became of a frame that is the gateway's.
    #[inline(never)]
    fn replied<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Option<Verdict> {
        let (dir, packet) = (arrival.dir, arrival.packet);
        match self.reply_to(env, dir, frame, packet) {
            Ok(None) => None,
            reply => {
                let result = self.hairpinned(env, dir, reply);
                let key = Some(&packet.tuple);
                Some(self.conclude(env, dir, key, Path::None, result, out))
            }
        }
    }

    /// Has the gateway look at a frame; at all of it, when the head isn't enough.
    pub(super) fn reply_to<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        frame: &mut impl Frame,
        packet: &Packet,
    ) -> Result<Option<Vec<u8>>, Dropped> {
        let reply = self.hairpin(env, dir, frame.head(), Some(packet));
        let is_whole = frame.head().len() == frame.frame_len();
        if reply.is_ok() || is_whole || !frame.gather() {
            return reply;
        }
        self.hairpin(env, dir, frame.head(), Some(packet))
    }

    /// Says that a frame goes on, as it is now.
    #[inline(always)]
    pub(super) fn went_on<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
        path: Path,
    ) {
        if O::CAN_WATCH && env.followed {
            self.tell_went_on(env, arrival, frame, path);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_went_on<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
        path: Path,
    ) {
        self.left(env, arrival.dir, path);
        if env.observer.enabled(Probe::PortProcessReturn) {
            let after = packet::parse(frame.head(), frame.frame_len(), arrival.dir);
            observe!(
                env.observer,
                PortProcessReturn {
                    port: &self.tag,
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
    pub(super) fn conclude<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        before: Option<&Tuple>,
        path: Path,
        result: Result<Vec<u8>, Dropped>,
        out: &mut impl Output,
    ) -> Verdict {
        if O::CAN_WATCH && env.followed {
            self.left(env, dir, path);
        }
        observe!(
            env.observer,
            PortProcessReturn {
                port: &self.tag,
                dir,
                before,
                after: None,
                path,
                drop: result.as_ref().err().map(|dropped| dropped.reason)
            }
        );
        match result {
            Ok(reply) => {
                self.to_guest(env, &reply, out);
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
    pub(super) fn hairpinned<O>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        reply: Result<Option<Vec<u8>>, Dropped>,
    ) -> Result<Vec<u8>, Dropped> {
        let reply = reply?.ok_or(DropReason::UnknownEthertype)?;
        self.stats.lane(env.lane).dir(dir).hairpins.add(1);
        Ok(reply)
    }

    /// Asks the virtual gateway. `Ok(None)` when the frame isn't for it.
    pub(super) fn hairpin<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        head: &[u8],
        packet: Option<&Packet>,
    ) -> Result<Option<Vec<u8>>, Dropped> {
        let refused = |reason| Dropped::by(LayerId::Gateway, reason);
        match dir {
            // The guest's only neighbour is the gateway, which sends its own.
            Direction::In => match packet.and_then(hairpin::inbound) {
                Some(reason) => Err(refused(reason)),
                None => Ok(None),
            },
            Direction::Out => self.ask_gateway(env, head).map_err(refused),
        }
    }

    /// The gateway's answer to the guest. An address that the guest finds in
    /// use elsewhere is still its own, as there is no other to give; somebody
    /// should look into it.
    fn ask_gateway<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        head: &[u8],
    ) -> Result<Option<Vec<u8>>, DropReason> {
        let policy = self.policy();
        let answer = hairpin::outbound(&policy.hairpin, head);
        let declined = match &answer {
            Ok(Some(answer)) => answer.declined,
            Err(DropReason::DhcpDeclined) => policy.spec.ipv4.map(|c| c.address.into()),
            _ => None,
        };
        if let Some(address) = declined {
            let (port, address) = (&self.tag, tuple::from_ip(address));
            observe!(env.observer, DhcpDecline { port, address });
        }
        answer.map(|answer| answer.map(|answer| answer.frame))
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
                port: Some(&self.tag),
                dir,
                layer: dropped.layer,
                rule: dropped.rule,
                reason: dropped.reason,
                key: dropped.key.as_ref(),
            }
        );
        self.tell_drop(env, dir, dropped);
    }
}

pub(super) fn is_neighbour_discovery(packet: &Packet) -> bool {
    packet.tuple.proto == Proto::ICMPV6 && icmpv6::is_neighbour_discovery(packet.icmp.0)
}
