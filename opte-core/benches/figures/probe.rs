//! What probes cost: `probe/disabled/ratio`, the time of a packet in a host
//! whose probes could be watched, by that in one that has no probes at all; and
//! `probe/port_latency/ns`, what it takes more when `opte-perf-port.d` runs.
//!
//! The two take turns, so that what else the machine does hits both; packets
//! come in chains, as drivers hand them over.

use crate::hit::runs;
use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::Traffic;
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::event::{Event, Observer, Probe};
use opte_core::host::Lane;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

/// What tracers would count up, as in user probes: a word for each probe.
static WATCHERS: [AtomicU16; Probe::ALL.len()] = [const { AtomicU16::new(0) }; Probe::ALL.len()];

/// Asks for each event whether somebody watches.
pub(crate) struct Asking;

impl Observer for Asking {
    #[inline(always)]
    fn enabled(&self, probe: Probe) -> bool {
        WATCHERS[probe as usize].load(Ordering::Relaxed) != 0
    }

    #[cold]
    #[inline(never)]
    fn event(&self, event: &Event<'_>) {
        unreachable!("nobody watches {}", event.probe().name());
    }

    fn clock_ns(&self) -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap()
    }
}

/// Has frames timed, or not, which the host notices with its tick. Nothing has
/// been timed when that begins, so nothing is told.
fn time_frames(rig: &Rig<Asking>, lane: &mut Lane<Raw>, wanted: bool) {
    WATCHERS[Probe::PortLatency as usize].store(u16::from(wanted), Ordering::Relaxed);
    rig.tick(lane);
}

pub(crate) fn run(figures: &Figures) {
    if !figures.wants("probe/disabled") && !figures.wants("probe/port_latency") {
        return;
    }
    let (asking, mut asking_lane) = Rig::observed(Shape::default(), Asking);
    let (plain, mut plain_lane) = Rig::new(Shape::default());
    let flows = Flows::establish(&asking, &mut asking_lane, Kind::Udp4, 1_000);
    Flows::establish(&plain, &mut plain_lane, Kind::Udp4, 1_000);
    let (mut ratios, mut timings) = (Vec::new(), Vec::new());
    for _ in 0..3 * figures.runs() {
        for dir in [Direction::Out, Direction::In] {
            let traffic = &mut Traffic::of(&flows, dir, 64);
            let lane = &mut asking_lane;
            let with = median(runs(&asking, lane, traffic, 1, Traffic::chained_burst));
            let without = runs(&plain, &mut plain_lane, traffic, 1, Traffic::chained_burst);
            ratios.push(with / median(without));
            time_frames(&asking, lane, true);
            let timed = median(runs(&asking, lane, traffic, 1, Traffic::chained_burst));
            time_frames(&asking, lane, false);
            timings.push(timed - with);
        }
    }
    figures.tell("probe/disabled/ratio", median(ratios));
    figures.tell("probe/port_latency/ns", median(timings));
}
