//! The engine's own presence on the underlay (decision D10).
//!
//! Purpose   frames between hosts need a link, a next hop and its MAC address.
//!           The engine finds them itself, over any number of links, and so
//!           needs nothing of the operating system but links to send on.
//!
//! Terms     link       an Ethernet device that is ours alone, by [`LinkId`]
//!           address    the host's tunnel address, the same on every link
//!           neighbour  a station on a link: another host, or a router
//!           next hop   the neighbour that frames to a tunnel end point go to
//!           path       an end point with the next hop chosen for a flow to it
//!
//! Flow      a flow's first frame: `path_for` -> `PathId`, kept by the flow
//!           every frame: `path` -> `Path::write_header` -- link --> send
//!                                                      `- none -> `hold`
//!           a frame that came and isn't Geneve: `rx` -> answer, learn
//!           `tick` -> `upkeep`: ask, give up, forget
//!           configuration: `plan` -> `commit`
//!
//! Rules     L1  one lock guards `Control`. It is a leaf: while it is held
//!               nothing of the shell's or the observer's is called; what
//!               there is to send goes to an `Outbox` first.
//!           L2  `path`, `Path::write_header`, `is_ours`, `address`, `mtu` and
//!               `generation` take no lock. They read atomics that are
//!               written with the lock held.
//!           L3  a flow reads `generation` before it calls `path_for`, so that
//!               a change in between makes it ask again.
//!           L4  frames that waited leave in the order in which they came. A
//!               frame that finds its path resolved meanwhile may overtake
//!               them, once.
//!           L5  every table is bounded by `limits`; `tick` does a bounded
//!               amount of work.
//!
//! Failure   no route: `NoUnderlayRoute`. Too many paths or neighbours:
//!           `UnderlayFull`. A next hop that doesn't answer: another equally
//!           good one stands in; without one `NextHopUnresolved`.
//!
//! Left out  duplicate address detection for our own addresses (the operator
//!           assigns them, and announcing them shows a conflict to others),
//!           router advertisements and redirects, path MTU discovery (every
//!           link has a configured MTU).
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod commit;
mod control;
mod listen;
mod nd;
mod neighbour;
mod outbox;
mod path;
mod plan;
mod pool;
mod presence;
mod route;
mod seq;
mod table;
#[cfg(test)]
mod tests;
mod upkeep;

use crate::api::dump::UnderlayEntry;
use crate::api::{ConfigError, ErrorCode, ObjectKind, UnderlayRoute, UnderlaySpec};
use crate::event::Observer;
use crate::host::LinkDevice;
use crate::ordered::OrderedSet;
use crate::verdict::{LinkId, Output};
use crate::wire::MacAddr;
use crate::{DropReason, Instant};
use commit::Link;
use control::{Context, Control};
use core::fmt;
use core::net::Ipv6Addr;
use lock_api::{Mutex, RawMutex};
use nd::Message;
use neighbour::Turn;
use outbox::{Looked, Outbox};
pub use path::{Path, PathId};
pub use plan::Plan;
pub(super) use plan::is_routable;
use presence::Presence;

/// What becomes of a frame from the underlay that isn't Geneve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Accept {
    /// It was answered or taken into account.
    Consumed,
    /// It is of no use. The caller counts the drop.
    Drop(DropReason),
}

/// The underlay of a host.
pub struct Underlay<R> {
    presence: Presence,
    control: Mutex<R, Control>,
}

impl<R> fmt::Debug for Underlay<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Underlay").finish_non_exhaustive()
    }
}

