//! The slow path: a packet whose flow is unknown, or known no longer well enough.

use super::fast::{Onward, Taken};
use super::process::Arrival;
use super::track::{makes_room, scale};
use super::{Dropped, Env, Policy, Port};
use crate::api::Behaviour;
use crate::event::{Ending, FlowEnd, Observer, observe};
use crate::flow::record::{Flow, NatKind};
use crate::flow::sctp::{self, Chunk};
use crate::flow::table::{FlowId, ShardGuard};
use crate::flow::tcp::{self, Connection};
use crate::flow::{Proto, Tuple};
use crate::frame::Frame;
use crate::layer::gateway;
use crate::layer::nat::Outside;
use crate::limits::SNAT_REST_MS_MIN;
use crate::wire::packet::Packet;
use crate::{Direction, DropReason, Instant, LayerId};
use lock_api::RawMutex;

/// The near end of a packet that belongs to no known flow; its key is that of
/// the packet, unless it came by an external end.
struct Inside {
    key: Tuple,
    hash: u64,
    /// The external end that it came by, with a reference to it.
    by: Option<Outside>,
    /// Whether its sender may open a flow by that end.
    admitted: bool,
}

impl<R: RawMutex> Port<R> {
    /// Decides about a packet. `known` is the inside key of the flow that the
    /// fast path found, if it found one.
    pub(super) fn slow<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        known: Option<Tuple>,
        frame: &mut impl Frame,
    ) -> Result<Onward, Dropped> {
        let policy = self.policy();
        if let Some(inside) = known
            && let Some(decided) = self.reconsider(env, &policy, arrival, &inside, frame)
        {
            return decided.inspect_err(|dropped| count_refusal(env, &policy, arrival, dropped));
        }
        let inside = self.inside(&policy, arrival)?;
        let mut shard = self.table.lock(inside.hash);
        let hash = match inside.by {
            Some(_) => self.table.hash(&arrival.packet.tuple),
            None => inside.hash,
        };
        let raced = shard
            .find(arrival.dir, &arrival.packet.tuple, hash)
            .filter(|(_, flow)| arrival.may_join(flow))
            .map(|found| found.0);
        // Another CPU was faster.
        if let Some(id) = raced
            && let Some(decided) = self.refresh(env, &policy, arrival, &mut shard, id, frame)
        {
            self.give_back(env, &inside);
            return decided.inspect_err(|dropped| count_refusal(env, &policy, arrival, dropped));
        }
        let opened = match inside.admitted {
            true => self.open(env, &policy, arrival, &inside, &mut shard, frame),
            false => {
                self.give_back(env, &inside);
                Err(Dropped::by(LayerId::Nat, DropReason::NatFiltered))
            }
        };
        opened.map_err(|dropped| {
            count_refusal(env, &policy, arrival, &dropped);
            let key = Some(inside.key);
            Dropped { key, ..dropped }
        })
    }

    /// Decides again about a flow that was found. `None` when it is gone, or
    /// has made room for the packet to open a new one.
    #[inline(never)]
    fn reconsider<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        arrival: &Arrival<'_>,
        inside: &Tuple,
        frame: &mut impl Frame,
    ) -> Option<Result<Onward, Dropped>> {
        let mut shard = self.table.lock(self.table.hash(inside));
        let hash = self.table.hash(&arrival.packet.tuple);
        let (id, _) = shard.find(arrival.dir, &arrival.packet.tuple, hash)?;
        self.refresh(env, policy, arrival, &mut shard, id, frame)
    }

    /// As [`Port::reconsider`], under the shard's lock.
    #[inline(never)]
    fn refresh<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        arrival: &Arrival<'_>,
        shard: &mut ShardGuard<'_, R>,
        id: FlowId,
        frame: &mut impl Frame,
    ) -> Option<Result<Onward, Dropped>> {
        let (dir, packet) = (arrival.dir, arrival.packet);
        let mut decision = *self.table.get(id)?;
        // A revoked one ends for whom policy judges otherwise.
        let is_over = match decision.revoked {
            true => decision.opened != dir && opens(packet),
            false => makes_room(&decision, dir, packet),
        };
        if is_over {
            self.end(env, shard, id, FlowEnd::Closed);
            return None;
        }
        let (key, held) = (decision.inside, decision.held());
        let decided = self.decide(env, policy, &mut decision, dir);
        if let Err(dropped) = decided {
            let key = Some(key);
            return self.refused(env, policy, dir, shard, id, Dropped { key, ..dropped });
        }
        if decision.revoked && opens(packet) {
            self.end(env, shard, id, FlowEnd::Revoked);
            return None;
        }
        if decision.held() != held {
            // It needs an external end now, which makes it another flow: its
            // outside key changes, and the far end sees a stranger.
            if let Some(new) = decision.held() {
                self.nat.release(&key, &new, env.now);
            }
            self.end(env, shard, id, FlowEnd::Revoked);
            return None;
        }
        let mut flow = self.table.get(id)?;
        // What other rules have let pass is theirs.
        if (flow.fw_rule, flow.route) != (decision.fw_rule, decision.route) {
            self.fold(&mut flow);
        }
        // Only the decision; the rest may have moved on meanwhile (rule L3).
        flow.take_rewrites(&decision);
        flow.revoked = false;
        flow.forward = decision.forward;
        flow.fw_rule = decision.fw_rule;
        flow.route = decision.route;
        flow.external = decision.external;
        let taken = self.take_into_account(env, &mut flow, arrival, frame);
        if let Taken::Refused(reason) = taken {
            return Some(Err(Dropped {
                key: Some(key),
                ..reason.into()
            }));
        }
        self.edit(&flow, packet, dir, frame);
        let onward = Onward::of(&flow);
        drop(flow);
        if taken == Taken::StateChanged {
            shard.reschedule(id, &policy.spec.options);
        }
        Some(Ok(onward))
    }

    /// What becomes of a flow that the layers refuse now, and of the packet
    /// that they were asked about. `None` when the flow may begin anew.
    fn refused<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        dir: Direction,
        shard: &mut ShardGuard<'_, R>,
        id: FlowId,
        dropped: Dropped,
    ) -> Option<Result<Onward, Dropped>> {
        // Policy allows it, but there is no way now: it keeps what it has for
        // when there is one (decision D4).
        if dropped.layer == Some(LayerId::Overlay) {
            return Some(Err(dropped));
        }
        let lost_address = dropped.layer == Some(LayerId::Nat);
        let mut flow = self.table.get(id)?;
        let opened = flow.opened;
        if flow.inside.proto == Proto::TCP && !lost_address {
            flow.revoked = true;
            flow.forget_rewrites();
            flow.last = flow.last.max(env.now.into());
            drop(flow);
            shard.reschedule(id, &policy.spec.options);
            return Some(Err(dropped));
        }
        drop(flow);
        self.end(env, shard, id, FlowEnd::Revoked);
        // Its external end is gone; it may have another.
        let anew = lost_address && opened == dir && dir == Direction::Out;
        (!anew).then_some(Err(dropped))
    }

    /// Opens a flow for a packet, if the layers let it.
    #[inline(never)]
    fn open<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        arrival: &Arrival<'_>,
        inside: &Inside,
        shard: &mut ShardGuard<'_, R>,
        frame: &mut impl Frame,
    ) -> Result<Onward, Dropped> {
        let (dir, packet) = (arrival.dir, arrival.packet);
        shard.expect(inside.hash);
        let mut flow = Flow::new(inside.key, dir, env.now);
        flow.external = arrival.external;
        if let Some(by) = &inside.by {
            flow.hold(by);
        }
        let decided = self
            .first_packet(env, policy, &mut flow, (arrival, &*frame))
            .or_else(|dropped| {
                self.once_more(env, policy, &mut flow, (arrival, &*frame), shard, dropped)
            })
            .and_then(|()| {
                // The guest names flows by their inside key, so there is one of each.
                let other = shard.find(Direction::Out, &inside.key, inside.hash);
                match other.map(|(id, flow)| (id, yields(&flow, arrival))) {
                    Some((id, true)) => self.end(env, shard, id, FlowEnd::Evicted),
                    Some((_, false)) => {
                        return Err(Dropped::by(LayerId::Nat, DropReason::OtherAddress));
                    }
                    None => {}
                }
                let evicted = |flow: &mut Flow| self.ended(env, flow, FlowEnd::Evicted);
                let inserted = shard.insert(flow, &policy.spec.options, evicted);
                inserted.map(drop).map_err(Dropped::from)
            });
        match decided {
            Ok(()) => {
                self.tell_open(env, dir, &flow, frame);
                self.edit(&flow, packet, dir, frame);
                Ok(Onward::of(&flow))
            }
            Err(dropped) => {
                // Whether it came with a reference or took one just now.
                if let Some(held) = flow.held() {
                    self.nat.release(&flow.inside, &held, env.now);
                }
                Err(dropped)
            }
        }
    }

    /// When all external ports are taken, one of a flow that gives way, as in a
    /// full table, and the layers are asked again.
    #[inline(never)]
    fn once_more<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        (arrival, frame): (&Arrival<'_>, &impl Frame),
        shard: &mut ShardGuard<'_, R>,
        dropped: Dropped,
    ) -> Result<(), Dropped> {
        if dropped.reason != DropReason::SnatExhausted {
            return Err(dropped);
        }
        let mapping = policy.spec.external.nat.mapping;
        let frees = |other: &Flow| frees_port(other, &flow.inside, mapping, env.now);
        let evicted = |flow: &mut Flow| self.ended(env, flow, FlowEnd::Evicted);
        match shard.make_way(&policy.spec.options, frees, evicted) {
            true => self.first_packet(env, policy, flow, (arrival, frame)),
            false => Err(dropped),
        }
    }

    /// The first packet of a flow: may it open one, and what do the layers say?
    fn first_packet<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        flow: &mut Flow,
        (arrival, frame): (&Arrival<'_>, &impl Frame),
    ) -> Result<(), Dropped> {
        let packet = arrival.packet;
        match packet.tuple.proto {
            Proto::TCP => {
                let mid_stream = policy.spec.options.tcp_mid_stream;
                // Its own spoofing is the guest's first offence; look at that first.
                let scale = scale(packet, frame);
                let opened = Connection::open(&packet.segment, arrival.dir, scale, mid_stream);
                if opened.is_err()
                    && !gateway::is_own(&policy.spec, &flow.inside.local_ip(), arrival.dir)
                {
                    self.decide(env, policy, flow, arrival.dir)?;
                }
                flow.tcp = opened.inspect_err(|reason| {
                    observe!(
                        env.observer,
                        TcpErr {
                            port: &self.tag,
                            dir: arrival.dir,
                            key: &flow.inside,
                            flags: packet.segment.flags,
                            reason: *reason,
                        }
                    );
                })?;
            }
            Proto::SCTP => {
                let mid_stream = policy.spec.options.tcp_mid_stream;
                flow.tcp = sctp::open(&Chunk::of(&packet.segment), arrival.dir, mid_stream)?;
            }
            proto if proto.is_icmp() => flow.icmp = packet.icmp,
            _ => {}
        }
        self.decide(env, policy, flow, arrival.dir)?;
        // No frame is so long that its first is time to fold.
        let _ = flow.count(arrival.dir, arrival.len);
        Ok(())
    }

    /// The near end of a packet without a flow: for one from outside of the
    /// VPC, who its destination address stands for.
    fn inside(&self, policy: &Policy, arrival: &Arrival<'_>) -> Result<Inside, Dropped> {
        let key = arrival.packet.tuple;
        let as_it_is = arrival.dir == Direction::Out
            || !arrival.external
            || gateway::is_attached(&policy.spec, &key.local_ip());
        if as_it_is {
            return Ok(Inside {
                key,
                hash: self.table.hash(&key),
                by: None,
                admitted: true,
            });
        }
        match self.nat.inbound(&key) {
            Some(inbound) => Ok(Inside {
                key: inbound.inside,
                hash: self.table.hash(&inbound.inside),
                by: Some(inbound.by),
                admitted: inbound.admits,
            }),
            None => Err(Dropped {
                key: Some(key),
                ..Dropped::by(LayerId::Nat, DropReason::NoMapping)
            }),
        }
    }

    fn give_back<O>(&self, env: &Env<'_, R, O>, inside: &Inside) {
        if let Some(by) = &inside.by {
            self.nat.release(&inside.key, by, env.now);
        }
    }

    /// Ends a flow under its shard's lock.
    fn end<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        shard: &mut ShardGuard<'_, R>,
        id: FlowId,
        why: FlowEnd,
    ) {
        if let Some(mut flow) = shard.remove(id) {
            self.ended(env, &mut flow, why);
        }
    }

    /// Settles a flow that has ended, and says so.
    pub(crate) fn ended<O: Observer>(&self, env: &Env<'_, R, O>, flow: &mut Flow, why: FlowEnd) {
        let why = if flow.revoked { FlowEnd::Revoked } else { why };
        // An external port rests after the last packet by it. Of a flow that
        // was idle that is long ago, but its end is what the far side knows.
        let last = match why {
            FlowEnd::Evicted => flow.last.after(),
            _ => env.now,
        };
        self.settle(flow, last);
        if flow.held().is_some() {
            observe!(
                env.observer,
                NatFree {
                    port: &self.tag,
                    outside: &flow.outside()
                }
            );
        }
        let ([packets_in, packets_out], [bytes_in, bytes_out]) = (flow.packets, flow.bytes);
        observe!(
            env.observer,
            FlowExpire {
                port: &self.tag,
                key: &flow.inside,
                why,
                ending: &Ending {
                    lifetime_ms: env.now.millis_since(flow.created.into()),
                    idle_ms: env.now.millis_since(flow.last.into()),
                    packets_out,
                    packets_in,
                    bytes_out,
                    bytes_in,
                    opened: flow.opened.number(),
                    state: flow.tcp.state().number(),
                },
            }
        );
        self.tell_end(env, flow);
    }
}

