//! The table against a map that somebody keeps by hand.

use super::*;
use crate::DropReason;
use crate::api::PortOptions;
use crate::event::FlowEnd;
use crate::flow::record::NatKind;
use crate::flow::{Family, Proto};
use crate::rng::Rng;
use std::collections::BTreeMap;
use std::vec::Vec;

type TestTable = Table<parking_lot::RawMutex>;

fn key(number: u32) -> Tuple {
    let mut local = [0; 16];
    local[12..].copy_from_slice(&number.to_be_bytes());
    Tuple {
        local,
        remote: [7; 16],
        local_port: 1,
        remote_port: 53,
        proto: Proto::UDP,
        family: Family::V4,
    }
}

fn table(flows_max: u32) -> (TestTable, Arc<Budget>) {
    let budget = Arc::new(Budget::new(1_000_000));
    (
        Table::new(flows_max, 42, Arc::clone(&budget), Instant::ZERO),
        budget,
    )
}

fn flow(number: u32, now: Instant) -> Flow {
    let mut flow = Flow::new(key(number), Direction::Out, now);
    // Every third flow is translated, and so has two keys.
    if number.is_multiple_of(3) {
        flow.outside_local = [9; 16];
        flow.outside_port = u16::try_from(number % 50_000).unwrap();
        flow.inside.remote_port = 1_000 + u16::try_from(number / 50_000).unwrap();
        flow.nat = NatKind::Floating;
    }
    flow
}

fn insert(table: &TestTable, flow: Flow) -> Result<FlowId, DropReason> {
    let options = PortOptions::default();
    table
        .lock(table.hash(&flow.inside))
        .insert(flow, &options, |_| ())
}

fn finds(table: &TestTable, flow: &Flow) -> bool {
    let out = table
        .find(
            Direction::Out,
            Name::Inside,
            &flow.inside,
            table.hash(&flow.inside),
        )
        .is_some();
    let outside = flow.outside();
    let inbound = table
        .find(Direction::In, Name::Outside, &outside, table.hash(&outside))
        .is_some();
    assert_eq!(out, inbound, "both keys or none: {flow:?}");
    let inbound = table.find(Direction::In, Name::Inside, &outside, table.hash(&outside));
    assert_eq!(out, inbound.is_some(), "wherever one looks first: {flow:?}");
    out
}

#[test]
fn a_flow_with_its_lock_fills_three_cache_lines() {
    assert!(size_of::<Flow>() <= 188, "{}", size_of::<Flow>());
    assert_eq!(size_of::<Slot<parking_lot::RawMutex>>(), 192);
}

/// The second at which a flow ends whose last packet came then: its timeout
/// later, by the clock of flows, and never early.
fn due(last: Instant) -> u64 {
    let timeout_s = u64::from(PortOptions::default().udp_one_way_s);
    let due = crate::time::Coarse::from(last).after().as_secs() + timeout_s + 1;
    assert!((timeout_s..=timeout_s + 1).contains(&(due - last.as_secs())));
    due
}

#[test]
fn the_table_agrees_with_a_map() {
    let options = PortOptions::default();
    for seed in 0..if cfg!(miri) { 1 } else { 30 } {
        let mut rng = Rng(seed);
        let (table, budget) = table(4_096);
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now_s = 0;
        for _ in 0..if cfg!(miri) { 200 } else { 4_000 } {
            let now = Instant::from_millis(now_s * 1_000);
            let number = u32::try_from(rng.below(2_000)).unwrap();
            match rng.below(10) {
                0 => {
                    now_s += rng.below(8) as u64;
                    let now = Instant::from_millis(now_s * 1_000);
                    table.expire(now, &options, |_, why| assert_eq!(why, FlowEnd::Idle));
                    model.retain(|_, due| *due > now_s);
                }
                1 => {
                    let gone = table.clear(|f| f.inside.local == key(number).local, |_| ());
                    assert_eq!(
                        gone,
                        u64::from(model.remove(&number).is_some()),
                        "seed {seed}"
                    );
                }
                2..=4 if model.contains_key(&number) => {
                    let inside = flow(number, now).inside;
                    let found =
                        table.find(Direction::Out, Name::Inside, &inside, table.hash(&inside));
                    found.unwrap().1.last = now.into();
                    model.insert(number, due(now));
                }
                _ if !model.contains_key(&number) => {
                    insert(&table, flow(number, now)).unwrap();
                    model.insert(number, due(now));
                }
                _ => {}
            }
            let probe = u32::try_from(rng.below(2_000)).unwrap();
            let found = finds(&table, &flow(probe, now));
            assert_eq!(
                found,
                model.contains_key(&probe),
                "seed {seed}, flow {probe}"
            );
            assert_eq!(table.len() as usize, model.len(), "seed {seed}");
            assert_eq!(budget.used(), table.len(), "seed {seed}");
        }
        let mut seen = Vec::new();
        let end = table.scan(0, |f| {
            seen.push(f.inside.local);
            true
        });
        assert_eq!((end, seen.len()), (None, model.len()));
    }
}

