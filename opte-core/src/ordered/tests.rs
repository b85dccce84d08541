//! Maps and sets against the standard library's.

use super::*;
use crate::rng::Rng;
use alloc::collections::{BTreeMap, BTreeSet};

type Model = BTreeMap<u32, u64>;

const LEAF: usize = OrderedMap::<u32, u64>::LEAF;
const HALF: usize = LEAF / 2;

/// Rules O1 to O3, and that the two are the same.
fn compare(map: &OrderedMap<u32, u64>, model: &Model) {
    for leaf in &map.leaves {
        assert!((1..=LEAF).contains(&leaf.len()), "{map:?}");
    }
    for pair in map.leaves.windows(2) {
        assert!(pair[0].len() + pair[1].len() > HALF, "{map:?}");
    }
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
    // In order, too.
    assert!(map.iter().eq(model.iter()), "{map:?} {model:?}");
    assert!(map.keys().eq(model.keys()) && map.values().eq(model.values()));
}

/// Changes both in the same way, at random; mostly adding or mostly removing.
fn change(
    rng: &mut Rng,
    map: &mut OrderedMap<u32, u64>,
    model: &mut Model,
    keys: usize,
    add: bool,
) {
    let key = rng.below(keys) as u32;
    let value = rng.below(1_000) as u64;
    match (rng.below(16), add) {
        (0, _) => {
            let end = key + rng.below(keys) as u32;
            for first in [Bound::Unbounded, Bound::Included(key), Bound::Excluded(key)] {
                // The model refuses one that is out of order.
                let last = end + 1;
                for last in [
                    Bound::Unbounded,
                    Bound::Included(last),
                    Bound::Excluded(last),
                ] {
                    let range = (first, last);
                    assert!(map.range(range).eq(model.range(range)), "{range:?}");
                }
            }
            assert_eq!(map.last_until(&key), model.range(..=key).next_back());
        }
        (1, _) => {
            assert_eq!(map.get_mut(&key), model.get_mut(&key));
            if let (Some(one), Some(other)) = (map.get_mut(&key), model.get_mut(&key)) {
                (*one, *other) = (value, value);
            }
        }
        (2, _) => {
            let one = map.get_or_insert(key, || value).copied();
            assert_eq!(one, Some(*model.entry(key).or_insert(value)));
        }
        (3..=12, true) | (3..=5, false) => {
            assert_eq!(map.insert(key, value), model.insert(key, value));
        }
        _ => assert_eq!(map.remove(&key), model.remove(&key)),
    }
    assert_eq!(map.get(&key), model.get(&key));
    assert_eq!(map.contains_key(&key), model.contains_key(&key));
}

#[test]
fn a_map_is_what_the_standard_librarys_is() {
    for seed in 0..24 {
        let mut rng = Rng(seed);
        let (mut map, mut model) = (OrderedMap::new(), Model::new());
        let keys = [40, 400, 4_000][rng.below(3)];
        for round in 0..8 {
            for _ in 0..keys * 2 {
                change(&mut rng, &mut map, &mut model, keys, round % 2 == 0);
            }
            compare(&map, &model);
            assert!(map.clone().into_iter().eq(model.clone()));
            assert_eq!(map, model.clone().into_iter().rev().collect());
        }
        for (key, value) in map.iter_mut() {
            *value += u64::from(*key);
        }
        for (key, value) in &mut model {
            *value += u64::from(*key);
        }
        compare(&map, &model);
        let part = 1 + rng.below(40) as u32;
        map.retain(|key, value| {
            *value += 1;
            key % part == 0
        });
        model.retain(|key, value| {
            *value += 1;
            key % part == 0
        });
        compare(&map, &model);
        map.clear();
        compare(&map, &Model::new());
    }
}

#[test]
fn keys_that_come_in_order_fill_leaves() {
    let mut map = OrderedMap::new();
    for key in 0..10 * LEAF as u32 {
        map.insert(key, 0_u64);
    }
    assert_eq!(map.leaves.len(), 10);
}

/// Rule O3: of many entries few stay, wherever they are, and so does their memory.
#[test]
fn memory_follows_the_entries() {
    let mut map = OrderedMap::new();
    let keys = || 0..100 * LEAF as u32;
    for key in keys() {
        map.insert(key, 0_u64);
    }
    for key in keys().filter(|key| key % LEAF as u32 != 0) {
        map.remove(&key);
    }
    assert_eq!(map.len(), 100);
    assert!(
        map.leaves.len() <= 2 * 100 / HALF + 1,
        "{}",
        map.leaves.len()
    );
}

/// Rule O2: leaves are small blocks, however they grew, and of any entries.
#[test]
fn leaves_are_small() {
    fn check<V: Default>(entries: usize) {
        assert_eq!(OrderedMap::<u32, V>::LEAF, entries);
        let mut map = OrderedMap::new();
        for key in 0..300_u32 {
            map.insert(key.wrapping_mul(0x9e37_79b1), V::default());
            let largest = map.leaves.iter().map(Vec::capacity).max().unwrap();
            assert!(largest <= entries, "{largest} of {entries}");
        }
    }
    // Also when two were joined, and grew further.
    let mut map = OrderedMap::<u32, u64>::new();
    for key in (0..LEAF as u32).chain(1_000..1_000 + HALF as u32 - 10) {
        map.insert(key, 0);
    }
    for key in 100..500 {
        map.insert(key, 0);
        let largest = map.leaves.iter().map(Vec::capacity).max().unwrap();
        assert!(largest <= LEAF, "{largest}");
    }
    check::<()>(512);
    check::<u64>(128);
    check::<[u64; 9]>(16);
    check::<[[u64; 32]; 2]>(4);
    let mut map = OrderedMap::<u32, ()>::new();
    assert!(map.reserve(3) && map.leaves.capacity() >= 3);
    assert!(!map.reserve(usize::MAX));
}

#[test]
fn a_set_is_what_the_standard_librarys_is() {
    let mut rng = Rng(1);
    let (mut set, mut model) = (OrderedSet::new(), BTreeSet::new());
    for _ in 0..4_000 {
        let key = rng.below(300);
        match rng.below(3) {
            0 => assert_eq!(set.remove(&key), model.remove(&key)),
            _ => assert_eq!(set.insert(key), model.insert(key)),
        }
        assert_eq!(set.contains(&key), model.contains(&key));
        assert_eq!(set.first(), model.first());
        assert_eq!(set.len(), model.len());
    }
    assert!(set.iter().eq(&model) && set.range(20..=90).eq(model.range(20..=90)));
    // However it came about.
    assert_eq!(set, model.iter().rev().copied().collect());
    set.remove(model.first().unwrap());
    assert_ne!(set, model.into_iter().collect());
    set.clear();
    assert_eq!(set, OrderedSet::new());
}