/// Counts a refused packet for the rule or the default that refused it.
fn count_refusal<R: RawMutex, O>(
    env: &Env<'_, R, O>,
    policy: &Policy,
    arrival: &Arrival<'_>,
    dropped: &Dropped,
) {
    if let Some(stats) = policy.denied_by(dropped) {
        stats.record(1, u64::try_from(arrival.len).unwrap_or(0), env.now);
    }
}

/// Whether the end of `other` gives back an external port that a flow with
/// this inside key could have.
fn frees_port(other: &Flow, inside: &Tuple, mapping: Behaviour, now: Instant) -> bool {
    let same_pool = other.nat == NatKind::Snat
        && (other.inside.proto, other.inside.family) == (inside.proto, inside.family);
    let same_address = other.inside.remote == inside.remote;
    let of_use = match mapping {
        Behaviour::EndpointIndependent => true,
        Behaviour::AddressDependent => same_address,
        Behaviour::AddressAndPortDependent => {
            same_address && other.inside.remote_port == inside.remote_port
        }
    };
    same_pool && of_use && now.millis_since(other.last.after()) >= SNAT_REST_MS_MIN
}

/// Whether a flow ends for a packet that its far end sends to another of the
/// guest's addresses. Who sends it isn't known: it may be anybody, who has only
/// guessed the ports.
///
/// A connection goes by the address that it was opened by until it is over. Of
/// other protocols a packet proves nothing, and a client that asks two addresses
/// from one port, as NTP's and some that ping do, is no rarity: the reply leaves
/// by the address that was asked last, and whoever forges one delays a reply by
/// as much. What the guest began stays where it is, and so does what began inside
/// of the VPC when the packet is from outside.
fn yields(flow: &Flow, arrival: &Arrival<'_>) -> bool {
    let (dir, packet) = (arrival.dir, arrival.packet);
    match packet.tuple.proto {
        Proto::TCP if flow.revoked => opens(packet),
        Proto::TCP => makes_room(flow, dir, packet),
        Proto::SCTP => opens(packet) && flow.tcp.state().is_over(),
        _ => flow.opened == Direction::In && (flow.external || !arrival.external),
    }
}

/// Whether the packet asks for a new connection.
fn opens(packet: &Packet) -> bool {
    match packet.tuple.proto {
        Proto::TCP => tcp::is_first(&packet.segment),
        Proto::SCTP => Chunk::of(&packet.segment).opens(),
        _ => false,
    }
}
