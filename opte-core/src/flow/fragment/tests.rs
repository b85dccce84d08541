//! What passes, waits and is refused of fragments in any order.

use super::*;
use crate::flow::tuple::from_ip;
use crate::wire::testing::Rng;
use std::collections::BTreeSet;
use std::vec;

type Table = Fragments<parking_lot::RawMutex>;

fn table(options: PortOptions) -> Table {
    let table = Table::new(1);
    table.limit(&options);
    table
}

const PIECE: u16 = 1_480;

fn at(ms: u64) -> Instant {
    Instant::from_millis(1_000 + ms)
}

fn key(id: u32, family: Family) -> Key {
    Key {
        dir: Direction::Out,
        external: false,
        family,
        local: from_ip("10.0.0.1".parse().unwrap()),
        remote: from_ip("10.0.0.2".parse().unwrap()),
        proto: Proto::UDP,
        id,
    }
}

/// Piece `index` of `count`.
fn piece(index: u16, count: u16) -> Piece {
    Piece {
        id: 0,
        proto: Proto::UDP,
        start: index * PIECE,
        end: (index + 1) * PIECE,
        more: index + 1 < count,
    }
}

fn first() -> First {
    First {
        tuple: Tuple {
            local: [1; 16],
            remote: [2; 16],
            local_port: 3,
            remote_port: 4,
            proto: Proto::UDP,
            family: Family::V4,
        },
        segment: Segment::default(),
        header_len: 8,
    }
}

fn later(table: &Table, key: &Key, piece: &Piece, now: Instant) -> Result<Turn, DropReason> {
    table.follow(key, piece, now, || Some(vec![9; usize::from(PIECE)]))
}

#[test]
fn later_pieces_follow_the_first_and_earlier_ones_wait_for_it() {
    let table = table(PortOptions::default());
    let (a, b) = (key(1, Family::V4), key(2, Family::V4));
    table.check(&a, &piece(0, 3), at(0)).unwrap();
    assert!(table.settle(&a, Some(first())).is_empty());
    for index in [2, 1] {
        let turn = later(&table, &a, &piece(index, 3), at(1));
        assert_eq!(turn, Ok(Turn::Follow(first())));
    }
    for index in [2, 1] {
        assert_eq!(later(&table, &b, &piece(index, 3), at(2)), Ok(Turn::Held));
    }
    table.check(&b, &piece(0, 3), at(3)).unwrap();
    assert_eq!(table.settle(&b, Some(first())).len(), 2);
    let state = table.state.lock();
    assert_eq!((state.held, state.bytes), (0, 0));
}

/// A network that sends some frames twice (F2, F3).
#[test]
fn copies_of_pieces_go_nowhere_and_spoil_nothing() {
    for family in [Family::V4, Family::V6] {
        let table = table(PortOptions::default());
        let key = key(1, family);
        let copy = Err(DropReason::FragmentOverlap);
        assert_eq!(later(&table, &key, &piece(2, 3), at(0)), Ok(Turn::Held));
        assert_eq!(later(&table, &key, &piece(2, 3), at(0)), copy);
        table.check(&key, &piece(0, 3), at(1)).unwrap();
        assert_eq!(table.settle(&key, Some(first())).len(), 1);
        if family == Family::V6 {
            assert!(table.check(&key, &piece(0, 3), at(2)).is_err());
        }
        let turn = later(&table, &key, &piece(1, 3), at(3));
        assert_eq!(turn, Ok(Turn::Follow(first())));
        // Of a packet that is whole, too: what waited would never be called.
        for index in [1, 2] {
            assert_eq!(later(&table, &key, &piece(index, 3), at(4)), copy);
        }
        assert_eq!(table.state.lock().held, 0);
    }
}

