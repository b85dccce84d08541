//! The store against a map that somebody keeps by hand.

use super::line::LINE_LEN;
use super::line::Word;
use super::*;
use crate::rng::Rng;
use std::collections::BTreeMap;
use std::vec::Vec;

type TestStore = Store<parking_lot::RawMutex>;

/// Adds a record that is known by `name`.
fn add(store: &TestStore, hash: u64, name: u32, flows: u32) -> Option<u32> {
    let number = store.vacancy(hash, flows).ok()?;
    store.slot(number).unwrap().0.lock().nat_stamp = name;
    store.publish(number, hash);
    Some(number)
}

/// The number of the record that is known by `name`.
fn find(store: &TestStore, hash: u64, name: u32) -> Option<u32> {
    store.find(hash, |number, slot| {
        (slot.0.lock().nat_stamp == name).then_some(number)
    })
}

fn levels(store: &TestStore) -> usize {
    store.count.load(Ordering::Relaxed)
}

fn chunks(store: &TestStore) -> usize {
    let made = |level: &Level<_>| {
        let chunks = level.chunks.iter();
        chunks.filter(|chunk| chunk.is_made()).count()
    };
    store.levels().map(made).sum()
}

#[test]
fn a_word_agrees_with_an_array() {
    for seed in 0..20 {
        let mut rng = Rng(seed);
        let (word, mut model) = (Word::default(), [0_u8; 8]);
        for _ in 0..500 {
            let (way, tag) = (rng.below(8), u8::try_from(rng.below(4)).unwrap());
            word.set(u32::try_from(way).unwrap(), tag);
            model[way] = tag;
            for tag in 0..4 {
                let mut found: Vec<u32> = word.ways(tag).collect();
                let first = found.first().copied();
                assert!(
                    first.is_none_or(|way| model[position(way)] == tag),
                    "the first is never one of the others: seed {seed}"
                );
                found.retain(|way| model[position(*way)] == tag);
                found.sort_unstable();
                let expected: Vec<u32> =
                    (0..8).filter(|way| model[position(*way)] == tag).collect();
                assert_eq!(found, expected, "seed {seed}, {model:?}");
            }
        }
    }
}

#[test]
fn the_store_agrees_with_a_map() {
    for seed in 0..if cfg!(miri) { 2 } else { 40 } {
        let mut rng = Rng(seed);
        let shards = 1 << rng.below(7);
        let store = TestStore::new(u32::try_from(rng.below(3_000)).unwrap(), shards);
        // Few hashes, so that buckets fill up and records have the same.
        let hashes: Vec<u64> = (0..200).map(|_| rng.next()).collect();
        let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for name in 1..if cfg!(miri) { 200 } else { 3_000 } {
            let hash = hashes[rng.below(200)];
            let flows = u32::try_from(model.len()).unwrap();
            if rng.below(3) > 0 {
                match add(&store, hash, name, flows) {
                    Some(number) => {
                        let (shard, local) = store.place(number);
                        assert_eq!(shard, store.shard_of(hash), "rule S1");
                        assert_eq!(store.number(shard, local), number);
                        assert!(local < store.part(store.capacity()));
                        let others = model.insert(number, (hash, name));
                        assert_eq!(others, None, "seed {seed}: a way is given once");
                    }
                    None => assert!(
                        store.around(hash).all(|number| model.contains_key(&number)),
                        "seed {seed}: refused with room"
                    ),
                }
            } else if let Some((number, _)) = model.pop_first() {
                store.slot(number).unwrap().0.lock().nat_stamp = 0;
                store.vacate(number);
            }
            let probe = u32::try_from(rng.below(position(name))).unwrap() + 1;
            let known = model.iter().find(|(_, (_, name))| *name == probe);
            match known {
                Some((number, (hash, _))) => {
                    assert_eq!(find(&store, *hash, probe), Some(*number), "seed {seed}");
                }
                None => assert!(
                    hashes
                        .iter()
                        .all(|hash| find(&store, *hash, probe).is_none()),
                    "seed {seed}"
                ),
            }
        }
    }
}

#[test]
fn flows_stay_where_they_are_while_the_store_grows() {
    let (mut rng, store) = (Rng(3), TestStore::new(50_000, 32));
    let mut seen = Vec::new();
    for name in 1..=50_000 {
        let hash = rng.next();
        seen.push((hash, add(&store, hash, name, name - 1).unwrap()));
    }
    assert_eq!(levels(&store), 3);
    for ((hash, number), name) in seen.into_iter().zip(1..) {
        assert_eq!(find(&store, hash, name), Some(number));
    }
}

#[test]
fn most_records_are_where_they_are_asked_for() {
    let (mut rng, store) = (Rng(5), TestStore::new(1 << 16, 16));
    let mut preferred = 0;
    let flows = if cfg!(miri) { 500 } else { 20_000 };
    for name in 0..flows {
        let hash = rng.next();
        let number = add(&store, hash, name, name).unwrap();
        let level = store.level(number).unwrap();
        let ((line, place), home) = (level.at(number), level.home(hash));
        assert_eq!(line, home.line);
        preferred += u32::from(place == home.place);
    }
    // With two or three ways of four taken in the end, at random.
    let part = f64::from(preferred) / f64::from(flows);
    assert!(part > 0.65, "rule S4: {part}");
}

#[test]
fn memory_follows_the_flows() {
    let (mut rng, store) = (Rng(4), TestStore::new(1 << 20, 64));
    let (mut flows, mut next) = (0, 0);
    assert_eq!(store.capacity(), 0);
    while flows < 300_000 {
        let hash = rng.next();
        add(&store, hash, 1, flows).unwrap();
        flows += 1;
        if flows >= next {
            let records = chunks(&store) * LINE_LEN;
            let most = (flows * 11 / 2).max(flows + 75_000);
            assert!(records <= position(most), "{records} for {flows}");
            next += 1_000;
        }
    }
}

#[test]
fn as_many_flows_as_the_store_is_for_find_room() {
    for seed in 0..if cfg!(miri) { 0 } else { 4 } {
        let mut rng = Rng(seed);
        for flows in [1, 10, 64, 500, 1_024, 3_000, 20_000, 65_536, 300_000] {
            let shards = (flows / 1_024_u32).next_power_of_two().clamp(1, 64);
            let store = TestStore::new(flows, shards);
            for name in 0..flows {
                let found = add(&store, rng.next(), name, name);
                assert!(found.is_some(), "seed {seed}: {name} of {flows}");
            }
        }
    }
}
