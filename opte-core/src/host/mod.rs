//! The host: ports, mappings, underlay and commands.
//!
//! Purpose   everything that a shell would otherwise do itself: finding a
//!           frame's port, delivery to a guest next door, encapsulation,
//!           neighbour discovery, commands and dumps.
//! Flow      tx: port (out) -> path -> link, or port (in) -> guest
//!           rx: outer headers -> port (in) -> guest, or the underlay itself
//!           what is no hit in either: `finish`, step by step
//!           command: plan -> devices -> commit
//! Rules     H1  a frame takes no lock of the host: a lane has its own view,
//!               which it renews when the generation says so.
//!           H2  commands that change something exclude each other (`control`);
//!               those that only ask wait for none of them.
//!           H3  a command commits after all that can fail has succeeded.
//!           H4  lock order: `control`; then a flow table's shard; then one
//!               flow (`flow`'s L2); then one leaf. Leaves are the view, a
//!               port's policy, one family of its external addresses, its
//!               fragments, the address sets, the underlay, and the mappings
//!               (whose writers have an order of their own, `mapping`'s M1).
//!               Whoever holds a leaf takes no lock, and nobody holds two
//!               leaves, two flows or two shards. A packet takes leaves under a
//!               shard (`port::slow` decides there) and a dump under a flow.
//!           H5  `Devices` and `Output` are called with `control` held at
//!               most. An [`Observer`] may be called
//!               with a shard and a flow held: it calls nothing of the host's.
//!           H6  no frame is worked on inside of another one's work, nor is one
//!               port's work inside of another one's (`finish`): kernels'
//!               stacks are small.
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

mod address_set;
pub(crate) mod advertise;
mod apply;
mod built_in;
mod burst;
mod by_mac;
mod claim;
mod command;
mod departed;
mod device;
mod dump;
mod encap;
mod finish;
mod lane;
pub mod mapping;
mod mtu;
mod multicast;
mod nat_command;
mod option;
mod port_command;
pub mod table;
pub mod underlay;
pub(crate) mod view;
mod watch;

use crate::api::PortId;
use crate::api::mapping::BOUNDARY_VNI;
use crate::api::multicast::is_underlay_group;
use crate::event::{FlowEnd, Observer, observe};
use crate::flow::record::Next;
use crate::flow::table::Budget;
use crate::frame::Frame;
use crate::keyed::Keyed;
use crate::limits::{HOST_FLOWS_MAX, LANES_MAX};
use crate::port::errand::Errands;
use crate::port::{Env, Left, Onward, Port, Read};
use crate::rule::AddressSets;
use crate::stats::HostCounters;
use crate::verdict::{LinkId, Lost, Output, Verdict};
use crate::wire::packet::Packet;
use crate::wire::{MacAddr, outer};
use crate::{Direction, DropReason, Instant};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use departed::Departed;
pub use device::{Devices, LinkDevice};
use finish::Stop;
pub use lane::Lane;
use lock_api::{Mutex, RawMutex};
use mapping::Mappings;
use multicast::Multicast;
use underlay::{Accept, Underlay};
use view::View;
use watch::Watch;

/// What a host is started with.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    /// Secret of this boot: keys the flow tables' hash and every random choice.
    pub seed: u64,
    /// CPUs or threads that will have a [`Lane`].
    pub lanes: usize,
}

/// All of OPTE on one machine.
#[derive(Debug)]
pub struct Host<R: RawMutex, O> {
    seed: u64,
    observer: O,
    watch: Watch,
    lanes: Arc<[AtomicBool]>,
    counters: Box<[HostCounters]>,
    view: Mutex<R, Arc<View<R>>>,
    /// `view.generation`, to look at without the lock.
    view_generation: AtomicU64,
    mappings: Mappings<R>,
    /// What `hosts=set=NAME` stands for; the ports' policies have their own.
    address_sets: Mutex<R, AddressSets>,
    underlay: Underlay<R>,
    multicast: Multicast<R>,
    budget: Arc<Budget>,
    /// Chooses among equals, and the tunnels' source ports.
    choice: Keyed,
    control: Mutex<R, Control>,
    /// `control.generation`, to look at without the lock.
    generation: AtomicU64,
}

/// Where a frame enters a port, towards the guest.
#[derive(Clone, Copy, Debug)]
struct Entry<'e, R: RawMutex> {
    port: &'e Port<R>,
    /// Whether the frame came from outside of the VPC.
    external: bool,
}

