//! Two threads at once: how much more they do than one, and how long the
//! packets of one take while the other opens flows.

use crate::rig::flows::{Flows, Kind, Stage};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::host::Lane;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) fn run(figures: &Figures) {
    if figures.wants("threads/2/same_port/flows_1000") {
        let flows = |rig: &Rig, lane: &mut Lane<Raw>| {
            let flows = Flows::establish(rig, lane, Kind::Udp4, 1_000);
            let packet = |number| flows.packet(number, Direction::Out, 64);
            [0, 1].map(|half| {
                let numbers = (0..1_000).filter(|number| number % 2 == half);
                Traffic::new(Direction::Out, numbers.map(packet))
            })
        };
        ratio(figures, "same_port/flows_1000", flows);
    }
    if figures.wants("threads/2/same_flow") {
        let flows = |rig: &Rig, lane: &mut Lane<Raw>| {
            let flows = Flows::establish(rig, lane, Kind::Udp4, 1);
            [0, 1].map(|_| Traffic::of(&flows, Direction::Out, 64))
        };
        ratio(figures, "same_flow", flows);
    }
    if figures.wants("threads/2/out_in_one_flow") {
        let flows = |rig: &Rig, lane: &mut Lane<Raw>| {
            let flows = Flows::establish(rig, lane, Kind::Udp4, 1);
            [Direction::Out, Direction::In].map(|dir| Traffic::of(&flows, dir, 64))
        };
        ratio(figures, "out_in_one_flow", flows);
    }
    if figures.wants("tail/hit_during_new_flows") {
        tail(figures);
    }
}

/// Packets of two threads over those of one, by the median time of a burst:
/// a thread that another program has taken the CPU from counts for nothing.
fn ratio(figures: &Figures, name: &str, traffic: impl Fn(&Rig, &mut Lane<Raw>) -> [Traffic; 2]) {
    let time = if figures.quick { 30 } else { 200 };
    let time = Duration::from_millis(time);
    let ratios = (0..figures.runs())
        .map(|_| {
            let (rig, mut lane) = Rig::new(Shape::default());
            let [mut one, mut other] = traffic(&rig, &mut lane);
            let mut lanes = [1, 2].map(|index| rig.host.lane(index).expect("a lane"));
            let alone = [&mut one, &mut other].map(|traffic| pace(&rig, &mut lane, traffic, time));
            let both = Barrier::new(2);
            let [first, second] = &mut lanes;
            let run = |lane: &mut Lane<Raw>, traffic: &mut Traffic| {
                both.wait();
                pace(&rig, lane, traffic, time)
            };
            let together = std::thread::scope(|scope| {
                let second = scope.spawn(|| run(second, &mut other));
                [run(first, &mut one), second.join().expect("it ends")]
            });
            (together[0] + together[1]) / ((alone[0] + alone[1]) / 2.0)
        })
        .collect();
    figures.tell(&format!("threads/2/{name}/ratio"), median(ratios));
}

/// Bursts per second that a thread gets done.
fn pace(rig: &Rig, lane: &mut Lane<Raw>, traffic: &mut Traffic, time: Duration) -> f64 {
    let start = Instant::now();
    let mut bursts = Vec::with_capacity(1 << 16);
    while start.elapsed() < time {
        let (took, passed) = traffic.burst(rig, lane);
        assert_eq!(passed as usize, BURST, "all go on");
        bursts.push(took.as_secs_f64());
    }
    1.0 / median(bursts)
}

/// Time of single packets of 1,000 flows while another thread opens flows as
/// fast as it can. The clock that is read for each packet is in the figure.
fn tail(figures: &Figures) {
    let packets = if figures.quick { 200_000 } else { 2_000_000 };
    let parts = (0..figures.runs())
        .map(|_| {
            let (rig, mut lane) = Rig::new(Shape::default());
            let flows = Flows::establish(&rig, &mut lane, Kind::Udp4, 1_000);
            let mut hits = Traffic::of(&flows, Direction::Out, 64);
            let new = (0..100_000).map(|n| Kind::Tcp4.out(&Kind::Tcp4.ends(n), Stage::Open, 64));
            let mut new = Traffic::new(Direction::Out, new);
            let mut opener = rig.host.lane(1).expect("a lane");
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        new.burst(&rig, &mut opener);
                    }
                });
                let mut times = Vec::with_capacity(packets);
                while times.len() < packets {
                    hits.load();
                    let mut last: Option<Instant> = None;
                    hits.process(&rig, &mut lane, || {
                        let now = Instant::now();
                        times.extend(last.map(|last| (now - last).as_secs_f64() * 1e9));
                        last = Some(now);
                        rig.now()
                    });
                }
                over.store(true, Ordering::Relaxed);
                percentile(times, 0.999)
            })
        })
        .fold(f64::MAX, f64::min);
    figures.tell("tail/hit_during_new_flows/p999_ns", parts);
}

fn percentile(mut numbers: Vec<f64>, part: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() as f64 * part) as usize]
}
