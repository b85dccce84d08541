//! A packet for a group: judged by itself, and never remembered.
//!
//! Purpose   the gateway and the firewall decide about every packet to a
//!           group, from the guest and towards it. What is between them and
//!           the wire (routes, translation) has no part: routes never lead to
//!           a group, and a group isn't translated.
//! Rules     M1  no flow is made. A group answers nobody, so there is nothing
//!               to expect back; what its members send to the source are
//!               flows of their own.
//!           M2  where it goes is the host's to know
//!               (`Host::sent_to_group`).
//!           M3  a fragment goes the way of its packet's first one, here as for
//!               any packet (`port::fragment`). Of a fragmented packet, a rule
//!               counts the first.
//!           M4  nobody is told why one is dropped (RFC 1122 section 3.2.2).

use super::fragment::FirstPiece;
use super::process::{Arrival, Went};
use super::{Dropped, Env, Port};
use crate::event::{Observer, Path};
use crate::flow::Flow;
use crate::frame::Frame;
use crate::layer::gateway;
use crate::verdict::{Output, Verdict};
use crate::wire::membership::is_membership;
use crate::wire::packet::{self, Packet};
use crate::{Direction, DropReason, Instant, LayerId};
use core::sync::atomic::Ordering;
use lock_api::RawMutex;

impl<R: RawMutex> Port<R> {
    /// Whether a guest's frame for groups may be copied so often now.
    pub(crate) fn may_copy(&self, copies: usize, now: Instant) -> bool {
        let copies = u64::try_from(copies).unwrap_or(u64::MAX);
        self.copies.take_many(copies, now)
    }

    /// Takes a member's copy of a frame for a group through the port. Of what
    /// isn't whole, `packet` becomes what is known.
    #[inline(never)]
    pub(crate) fn process_copy<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        external: bool,
        (packet, is_whole): (&mut Packet, bool),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        let dir = Direction::In;
        let (len, _) = self.enter(env, dir, frame);
        let first = match is_whole {
            true => None,
            false => match self.fragment(env, (dir, external), packet, frame, out) {
                Ok(first) => Some(first),
                Err(Went::Ended(verdict)) => return verdict,
                Err(Went::On(_) | Went::ToGroup) => return Verdict::Port(self.id),
            },
        };
        let arrival = Arrival {
            dir,
            packet,
            external,
            len,
        };
        let went = self.group(env, &arrival, first.as_ref(), frame, out);
        went.map_or_else(|verdict| verdict, |()| Verdict::Port(self.id))
    }

    /// Takes a frame for a group through the port, unless it ends here; what
    /// waited for it follows, if it is the `first` fragment of a packet.
    #[inline(never)]
    pub(super) fn group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        first: Option<&FirstPiece>,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<(), Verdict> {
        let went = self.judge_to_group(env, arrival, frame, out);
        if let Some(first) = first {
            self.follow_first(env, arrival, first, went.is_ok(), out);
        }
        went
    }

    #[inline(never)]
    fn judge_to_group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<(), Verdict> {
        let (dir, packet) = (arrival.dir, arrival.packet);
        let key = Some(&packet.tuple);
        match self.reply_to(env, dir, frame, packet) {
            Ok(None) => {}
            reply => {
                let result = self.hairpinned(env, dir, reply);
                return Err(self.conclude(env, dir, key, Path::None, result, out));
            }
        }
        if let Err(dropped) = self.admit_to_group(env, arrival, frame) {
            self.stats.lane(env.lane).dir(dir).misses.add(1);
            return Err(self.conclude(env, dir, key, Path::Miss, Err(dropped), out));
        }
        self.passed_to_group(env, arrival, frame, Path::Miss);
        Ok(())
    }

    /// A frame for a group goes on; to the guest, it comes from the gateway.
    pub(super) fn passed_to_group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
        path: Path,
    ) {
        let counters = self.stats.lane(env.lane).dir(arrival.dir);
        match path {
            Path::Hit => counters.hits.add(1),
            Path::Miss | Path::None => counters.misses.add(1),
        }
        if arrival.dir == Direction::In
            && let Some(source) = frame.head_mut().get_mut(6..12)
        {
            source.copy_from_slice(&self.gateway_mac.0);
        }
        self.went_on(env, arrival, frame, path);
    }

    /// Decides about a frame for a group.
    fn admit_to_group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &impl Frame,
    ) -> Result<(), Dropped> {
        let policy = self.policy();
        let (dir, packet) = (arrival.dir, arrival.packet);
        let (to, _) = packet::macs(frame.head()).ok_or(DropReason::Truncated)?;
        let mut flow = Flow::new(packet.tuple, dir, env.now);
        (flow.external, flow.icmp) = (arrival.external, packet.icmp);
        self.layer(env, &mut flow, LayerId::Gateway, |flow| {
            gateway::admit_to_group(&policy.spec, dir, &flow.inside, packet.icmp.0, to)
                .map_err(|reason| Dropped::by(LayerId::Gateway, reason))
        })?;
        if is_membership(packet.tuple.proto, packet.icmp.0) {
            // It is the gateway's, which has no firewall before it.
            return Ok(());
        }
        let mtu = self.mtu.load(Ordering::Relaxed);
        if u32::from(packet.len_cut(frame.offload().segment_len)) > mtu {
            return Err(DropReason::TooBig.into());
        }
        let bytes = u64::try_from(arrival.len).unwrap_or(0);
        let judged = self.layer(env, &mut flow, LayerId::Firewall, |flow| {
            self.firewall(env, &policy, flow)
        });
        if let Err(dropped) = judged {
            if let Some(stats) = policy.denied_by(&dropped) {
                stats.record(1, bytes, env.now);
            }
            return Err(dropped);
        }
        policy.count(dir, flow.fw_rule, 0, 1, bytes, env.now);
        Ok(())
    }
}
