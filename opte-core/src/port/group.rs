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
//!           M3  nobody is told why one is dropped (RFC 1122 section 3.2.2).

use super::process::Arrival;
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

    /// Takes a member's copy of a frame for a group through the port.
    #[inline(never)]
    pub(crate) fn process_copy<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        external: bool,
        packet: &Packet,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        let dir = Direction::In;
        let arrival = Arrival {
            dir,
            packet,
            external,
            len: self.enter(env, dir, frame).0,
        };
        let went = self.group(env, &arrival, frame, out);
        went.map_or_else(|verdict| verdict, |()| Verdict::Port(self.id))
    }

    /// Takes a frame for a group through the port, unless it ends here.
    #[inline(never)]
    pub(super) fn group<O: Observer>(
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
        self.stats.lane(env.lane).dir(dir).misses.add(1);
        if let Err(dropped) = self.admit_to_group(env, arrival, frame) {
            return Err(self.conclude(env, dir, key, Path::Miss, Err(dropped), out));
        }
        self.went_on(env, arrival, frame, Path::Miss);
        Ok(())
    }

    /// Decides about a frame for a group, and makes it look as the guest
    /// expects when it goes there.
    fn admit_to_group<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
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
        if dir == Direction::In
            && let Some(source) = frame.head_mut().get_mut(6..12)
        {
            source.copy_from_slice(&self.gateway_mac.0);
        }
        Ok(())
    }
}
