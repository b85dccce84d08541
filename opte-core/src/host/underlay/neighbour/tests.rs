//! States and timers of one neighbour, and the frames that wait for it.

use super::*;
use crate::DropReason;
use crate::limits::{NEIGHBOUR_QUEUE_BYTES_MAX, NEIGHBOUR_QUEUE_MAX, NEIGHBOURS_MAX};
use std::vec::Vec;

const OLD: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const NEW: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const NOW: Instant = Instant::from_millis(1_000_000);

/// A neighbour in `state`, its MAC address `OLD` where the state has one.
fn neighbour(state: State) -> Neighbour {
    let mut neighbour = Neighbour::new(LinkId(0), Ipv6Addr::LOCALHOST);
    neighbour.state = state;
    if state != State::Incomplete {
        neighbour.mac = Some(OLD);
    }
    neighbour.timer = Some(NOW);
    neighbour
}

const fn advert(mac: Option<MacAddr>, solicited: bool, overrides: bool) -> Advert {
    Advert {
        mac,
        solicited,
        overrides,
    }
}

/// RFC 4861 appendix C, the lines about advertisements.
#[test]
fn advertisements_do_what_the_rfc_says() {
    use State::{Delay, Incomplete, Probe, Reachable, Stale, Unreachable};
    let same = Some(OLD);
    let other = Some(NEW);
    for (before, advert, after, mac) in [
        (Incomplete, advert(None, true, true), Incomplete, None),
        (Incomplete, advert(other, true, false), Reachable, other),
        (Incomplete, advert(other, false, false), Stale, other),
        (Incomplete, advert(other, false, true), Stale, other),
        (Unreachable, advert(None, true, true), Unreachable, None),
        (Unreachable, advert(other, true, false), Reachable, other),
        (Unreachable, advert(same, false, false), Stale, same),
        // Without override: another address is not taken over.
        (Reachable, advert(other, true, false), Stale, same),
        (Reachable, advert(other, false, false), Stale, same),
        (Stale, advert(other, true, false), Stale, same),
        (Delay, advert(other, false, false), Delay, same),
        (Probe, advert(other, true, false), Probe, same),
        // The same address, or none: solicited confirms.
        (Reachable, advert(same, true, false), Reachable, same),
        (Stale, advert(same, true, false), Reachable, same),
        (Probe, advert(None, true, false), Reachable, same),
        (Delay, advert(same, true, true), Reachable, same),
        (Stale, advert(same, false, true), Stale, same),
        (Probe, advert(same, false, true), Probe, same),
        (Reachable, advert(None, false, true), Reachable, same),
        // With override: another address is taken over.
        (Reachable, advert(other, true, true), Reachable, other),
        (Probe, advert(other, true, true), Reachable, other),
        (Reachable, advert(other, false, true), Stale, other),
        (Delay, advert(other, false, true), Stale, other),
    ] {
        let mut n = neighbour(before);
        n.advertised(advert, NOW);
        assert_eq!((n.state, n.mac()), (after, mac), "{before:?} {advert:?}");
    }
}

#[test]
fn a_solicitation_from_a_neighbour_tells_its_address() {
    for (before, mac, after) in [
        (State::Incomplete, NEW, State::Stale),
        (State::Unreachable, OLD, State::Stale),
        (State::Reachable, OLD, State::Reachable),
        (State::Reachable, NEW, State::Stale),
        (State::Probe, OLD, State::Probe),
        (State::Delay, NEW, State::Stale),
    ] {
        let mut n = neighbour(before);
        n.solicited_us(mac);
        assert_eq!((n.state, n.mac()), (after, Some(mac)), "{before:?}");
    }
}

/// Runs a neighbour's timers until it has none; what was due, and when in
/// milliseconds.
fn run(neighbours: &mut Neighbours, until_ms: u64) -> Vec<(u64, Due)> {
    let mut seen = Vec::new();
    for ms in (0..=until_ms).step_by(100) {
        while let Some((_, due)) = neighbours.expire(Instant::from_millis(ms)) {
            seen.push((ms, due));
        }
    }
    seen
}

fn one(neighbours: &mut Neighbours) -> u16 {
    neighbours.acquire(LinkId(0), Ipv6Addr::LOCALHOST).unwrap()
}

#[test]
fn a_silent_neighbour_is_asked_three_times() {
    let mut neighbours = Neighbours::new();
    let n = one(&mut neighbours);
    let ask = neighbours.update(n, |n| n.touch(Instant::ZERO)).unwrap();
    assert_eq!(ask, Some(Ask::Group));
    assert!(!neighbours.get(n).unwrap().is_lost());
    let seen = run(&mut neighbours, 60_000);
    assert_eq!(
        seen,
        [
            (1_000, Due::Ask(Ask::Group)),
            (2_000, Due::Ask(Ask::Group)),
            (3_000, Due::Lost),
            (4_000, Due::Nothing),
        ],
        "and nobody wanted it afterwards"
    );
    assert!(
        !neighbours.get(n).unwrap().is_lost(),
        "it may be tried again"
    );
    let ask = neighbours.update(n, |n| n.touch(Instant::from_millis(60_000)));
    assert_eq!(ask, Some(Some(Ask::Group)));
}