#[test]
fn a_packet_that_is_whole_gives_way_first() {
    let table = table(PortOptions::default());
    let begin = |id: u32, count: u16| {
        let key = key(id, Family::V6);
        table
            .check(&key, &piece(0, count), at(u64::from(id)))
            .ok()?;
        table.settle(&key, Some(first()));
        Some(())
    };
    // Ever more whole packets; the one that isn't, the oldest, is kept.
    begin(0, 2).unwrap();
    for id in 1..5_000 {
        begin(id, 2).unwrap();
        let turn = later(&table, &key(id, Family::V6), &piece(1, 2), at(5_000));
        assert_eq!(turn, Ok(Turn::Follow(first())));
    }
    let turn = later(&table, &key(0, Family::V6), &piece(1, 2), at(5_000));
    assert_eq!(turn, Ok(Turn::Follow(first())));
}

#[test]
fn pieces_of_a_refused_packet_are_refused_and_not_held() {
    let table = table(PortOptions::default());
    let key = key(1, Family::V6);
    assert_eq!(later(&table, &key, &piece(2, 3), at(0)), Ok(Turn::Held));
    table.check(&key, &piece(0, 3), at(1)).unwrap();
    assert_eq!(table.settle(&key, None).len(), 1, "for the caller to drop");
    let turn = later(&table, &key, &piece(1, 3), at(2));
    assert_eq!(turn, Err(DropReason::Fragment));
}

#[test]
fn an_overlap_spoils_its_packet() {
    for family in [Family::V4, Family::V6] {
        let table = table(PortOptions::default());
        let key = key(1, family);
        table.check(&key, &piece(0, 4), at(0)).unwrap();
        table.settle(&key, Some(first()));
        let mut over = piece(1, 4);
        over.start -= 8;
        let spoiled = Err(DropReason::FragmentOverlap);
        assert_eq!(later(&table, &key, &over, at(1)), spoiled);
        assert_eq!(later(&table, &key, &piece(1, 4), at(2)), spoiled);
        // A first piece again: another packet with the number, or an attack.
        let again = table.check(&key, &piece(0, 4), at(3));
        assert_eq!(again.is_ok(), family == Family::V4);
        table.settle(&key, Some(first()));
        let turn = later(&table, &key, &piece(1, 4), at(4));
        assert_eq!(turn.is_ok(), family == Family::V4);
    }
}

#[test]
fn a_packet_has_one_end() {
    let mut seen = Seen::default();
    seen.add(&piece(3, 4)).unwrap();
    for (index, count) in [(4, 9), (4, 5), (1, 2)] {
        let added = seen.add(&piece(index, count));
        assert_eq!(
            added,
            Err(DropReason::FragmentOverlap),
            "{index} of {count}"
        );
    }
}

#[test]
fn what_waits_is_bounded_by_number_bytes_and_time() {
    let table = table(PortOptions::default());
    let mut held = 0;
    for id in 0..1_000 {
        match later(&table, &key(id, Family::V6), &piece(1, 3), at(0)) {
            Ok(Turn::Held) => held += 1,
            result => assert_eq!(result, Err(DropReason::FragmentsFull)),
        }
    }
    assert_eq!(held, 64);
    // A packet in order needs no room there.
    let busy = key(5_000, Family::V4);
    let passes = (5_000..5_100).any(|id| {
        let key = key(id, Family::V4);
        table.check(&key, &piece(0, 2), at(0)).is_ok()
    });
    assert!(passes, "{busy:?}");
    assert_eq!(table.expire(at(29_999)), [0, 0]);
    assert_eq!(table.expire(at(30_000)), [0, 64]);
    let mut bytes = 0;
    for id in 0..10 {
        let now = at(30_001);
        let big = || Some(vec![0; 30_000]);
        if table
            .follow(&key(id, Family::V6), &piece(1, 3), now, big)
            .is_ok()
        {
            bytes += 30_000;
        }
    }
    assert_eq!(bytes, 120_000, "as many as fit 128 KiB");
}

