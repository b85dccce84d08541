//! The wheel against a map that somebody keeps by hand.

use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

fn drain(wheel: &mut Wheel, now: u32) -> Vec<u32> {
    let mut budget = u32::MAX;
    core::iter::from_fn(|| wheel.pop_due(now, &mut budget)).collect()
}

#[test]
fn flows_come_due_in_their_second() {
    let mut wheel = Wheel::new(1_000);
    wheel.grow(8);
    for (flow, due) in [(0, 1_001), (1, 1_300), (2, 8_440), (3, 1_001), (4, 5)] {
        wheel.schedule(flow, due, Fate::Stays);
    }
    wheel.schedule(1, 1_400, Fate::Stays);
    wheel.cancel(3);
    assert_eq!(drain(&mut wheel, 1_000), [4]);
    assert_eq!(drain(&mut wheel, 1_399), [0]);
    assert_eq!(drain(&mut wheel, 1_400), [1]);
    assert!(drain(&mut wheel, 8_439).is_empty());
    assert_eq!(drain(&mut wheel, 8_440), [2]);
}

#[test]
fn a_budget_is_kept_and_nothing_is_lost() {
    let mut wheel = Wheel::new(0);
    wheel.grow(1_000);
    for flow in 0..1_000 {
        wheel.schedule(flow, 300, Fate::MayGiveWay);
    }
    let (mut seen, mut calls) = (0, 0);
    while seen < 1_000 {
        let mut budget = 64;
        while wheel.pop_due(300, &mut budget).is_some() {
            seen += 1;
        }
        calls += 1;
        assert!(calls < 40, "pouring and popping cost one each");
    }
}

/// How exactly the wheel knows when a flow is due: a second of this block,
/// or a later block.
fn block(now: u32, due: u32) -> u32 {
    match due / NEAR == now / NEAR {
        true => due,
        false => due / NEAR * NEAR,
    }
}

#[test]
fn who_stays_is_not_looked_at_when_room_is_needed() {
    let mut wheel = Wheel::new(1_000);
    wheel.grow(8);
    for flow in 0..4 {
        wheel.schedule(flow, 1_010 + flow, Fate::Stays);
        wheel.schedule(flow + 4, 9_000 - flow * 1_000, Fate::MayGiveWay);
    }
    let mut tried = Vec::new();
    let mut fits = |flow| {
        tried.push(flow);
        flow == 5
    };
    assert_eq!(wheel.soonest(2, |_| (), &mut fits), None, "the third it is");
    assert_eq!(wheel.soonest(3, |_| (), &mut fits), Some(5));
    assert_eq!(tried, [7, 6, 7, 6, 5]);
}

#[test]
fn the_wheel_agrees_with_a_map() {
    for seed in 0..if cfg!(miri) { 2 } else { 200 } {
        let mut state = seed * 2_654_435_761 + 88_172_645_463_325_252_u64;
        let mut next = |bound: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u32 % bound
        };
        let mut now = next(10_000);
        let (mut wheel, mut model) = (Wheel::new(now), BTreeMap::new());
        wheel.grow(64);
        for _ in 0..300 {
            let flow = next(64);
            match next(4) {
                0 => {
                    wheel.cancel(flow);
                    model.remove(&flow);
                }
                1 => now += next(700),
                _ => {
                    let due = now + next(9_000);
                    let fate = Fate::ALL[next(2) as usize];
                    wheel.schedule(flow, due, fate);
                    model.insert(flow, (due, fate));
                }
            }
            let mut due = drain(&mut wheel, now);
            due.sort_unstable();
            let expected: Vec<u32> = model
                .iter()
                .filter(|(_, (at, _))| *at <= now)
                .map(|(flow, _)| *flow)
                .collect();
            model.retain(|_, (at, _)| *at > now);
            assert_eq!(due, expected, "seed {seed}");
            let which = model
                .iter()
                .filter(|(_, (_, fate))| *fate == Fate::MayGiveWay);
            let mut ways: Vec<(u32, u32)> = which
                .map(|(flow, (at, _))| (block(now, *at), *flow))
                .collect();
            let mut seen = Vec::new();
            let found = wheel.soonest(
                usize::MAX,
                |_| (),
                |flow| {
                    seen.push((block(now, model[&flow].0), flow));
                    false
                },
            );
            assert_eq!(found, None);
            assert!(
                seen.is_sorted_by_key(|(at, _)| *at),
                "seed {seed}: {seen:?}"
            );
            seen.sort_unstable();
            ways.sort_unstable();
            assert_eq!(seen, ways, "seed {seed}");
        }
    }
}
