//! A case set up and run for a number of bursts, so that a program from
//! outside may count what they cost.

use crate::miss;
use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Rig, Shape};
use opte_core::Direction;

/// Runs a case: `hit/KIND/DIR/64B/flows_N` or `miss/out/rules_N`.
pub(crate) fn run(case: &str, bursts: usize) {
    let words: Vec<&str> = case.split('/').collect();
    let (rig, mut lane, mut traffic) = match *words.as_slice() {
        ["hit", kind, dir, "64B", flows] => {
            let kind = [
                Kind::Udp4,
                Kind::Tcp4,
                Kind::Udp6,
                Kind::Tcp6,
                Kind::SnatTcp4,
            ]
            .into_iter()
            .find(|k| k.name() == kind)
            .expect("a kind of flows");
            let dir = if dir == "out" {
                Direction::Out
            } else {
                Direction::In
            };
            let (rig, mut lane) = Rig::new(Shape::default());
            let count = number(flows, "flows_");
            let flows = Flows::establish(&rig, &mut lane, kind, count as u32);
            (rig, lane, Traffic::of(&flows, dir, 64))
        }
        ["miss", "out", rules] => {
            let (rig, lane) = Rig::new(miss::with_rules(number(rules, "rules_")));
            (rig, lane, miss::openings())
        }
        _ => panic!("no case `{case}`"),
    };
    let now = rig.now();
    for _ in 0..bursts {
        traffic.load();
        let passed = traffic.process(&rig, &mut lane, || now);
        assert_eq!(passed as usize, BURST, "all go on");
    }
}

fn number(word: &str, before: &str) -> usize {
    word.strip_prefix(before)
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