#[test]
fn a_full_table_evicts_what_was_never_answered_and_keeps_the_rest() {
    let (table, _) = table(1_024);
    let answered = |number| {
        let mut flow = flow(number, Instant::ZERO);
        flow.answered = number % 2 == 0;
        flow
    };
    let mut number = 0;
    while table.len() < 1_024 {
        insert(&table, answered(number)).unwrap();
        number += 1;
    }
    let options = PortOptions::default();
    let mut evicted = 0;
    let refused = (number..number + 2_000).find(|number| {
        let mut flow = flow(*number, Instant::ZERO);
        flow.answered = true;
        let mut shard = table.lock(table.hash(&flow.inside));
        let ended = |flow: &mut Flow| {
            assert!(!flow.answered);
            evicted += 1;
        };
        shard.insert(flow, &options, ended).is_err()
    });
    assert!(
        refused.is_some(),
        "with answered flows only, a new one is refused"
    );
    assert!(
        evicted >= 450,
        "most of the 512 unanswered ones gave way: {evicted}"
    );
    assert!(table.len() <= 1_024);
    for number in (0..1_024).filter(|number| number % 2 == 0) {
        assert!(
            finds(&table, &flow(number, Instant::ZERO)),
            "answered flow {number} is there"
        );
    }
}

#[test]
fn a_used_up_budget_refuses() {
    let budget = Arc::new(Budget::new(2));
    let table: TestTable = Table::new(64, 1, Arc::clone(&budget), Instant::ZERO);
    let answered = |number| {
        let mut flow = flow(number, Instant::ZERO);
        flow.answered = true;
        flow
    };
    insert(&table, answered(1)).unwrap();
    insert(&table, answered(2)).unwrap();
    assert_eq!(insert(&table, answered(4)), Err(DropReason::HostFlowsFull));
    assert_eq!((budget.used(), table.len()), (2, 2));
    drop(table);
    assert_eq!(budget.used(), 0, "a table that goes gives back what it has");
}

#[test]
fn an_idle_tick_looks_at_no_flow() {
    let (table, _) = table(65_536);
    for number in 0..10_000 {
        insert(&table, flow(number, Instant::ZERO)).unwrap();
    }
    let second = Instant::from_millis(1_000);
    table.expire(second, &PortOptions::default(), |_, _| {
        panic!("none is due")
    });
    assert_eq!(table.len(), 10_000);
    let mut ended = 0;
    for second in 2..60 {
        let now = Instant::from_millis(second * 1_000);
        table.expire(now, &PortOptions::default(), |_, _| ended += 1);
    }
    assert_eq!((ended, table.len()), (10_000, 0));
}

#[test]
fn a_key_that_overflowed_is_found_by_the_slow_path_and_brought_home() {
    let (table, _) = table(64);
    let numbers: Vec<u32> = (0..64).map(|n| n * 3 + 1).collect();
    for number in &numbers {
        insert(&table, flow(*number, Instant::ZERO)).unwrap();
    }
    for number in &numbers {
        let inside = key(*number);
        let hash = table.hash(&inside);
        let found = table
            .lock(hash)
            .find(Direction::Out, &inside, hash)
            .map(|found| found.0);
        assert!(found.is_some());
    }
}

#[test]
fn a_shard_finds_its_own_flows_only() {
    // An external port may pass from one inside end to another before the
    // first one's flow is known to be over: two flows with one outside key.
    let (table, _) = table(100_000);
    let flow = |number| {
        let mut flow = Flow::new(key(number), Direction::In, Instant::ZERO);
        (flow.outside_local, flow.outside_port) = ([9; 16], 77);
        flow
    };
    for number in 0..8 {
        insert(&table, flow(number)).unwrap();
    }
    let outside = flow(0).outside();
    for number in 0..8 {
        let mut shard = table.lock(table.hash(&key(number)));
        let found = shard.find(Direction::In, &outside, table.hash(&outside));
        let id = found.map(|(id, _)| id);
        // `remove` would work on the wrong shard.
        if let Some(id) = id {
            assert_eq!(table.store.place(id.0).0, shard.at, "{number}");
        }
    }
}
