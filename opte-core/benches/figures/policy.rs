//! Replacing 1,000 firewall rules under 100,000 live flows: how long the
//! command takes, and how many flows are lost by it.

use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Rig, Shape};
use crate::{Figures, median, miss};
use opte_core::Direction;
use opte_core::api::Command;

const RULES: usize = 1_000;
const FLOWS: u32 = 100_000;

pub(crate) fn run(figures: &Figures) {
    let stem = format!("policy/replace_rules/flows_{FLOWS}");
    if !figures.wants(&stem) {
        return;
    }
    let shape = Shape {
        rules: miss::with_rules(RULES).rules,
        ..Shape::for_flows(FLOWS)
    };
    let (rig, mut lane) = Rig::new(shape);
    let flows = Flows::establish(&rig, &mut lane, Kind::Udp4, FLOWS);
    let mut traffic = [Direction::Out, Direction::In].map(|dir| Traffic::of(&flows, dir, 64));
    let mut times = Vec::new();
    let mut lost = 0;
    for run in 0..figures.runs() {
        // Two different sets in turn, which both allow the flows.
        let rules = miss::with_rules(RULES - run % 2).rules;
        let command = Command::SetFwRules(rig.name(), rules);
        let start = std::time::Instant::now();
        rig.command(&mut lane, command);
        times.push(start.elapsed().as_secs_f64() * 1e9);
        for traffic in &mut traffic {
            let bursts = traffic.count().div_ceil(BURST);
            let passed: u64 = (0..bursts).map(|_| traffic.burst(&rig, &mut lane).1).sum();
            lost += (bursts * BURST) as u64 - passed;
        }
        assert_eq!(rig.flows(&mut lane), FLOWS);
    }
    figures.tell(&format!("{stem}/ns"), median(times));
    figures.tell(&format!("{stem}/lost"), lost as f64);
}