#[test]
fn a_lost_neighbour_in_use_is_asked_ever_less_often() {
    let mut neighbours = Neighbours::new();
    let n = one(&mut neighbours);
    let mut asked = Vec::new();
    for ms in (0..60_000).step_by(100) {
        let now = Instant::from_millis(ms);
        if neighbours.update(n, |n| n.touch(now)).unwrap().is_some() {
            asked.push(ms);
        }
        while let Some((_, due)) = neighbours.expire(now) {
            if due == Due::Ask(Ask::Group) {
                asked.push(ms);
            }
        }
    }
    assert_eq!(
        asked,
        [
            0, 1_000, 2_000, 4_000, 6_000, 10_000, 18_000, 26_000, 34_000, 42_000, 50_000, 58_000
        ]
    );
    assert!(neighbours.get(n).unwrap().is_lost());
}

#[test]
fn a_neighbour_in_use_is_confirmed_and_an_unused_one_is_left_alone() {
    let mut neighbours = Neighbours::new();
    let n = one(&mut neighbours);
    neighbours.update(n, |n| {
        n.advertised(advert(Some(OLD), true, true), Instant::ZERO)
    });
    assert_eq!(run(&mut neighbours, 100_000), [(30_000, Due::Nothing)]);
    assert_eq!(neighbours.get(n).unwrap().state, State::Stale);

    let touch = neighbours.update(n, |n| n.touch(Instant::from_millis(100_000)));
    assert_eq!(touch, Some(None));
    let direct = Due::Ask(Ask::Direct(OLD));
    assert_eq!(
        run(&mut neighbours, 200_000),
        [
            (105_000, direct),
            (106_000, direct),
            (107_000, direct),
            (108_000, Due::Lost),
            (109_000, Due::Nothing),
        ]
    );
}

/// Lets a frame wait; how many older ones gave way, and whether it does.
fn wait(neighbours: &mut Neighbours, n: u16, frame: &[u8]) -> (usize, Result<(), DropReason>) {
    let mut displaced = 0;
    let result = neighbours.wait(n, PathId(7), frame, Turn::First, &mut displaced);
    (displaced, result)
}

#[test]
fn frames_wait_in_order_and_the_oldest_gives_way() {
    let mut neighbours = Neighbours::new();
    let n = one(&mut neighbours);
    for i in 0..NEIGHBOUR_QUEUE_MAX + 3 {
        let displaced = usize::from(i >= NEIGHBOUR_QUEUE_MAX);
        let waits = wait(&mut neighbours, n, &[i as u8; 100]);
        assert_eq!(waits, (displaced, Ok(())));
    }
    assert_eq!(neighbours.load().0, NEIGHBOUR_QUEUE_MAX * 100);
    let first: Vec<u8> = neighbours
        .take_waiting(n)
        .iter()
        .map(|w| w.frame[0])
        .collect();
    assert_eq!(
        first,
        (3..NEIGHBOUR_QUEUE_MAX as u8 + 3).collect::<Vec<_>>()
    );
    assert_eq!(neighbours.load().0, 0);
}

#[test]
fn one_silent_neighbour_cannot_push_out_what_waits_for_another() {
    let mut neighbours = Neighbours::new();
    let large = [0; 60_000];
    let address = |i: usize| Ipv6Addr::from_bits(i as u128);
    let (mut kept, mut i) = (0, 0);
    while neighbours.load().0 + large.len() <= NEIGHBOUR_QUEUE_BYTES_MAX {
        let n = neighbours.acquire(LinkId(0), address(i)).unwrap();
        assert_eq!(wait(&mut neighbours, n, &large), (0, Ok(())));
        (kept, i) = (n, i + 1);
    }
    let late = neighbours.acquire(LinkId(0), address(i)).unwrap();
    let refused = Err(DropReason::NextHopQueueFull);
    assert_eq!(wait(&mut neighbours, late, &large), (0, refused));
    // One that has frames waiting itself gives up its own.
    assert_eq!(wait(&mut neighbours, kept, &large), (1, Ok(())));
    assert!(neighbours.load().0 <= NEIGHBOUR_QUEUE_BYTES_MAX);
}

#[test]
fn a_neighbour_lives_as_long_as_a_path_uses_it() {
    let mut neighbours = Neighbours::new();
    let n = one(&mut neighbours);
    assert_eq!(one(&mut neighbours), n);
    neighbours.update(n, |n| n.touch(Instant::ZERO));
    wait(&mut neighbours, n, &[0; 100]).1.unwrap();
    assert_eq!(neighbours.release(n).len(), 0);
    assert_eq!(neighbours.release(n).len(), 1, "what waited is handed back");
    assert!(neighbours.find(LinkId(0), Ipv6Addr::LOCALHOST).is_none());
    assert_eq!(neighbours.load(), (0, 0));
    assert_eq!(neighbours.expire(Instant::from_millis(u64::MAX)), None);
}

#[test]
fn there_are_only_so_many() {
    let mut neighbours = Neighbours::new();
    for i in 0..NEIGHBOURS_MAX {
        assert!(
            neighbours
                .acquire(LinkId(0), Ipv6Addr::from_bits(i as u128))
                .is_ok()
        );
    }
    assert!(neighbours.acquire(LinkId(1), Ipv6Addr::LOCALHOST).is_err());
    assert_eq!(one(&mut neighbours), 1, "one that is there is found");
}
