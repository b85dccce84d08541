//! Heap allocations per packet. Instructions are counted by `cargo xtask test`.
//!
//! A limit here is what was measured, and only shrinks.

#[path = "../benches/rig/mod.rs"]
mod rig;

use opte_core::Direction;
use opte_core::host::Lane;
use rig::flows::{Flows, Kind, Stage};
use rig::traffic::{BURST, Traffic};
use rig::{Raw, Rig, Shape};

const KINDS: [Kind; 5] = [
    Kind::Udp4,
    Kind::Tcp4,
    Kind::Udp6,
    Kind::Tcp6,
    Kind::SnatTcp4,
];
/// Flows whose first packets are counted. A table makes room for 64 at a time
/// in each of its shards, so that many more than shards are needed.
const FLOWS: u32 = 16_384;

/// Allocations of all frames of `traffic`, each of which must go on.
fn allocations(rig: &Rig, lane: &mut Lane<Raw>, traffic: &mut Traffic) -> u64 {
    let mut count = 0;
    for _ in 0..traffic.count().div_ceil(BURST) {
        traffic.load();
        let now = rig.now();
        let mut passed = 0;
        let seen = allocation_counter::measure(|| {
            passed = traffic.process(rig, lane, || now);
        });
        assert_eq!(passed as usize, BURST, "all go on");
        count += seen.count_total;
    }
    count
}

fn openings(kind: Kind, from: u32) -> Traffic {
    let frames = (from..from + FLOWS).map(|n| kind.out(&kind.ends(n), Stage::Open, 64));
    Traffic::new(Direction::Out, frames)
}

#[test]
fn a_hit_allocates_nothing() {
    for kind in KINDS {
        let (rig, mut lane) = Rig::new(Shape::default());
        let flows = Flows::establish(&rig, &mut lane, kind, 256);
        for dir in [Direction::Out, Direction::In] {
            let mut traffic = Traffic::of(&flows, dir, 64);
            let before = rig.stats(&mut lane, dir).hits;
            let count = allocations(&rig, &mut lane, &mut traffic);
            assert_eq!(count, 0, "{} {dir:?}", kind.name());
            assert_eq!(rig.stats(&mut lane, dir).hits - before, 256);
        }
    }
}

#[test]
fn a_miss_allocates_nothing_once_its_table_has_grown() {
    for kind in KINDS {
        let (rig, mut lane) = Rig::new(Shape::default());
        let grown = allocations(&rig, &mut lane, &mut openings(kind, 0));
        // A chunk for some 40 flows, in two or three pieces; timers' lists
        // double as they grow.
        assert!(grown < u64::from(FLOWS) / 10, "{} {grown}", kind.name());
        rig.clear(&mut lane);
        // The last level was added half-way; now it has what flows there are.
        allocations(&rig, &mut lane, &mut openings(kind, 0));
        rig.clear(&mut lane);
        let before = rig.stats(&mut lane, Direction::Out).misses;
        // Shards get other shares of other flows; the same have room for sure.
        let count = allocations(&rig, &mut lane, &mut openings(kind, 0));
        // The list of external ports that rest has no size of its own yet.
        let limit = if kind == Kind::SnatTcp4 { 2 } else { 0 };
        assert!(count <= limit, "{} {count}", kind.name());
        let misses = rig.stats(&mut lane, Direction::Out).misses - before;
        assert_eq!(misses, u64::from(FLOWS), "each is a miss");
    }
}
