//! Putting a plan into force, and telling what is in force.

use super::control::{Context, Control};
use super::listen::Answer;
use super::plan::{OpenLink, Plan, PlannedLink};
use super::presence::Presence;
use crate::Instant;
use crate::api::UnderlaySpec;
use crate::api::dump::{LinkEntry, NeighbourEntry, UnderlayEntry};
use crate::host::LinkDevice;
use crate::verdict::LinkId;
use alloc::string::String;
use alloc::vec::Vec;

/// A link that is open.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) name: String,
    /// Bytes of IP packet, as configured.
    mtu: u16,
    pub(super) device: LinkDevice,
    /// Unsolicited advertisements sent, and when the next one is due.
    pub(super) announced: u8,
    pub(super) announce_at: Instant,
    /// When its querier is answered.
    pub(super) answer: Answer,
}

impl Link {
    /// Bytes of IP packet that the link carries.
    pub(super) fn mtu(&self) -> u16 {
        self.mtu.min(self.device.mtu)
    }
}

/// What a commit replaced. Freeing a large route table takes a while and is
/// for the caller to do without the lock.
pub(super) type Replaced = (super::route::Routes, Option<UnderlaySpec>);

impl Control {
    /// The links that are open.
    pub(super) fn open_links(&self) -> Vec<OpenLink> {
        let links = self.links.iter().map(|(id, link)| OpenLink {
            id: *id,
            name: link.name.clone(),
            device_mtu: link.device.mtu,
        });
        links.collect()
    }

    /// Puts a plan into force.
    pub(super) fn commit(
        &mut self,
        cx: &mut Context<'_>,
        plan: Plan,
        devices: &[(LinkId, LinkDevice)],
    ) -> Replaced {
        let address = |spec: &Option<UnderlaySpec>| spec.as_ref().map(|s| s.address);
        let moved = address(&self.spec) != address(&plan.spec);
        let replaced = (
            core::mem::replace(&mut self.routes, plan.routes),
            core::mem::replace(&mut self.spec, plan.spec),
        );
        for id in &plan.gone {
            self.links.remove(id);
            cx.presence.set_station(*id, None);
        }
        for planned in plan.links {
            let device = devices.iter().find(|(id, _)| *id == planned.id);
            self.set_link(cx, planned, device.map(|(_, device)| *device), moved);
        }
        cx.presence.set_address(address(&self.spec));
        self.move_paths(cx);
        if plan.changes || !devices.is_empty() {
            // Last: who sees the new number finds the new underlay.
            cx.presence.bump_generation();
        }
        self.announce(cx);
        replaced
    }

    fn set_link(
        &mut self,
        cx: &Context<'_>,
        planned: PlannedLink,
        device: Option<LinkDevice>,
        moved: bool,
    ) {
        let PlannedLink { id, spec, .. } = planned;
        let old = self.links.remove(&id);
        // A new link without a device is a mistake of the shell's; nothing
        // is sent on it.
        let Some(device) = device.or(old.as_ref().map(|link| link.device)) else {
            debug_assert!(false, "link {} was committed but not opened", spec.name);
            return;
        };
        let quiet = old.filter(|old| !moved && old.device == device);
        let link = Link {
            name: spec.name,
            mtu: spec.mtu,
            device,
            announced: quiet.as_ref().map_or(0, |old| old.announced),
            announce_at: quiet.as_ref().map_or(cx.now, |old| old.announce_at),
            answer: quiet.map_or_else(|| self.listener.first_answer(cx.now), |old| old.answer),
        };
        let station = (device.mac, link.mtu());
        cx.presence.set_station(id, Some(station));
        self.links.insert(id, link);
    }

    /// Brings every path in line with links, routes and address. Those on a
    /// link that has gone go too.
    fn move_paths(&mut self, cx: &mut Context<'_>) {
        for slot in self.paths.all() {
            let Some(entry) = self.paths.at(slot) else {
                continue;
            };
            if !self.links.contains_key(&entry.key.link) {
                self.forget(cx, slot);
                continue;
            }
            // Whoever stands in does so by the routes that were.
            self.stand_down(cx, slot);
            self.steer(cx, slot);
        }
    }

    /// What is in force.
    pub(super) fn show(&self, presence: &Presence) -> UnderlayEntry {
        let name = |id: &LinkId| self.links.get(id).map(|l| l.name.clone());
        let links = self.links.iter().map(|(id, link)| {
            let [rx, tx] = presence.traffic(*id);
            LinkEntry {
                name: link.name.clone(),
                mac: link.device.mac,
                link_local: link.device.mac.link_local(),
                mtu: link.mtu(),
                rx_packets: rx.0,
                rx_bytes: rx.1,
                tx_packets: tx.0,
                tx_bytes: tx.1,
            }
        });
        let neighbours = self.neighbours.iter().map(|n| NeighbourEntry {
            address: n.address,
            link: name(&n.link).unwrap_or_default(),
            mac: n.last_mac(),
            state: n.state.name().into(),
            queued: u32::try_from(n.waiting()).unwrap_or(u32::MAX),
        });
        UnderlayEntry {
            address: self.spec.as_ref().map(|spec| spec.address),
            links: links.collect(),
            generation: u64::from(presence.generation()),
            neighbours: neighbours.collect(),
        }
    }
}
