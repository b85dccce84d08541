//! The cached path: one look-up, one lock, one edit.

use super::process::{Arrival, Lookup};
use super::{Env, Port};
use crate::event::{Observer, Stale, observe};
use crate::flow::record::{Flow, Next};
use crate::flow::sctp::{self, Chunk};
use crate::flow::table::{FlowId, Name};
use crate::flow::{Proto, Tuple};
use crate::frame::Frame;
use crate::time::Coarse;
use crate::{Direction, DropReason};
use core::sync::atomic::Ordering;
use lock_api::{MutexGuard, RawMutex};

/// Why the flow table has no answer.
#[derive(Debug)]
pub(crate) enum NoHit {
    /// It wasn't asked: the packet is longer than the port allows.
    TooBig,
    /// It wasn't asked: the packet's hops are used up.
    Expired,
    /// It knows nothing.
    Miss,
    /// It knows the flow, whose inside key this is, but not what to do now.
    Stale(Tuple),
    /// It knows the flow, whose state the packet may change.
    Uncommon,
    /// The flow refuses the packet.
    Refused(DropReason),
}

/// Where a rewritten frame goes; outbound only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Onward {
    pub(crate) to: Next,
    /// UDP source port of the tunnel.
    pub(crate) source_port: u16,
}

impl Onward {
    #[inline(always)]
    pub(super) const fn of(flow: &Flow) -> Self {
        Self {
            to: flow.forward.to,
            source_port: flow.forward.source_port,
        }
    }
}

