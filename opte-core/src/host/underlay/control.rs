//! The side of the underlay that is behind its lock: which path leads where,
//! and what happens when neighbours answer, move or fall silent.
//!
//! Flow      path_for: routes -> chosen neighbour -> path
//!           hold:     path -> neighbour -- known --> send
//!                                       `- not known -> wait, ask
//!           learned / lost: neighbour -> its paths: steer -> publish
//!                                     -> its waiting frames
//! Rules     M1  a path keeps its id and its key for life. While its chosen
//!               neighbour doesn't answer, another equally good one stands
//!               in, so the flows on it move and no flow is looked at; when
//!               the chosen one answers again they move back.
//!           M2  frames and events go to the outbox, never out.

use super::neighbour::{Ask, Due, Neighbour, Neighbours, Turn, Waiting};
use super::path::{PathId, Template};
use super::presence::Presence;
use super::route::Routes;
use super::table::{Entry, Key, Table, Via};
use super::{Link, Looked, Outbox, nd};
use crate::api::UnderlaySpec;
use crate::limits::ENCAP_LEN;
use crate::verdict::LinkId;
use crate::wire::{MacAddr, ethernet};
use crate::{DropReason, Instant};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::net::Ipv6Addr;

/// Timers that one tick runs.
const TICK_TIMERS_MAX: usize = 256;
/// Paths that one tick looks at.
const TICK_PATHS_MAX: usize = 4_096;
/// Unsolicited advertisements of an address (`MAX_NEIGHBOR_ADVERTISEMENT`).
const ANNOUNCE_MAX: u8 = 3;
/// Between two of them (`RETRANS_TIMER`).
const ANNOUNCE_MS: u64 = 1_000;

/// What one call works with while it holds the lock.
pub(super) struct Context<'u> {
    pub(super) presence: &'u Presence,
    pub(super) now: Instant,
    pub(super) outbox: Outbox,
}

/// Everything behind the lock.
#[derive(Debug)]
pub(super) struct Control {
    /// Secret of the choice between equal next hops.
    key: u64,
    pub(super) spec: Option<UnderlaySpec>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) routes: Routes,
    pub(super) neighbours: Neighbours,
    pub(super) paths: Table,
}

