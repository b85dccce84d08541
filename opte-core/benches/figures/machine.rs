//! What the machine's memory costs while the rest is measured: `machine/
//! chase_N/ns` is the time of one read that depends on the one before it, of
//! N MiB in random order. A hit among many flows waits for two of those, so
//! its figure means little without them: machines differ by a factor of two,
//! and so does one that others use too, from hour to hour.

use crate::rig::rng::Rng;
use crate::{Figures, median};
use std::hint::black_box;
use std::time::Instant;

/// As much as the records of 20,000, 100,000 and 1,000,000 flows.
const SIZES_MIB: [u32; 3] = [4, 19, 192];
/// Cache lines of a MiB.
const LINES_PER_MIB: u32 = 1 << 14;
/// Reads of a run, at least.
const READS: u32 = 1 << 19;

/// A cache line that says which one is next.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(u32);

pub(crate) fn run(figures: &Figures) {
    for size in SIZES_MIB {
        let stem = format!("machine/chase_{size}MiB");
        if figures.wants(&stem) {
            figures.tell(&format!("{stem}/ns"), chase(size, figures.runs()));
        }
    }
}

/// Nanoseconds of a read: the median of some runs, after one for the caches.
fn chase(size_mib: u32, runs: usize) -> f64 {
    let count = size_mib * LINES_PER_MIB;
    let order = Rng::new(1).permutation(count);
    let mut lines = vec![Line(0); count as usize];
    for (at, next) in order.iter().zip(order.iter().cycle().skip(1)) {
        lines[*at as usize] = Line(*next);
    }
    let reads = READS.max(count);
    let mut times = Vec::new();
    for _ in 0..=runs {
        let start = Instant::now();
        let mut at = 0;
        for _ in 0..reads {
            at = lines[at as usize].0;
        }
        black_box(at);
        times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(reads));
    }
    median(times.split_off(1))
}
