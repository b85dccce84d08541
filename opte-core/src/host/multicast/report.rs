//! What guests say of their memberships, and what they are asked.

use super::Multicast;
use super::listener::{Outcome, QUERY};
use crate::Direction;
use crate::DropReason;
use crate::Instant;
use crate::api::PortId;
use crate::event::{Observer, observe};
use crate::fallible;
use crate::flow::tuple::from_ip;
use crate::host::Host;
use crate::layer::gateway;
use crate::limits::MCAST_LISTENERS_PER_TICK;
use crate::port::{Env, Port};
use crate::verdict::{Output, Verdict};
use crate::wire::membership::{Message, Report};
use crate::wire::{Vni, ethernet};
use alloc::vec::Vec;
use core::net::IpAddr;
use lock_api::RawMutex;

/// What a tick found.
#[derive(Debug, Default)]
struct Woken {
    /// Guests that are to be asked.
    ask: Vec<PortId>,
    /// Memberships that ended or changed.
    changed: Vec<(PortId, IpAddr)>,
}

/// More than a report with as many records as are read takes (rule M2 of
/// `fallible`).
const REPORT_BYTES: usize = 64 << 10;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Takes an IGMP or MLD message of a guest; `head` is the whole frame.
    pub(super) fn reported(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        head: &[u8],
    ) -> Result<Verdict, DropReason> {
        let (ethernet, packet) = ethernet::Header::parse(head)?;
        let Message::Report(report) = Message::parse(ethernet.ethertype, packet)? else {
            return Err(DropReason::MembershipNotHeard);
        };
        // A host without an address may report by IGMP (RFC 3376 section
        // 4.2.13); what MLD's source may be was looked at by the reader.
        let is_v4 = report.source.is_ipv4() && !report.source.is_unspecified();
        if is_v4 && !gateway::is_own(&port.policy().spec, &report.source, Direction::Out) {
            return Err(DropReason::SpoofedIp);
        }
        let outcome = self.multicast.report(port.id, &report, env.now)?;
        port.stats
            .lane(env.lane)
            .dir(Direction::Out)
            .hairpins
            .add(1);
        for group in outcome.changed.iter() {
            self.member_changed(port, *group);
        }
        match outcome.full || report.is_cut() {
            true => Err(DropReason::MembershipFull),
            false => Ok(Verdict::Consumed),
        }
    }

    /// Asks guests what they listen to, when it is time, and ends what they
    /// didn't renew. Leaves it to the next tick when a command is at it.
    pub(in crate::host) fn tick_multicast(&self, env: &Env<'_, R, O>, out: &mut impl Output) {
        let woken = self.multicast.wake(env.now);
        let news = self.multicast.heard.lock().news();
        if let Some(groups) = news {
            self.underlay.listen(groups, env.now);
        }
        for (id, group) in woken.changed {
            if let Some(port) = env.view.port(id) {
                self.member_changed(port, group);
            }
        }
        for id in woken.ask {
            let Some(port) = env.view.port(id) else {
                continue;
            };
            let policy = port.policy();
            let v4 = policy.spec.ipv4.map(|c| IpAddr::V4(c.gateway));
            let v6 = policy.spec.ipv6;
            let v6 = v6.map(|_| IpAddr::V6(port.gateway_mac.link_local()));
            for source in [v4, v6].into_iter().flatten() {
                port.to_guest(env, &QUERY.frame(port.gateway_mac, source), out);
            }
        }
    }

    /// Says that a port joined a group, left it or hears other sources.
    pub(super) fn member_changed(&self, port: &Port<R>, group: IpAddr) {
        observe!(
            &self.observer,
            McastMember {
                port: &port.tag,
                group: from_ip(group),
                joined: self.multicast.is_member(port.id, port.vni, &group)
            }
        );
    }
}

impl<R: RawMutex> Multicast<R> {
    /// Takes a report of a port's guest.
    fn report(&self, id: PortId, report: &Report<'_>, now: Instant) -> Result<Outcome, DropReason> {
        let mut tables = self.tables.lock();
        let station = tables.stations.get_mut(&id);
        let Some(station) = station else {
            return Err(DropReason::MembershipNotHeard);
        };
        let vni = station.vni;
        let listener = station.listener.as_mut();
        let listener = listener.ok_or(DropReason::MembershipNotHeard)?;
        if !listener.may_report(now) {
            return Err(DropReason::MembershipRate);
        }
        if !fallible::is_there(REPORT_BYTES) {
            return Err(DropReason::NoMemory);
        }
        let outcome = listener.take(report.records(), now);
        let changed: Vec<_> = outcome.changed.iter().copied().collect();
        tables.follow(id, &changed);
        tables.reschedule(id, now);
        self.rebuild_for(&tables, vni, &changed);
        Ok(outcome)
    }

    fn wake(&self, now: Instant) -> Woken {
        let mut woken = Woken::default();
        let Some(mut tables) = self.tables.try_lock() else {
            return woken;
        };
        // Without memory it waits for a later tick.
        if tables.next_due(now).is_some() && !fallible::is_there(REPORT_BYTES) {
            return woken;
        }
        for _ in 0..MCAST_LISTENERS_PER_TICK {
            let Some(id) = tables.next_due(now) else {
                break;
            };
            let (ask, changed) = tables.wake(id, now);
            if ask {
                woken.ask.push(id);
            }
            tables.follow(id, &changed);
            if let Some(vni) = tables.stations.get(&id).map(|station| station.vni) {
                self.rebuild_for(&tables, vni, &changed);
            }
            woken
                .changed
                .extend(changed.into_iter().map(|group| (id, group)));
        }
        woken
    }

    /// Whether a port of VPC `vni` hears a group.
    fn is_member(&self, id: PortId, vni: Vni, group: &IpAddr) -> bool {
        self.find(vni, group)
            .is_some_and(|group| group.members.iter().any(|member| member.port == id))
    }
}