impl<R: RawMutex> Underlay<R> {
    /// No address, links or routes. `seed` is secret: it keys the choice
    /// between equal next hops.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            presence: Presence::new(),
            control: Mutex::new(Control::new(seed)),
        }
    }

    /// Checks a configuration; without a `spec`, its removal. Changes
    /// nothing. The host plans and commits one change at a time.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong: object, field, value.
    pub fn plan(&self, spec: Option<&UnderlaySpec>) -> Result<Plan, ConfigError> {
        let (links, old) = {
            let control = self.control.lock();
            (control.open_links(), control.spec.clone())
        };
        Plan::new(&links, old.as_ref(), spec)
    }

    /// Puts a plan into force. `devices` are what the shell opened for
    /// [`Plan::opens`], and those of other links when they changed.
    pub fn commit(
        &self,
        plan: Plan,
        devices: &[(LinkId, LinkDevice)],
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
    ) {
        let replaced = self.with(now, out, seen, |control, cx| {
            control.commit(cx, plan, devices)
        });
        drop(replaced);
    }

    /// Adds a route.
    ///
    /// # Errors
    ///
    /// When there is no underlay, the route exists or makes no sense.
    pub fn add_route(
        &self,
        route: &UnderlayRoute,
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
    ) -> Result<(), ConfigError> {
        let mut spec = self.spec()?;
        spec.routes.push(route.clone());
        let plan = self.plan(Some(&spec))?;
        self.commit(plan, &[], now, out, seen);
        Ok(())
    }

    /// Removes a route.
    ///
    /// # Errors
    ///
    /// When there is no such route.
    pub fn del_route(
        &self,
        route: &UnderlayRoute,
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
    ) -> Result<(), ConfigError> {
        let mut spec = self.spec()?;
        let before = spec.routes.len();
        spec.routes.retain(|r| r != route);
        if spec.routes.len() == before {
            let kind = ObjectKind::UnderlayRoute;
            return Err(ConfigError::new(ErrorCode::NotFound, kind, route.dest));
        }
        let plan = self.plan(Some(&spec))?;
        self.commit(plan, &[], now, out, seen);
        Ok(())
    }

    /// The configuration in force.
    ///
    /// # Errors
    ///
    /// When there is no underlay.
    pub fn spec(&self) -> Result<UnderlaySpec, ConfigError> {
        let spec = self.control.lock().spec.clone();
        let missing = || ConfigError::new(ErrorCode::Missing, ObjectKind::Underlay, "");
        spec.ok_or_else(|| missing().hint("its address and links are set first"))
    }

    /// The tunnel address. `None` without an underlay, and while another CPU
    /// is in the middle of changing it.
    #[inline]
    #[must_use]
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.presence.address()
    }

    /// Counts changes of links, routes and address; a neighbour that is found
    /// or lost is none.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.presence.generation()
    }

    /// Bytes of IP packet that a link carries.
    #[inline]
    #[must_use]
    pub fn mtu(&self, link: LinkId) -> Option<u16> {
        self.presence.station(link).map(|(_, mtu)| mtu)
    }

    /// Whether a frame with these outer destinations is for our tunnel
    /// address. Groups that the host has joined are the host's to know.
    #[inline]
    #[must_use]
    pub fn is_ours(&self, link: LinkId, mac: MacAddr, address: &Ipv6Addr) -> bool {
        self.presence.is_station(link, mac) && self.address() == Some(*address)
    }

    /// The path for a flow to the tunnel end point `sled`; flows with the
    /// same `flow_hash` have the same one. Takes the lock: once per flow and
    /// generation.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn path_for(
        &self,
        sled: &Ipv6Addr,
        flow_hash: u32,
        now: Instant,
        seen: &impl Observer,
    ) -> Result<PathId, DropReason> {
        self.path_toward(sled, sled, flow_hash, now, seen)
    }

    /// As [`Self::path_for`], by the route to `toward`: a group's copies go
    /// where its next hop is.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn path_toward(
        &self,
        dest: &Ipv6Addr,
        toward: &Ipv6Addr,
        flow_hash: u32,
        now: Instant,
        seen: &impl Observer,
    ) -> Result<PathId, DropReason> {
        let cx = self.context(now, seen);
        let found = self.control.lock().path_for(&cx, dest, toward, flow_hash);
        let (id, looked) = found?;
        looked.fire(seen);
        Ok(id)
    }

    /// The path. `None` when it went away with its link or because nobody
    /// used it for minutes: ask [`Self::path_for`] again.
    #[inline]
    #[must_use]
    pub fn path(&self, id: PathId) -> Option<Path<'_>> {
        self.presence.slab.get(id)
    }

    /// Takes a copy of a frame whose path could not be used, and sends it when
    /// the next hop is known. `frame` is the whole frame with its outer header
    /// from [`Path::write_header`]; its outer addresses are filled in here.
    ///
    /// The copy is sent as it is, so checksums must be complete and the frame
    /// no larger than the path's MTU.
    ///
    /// # Errors
    ///
    /// Why the frame is dropped; the caller counts it. `NoUnderlayRoute` says
    /// that the path is no more.
    pub fn hold(
        &self,
        id: PathId,
        frame: &[u8],
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
    ) -> Result<(), DropReason> {
        self.with(now, out, seen, |control, cx| {
            control.hold(cx, id, frame, Turn::First)
        })
    }

    /// Takes a frame from a link that isn't Geneve for us: neighbour
    /// discovery, a question which groups we hear, or an echo request to one
    /// of our addresses.
    pub fn rx(
        &self,
        link: LinkId,
        frame: &[u8],
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
    ) -> Accept {
        let Some(ours) = self.presence.ours(link) else {
            return Accept::Drop(DropReason::NoLink);
        };
        let message = match nd::read(&ours, frame) {
            Ok(message) => message,
            Err(reason) => return Accept::Drop(reason),
        };
        self.presence.count_rx(link, frame.len());
        match message {
            Message::Reply(reply) => {
                self.presence.count_tx(link, reply.len());
                out.to_link(link, &reply);
            }
            Message::Solicitation {
                source,
                mac,
                answer,
            } => {
                self.with(now, out, seen, |control, cx| {
                    if let Some(mac) = mac {
                        control.learn(cx, link, source, |n| n.solicited_us(mac));
                    }
                    cx.outbox.send(link, answer);
                });
            }
            Message::Query { answer_ms } => {
                self.with(now, out, seen, |control, cx| {
                    control.asked(cx, link, answer_ms);
                });
            }
            Message::Advertisement { target, advert } => {
                let known = self.with(now, out, seen, |control, cx| {
                    control.learn(cx, link, target, |n| n.advertised(advert, now))
                });
                if !known {
                    return Accept::Drop(DropReason::NdpNotAnswered);
                }
            }
        }
        Accept::Consumed
    }

    /// Takes over the groups that the host hears, for switches and routers to
    /// know.
    pub(crate) fn listen(&self, groups: OrderedSet<Ipv6Addr>, now: Instant) {
        self.control.lock().listen(groups, now);
    }

    /// Does what time asks for: questions to neighbours, giving up on them,
    /// forgetting unused paths. Call it about every 100 ms. When another CPU
    /// is at it, or at anything else of the underlay, it leaves the work to
    /// the next call.
    pub fn tick(&self, now: Instant, out: &mut impl Output, seen: &impl Observer) {
        let mut cx = self.context(now, seen);
        let Some(mut control) = self.control.try_lock() else {
            return;
        };
        control.tick(&mut cx);
        drop(control);
        cx.outbox.flush(&self.presence, out, seen);
    }

    /// Frames that had been held and were dropped later, by reason. These are
    /// counted nowhere else.
    #[must_use]
    pub fn drops(&self) -> [(DropReason, u64); 2] {
        self.presence.drops()
    }

    /// Addresses, links, routes and neighbours. Links count only what the
    /// underlay itself received and sent; the host adds its frames.
    #[must_use]
    pub fn show(&self) -> UnderlayEntry {
        self.control.lock().show(&self.presence)
    }

    /// The tunnel end point that a path leads to.
    #[must_use]
    pub fn sled(&self, id: PathId) -> Option<Ipv6Addr> {
        Some(self.control.lock().paths.get(id)?.key.dest)
    }

    /// The number of the link with this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<LinkId> {
        let control = self.control.lock();
        let found = control.links.iter().find(|(_, link)| link.name == name);
        found.map(|(id, _)| *id)
    }

    fn context(&self, now: Instant, seen: &impl Observer) -> Context<'_> {
        Context {
            presence: &self.presence,
            now,
            outbox: Outbox::new(seen),
        }
    }

    /// Runs `work` with the lock held and what it has to send without (L1).
    fn with<T>(
        &self,
        now: Instant,
        out: &mut impl Output,
        seen: &impl Observer,
        work: impl FnOnce(&mut Control, &mut Context<'_>) -> T,
    ) -> T {
        let mut cx = self.context(now, seen);
        let result = work(&mut self.control.lock(), &mut cx);
        cx.outbox.flush(&self.presence, out, seen);
        result
    }
}