impl<'e, R: RawMutex> Entry<'e, R> {
    /// The port, and the way through it.
    #[inline(always)]
    const fn at(&self) -> (&'e Port<R>, (Direction, bool)) {
        (self.port, (Direction::In, self.external))
    }
}

/// What only commands touch.
#[derive(Debug, Default)]
struct Control {
    /// Counts commits.
    generation: u64,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// A host without ports, mappings and underlay.
    pub fn new(config: HostConfig, observer: O) -> Self {
        let lanes = config.lanes.clamp(1, LANES_MAX);
        let key = Keyed::new(config.seed, "view");
        let watch = Watch::default();
        watch.look(&observer);
        Self {
            seed: config.seed,
            observer,
            watch,
            lanes: (0..lanes).map(|_| AtomicBool::new(false)).collect(),
            counters: (0..lanes).map(|_| HostCounters::default()).collect(),
            view: Mutex::new(Arc::new(View::new(1, Vec::new(), Departed::new(), key))),
            view_generation: AtomicU64::new(1),
            mappings: Mappings::new(config.seed),
            address_sets: Mutex::new(AddressSets::default()),
            underlay: Underlay::new(config.seed),
            multicast: Multicast::new(config.seed),
            budget: Arc::new(Budget::new(HOST_FLOWS_MAX)),
            choice: Keyed::new(config.seed, "choice"),
            control: Mutex::new(Control::default()),
            generation: AtomicU64::new(0),
        }
    }

    /// Who watches.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    /// Decides about a frame from a guest.
    #[inline]
    pub fn tx(
        &self,
        lane: &mut Lane<R>,
        port: PortId,
        frame: &mut impl Frame,
        now: Instant,
        out: &mut impl Output,
    ) -> Verdict {
        self.renew(lane);
        let [packet, ..] = &mut *lane.packets;
        let env = self.env_of(&lane.view, &lane.errands, lane.index, now);
        let Some(port) = env.view.port(port) else {
            return self.refuse(&env, Direction::Out, DropReason::PortDown);
        };
        let read = port.read(packet, frame, Direction::Out);
        self.send(&env, port, (&read, packet), frame, out)
    }

    /// Takes a guest's frame through its port and on.
    #[inline(always)]
    fn send(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        (read, packet): (&Read, &mut Packet),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        if O::CAN_WATCH && env.watched {
            port.tell_frame(env, Direction::Out, frame);
        }
        let way = (Direction::Out, false);
        match port.process(env, way, (read, packet), frame) {
            Ok(onward) => match self.go_on(env, port, (frame, packet), onward, out) {
                Ok(verdict) => verdict,
                Err(stop) => self.stopped(env, port, (frame, packet, onward), stop, out),
            },
            Err(left) => self.finish(env, (port, way), (frame, packet), left, out),
        }
    }

