//! A case set up and run for a number of bursts, so that a program from
//! outside may count what they cost.

use crate::miss;
use crate::probe::Asking;
use crate::rig::flows::{Flows, Kind};
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use opte_core::Direction;
use opte_core::event::Observer;
use opte_core::host::Lane;

/// Runs a case: `hit/KIND/DIR/64B/flows_N`, the same after `probe/disabled` in a
/// host that somebody may watch, or `miss/out/rules_N`.
pub(crate) fn run(case: &str, bursts: usize) {
    let words: Vec<&str> = case.split('/').collect();
    match *words.as_slice() {
        ["probe", "disabled", ref hit @ ..] => {
            let rig = Rig::observed(Shape::default(), Asking);
            play(hits(rig, hit), bursts);
        }
        ["miss", "out", rules] => {
            let (rig, lane) = Rig::new(miss::with_rules(number(rules, "rules_")));
            play((rig, lane, miss::openings()), bursts);
        }
        _ => play(hits(Rig::new(Shape::default()), &words), bursts),
    }
}

/// Flows that are there, and packets of them.
fn hits<O: Observer>((rig, mut lane): (Rig<O>, Lane<Raw>), words: &[&str]) -> Case<O> {
    let ["hit", kind, dir, "64B", flows] = *words else {
        panic!("no case {words:?}");
    };
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
    let count = number(flows, "flows_");
    let flows = Flows::establish(&rig, &mut lane, kind, count as u32);
    let traffic = Traffic::of(&flows, dir, 64);
    (rig, lane, traffic)
}

/// A host under a load.
type Case<O> = (Rig<O>, Lane<Raw>, Traffic);

fn play<O: Observer>((rig, mut lane, mut traffic): Case<O>, bursts: usize) {
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
