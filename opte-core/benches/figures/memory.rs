//! What a flow weighs, and what happens when there is room for no more.
//!
//! `mem/KIND/bytes_per_flow` is all heap memory that a host gains by a port
//! and 500,000 established flows, divided by them: the index, the records, the
//! timers and whatever else grows. It is counted by the allocator, and nearly
//! all of it is written, hence resident.

use crate::rig::flows::{Flows, Kind, Stage};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, heap, median};
use opte_core::Direction;
use opte_core::host::Lane;

const FLOWS: u32 = 500_000;
/// Flows that are tried in a run when the table is full.
const TRIES: u32 = 8_192;

pub(crate) fn run(figures: &Figures) {
    let stems = ["mem", "mem/udp4", "mem/tcp4"];
    if stems.iter().any(|stem| figures.wants(stem)) {
        let flows = if figures.quick { FLOWS / 10 } else { FLOWS };
        let bytes = [Kind::Udp4, Kind::Tcp4].map(|kind| weight(figures, kind, flows));
        figures.tell("mem/bytes_per_flow", bytes[0].max(bytes[1]));
    }
    if ["full/new_flow", "full/refuse", "full/evict"]
        .iter()
        .any(|stem| figures.wants(stem))
    {
        let times = [refuse(figures), evict(figures)];
        figures.tell("full/refuse/ns", times[0]);
        figures.tell("full/evict/ns", times[1]);
        figures.tell("full/new_flow/ns", times[0].max(times[1]));
    }
}

fn weight(figures: &Figures, kind: Kind, flows: u32) -> f64 {
    let mut kept = None;
    let seen = heap::measure(|| {
        let (rig, mut lane) = Rig::new(Shape::for_flows(flows));
        Flows::establish(&rig, &mut lane, kind, flows);
        assert_eq!(rig.flows(&mut lane), flows);
        kept = Some((rig, lane));
    });
    let bytes = seen.bytes as f64 / f64::from(flows);
    figures.tell(&format!("mem/{}/bytes_per_flow", kind.name()), bytes);
    bytes
}

/// How many flows a full table has here.
const fn full(figures: &Figures) -> u32 {
    if figures.quick { 1 << 16 } else { 1 << 19 }
}

/// Every flow is established, so each new one is refused.
fn refuse(figures: &Figures) -> f64 {
    let flows = full(figures);
    let (rig, mut lane) = Rig::new(Shape::for_flows(flows));
    Flows::establish(&rig, &mut lane, Kind::Udp4, flows);
    let times = (0..figures.runs())
        .map(|_| {
            let (ns, passed) = open(&rig, &mut lane, Kind::Udp4, flows..flows + TRIES);
            assert_eq!(passed, 0, "there is room for none");
            ns
        })
        .collect();
    median(times)
}

/// Every flow is half open, so each new one takes the place of another.
fn evict(figures: &Figures) -> f64 {
    let flows = full(figures);
    let (rig, mut lane) = Rig::new(Shape::for_flows(flows));
    open(&rig, &mut lane, Kind::Tcp4, 0..flows);
    let mut next = flows;
    let times = (0..figures.runs())
        .map(|_| {
            let (ns, passed) = open(&rig, &mut lane, Kind::Tcp4, next..next + TRIES);
            assert_eq!(passed, u64::from(TRIES), "each finds a place");
            next += TRIES;
            ns
        })
        .collect();
    assert!(rig.flows(&mut lane) <= flows);
    median(times)
}

/// Sends the first packets of these flows: nanoseconds each, and how many
/// went on.
fn open(rig: &Rig, lane: &mut Lane<Raw>, kind: Kind, flows: std::ops::Range<u32>) -> (f64, u64) {
    let count = flows.len();
    let frames = flows.map(|number| kind.out(&kind.ends(number), Stage::Open, 64));
    let mut traffic = Traffic::new(Direction::Out, frames);
    let (mut time, mut passed) = (0.0, 0);
    for _ in 0..count / BURST {
        let (took, went_on) = traffic.burst(rig, lane);
        time += took.as_secs_f64();
        passed += went_on;
    }
    (time * 1e9 / count as f64, passed)
}
