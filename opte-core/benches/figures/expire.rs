//! What time passing costs: a tick when nothing is due, and how long a packet
//! has to wait while everything is.

use crate::rig::flows::{Flows, Kind, Stage};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, median};
use nix::sys::resource::{UsageWho, getrusage};
use opte_core::Direction;
use opte_core::host::Lane;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const FLOWS: u32 = 500_000;
/// Flows that are opened meanwhile.
const NEW: u32 = 16_384;

pub(crate) fn run(figures: &Figures) {
    let flows = if figures.quick { FLOWS / 10 } else { FLOWS };
    if figures.wants("expire/idle_tick") {
        idle(figures, flows);
    }
    if figures.wants("expire/stall_max") {
        stall(figures, flows);
    }
}

/// One second's tick.
fn idle(figures: &Figures, flows: u32) {
    let (rig, mut lane) = Rig::new(Shape::for_flows(flows));
    Flows::establish(&rig, &mut lane, Kind::Tcp4, flows);
    let mut times = Vec::new();
    for _ in 0..50 {
        rig.skip_ms(1_000);
        let start = Instant::now();
        rig.tick(&mut lane);
        times.push(start.elapsed().as_secs_f64() * 1e9);
    }
    assert_eq!(rig.flows(&mut lane), flows, "none was due");
    figures.tell("expire/idle_tick/ns", median(times));
}

/// The longest time that one packet takes on this thread while another thread
/// expires all other flows: of a flow that stays, and of new ones in turn.
///
/// The least of several runs, and of each only bursts during which the kernel
/// didn't give the CPU to somebody else: what else the machine does can only add
/// to it, and a thread that sleeps for a lock gives the CPU up by itself.
fn stall(figures: &Figures, flows: u32) {
    let longest = (0..figures.runs())
        .map(|_| stall_once(flows))
        .fold(f64::MAX, f64::min);
    figures.tell("expire/stall_max/ns", longest);
}

fn stall_once(flows: u32) -> f64 {
    let (rig, mut lane) = Rig::new(Shape::for_flows(2 * flows));
    Flows::establish(&rig, &mut lane, Kind::Udp4, flows);
    let stays = Flows::establish(&rig, &mut lane, Kind::Tcp4, 1);
    let mut hits = Traffic::of(&stays, Direction::Out, 64);
    let new = (0..NEW).map(|n| Kind::Tcp4.out(&Kind::Tcp4.ends(n + 1), Stage::Open, 64));
    let mut misses = Traffic::new(Direction::Out, new);
    // Past every UDP timeout, and far from TCP's. The first hit renews what
    // went out of use meanwhile.
    rig.skip_ms(200_000);
    hits.burst(&rig, &mut lane);
    let over = AtomicBool::new(false);
    let mut expirer = rig.host.lane(1).expect("a lane");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while rig.flows(&mut expirer) > NEW {
                rig.tick(&mut expirer);
            }
            over.store(true, Ordering::Relaxed);
        });
        let mut longest = 0.0;
        let mut bursts_left = misses.count() / BURST;
        while !over.load(Ordering::Relaxed) {
            longest = slowest(&rig, &mut lane, &mut hits).max(longest);
            if bursts_left > 0 {
                longest = slowest(&rig, &mut lane, &mut misses).max(longest);
                bursts_left -= 1;
            }
        }
        longest
    })
}

/// The longest time that a packet of a burst takes.
fn slowest(rig: &Rig, lane: &mut Lane<Raw>, traffic: &mut Traffic) -> f64 {
    traffic.load();
    let before = preemptions();
    let (mut last, mut longest) = (Instant::now(), 0.0_f64);
    let mut lap = || {
        let now = Instant::now();
        longest = longest.max((now - last).as_secs_f64() * 1e9);
        last = now;
    };
    traffic.process(rig, lane, || {
        lap();
        rig.now()
    });
    lap();
    match preemptions() == before {
        true => longest,
        false => 0.0,
    }
}

/// How often the kernel has taken the CPU away from this thread.
fn preemptions() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("Linux counts for threads");
    usage.involuntary_context_switches()
}