impl Control {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            key: seed,
            spec: None,
            links: BTreeMap::new(),
            routes: Routes::default(),
            neighbours: Neighbours::new(),
            paths: Table::new(),
        }
    }

    fn address(&self) -> Option<Ipv6Addr> {
        self.spec.as_ref().map(|spec| spec.address)
    }

    /// The path for a flow to `dest`, made if there is none.
    pub(super) fn path_for(
        &mut self,
        cx: &Context<'_>,
        dest: &Ipv6Addr,
        flow_hash: u32,
    ) -> Result<(PathId, Looked), DropReason> {
        let ours = self.address().ok_or(DropReason::NoUnderlayRoute)?;
        if *dest == ours {
            return Err(DropReason::NoUnderlayRoute);
        }
        let hop = self
            .routes
            .pick(self.key, dest, flow_hash, |_| true)
            .ok_or(DropReason::NoUnderlayRoute)?;
        if !self.links.contains_key(&hop.link) {
            return Err(DropReason::NoLink);
        }
        let group = dest.is_multicast();
        let key = Key {
            dest: *dest,
            link: hop.link,
            neighbour: if group { *dest } else { hop.neighbour(dest) },
        };
        let id = match self.paths.find(&key, cx.now) {
            Some(id) => id,
            None => self.make_path(cx, key, group)?,
        };
        Ok((id, self.looked(id).ok_or(DropReason::NoUnderlayRoute)?))
    }

    fn make_path(&mut self, cx: &Context<'_>, key: Key, group: bool) -> Result<PathId, DropReason> {
        let via = if group {
            Via::Group
        } else {
            let neighbour = self.neighbours.acquire(key.link, key.neighbour);
            let chosen = neighbour.ok_or(DropReason::UnderlayFull)?;
            Via::Neighbour {
                chosen,
                current: chosen,
            }
        };
        let slab = &cx.presence.slab;
        let Some(id) = self.paths.insert(slab, key, via, cx.now) else {
            if let Via::Neighbour { chosen, .. } = via {
                // Nothing waits for it: without this path it wouldn't be there.
                self.neighbours.release(chosen);
            }
            return Err(DropReason::UnderlayFull);
        };
        self.publish(cx, id.slot());
        Ok(id)
    }

    /// What the next-hop probe tells about a path.
    fn looked(&self, id: PathId) -> Option<Looked> {
        let entry = self.paths.get(id)?;
        let (link, gateway, mac) = self.next_hop(&entry)?;
        Some(Looked {
            dst: entry.key.dest,
            gateway,
            link,
            resolved: mac.is_some(),
        })
    }

    /// Link, neighbour and MAC address that a path's frames go to now.
    fn next_hop(&self, entry: &Entry) -> Option<(LinkId, Ipv6Addr, Option<MacAddr>)> {
        match entry.via {
            Via::Group => {
                let mac = nd::group_mac(&entry.key.dest);
                Some((entry.key.link, entry.key.dest, Some(mac)))
            }
            Via::Neighbour { current, .. } => {
                let neighbour = self.neighbours.get(current)?;
                Some((neighbour.link, neighbour.address, neighbour.mac()))
            }
        }
    }

    fn template(&self, entry: &Entry) -> Option<Template> {
        let (link, _, next_hop) = self.next_hop(entry)?;
        let station = self.links.get(&link)?;
        Some(Template {
            next_hop,
            mac: station.device.mac,
            source: self.address()?,
            dest: entry.key.dest,
            link,
            mtu: station.mtu(),
        })
    }

    /// Shows a path as it is now to the packets.
    pub(super) fn publish(&self, cx: &Context<'_>, slot: u16) {
        let entry = self.paths.at(slot);
        if let Some((entry, template)) = entry.and_then(|e| Some((e, self.template(&e)?))) {
            cx.presence.slab.publish(entry.id, &template);
        }
    }

    /// A frame whose path wasn't usable.
    pub(super) fn hold(
        &mut self,
        cx: &mut Context<'_>,
        id: PathId,
        frame: &[u8],
        turn: Turn,
    ) -> Result<(), DropReason> {
        let entry = self.paths.get(id).ok_or(DropReason::NoUnderlayRoute)?;
        if frame.len() < ENCAP_LEN {
            return Err(DropReason::BadUnderlay);
        }
        self.use_path(cx, &entry);
        // Who stands in may be better off than when it was looked at last.
        if self.choose(cx, id.slot()) {
            self.show_path(cx, id.slot());
        }
        let entry = self.paths.get(id).ok_or(DropReason::NoUnderlayRoute)?;
        let template = self.template(&entry).ok_or(DropReason::NoLink)?;
        let packet_len = frame.len().saturating_sub(ethernet::HEADER_LEN);
        if packet_len > usize::from(template.mtu) {
            return Err(DropReason::TooBig);
        }
        if let Via::Neighbour { current, .. } = entry.via
            && template.next_hop.is_none()
        {
            self.touch(cx, current);
            return self.wait(cx, current, id, frame, turn);
        }
        // It was being written, or has been resolved since the frame looked.
        let mut frame: Box<[u8]> = frame.into();
        template.fill(&mut frame);
        cx.outbox.send(template.link, frame);
        Ok(())
    }

    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        neighbour: u16,
        id: PathId,
        frame: &[u8],
        turn: Turn,
    ) -> Result<(), DropReason> {
        if self.neighbours.get(neighbour).is_none_or(|n| n.is_lost()) {
            return Err(DropReason::NextHopUnresolved);
        }
        let result = self.neighbours.wait(neighbour, id, frame, turn);
        let (Ok(displaced) | Err(displaced)) = result;
        cx.outbox.give_up(DropReason::NextHopQueueFull, displaced);
        result.map(|_| ()).map_err(|_| DropReason::NextHopQueueFull)
    }

    /// A path is in use, and so are its neighbours: also the one that doesn't
    /// answer, so that it is asked again.
    fn use_path(&mut self, cx: &mut Context<'_>, entry: &Entry) {
        self.paths.set_used(entry.id.slot(), cx.now);
        if let Via::Neighbour { chosen, current } = entry.via {
            self.touch(cx, chosen);
            if current != chosen {
                self.touch(cx, current);
            }
        }
    }

    /// A neighbour is in use.
    fn touch(&mut self, cx: &mut Context<'_>, neighbour: u16) {
        let now = cx.now;
        if let Some(Some(ask)) = self.neighbours.update(neighbour, |n| n.touch(now)) {
            self.ask(cx, neighbour, ask);
        }
    }

    /// Sends a neighbour solicitation.
    fn ask(&self, cx: &mut Context<'_>, neighbour: u16, ask: Ask) {
        let Some(neighbour) = self.neighbours.get(neighbour) else {
            return;
        };
        let Some(link) = self.links.get(&neighbour.link) else {
            return;
        };
        let mac = match ask {
            Ask::Group => None,
            Ask::Direct(mac) => Some(mac),
        };
        let frame = nd::solicitation(link.device.mac, &neighbour.address, mac);
        cx.outbox.send(neighbour.link, frame);
    }

    /// Changes a neighbour by what came from the link, if there is such a one.
    pub(super) fn learn(
        &mut self,
        cx: &mut Context<'_>,
        link: LinkId,
        address: Ipv6Addr,
        change: impl FnOnce(&mut Neighbour),
    ) -> bool {
        let Some(number) = self.neighbours.find(link, address) else {
            return false;
        };
        let changed = self.neighbours.update(number, |neighbour| {
            let before = neighbour.mac();
            change(neighbour);
            before != neighbour.mac()
        });
        if changed == Some(true) {
            for slot in self.paths.users_of(number) {
                self.steer(cx, slot);
            }
            for waiting in self.neighbours.take_waiting(number) {
                self.send_waiting(cx, waiting);
            }
        }
        true
    }

    /// A neighbour doesn't answer any more.
    fn lost(&mut self, cx: &mut Context<'_>, number: u16) {
        let waiting = self.neighbours.take_waiting(number);
        for slot in self.paths.users_of(number) {
            self.steer(cx, slot);
        }
        for waiting in waiting {
            match waiting.turn {
                Turn::First => self.send_waiting(cx, waiting),
                // Where nobody answers it would go round for ever.
                Turn::Second => cx.outbox.give_up(DropReason::NextHopUnresolved, 1),
            }
        }
    }

    /// Sends a frame that has waited, or lets it wait once more, for the
    /// neighbour that stands in.
    fn send_waiting(&mut self, cx: &mut Context<'_>, waiting: Waiting) {
        if let Err(reason) = self.hold(cx, waiting.path, &waiting.frame, Turn::Second) {
            let reason = match reason {
                DropReason::NextHopQueueFull => reason,
                _ => DropReason::NextHopUnresolved,
            };
            cx.outbox.give_up(reason, 1);
        }
    }

    /// Chooses who a path's frames go to now (M1) and shows it.
    pub(super) fn steer(&mut self, cx: &mut Context<'_>, slot: u16) {
        self.choose(cx, slot);
        self.show_path(cx, slot);
    }

    /// Chooses who a path's frames go to now; whether that is another.
    fn choose(&mut self, cx: &mut Context<'_>, slot: u16) -> bool {
        let Some(entry) = self.paths.at(slot) else {
            return false;
        };
        let Via::Neighbour { chosen, current } = entry.via else {
            return false;
        };
        let next = self.stand_in(&entry, chosen, current);
        if next == current {
            return false;
        }
        let via = Via::Neighbour {
            chosen,
            current: next,
        };
        self.paths.set_via(slot, via);
        if current != chosen {
            self.release(cx, current);
        }
        true
    }

    /// Shows a path to the packets and to who watches.
    fn show_path(&self, cx: &mut Context<'_>, slot: u16) {
        self.publish(cx, slot);
        if cx.outbox.watched
            && let Some(looked) = self.paths.at(slot).and_then(|e| self.looked(e.id))
        {
            cx.outbox.looked(looked);
        }
    }

    /// Lets the chosen neighbour have its path back, whatever it is like.
    pub(super) fn stand_down(&mut self, cx: &mut Context<'_>, slot: u16) {
        if let Some(entry) = self.paths.at(slot)
            && let Via::Neighbour { chosen, current } = entry.via
            && current != chosen
        {
            let current_too = Via::Neighbour {
                chosen,
                current: chosen,
            };
            self.paths.set_via(slot, current_too);
            self.release(cx, current);
        }
    }

    /// The neighbour for a path's frames, acquired if it is neither `chosen`
    /// nor `current`.
    fn stand_in(&mut self, entry: &Entry, chosen: u16, current: u16) -> u16 {
        let is = |number: u16, what: fn(&Neighbour) -> bool| {
            self.neighbours.get(number).is_some_and(what)
        };
        if is(chosen, |n| n.mac().is_some()) {
            return chosen;
        }
        if let Some(number) = [current, chosen]
            .into_iter()
            .find(|n| !is(*n, |n| n.is_lost()))
        {
            return number;
        }
        let dest = &entry.key.dest;
        // Which one doesn't depend on the flow: a path has one next hop.
        let hop = self.routes.pick(self.key, dest, 0, |hop| {
            let number = self.neighbours.find(hop.link, hop.neighbour(dest));
            number.is_none_or(|number| !is(number, |n| n.is_lost()))
        });
        let Some(hop) = hop else {
            return chosen;
        };
        let next = self.neighbours.acquire(hop.link, hop.neighbour(dest));
        next.unwrap_or(chosen)
    }

    /// Takes a path away.
    pub(super) fn forget(&mut self, cx: &mut Context<'_>, slot: u16) {
        let Some(entry) = self.paths.remove(&cx.presence.slab, slot) else {
            return;
        };
        if let Via::Neighbour { chosen, current } = entry.via {
            if current != chosen {
                self.release(cx, current);
            }
            self.release(cx, chosen);
        }
    }

    fn release(&mut self, cx: &mut Context<'_>, neighbour: u16) {
        let waiting = self.neighbours.release(neighbour);
        cx.outbox
            .give_up(DropReason::NextHopUnresolved, waiting.len());
    }

    /// Does what time asks for.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TICK_TIMERS_MAX {
            match self.neighbours.expire(cx.now) {
                None => break,
                Some((_, Due::Nothing)) => {}
                Some((number, Due::Ask(ask))) => self.ask(cx, number, ask),
                Some((number, Due::Lost)) => self.lost(cx, number),
            }
        }
        for _ in 0..TICK_PATHS_MAX {
            let Some(slot) = self.paths.sweep() else {
                break;
            };
            self.sweep(cx, slot);
        }
        self.announce(cx);
    }

    /// Carries a path's use over to its neighbours, and forgets it when there
    /// was none for long.
    fn sweep(&mut self, cx: &mut Context<'_>, slot: u16) {
        let Some(entry) = self.paths.at(slot) else {
            return;
        };
        if cx.presence.slab.take_used(slot) {
            self.use_path(cx, &entry);
        } else if cx.now.millis_since(entry.used_at) > self.paths.idle_ms() {
            self.forget(cx, slot);
        }
    }

    /// Tells the neighbours our addresses, a few times after they changed
    /// (RFC 4861 section 7.2.6).
    pub(super) fn announce(&mut self, cx: &mut Context<'_>) {
        let Some(tunnel) = self.address() else {
            return;
        };
        for (id, link) in &mut self.links {
            if link.announced >= ANNOUNCE_MAX || link.announce_at > cx.now {
                continue;
            }
            link.announced = link.announced.saturating_add(1);
            link.announce_at = cx.now.plus_millis(ANNOUNCE_MS);
            let mac = link.device.mac;
            for target in [tunnel, mac.link_local()] {
                let frame = nd::announcement(mac, &target);
                cx.outbox.send(*id, frame);
            }
        }
    }
}
