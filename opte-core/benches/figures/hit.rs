//! Packets of flows that are there: `hit/KIND/DIR/SIZE/flows_N/ns` and
//! `allocs`; `hit/clocked/..`, where the clock is read for every packet, and
//! `hit/batch32/..`, where frames are handed over in chains of 32.

use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, heap, median};
use opte_core::Direction;
use opte_core::event::Observer;
use opte_core::host::Lane;

/// Packets of a run, at least.
const PACKETS: usize = 1 << 17;
const SIZES: [usize; 2] = [64, 1500];

pub(crate) fn run(figures: &Figures) {
    for count in [1, 1_000, 10_000, 100_000, 1_000_000] {
        for kind in [Kind::Udp4, Kind::Tcp4, Kind::Udp6, Kind::Tcp6] {
            if figures.quick && count > 100_000 {
                continue;
            }
            of_kind(figures, kind, count);
        }
    }
    of_kind(figures, Kind::SnatTcp4, 1);
    clocked(figures);
}

/// Both directions and sizes.
fn of_kind(figures: &Figures, kind: Kind, count: u32) {
    let stem = |dir: Direction, size: usize| {
        let dir = dir_name(dir);
        format!("hit/{}/{dir}/{size}B/flows_{count}", kind.name())
    };
    let mut all = [Direction::Out, Direction::In]
        .into_iter()
        .flat_map(|dir| SIZES.map(|size| (dir, size)));
    let wanted = |stem: &str| figures.wants(stem) || figures.wants(&chained(stem));
    if !all.any(|(dir, size)| wanted(&stem(dir, size))) {
        return;
    }
    let (rig, mut lane) = Rig::new(Shape::for_flows(count));
    let flows = Flows::establish(&rig, &mut lane, kind, count);
    for dir in [Direction::Out, Direction::In] {
        for size in SIZES {
            let stem = stem(dir, size);
            if !wanted(&stem) || (figures.quick && size != 64 && count > 1_000) {
                continue;
            }
            let mut traffic = Traffic::of(&flows, dir, size);
            for (name, burst) in [
                (&stem, Traffic::burst as Burst),
                (&chained(&stem), Traffic::chained_burst),
            ] {
                let again = !std::ptr::eq(name, &stem) && size != 64;
                if figures.wants(name) && !again {
                    let runs = runs(&rig, &mut lane, &mut traffic, figures.runs(), burst);
                    figures.tell(&format!("{name}/ns"), median(runs));
                }
            }
            let allocs = allocs(&rig, &mut lane, &mut traffic);
            figures.tell(&format!("{stem}/allocs"), allocs);
        }
    }
}

/// How frames are handed over.
type Burst = fn(&mut Traffic, &Rig, &mut Lane<Raw>) -> (std::time::Duration, u64);

/// The name of the same in chains.
fn chained(stem: &str) -> String {
    stem.replacen("hit/", "hit/batch32/", 1)
}

fn clocked(figures: &Figures) {
    let stem = "hit/clocked/udp4/out/64B/flows_1";
    if figures.wants(stem) {
        let (rig, mut lane) = Rig::new(Shape::default());
        let flows = Flows::establish(&rig, &mut lane, Kind::Udp4, 1);
        let mut traffic = Traffic::of(&flows, Direction::Out, 64);
        let burst = Traffic::clocked_burst;
        let runs = runs(&rig, &mut lane, &mut traffic, figures.runs(), burst);
        figures.tell(&format!("{stem}/ns"), median(runs));
    }
}

/// Nanoseconds per packet of each run, by its median burst: on a machine that
/// others use too, a burst in ten is interrupted. A run passes every flow at
/// least once; one more run before them all is for the caches. Every packet is
/// a hit.
pub(crate) fn runs<O: Observer>(
    rig: &Rig<O>,
    lane: &mut Lane<Raw>,
    traffic: &mut Traffic,
    runs: usize,
    burst: impl Fn(&mut Traffic, &Rig<O>, &mut Lane<Raw>) -> (std::time::Duration, u64),
) -> Vec<f64> {
    let bursts = traffic.count().max(PACKETS).div_ceil(BURST);
    let before = rig.stats(lane, traffic.dir);
    let mut times = Vec::new();
    for _ in 0..=runs {
        let mut took_s = Vec::with_capacity(bursts);
        for _ in 0..bursts {
            let (took, passed) = burst(traffic, rig, lane);
            assert_eq!(passed as usize, BURST, "all go on");
            took_s.push(took.as_secs_f64());
        }
        times.push(median(took_s) * 1e9 / BURST as f64);
    }
    let after = rig.stats(lane, traffic.dir);
    let packets = (bursts * BURST * (runs + 1)) as u64;
    assert_eq!(after.hits - before.hits, packets, "every packet is a hit");
    assert_eq!(after.misses, before.misses, "every packet is a hit");
    times.split_off(1)
}

/// Heap allocations per packet.
pub(crate) fn allocs(rig: &Rig, lane: &mut Lane<Raw>, traffic: &mut Traffic) -> f64 {
    let bursts = 16;
    let mut count = 0;
    for _ in 0..bursts {
        traffic.load();
        let now = rig.now();
        let seen = heap::measure(|| {
            traffic.process(rig, lane, || now);
        });
        count += seen.blocks;
    }
    count as f64 / (bursts * BURST) as f64
}

pub(crate) const fn dir_name(dir: Direction) -> &'static str {
    match dir {
        Direction::Out => "out",
        Direction::In => "in",
    }
}
