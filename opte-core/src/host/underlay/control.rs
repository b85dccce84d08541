//! The side of the underlay that is behind its lock: which path leads where.
//!
//! Flow      path_for: routes -> chosen neighbour -> path
//!           steer:    path -> neighbour, the chosen one or a stand-in
//!                          -> publish
//!           what moves all this is in `upkeep`
//! Rules     M1  a path keeps its id and its key for life. While its chosen
//!               neighbour doesn't answer, another equally good one stands
//!               in, so the flows on it move and no flow is looked at; when
//!               the chosen one answers again they move back.
//!           M2  frames and events go to the outbox, never out.

use super::listen::Listener;
use super::neighbour::{Neighbour, Neighbours};
use super::path::{PathId, Template};
use super::presence::Presence;
use super::route::Routes;
use super::table::{Entry, Key, Table, Via};
use super::{Link, Looked, Outbox, nd};
use crate::api::UnderlaySpec;
use crate::ordered::OrderedMap;
use crate::verdict::LinkId;
use crate::wire::MacAddr;
use crate::{DropReason, Instant};
use core::net::Ipv6Addr;

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
    pub(super) key: u64,
    pub(super) spec: Option<UnderlaySpec>,
    pub(super) links: OrderedMap<LinkId, Link>,
    pub(super) routes: Routes,
    pub(super) neighbours: Neighbours,
    pub(super) paths: Table,
    /// What is said of groups.
    pub(super) listener: Listener,
}

impl Control {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            key: seed,
            spec: None,
            links: OrderedMap::new(),
            routes: Routes::default(),
            neighbours: Neighbours::new(),
            paths: Table::new(),
            listener: Listener::default(),
        }
    }

    pub(super) fn address(&self) -> Option<Ipv6Addr> {
        self.spec.as_ref().map(|spec| spec.address)
    }

    /// The path for a flow to `dest` by the route to `toward`, made if there
    /// is none.
    pub(super) fn path_for(
        &mut self,
        cx: &Context<'_>,
        dest: &Ipv6Addr,
        toward: &Ipv6Addr,
        flow_hash: u32,
    ) -> Result<(PathId, Looked), DropReason> {
        let ours = self.address().ok_or(DropReason::NoUnderlayRoute)?;
        if *toward == ours {
            return Err(DropReason::NoUnderlayRoute);
        }
        let hop = self
            .routes
            .pick(self.key, toward, flow_hash, |_| true)
            .ok_or(DropReason::NoUnderlayRoute)?;
        let group = dest.is_multicast();
        let key = Key {
            dest: *dest,
            link: hop.link,
            neighbour: if group { *dest } else { hop.neighbour(dest) },
        };
        let id = match self.paths.find(&key, cx.now) {
            Some(id) => id,
            // A path goes with its link.
            None if !self.links.contains_key(&hop.link) => return Err(DropReason::NoLink),
            None => self.make_path(cx, key, group)?,
        };
        Ok((id, self.looked(id).ok_or(DropReason::NoUnderlayRoute)?))
    }

    fn make_path(&mut self, cx: &Context<'_>, key: Key, group: bool) -> Result<PathId, DropReason> {
        let via = if group {
            Via::Group
        } else {
            let chosen = self.neighbours.acquire(key.link, key.neighbour)?;
            Via::Neighbour {
                chosen,
                current: chosen,
            }
        };
        let slab = &cx.presence.slab;
        let added = self.paths.insert(slab, key, via, cx.now);
        if let (Err(_), Via::Neighbour { chosen, .. }) = (&added, via) {
            // Nothing waits for it: without this path it wouldn't be there.
            self.neighbours.release(chosen);
        }
        let id = added?;
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

    pub(super) fn template(&self, entry: &Entry) -> Option<Template> {
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

    /// Chooses who a path's frames go to now (M1) and shows it.
    pub(super) fn steer(&mut self, cx: &mut Context<'_>, slot: u16) {
        self.choose(cx, slot);
        self.show_path(cx, slot);
    }

    /// Chooses who a path's frames go to now; whether that is another.
    pub(super) fn choose(&mut self, cx: &mut Context<'_>, slot: u16) -> bool {
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
    pub(super) fn show_path(&self, cx: &mut Context<'_>, slot: u16) {
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
}
