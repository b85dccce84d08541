//! A port: one guest vNIC and everything decided for it.
//!
//! Purpose   takes a frame of the guest, or one for it, to a decision and
//!           rewrites it.
//! Terms     policy     all configuration that decisions are made from, an
//!                      immutable snapshot with a generation
//!           decision   what the layers say about a flow
//! Flow      process -> parse -> fast (flow table) -- hit --> edit
//!                                   `-- miss --> hairpin -> slow: decide -> insert -> edit
//! Rules     P1  a rewrite is used only while the policy generation, the
//!               mapping's and the underlay's are those it was made from.
//!           P2  a flow is judged in the direction in which it was opened,
//!               whichever way the packet goes that made us look (decision D4).
//!           P3  nothing is remembered of a packet that is dropped.
//!           P4  a frame is edited only after it can no longer be dropped here.
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

mod answer;
mod bucket;
mod closer;
pub(crate) mod decide;
pub(crate) mod edit;
pub(crate) mod errand;
mod fast;
mod fragment;
mod group;
pub(crate) mod latency;
pub(crate) mod policy;
mod process;
mod related;
mod slow;
mod track;
pub(crate) mod traffic;

use crate::api::{Name, PortId};
use crate::event::PortTag;
use crate::flow::fragment::Fragments;
use crate::flow::table::Budget;
use crate::flow::{Flow, Table, Tuple};
use crate::host::advertise::Schedule;
use crate::host::mapping::Mappings;
use crate::host::underlay::Underlay;
use crate::host::view::View;
use crate::keyed::Keyed;
use crate::layer::nat::Nat;
use crate::limits::{MCAST_COPIES_AT_ONCE, MCAST_COPIES_PER_S};
use crate::stats::PortStats;
use crate::time::Coarse;
use crate::wire::{MacAddr, Vni};
use crate::{Direction, DropReason, Instant, LayerId};
use alloc::sync::Arc;
use bucket::Bucket;
use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use errand::Errands;
pub(crate) use fast::Onward;
pub(crate) use latency::Times;
use lock_api::{Mutex, RawMutex};
pub(crate) use policy::Policy;
pub(crate) use process::{Keyless, Left, Lookup, Read, Went};

/// A port.
#[derive(Debug)]
pub(crate) struct Port<R: RawMutex> {
    pub(crate) id: PortId,
    /// What probes show of it.
    pub(crate) tag: PortTag,
    pub(crate) name: Name,
    pub(crate) mac: MacAddr,
    /// How the guest's frames begin, and those for it: destination and source.
    macs_out: [u8; 12],
    macs_in: [u8; 12],
    pub(crate) gateway_mac: MacAddr,
    pub(crate) vni: Vni,
    pub(crate) table: Table<R>,
    pub(crate) nat: Nat<R>,
    pub(crate) stats: PortStats,
    policy: Mutex<R, Arc<Policy>>,
    /// `policy.generation`, to look at without the lock.
    generation: AtomicU32,
    /// `policy.options.uft_s` in units of [`Coarse`], likewise.
    uft: AtomicU32,
    /// `policy.plain_mtu()`, likewise.
    mtu: AtomicU32,
    /// When the next router advertisement is due.
    pub(crate) advertise: Schedule,
    /// How much it may say about what it drops.
    answers: answer::Buckets,
    /// Packets of which some fragments have come.
    fragments: Fragments<R>,
    /// How many copies its guest's frames for groups may still make.
    copies: Bucket,
}

/// What a port needs of its host while it decides about a frame.
#[derive(Debug)]
pub(crate) struct Env<'h, R: RawMutex, O> {
    pub(crate) view: &'h View<R>,
    pub(crate) mappings: &'h Mappings<R>,
    pub(crate) underlay: &'h Underlay<R>,
    pub(crate) choice: &'h Keyed,
    pub(crate) observer: &'h O,
    /// What comes of the frame besides.
    pub(crate) errands: &'h Errands,
    /// Whether anybody watches the guests' traffic ([`traffic`]).
    pub(crate) watched: bool,
    /// Whether anybody watches frames come and go ([`latency`]).
    pub(crate) followed: bool,
    /// When the present frame came, by the observer's clock, if its time is wanted.
    pub(crate) started: Cell<Option<u64>>,
    pub(crate) lane: usize,
    pub(crate) now: Instant,
}