    /// Takes a guest's frame, edited already, from its port to where it goes.
    #[inline(always)]
    fn go_on<'e>(
        &self,
        env: &Env<'e, R, O>,
        port: &Port<R>,
        (frame, packet): (&mut impl Frame, &mut Packet),
        onward: Onward,
        out: &mut impl Output,
    ) -> Result<Verdict, Stop<'e, R>> {
        let (to, external) = match onward.to {
            Next::Path(path, vni) => {
                return self
                    .encapsulate(env, frame, packet, (path, vni), onward.source_port, out)
                    .map_err(Stop::NotSent);
            }
            Next::Port(to) => (to, false),
            Next::Outside(to) => (to, true),
        };
        self.deliver_next_door(env, frame, (port.id, PortId(to), external), packet)
    }

    /// Hands a frame of a guest to another one of this host, perhaps as one
    /// that comes from outside of its VPC. `packet` is what it is there then.
    #[inline(never)]
    fn deliver_next_door<'e>(
        &self,
        env: &Env<'e, R, O>,
        frame: &mut impl Frame,
        (from, to, external): (PortId, PortId, bool),
        packet: &mut Packet,
    ) -> Result<Verdict, Stop<'e, R>> {
        let dst = crate::wire::packet::macs(frame.head()).map(|(dst, _)| dst);
        // Its number may be another port's by now.
        let to = env.view.port(to).filter(|to| Some(to.mac) == dst);
        let to = to.ok_or(Stop::NotSent(DropReason::NoPort))?;
        if let Some(from) = env.view.port(from) {
            observe!(
                env.observer,
                GuestLoopback {
                    from: &from.tag,
                    to: &to.tag,
                    key: &packet.tuple
                }
            );
        }
        let entry = Entry { port: to, external };
        let read = to.read(packet, frame, Direction::In);
        let delivered = Self::deliver(env, &entry, (&read, packet), frame);
        delivered.map_err(|left| Stop::Left(entry, left))
    }

    /// Decides about a frame from an underlay link.
    #[inline]
    pub fn rx(
        &self,
        lane: &mut Lane<R>,
        link: LinkId,
        frame: &mut impl Frame,
        now: Instant,
        out: &mut impl Output,
    ) -> Verdict {
        self.renew(lane);
        let [packet, ..] = &mut *lane.packets;
        let env = self.env_of(&lane.view, &lane.errands, lane.index, now);
        match self.arrive(&env, link, frame, out) {
            Ok(entry) => {
                let read = entry.port.read(packet, frame, Direction::In);
                match Self::deliver(&env, &entry, (&read, packet), frame) {
                    Ok(verdict) => verdict,
                    Err(left) => self.finish(&env, entry.at(), (frame, packet), left, out),
                }
            }
            Err(verdict) => verdict,
        }
    }

    /// Takes the outer headers off a frame from a link; which port it is for,
    /// or what became of it.
    #[inline(always)]
    fn arrive<'e>(
        &self,
        env: &Env<'e, R, O>,
        link: LinkId,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<Entry<'e, R>, Verdict> {
        let len = frame.frame_len();
        let outer = match outer::parse(frame.head(), len) {
            Ok(Some(outer)) if self.underlay.is_ours(link, outer.mac, &outer.address) => outer,
            Ok(_) => return Err(self.not_to_us(env, link, frame, out)),
            Err(reason) => return Err(self.refuse(env, Direction::In, reason)),
        };
        self.count_link(env.lane, link, Direction::In, len);
        if outer.end < len {
            cut_trailer(frame, outer.end);
        }
        frame.pop(outer.len);
        let Some((dst, _)) = crate::wire::packet::macs(frame.head()) else {
            return Err(self.refuse(env, Direction::In, DropReason::Truncated));
        };
        let from_boundary = outer.vni.get() == BOUNDARY_VNI;
        let to = env
            .view
            .port_with_mac(dst)
            .filter(|port| port.vni == outer.vni || from_boundary);
        match to {
            Some(port) => Ok(Entry {
                port,
                external: outer.external || from_boundary,
            }),
            None => Err(self.no_port(env, link, (outer.len, dst), frame, out)),
        }
    }

    /// Counts a frame that a device didn't take.
    pub fn undelivered(&self, lane: &mut Lane<R>, lost: Lost) {
        let env = self.env(lane, Instant::ZERO);
        let (port, dir, reason) = match lost {
            Lost::ToPort(port) => (env.view.port(port), Direction::In, DropReason::DeviceFull),
            Lost::FromPort(port) => (env.view.port(port), Direction::Out, DropReason::LinkFull),
            Lost::ToLink => (None, Direction::Out, DropReason::LinkFull),
        };
        match port {
            Some(port) => port.dropped(&env, dir, &reason.into()),
            None => self.refused(&env, dir, reason),
        }
    }

    /// Does what time asks for: expiry, neighbour discovery, router
    /// advertisements. Call it about every 100 ms, from one lane at a time;
    /// each call's work is bounded.
    pub fn tick(&self, lane: &mut Lane<R>, now: Instant, out: &mut impl Output) {
        self.watch.look(&self.observer);
        self.renew(lane);
        let env = self.env(lane, now);
        for port in env.view.ports() {
            let policy = port.policy();
            port.table
                .expire(now, &policy.spec.options, |flow, why: FlowEnd| {
                    port.ended(&env, flow, why);
                });
            port.expire_fragments(&env);
            self.advertise(&env, port, &policy, out);
            port.tell_times(&self.observer);
        }
        self.tick_multicast(&env, out);
        self.underlay.tick(now, out, &self.observer);
    }

    /// Takes a frame through its port, towards the guest.
    #[inline(always)]
    fn deliver(
        env: &Env<'_, R, O>,
        entry: &Entry<'_, R>,
        read: (&Read, &Packet),
        frame: &mut impl Frame,
    ) -> Result<Verdict, Left> {
        let (port, way) = entry.at();
        port.process(env, way, read, frame)?;
        if O::CAN_WATCH && env.watched {
            port.tell_frame(env, Direction::In, frame);
        }
        Ok(Verdict::Port(port.id))
    }

    /// A frame that isn't Geneve to the host's own address: it may be to an
    /// underlay group, whose MAC address it then has (RFC 2464 section 7).
    #[inline(never)]
    fn not_to_us(
        &self,
        env: &Env<'_, R, O>,
        link: LinkId,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        // Read again, so that what usually comes needn't keep what it read.
        let outer = outer::parse(frame.head(), frame.frame_len());
        let to_group = outer.ok().flatten().filter(|outer| {
            is_underlay_group(&outer.address)
                && outer.mac == MacAddr::of_group(outer.address.into())
                && self.underlay.mtu(link).is_some()
        });
        let Some(outer) = to_group else {
            return self.underlay_frame(env, link, frame, out);
        };
        self.count_link(env.lane, link, Direction::In, frame.frame_len());
        self.arrived_for_group(env, link, &outer, frame, out)
    }

    /// A frame to the host's own address that is for no port: for a group,
    /// since no port has a group's MAC address, or for nobody. It is less the
    /// `outer_len` bytes of its outer headers, which are as they came.
    #[inline(never)]
    fn no_port(
        &self,
        env: &Env<'_, R, O>,
        link: LinkId,
        (outer_len, dst): (usize, MacAddr),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        if !dst.is_multicast() {
            return self.refuse_stray(env, dst);
        }
        _ = frame.push(outer_len);
        // Its lengths were right before it was cut to the inner one.
        match outer::parse(frame.head(), usize::MAX) {
            Ok(Some(outer)) => self.arrived_for_group(env, link, &outer, frame, out),
            _ => self.refuse(env, Direction::In, DropReason::BadUnderlay),
        }
    }

    /// A frame that belongs to the underlay itself, or to nobody.
    fn underlay_frame(
        &self,
        env: &Env<'_, R, O>,
        link: LinkId,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        match self
            .underlay
            .rx(link, frame.head(), env.now, out, env.observer)
        {
            Accept::Consumed => Verdict::Consumed,
            Accept::Drop(reason) => self.refuse(env, Direction::In, reason),
        }
    }

    /// Drops a frame for a guest that isn't here, or not in this VPC.
    fn refuse_stray(&self, env: &Env<'_, R, O>, dst: MacAddr) -> Verdict {
        let reason = match env.view.port_with_mac(dst) {
            Some(_) => DropReason::WrongVni,
            None => DropReason::NoPort,
        };
        self.refuse(env, Direction::In, reason)
    }

    /// Drops a frame that reached no port.
    fn refuse(&self, env: &Env<'_, R, O>, dir: Direction, reason: DropReason) -> Verdict {
        self.refused(env, dir, reason);
        Verdict::Dropped(reason)
    }

    /// Counts such a drop and says so.
    fn refused(&self, env: &Env<'_, R, O>, dir: Direction, reason: DropReason) {
        if let Some(counters) = self.counters.get(env.lane) {
            counters.drop(reason);
        }
        observe!(
            env.observer,
            Drop {
                port: None,
                dir,
                layer: None,
                rule: 0,
                reason,
                key: None
            }
        );
    }

    /// Counts a guest's frame on a link.
    #[inline]
    fn count_link(&self, lane: usize, link: LinkId, dir: Direction, len: usize) {
        if let Some(counters) = self.counters.get(lane) {
            counters.link(link, dir, u64::try_from(len).unwrap_or(0));
        }
    }

    /// Renews a lane's view if there is a newer one (rule H1).
    #[inline]
    fn renew(&self, lane: &mut Lane<R>) {
        if lane.view.generation != self.view_generation.load(Ordering::Acquire) {
            lane.view = self.view();
        }
    }

    fn view(&self) -> Arc<View<R>> {
        Arc::clone(&self.view.lock())
    }

    #[inline]
    fn env<'h>(&'h self, lane: &'h Lane<R>, now: Instant) -> Env<'h, R, O> {
        self.env_of(&lane.view, &lane.errands, lane.index, now)
    }

    #[inline]
    fn env_of<'h>(
        &'h self,
        view: &'h View<R>,
        errands: &'h Errands,
        lane: usize,
        now: Instant,
    ) -> Env<'h, R, O> {
        Env {
            view,
            mappings: &self.mappings,
            underlay: &self.underlay,
            choice: &self.choice,
            observer: &self.observer,
            errands,
            watched: self.watch.traffic::<O>(),
            followed: self.watch.frames::<O>(),
            started: Cell::new(None),
            lane,
            now,
        }
    }
}

/// Cuts off what lies behind the frame that a tunnel carries: hardly ever
/// anything, and so not in a hit's way.
#[cold]
#[inline(never)]
fn cut_trailer(frame: &mut impl Frame, end: usize) {
    frame.truncate(end);
}
