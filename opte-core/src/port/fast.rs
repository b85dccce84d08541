//! The cached path: one look-up, one lock, one edit.

use super::edit::{Edit, NearEnd};
use super::process::Arrival;
use super::{Env, Port};
use crate::event::{Observer, Stale, observe};
use crate::flow::Tuple;
use crate::flow::record::{Flow, Forward, NO_REWRITE, NatKind, side};
use crate::flow::tcp::State;
use crate::wire::MacAddr;
use crate::wire::packet::{Detail, Packet, Segment};
use crate::{Direction, DropReason};
use core::sync::atomic::Ordering;
use lock_api::RawMutex;

/// What the flow table says about a packet.
#[derive(Debug)]
pub(super) enum Fast {
    /// It knows what to do.
    Hit(Rewrite),
    /// It knows nothing.
    Miss,
    /// It knows the flow, whose inside key this is, but not what to do now.
    Stale(Tuple),
    /// The flow refuses it.
    Refused(DropReason),
}

/// What to do with a packet of a known flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewrite {
    pub(crate) edit: Edit,
    /// Where it goes; outbound only.
    pub(crate) forward: Forward,
}

impl<R: RawMutex> Port<R> {
    /// Looks a packet up and, on a hit, takes it into account.
    #[inline]
    pub(super) fn fast<O: Observer>(&self, env: &Env<'_, R, O>, arrival: &Arrival<'_>) -> Fast {
        let (dir, packet, len) = (arrival.dir, arrival.packet, arrival.len);
        let hash = self.table.hash(&packet.tuple);
        let Some((id, mut flow)) = self.table.find(dir, &packet.tuple, hash) else {
            return Fast::Miss;
        };
        if !arrival.may_join(&flow) {
            return Fast::Miss;
        }
        if let Some(cause) = self.stale(env, &flow, dir) {
            let inside = flow.inside;
            let had = had_rewrite(&flow, dir);
            drop(flow);
            if had {
                observe!(
                    env.observer,
                    UftInvalidate {
                        port: self.id,
                        dir,
                        key: &inside,
                        cause
                    }
                );
            }
            return Fast::Stale(inside);
        }
        let taken = self.take_into_account(env, &mut flow, dir, packet, len);
        let rewrite = self.rewrite(&flow, dir);
        let inside = flow.inside;
        drop(flow);
        match taken {
            Taken::Same => {}
            // The state's timeout may be shorter (rule L2: after the flow's lock).
            Taken::StateChanged => self.table.reschedule(id, &self.policy().spec.options),
            Taken::Over => return Fast::Stale(inside),
            Taken::Refused(reason) => return Fast::Refused(reason),
        }
        observe!(
            env.observer,
            UftHit {
                port: self.id,
                dir,
                key: &packet.tuple
            }
        );
        Fast::Hit(rewrite)
    }

    /// Whether the rewrite for `dir` may not be used any more (rule P1).
    #[inline]
    fn stale<O>(&self, env: &Env<'_, R, O>, flow: &Flow, dir: Direction) -> Option<Stale> {
        let [inbound, outbound] = flow.policy;
        let generation = match dir {
            Direction::In => inbound,
            Direction::Out => outbound,
        };
        if generation != self.generation.load(Ordering::Acquire) {
            return Some(Stale::Policy);
        }
        if dir == Direction::Out {
            if flow.forward.underlay != env.underlay.generation() {
                return Some(Stale::Underlay);
            }
            if !env.mappings.current(flow.forward.mapping) {
                return Some(Stale::Mapping);
            }
        }
        let idle = env.now.as_nanos().saturating_sub(flow.last.as_nanos());
        (idle / 1_000_000 > self.uft_ms.load(Ordering::Relaxed)).then_some(Stale::Idle)
    }

    /// Counts the packet and steps TCP.
    #[inline]
    pub(super) fn take_into_account<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        dir: Direction,
        packet: &Packet,
        len: usize,
    ) -> Taken {
        let mut taken = Taken::Same;
        if let Detail::Tcp(segment) = &packet.detail {
            let before = flow.tcp.state();
            if before.is_over() && segment.has(Segment::SYN) && !segment.has(Segment::ACK) {
                return Taken::Over;
            }
            if let Err(reason) = flow.tcp.step(segment, dir) {
                return Taken::Refused(reason);
            }
            if flow.tcp.state() != before {
                taken = Taken::StateChanged;
                self.state_changed(env, dir, &flow.inside, before, flow.tcp.state());
            }
        }
        flow.answered |= dir != flow.opened;
        flow.last = flow.last.max(env.now);
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if let Some(packets) = flow.packets.get_mut(side(dir)) {
            *packets = packets.wrapping_add(1);
        }
        if let Some(bytes) = flow.bytes.get_mut(side(dir)) {
            *bytes = bytes.wrapping_add(len);
        }
        taken
    }

    #[inline(never)]
    fn state_changed<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        dir: Direction,
        key: &Tuple,
        old: State,
        new: State,
    ) {
        observe!(
            env.observer,
            TcpFlowState {
                port: self.id,
                dir,
                key,
                old: old.number(),
                new: new.number()
            }
        );
    }

    /// The flow's rewrite for packets going `dir`.
    #[inline]
    pub(super) fn rewrite(&self, flow: &Flow, dir: Direction) -> Rewrite {
        let translated = flow.nat != NatKind::None;
        let near = translated.then(|| match dir {
            Direction::Out => NearEnd {
                addr: flow.outside_local,
                port: flow.outside_port,
                diff: flow.diff,
            },
            Direction::In => NearEnd {
                addr: flow.inside.local,
                port: flow.inside.local_port,
                diff: flow.diff.reverse(),
            },
        });
        let macs = match dir {
            Direction::Out => [flow.forward.mac, MacAddr::ZERO],
            Direction::In => [self.mac, self.gateway_mac],
        };
        Rewrite {
            edit: Edit { near, macs },
            forward: flow.forward,
        }
    }
}

/// What came of taking a packet into account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing special.
    Same,
    /// Its TCP state is another one now.
    StateChanged,
    /// The connection is over and the packet opens another one.
    Over,
    /// The packet is refused.
    Refused(DropReason),
}

/// Whether the flow ever had a rewrite for this direction.
fn had_rewrite(flow: &Flow, dir: Direction) -> bool {
    flow.policy
        .get(side(dir))
        .is_some_and(|generation| *generation != NO_REWRITE)
}
