//! What probes cost that nobody watches: `probe/disabled/ratio`, the time of a
//! packet in a host whose probes could be watched, by that in one that has no
//! probes at all.
//!
//! The two take turns, so that what else the machine does hits both; packets
//! come in chains, as drivers hand them over.

use crate::hit::runs;
use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::Traffic;
use crate::rig::{Rig, Shape};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::event::{Event, Observer, Probe};
use std::sync::atomic::{AtomicU16, Ordering};

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
}

pub(crate) fn run(figures: &Figures) {
    let name = "probe/disabled/ratio";
    if !figures.wants("probe/disabled") {
        return;
    }
    let (asking, mut asking_lane) = Rig::observed(Shape::default(), Asking);
    let (plain, mut plain_lane) = Rig::new(Shape::default());
    let flows = Flows::establish(&asking, &mut asking_lane, Kind::Udp4, 1_000);
    Flows::establish(&plain, &mut plain_lane, Kind::Udp4, 1_000);
    let mut ratios = Vec::new();
    for _ in 0..3 * figures.runs() {
        for dir in [Direction::Out, Direction::In] {
            let traffic = &mut Traffic::of(&flows, dir, 64);
            let with = runs(
                &asking,
                &mut asking_lane,
                traffic,
                1,
                Traffic::chained_burst,
            );
            let without = runs(&plain, &mut plain_lane, traffic, 1, Traffic::chained_burst);
            ratios.push(median(with) / median(without));
        }
    }
    figures.tell(name, median(ratios));
}