impl<R: RawMutex> Port<R> {
    /// Looks a packet up. On a hit, takes it into account and rewrites the frame.
    #[inline(always)]
    pub(super) fn fast<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        hash: u64,
        frame: &mut impl Frame,
    ) -> Result<Onward, NoHit> {
        let (_, mut flow) = self.find(env, arrival, hash)?;
        if !is_common(&mut flow, arrival) {
            return Err(NoHit::Uncommon);
        }
        self.count(env, &mut flow, arrival);
        self.edit(&flow, arrival.packet, arrival.dir, frame);
        let onward = Onward::of(&flow);
        drop(flow);
        self.hit(env, arrival);
        Ok(onward)
    }

    /// The same for a packet that may change its flow's state: rare, and so
    /// it is looked up once more rather than in the hit's way.
    pub(super) fn step<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
    ) -> Result<Onward, NoHit> {
        let hash = self.table.hash(&arrival.packet.tuple);
        let (id, mut flow) = self.find(env, arrival, hash)?;
        let taken = self.take_into_account(env, &mut flow, arrival, frame);
        match taken {
            Taken::Same | Taken::StateChanged => {}
            Taken::Over => return Err(NoHit::Stale(flow.inside)),
            Taken::Refused(reason) => return Err(NoHit::Refused(reason)),
        }
        self.edit(&flow, arrival.packet, arrival.dir, frame);
        let onward = Onward::of(&flow);
        drop(flow);
        if taken == Taken::StateChanged {
            // Its timeout may be shorter (rule L2: after the flow's lock).
            self.table.reschedule(id, &self.policy().spec.options);
        }
        self.hit(env, arrival);
        Ok(onward)
    }

    /// The flow that a packet belongs to, if its rewrite may be used.
    #[inline(always)]
    fn find<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        hash: u64,
    ) -> Result<(FlowId, MutexGuard<'_, R, Flow>), NoHit> {
        let (dir, name) = (arrival.dir, name_of(arrival.external));
        let found = self.table.find(dir, name, &arrival.packet.tuple, hash);
        let Some((id, flow)) = found else {
            return Err(NoHit::Miss);
        };
        if !arrival.may_join(&flow) {
            return Err(NoHit::Miss);
        }
        match self.stale(env, &flow, dir) {
            Some(cause) => Err(NoHit::Stale(self.invalidate(env, &flow, dir, cause))),
            None => Ok((id, flow)),
        }
    }

    #[inline(always)]
    fn hit<O: Observer>(&self, env: &Env<'_, R, O>, arrival: &Arrival<'_>) {
        observe!(
            env.observer,
            UftHit {
                port: &self.tag,
                dir: arrival.dir,
                key: &arrival.packet.tuple
            }
        );
    }

    /// Asks for the memory that tells where the flow of a packet is.
    #[inline]
    pub(crate) fn prefetch_index(&self, lookup: &Lookup, external: bool) {
        self.table.prefetch_index(name_of(external), lookup.hash);
    }

    /// Asks for the memory of the flow of a packet, once the former is there.
    #[inline]
    pub(crate) fn prefetch_flow(&self, lookup: &Lookup, external: bool) {
        self.table.prefetch_flow(name_of(external), lookup.hash);
    }

    /// Says that a rewrite is out of date; the flow's inside key.
    #[inline(never)]
    fn invalidate<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &Flow,
        dir: Direction,
        cause: Stale,
    ) -> Tuple {
        if flow.rewrite(dir).is_some() {
            observe!(
                env.observer,
                UftInvalidate {
                    port: &self.tag,
                    dir,
                    key: &flow.inside,
                    cause
                }
            );
        }
        flow.inside
    }

    /// Whether the rewrite for `dir` may not be used any more (rule P1).
    #[inline(always)]
    pub(super) fn stale<O>(
        &self,
        env: &Env<'_, R, O>,
        flow: &Flow,
        dir: Direction,
    ) -> Option<Stale> {
        let current = Some(self.generation.load(Ordering::Acquire));
        if flow.rewrite(dir) != current {
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
        let idle = Coarse::from(env.now).units_since(flow.last);
        (idle > self.uft.load(Ordering::Relaxed)).then_some(Stale::Idle)
    }

    /// Takes a packet of a flow into account: its state and its counters.
    pub(super) fn take_into_account<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
    ) -> Taken {
        let (dir, packet) = (arrival.dir, arrival.packet);
        let taken = match packet.tuple.proto {
            _ if is_common(flow, arrival) => Taken::Same,
            Proto::SCTP => self.take_sctp(env, flow, arrival, frame),
            _ => self.track(env, flow, dir, packet, frame),
        };
        if matches!(taken, Taken::Same | Taken::StateChanged) {
            self.count(env, flow, arrival);
        }
        taken
    }

    /// Takes an SCTP packet into account for its association.
    #[inline(never)]
    fn take_sctp<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        flow: &mut Flow,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
    ) -> Taken {
        let (dir, before) = (arrival.dir, flow.tcp.state());
        let chunk = Chunk::of(&arrival.packet.segment);
        if before.is_over() && chunk.opens() {
            return Taken::Over;
        }
        match sctp::step(&mut flow.tcp, &chunk, dir) {
            Err(reason) => Taken::Refused(reason),
            Ok(()) if flow.tcp.state() == before => Taken::Same,
            Ok(()) => {
                self.tell_state(env, dir, flow, before, frame);
                Taken::StateChanged
            }
        }
    }

    /// Counts a packet for its flow.
    #[inline(always)]
    fn count<O: Observer>(&self, env: &Env<'_, R, O>, flow: &mut Flow, arrival: &Arrival<'_>) {
        flow.answered |= arrival.dir != flow.opened;
        flow.last = flow.last.max(env.now.into());
        if flow.count(arrival.dir, arrival.len) {
            self.fold(flow);
        }
    }
}

/// Whether a packet changes nothing but its flow's numbers, which it has then:
/// of protocols with a state, a common TCP segment.
#[inline(always)]
fn is_common(flow: &mut Flow, arrival: &Arrival<'_>) -> bool {
    match arrival.packet.tuple.proto {
        Proto::TCP => flow.tcp.advance(&arrival.packet.segment, arrival.dir),
        proto => proto != Proto::SCTP,
    }
}

/// The name by which a packet probably knows its flow: nearly all that comes
/// from outside of the VPC is to be translated.
#[inline(always)]
pub(super) const fn name_of(external: bool) -> Name {
    match external {
        true => Name::Outside,
        false => Name::Inside,
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
