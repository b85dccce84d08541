//! Counters that cost a store.
//!
//! Each lane has its own set, which nobody else writes, so counting takes no
//! atomic read-modify-write and shares no cache line; readers add the sets up.
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

use crate::api::dump::DirStats;
use crate::flow::record::side;
use crate::port::Times;
use crate::verdict::LinkId;
use crate::{Direction, DropReason};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use once_cell::race::OnceBox;

/// Link numbers are below this.
const LINK_IDS: usize = 32;

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        // One writer (the lane's owner), so load and store need not be one step.
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a lane counts for one port and direction.
#[derive(Debug, Default)]
pub(crate) struct DirCounters {
    pub(crate) packets: Counter,
    pub(crate) bytes: Counter,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) hairpins: Counter,
}

/// What a lane counts for one port.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct PortCounters {
    dirs: [DirCounters; 2],
    drops: [[Counter; DropReason::COUNT]; 2],
    /// How long frames took, once somebody wants to know.
    pub(crate) times: OnceBox<Times>,
}

impl Default for PortCounters {
    fn default() -> Self {
        let drops = || core::array::from_fn(|_| Counter::default());
        Self {
            dirs: Default::default(),
            drops: [drops(), drops()],
            times: OnceBox::new(),
        }
    }
}

impl PortCounters {
    #[inline]
    pub(crate) fn dir(&self, dir: Direction) -> &DirCounters {
        let [inbound, outbound] = &self.dirs;
        match dir {
            Direction::In => inbound,
            Direction::Out => outbound,
        }
    }

    pub(crate) fn drop(&self, dir: Direction, reason: DropReason) {
        if let Some(counter) = self
            .drops
            .get(side(dir))
            .and_then(|d| d.get(reason.number()))
        {
            counter.add(1);
        }
    }
}

/// One set of a port's counters per lane. Clones are the same counters.
#[derive(Clone, Debug)]
pub(crate) struct PortStats {
    lanes: Arc<[PortCounters]>,
    /// What lanes that don't exist count in, so that every lane has a set.
    others: Arc<PortCounters>,
}

impl PortStats {
    pub(crate) fn new(lanes: usize) -> Self {
        Self {
            lanes: (0..lanes).map(|_| PortCounters::default()).collect(),
            others: Arc::default(),
        }
    }

    /// A lane's set.
    #[inline]
    pub(crate) fn lane(&self, lane: usize) -> &PortCounters {
        match self.lanes.get(lane) {
            Some(set) => set,
            None => &self.others,
        }
    }

    fn sets(&self) -> impl Iterator<Item = &PortCounters> {
        self.lanes.iter().chain([&*self.others])
    }

    /// How long frames took, by lane.
    pub(crate) fn times(&self) -> impl Iterator<Item = &Times> {
        self.sets().filter_map(|set| set.times.get())
    }

    /// All lanes' counters of one direction.
    pub(crate) fn total(&self, dir: Direction) -> DirStats {
        let sum = |f: fn(&DirCounters) -> &Counter| {
            self.sets()
                .map(|c| f(c.dir(dir)).get())
                .fold(0, u64::wrapping_add)
        };
        DirStats {
            packets: sum(|c| &c.packets),
            bytes: sum(|c| &c.bytes),
            hits: sum(|c| &c.hits),
            misses: sum(|c| &c.misses),
            hairpins: sum(|c| &c.hairpins),
            drops: DropReason::ALL
                .iter()
                .map(|r| self.drops(dir, *r))
                .fold(0, u64::wrapping_add),
        }
    }

    /// Drops of one direction for one reason.
    pub(crate) fn drops(&self, dir: Direction, reason: DropReason) -> u64 {
        let of = |c: &PortCounters| {
            c.drops
                .get(side(dir))
                .and_then(|d| d.get(reason.number()))
                .map_or(0, Counter::get)
        };
        self.sets().map(of).fold(0, u64::wrapping_add)
    }
}

/// What several ports counted, added up.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    dirs: [DirStats; 2],
    /// By reason, both directions.
    drops: [u64; DropReason::COUNT],
}

impl Totals {
    /// No port, or none that has counted.
    pub(crate) const ZERO: Self = Self {
        dirs: [DirStats {
            packets: 0,
            bytes: 0,
            hits: 0,
            misses: 0,
            hairpins: 0,
            drops: 0,
        }; 2],
        drops: [0; DropReason::COUNT],
    };

    /// Adds a port.
    pub(crate) fn add(&mut self, port: &PortStats) {
        for dir in [Direction::In, Direction::Out] {
            let Some(sum) = self.dirs.get_mut(side(dir)) else {
                continue;
            };
            let of_port = port.total(dir);
            *sum = DirStats {
                packets: sum.packets.wrapping_add(of_port.packets),
                bytes: sum.bytes.wrapping_add(of_port.bytes),
                hits: sum.hits.wrapping_add(of_port.hits),
                misses: sum.misses.wrapping_add(of_port.misses),
                hairpins: sum.hairpins.wrapping_add(of_port.hairpins),
                drops: sum.drops.wrapping_add(of_port.drops),
            };
            for (sum, reason) in self.drops.iter_mut().zip(DropReason::ALL) {
                *sum = sum.wrapping_add(port.drops(dir, *reason));
            }
        }
    }

    /// The counters of one direction.
    pub(crate) fn dir(&self, dir: Direction) -> DirStats {
        self.dirs.get(side(dir)).copied().unwrap_or_default()
    }

    /// Drops for one reason.
    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.number()).copied().unwrap_or(0)
    }
}

/// What a lane counts for the host: drops before a port is known.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct HostCounters {
    drops: [Counter; DropReason::COUNT],
    links: [LinkCounters; LINK_IDS],
}

/// What a lane counts for one underlay link: guests' frames by direction.
#[derive(Debug, Default)]
struct LinkCounters {
    packets: [Counter; 2],
    bytes: [Counter; 2],
}

impl Default for HostCounters {
    fn default() -> Self {
        Self {
            drops: core::array::from_fn(|_| Counter::default()),
            links: Default::default(),
        }
    }
}

impl HostCounters {
    pub(crate) fn drop(&self, reason: DropReason) {
        if let Some(counter) = self.drops.get(reason.number()) {
            counter.add(1);
        }
    }

    #[inline]
    pub(crate) fn link(&self, link: LinkId, dir: Direction, len: u64) {
        let Some(counters) = self.links.get(usize::from(link.0)) else {
            return;
        };
        let (packets, bytes) = (
            counters.packets.get(side(dir)),
            counters.bytes.get(side(dir)),
        );
        if let (Some(packets), Some(bytes)) = (packets, bytes) {
            packets.add(1);
            bytes.add(len);
        }
    }

    /// Packets and bytes of a link in one direction.
    pub(crate) fn link_total(&self, link: LinkId, dir: Direction) -> (u64, u64) {
        let counters = self.links.get(usize::from(link.0));
        let get = |of: fn(&LinkCounters) -> &[Counter; 2]| {
            counters
                .and_then(|c| of(c).get(side(dir)))
                .map_or(0, Counter::get)
        };
        (get(|c| &c.packets), get(|c| &c.bytes))
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.number()).map_or(0, Counter::get)
    }
}