#[test]
fn a_ports_options_say_how_much_may_wait_and_how_long() {
    let table = table(PortOptions {
        fragment_s: 10,
        fragments_max: 2,
        ..PortOptions::default()
    });
    let wait = |id, ms| later(&table, &key(id, Family::V4), &piece(1, 3), at(ms));
    assert_eq!([wait(1, 0), wait(2, 5_000)], [Ok(Turn::Held); 2]);
    assert_eq!(wait(3, 5_000), Err(DropReason::FragmentsFull));
    assert_eq!(table.expire(at(10_000)), [0, 1]);
    assert_eq!(wait(5, 10_000), Ok(Turn::Held));
    // Less than there is: what is held stays, and no more comes.
    let fewer = PortOptions {
        fragment_s: 20,
        fragments_max: 1,
        ..PortOptions::default()
    };
    table.limit(&fewer);
    assert_eq!(table.expire(at(20_000)), [0, 0]);
    assert_eq!(wait(4, 20_000), Err(DropReason::FragmentsFull));
    assert_eq!(table.expire(at(30_000)), [0, 2]);
    assert_eq!(wait(6, 30_000), Ok(Turn::Held));
}

#[test]
fn a_frame_that_is_not_at_hand_cannot_wait() {
    let table = table(PortOptions::default());
    let turn = table.follow(&key(1, Family::V4), &piece(1, 2), at(0), || None);
    assert_eq!(turn, Err(DropReason::NoMemory));
    assert_eq!(table.state.lock().held, 0);
}

/// Random pieces in random order; the oracle is a set of 8-byte units.
#[test]
fn runs_agree_with_a_set_of_units() {
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let (mut seen, mut model) = (Seen::default(), BTreeSet::new());
        let mut end = None;
        for _ in 0..12 {
            let start = rng.below(24);
            let stop = start + 1 + rng.below(6);
            let more = rng.below(6) > 0;
            let piece = Piece {
                id: 0,
                proto: Proto::UDP,
                start: u16::try_from(start * 8).unwrap(),
                end: u16::try_from(stop * 8).unwrap(),
                more,
            };
            let units: BTreeSet<_> = (start..stop).collect();
            let beyond = end.is_some_and(|end| stop > end || !more);
            let short = !more && model.last().is_some_and(|last| *last >= stop);
            let bad = beyond || short || !model.is_disjoint(&units);
            assert_eq!(seen.add(&piece).is_err(), bad, "seed {seed}");
            if bad {
                continue;
            }
            model.extend(&units);
            end = end.or((!more).then_some(stop));
            let whole = end == Some(model.len()) && model.first() == Some(&0);
            assert_eq!(seen.is_whole(), whole, "seed {seed}");
        }
    }
}

/// Any traffic at all: what is held is what the slots hold.
#[test]
fn the_account_of_what_is_held_is_right() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let table = table(PortOptions::default());
        let mut now = 0;
        for _ in 0..2_000 {
            now += u64::try_from(rng.below(400)).unwrap();
            let family = [Family::V4, Family::V6][rng.below(2)];
            let key = key(u32::try_from(rng.below(400)).unwrap(), family);
            match rng.below(8) {
                0 => _ = table.expire(at(now)),
                1..=3 => {
                    let fate = (rng.below(4) > 0).then(first);
                    if table.check(&key, &piece(0, 3), at(now)).is_ok() {
                        table.settle(&key, fate);
                    }
                }
                _ => {
                    let index = 1 + u16::try_from(rng.below(2)).unwrap();
                    _ = later(&table, &key, &piece(index, 3), at(now));
                }
            }
            let state = table.state.lock();
            let held = state.slots.iter().flatten().flat_map(|slot| &slot.held);
            assert_eq!(held.clone().count(), state.held, "seed {seed}");
            assert_eq!(
                held.map(Vec::len).sum::<usize>(),
                state.bytes,
                "seed {seed}"
            );
            assert!(state.held <= 64 && state.bytes <= 64 * FRAGMENT_BYTES_EACH);
        }
    }
}