/// A refusal: why, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) reason: DropReason,
    pub(crate) layer: Option<LayerId>,
    /// Zero when no rule did.
    pub(crate) rule: u32,
    pub(crate) key: Option<Tuple>,
}

impl Dropped {
    /// A refusal by a layer, by itself.
    pub(crate) const fn by(layer: LayerId, reason: DropReason) -> Self {
        Self {
            reason,
            layer: Some(layer),
            rule: 0,
            key: None,
        }
    }
}

impl From<DropReason> for Dropped {
    fn from(reason: DropReason) -> Self {
        Self {
            reason,
            layer: None,
            rule: 0,
            key: None,
        }
    }
}

impl<R: RawMutex> Port<R> {
    /// A port under `policy`, with counters for `lanes` lanes.
    pub(crate) fn new(
        id: PortId,
        policy: Policy,
        seed: u64,
        lanes: usize,
        budget: Arc<Budget>,
        now: Instant,
    ) -> Self {
        let seed = seed ^ u64::from(id.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let v4 = policy.spec.ipv4.map(|c| c.address);
        let v6 = policy.spec.ipv6.map(|c| c.address);
        let (guest, gateway) = (policy.spec.mac, policy.spec.gateway_mac);
        let macs = [guest, gateway];
        let port = Self {
            id,
            tag: PortTag::new(id, &policy.spec.name, policy.spec.vni, macs),
            macs_out: both(gateway, guest),
            macs_in: both(guest, gateway),
            name: policy.spec.name,
            mac: policy.spec.mac,
            gateway_mac: policy.spec.gateway_mac,
            vni: policy.spec.vni,
            table: Table::new(policy.spec.options.flows_max, seed, budget, now),
            nat: Nat::new(seed, v4, v6),
            stats: PortStats::new(lanes),
            generation: AtomicU32::new(0),
            uft: AtomicU32::new(0),
            mtu: AtomicU32::new(0),
            advertise: Schedule::default(),
            answers: answer::Buckets::default(),
            fragments: Fragments::new(seed),
            copies: Bucket::new(MCAST_COPIES_PER_S, MCAST_COPIES_AT_ONCE),
            policy: Mutex::new(Arc::new(policy)),
        };
        port.publish();
        port
    }

    /// The present policy.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.lock())
    }

    /// Swaps in a policy made by one of the planning functions of [`Policy`]. Cannot fail.
    pub(crate) fn commit(&self, policy: Policy) {
        // The old policy is freed after the lock is let go.
        let old = core::mem::replace(&mut *self.policy.lock(), Arc::new(policy));
        self.publish();
        if old.hairpin != self.policy().hairpin {
            self.advertise.restart();
        }
        drop(old);
    }

    /// Makes the policy's numbers visible to the fast path, the generation last.
    fn publish(&self) {
        let policy = self.policy();
        if policy.spec.external.has_addresses() {
            self.table.expect_translation();
        }
        let uft = Coarse::units_of_s(policy.spec.options.uft_s);
        self.uft.store(uft, Ordering::Relaxed);
        self.mtu
            .store(u32::from(policy.plain_mtu()), Ordering::Relaxed);
        self.table.limit(policy.spec.options.flows_max);
        self.fragments.limit(&policy.spec.options);
        self.generation.store(policy.generation, Ordering::Release);
    }

    /// Makes the guest's next packet of a flow look for its way again.
    pub(crate) fn forget_way(&self, inside: &Tuple) {
        let hash = self.table.hash(inside);
        let mut shard = self.table.lock(hash); // L3
        if let Some((_, mut flow)) = shard.find(Direction::Out, inside, hash) {
            flow.forget_rewrite(Direction::Out);
        }
    }

    /// Settles what a flow leaves behind: its external port, which was used
    /// last at `last`, and its counts.
    pub(crate) fn settle(&self, flow: &mut Flow, last: Instant) {
        if let Some(held) = flow.held() {
            self.nat.release(&flow.inside, &held, last);
        }
        self.fold(flow);
    }

    /// Adds a flow's counts to the rules that let it pass.
    #[inline(never)]
    pub(crate) fn fold(&self, flow: &mut Flow) {
        let last = Instant::from(flow.last);
        let (packets, bytes) = flow.fold();
        if packets > 0 {
            let policy = self.policy();
            policy.count(flow.opened, flow.fw_rule, flow.route, packets, bytes, last);
        }
    }
}

/// Two addresses, one after the other.
const fn both(dst: MacAddr, src: MacAddr) -> [u8; 12] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (dst.0, src.0);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}
