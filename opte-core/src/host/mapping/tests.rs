//! Mappings: look-ups, changes, pages, and what a change makes stale.

use super::*;
use crate::api::ErrorCode;
use crate::api::setup::{Change, ChangeVerb};
use crate::limits::{V2B_ENDPOINTS_MAX, V2P_MAX};
use alloc::string::ToString;
use std::collections::{BTreeMap, BTreeSet};
use std::format;

mod model;

type Sut = Mappings<parking_lot::RawMutex>;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn v2p(number: u32, address: &str, sled: u16) -> V2p {
    V2p {
        vni: vni(number),
        address: ip(address),
        mac: MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, 1]),
        sled: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, sled),
    }
}

fn endpoint(number: u16) -> TunnelEndpoint {
    TunnelEndpoint {
        address: Ipv6Addr::new(0xfd00, 99, 0, 0, 0, 0, 0, number),
        vni: vni(99),
    }
}

fn v2b(text: &str, endpoints: &[u16]) -> V2b {
    V2b {
        prefix: prefix(text),
        endpoints: endpoints.iter().map(|n| endpoint(*n)).collect(),
    }
}

/// `count` mappings of one VPC, IPv4 and IPv6 in turn.
fn many(count: u32) -> Vec<V2p> {
    (0..count)
        .map(|n| V2p {
            address: if n % 2 == 0 {
                IpAddr::V4((0x0a00_0000 + n).into())
            } else {
                IpAddr::V6((0xfd00_u128 << 112 | u128::from(n)).into())
            },
            ..v2p(7, "10.0.0.1", 1)
        })
        .collect()
}

fn generations(mappings: &Sut) -> Vec<u32> {
    let all = mappings.generations.0.iter();
    all.map(|g| g.load(Ordering::Relaxed)).collect()
}

/// The slots that `change` moves.
fn moved(mappings: &Sut, change: impl FnOnce()) -> BTreeSet<Slot> {
    let before = generations(mappings);
    change();
    let after = generations(mappings);
    let moved = before.iter().zip(&after).enumerate();
    let mut moved: BTreeSet<_> = moved
        .filter(|(_, (before, after))| before != after)
        .map(|(slot, _)| Slot(slot as u16))
        .collect();
    let all = moved.remove(&ALL);
    assert_eq!(
        all,
        !moved.is_empty(),
        "the slot of all moves with any other"
    );
    moved
}

#[test]
fn a_guest_is_found_in_its_own_vpc_only() {
    let mappings = Sut::new(1);
    let here = [
        v2p(7, "10.0.0.1", 1),
        v2p(8, "10.0.0.1", 2),
        v2p(7, "fd00::1", 3),
    ];
    assert_eq!(mappings.set_v2p(&here), Ok(3));
    assert_eq!(mappings.set_v2p(&here), Ok(0));
    for mapping in here {
        let found = mappings.resolve(mapping.vni, &mapping.address).unwrap();
        assert_eq!((found.mac, found.sled), (mapping.mac, mapping.sled));
    }
    assert_eq!(mappings.resolve(vni(9), &ip("10.0.0.1")), None);
    assert_eq!(mappings.resolve(vni(8), &ip("fd00::1")), None);
    mappings.clear_v2p(vni(7), ip("10.0.0.1")).unwrap();
    assert_eq!(mappings.resolve(vni(7), &ip("10.0.0.1")), None);
    assert!(mappings.resolve(vni(8), &ip("10.0.0.1")).is_some());
    let error = mappings.clear_v2p(vni(7), ip("10.0.0.1")).unwrap_err();
    assert_eq!(error.to_string(), "v2p 7 10.0.0.1 does not exist");
}

#[test]
fn a_v2p_change_outdates_its_own_answers_and_no_others() {
    let mappings = Sut::new(1);
    let all = many(1_000);
    mappings.set_v2p(&all).unwrap();
    mappings.set_v2b(Prefix::V4_ANY, &[endpoint(1)]).unwrap();
    let stamps: Vec<_> = all
        .iter()
        .map(|m| mappings.resolve(m.vni, &m.address).unwrap().stamp)
        .collect();
    let (_, boundary) = mappings.boundary(&ip("1.1.1.1"), 0).unwrap();
    let slots: BTreeSet<_> = stamps.iter().map(|stamp| stamp.slot).collect();
    // 1 000 balls into 4 096 bins fill 887 of them on average.
    assert!((850..930).contains(&slots.len()), "{}", slots.len());
    let moves = V2p {
        sled: "fd00::abcd".parse().unwrap(),
        ..all[5]
    };
    let by = |change: &dyn Fn()| moved(&mappings, change);
    let own = BTreeSet::from([stamps[5].slot]);
    assert_eq!(by(&|| assert_eq!(mappings.set_v2p(&all), Ok(0))), [].into());
    assert_eq!(by(&|| assert_eq!(mappings.set_v2p(&[moves]), Ok(1))), own);
    assert!(!mappings.current(stamps[5]));
    let outdated = stamps.iter().filter(|s| !mappings.current(**s)).count();
    assert!(outdated <= 3, "{outdated}");
    assert!(mappings.current(boundary));
    assert!(mappings.current(mappings.resolve(moves.vni, &moves.address).unwrap().stamp));
    assert_eq!(
        by(&|| mappings.clear_v2p(moves.vni, moves.address).unwrap()),
        own
    );
}

#[test]
fn the_longest_prefix_has_the_end_point() {
    let mappings = Sut::new(1);
    let of = |addr: &str| mappings.boundary(&ip(addr), 0).map(|(e, _)| e);
    assert_eq!(of("1.1.1.1"), None);
    for (text, n) in [
        ("0.0.0.0/0", 1),
        ("1.0.0.0/8", 2),
        ("1.1.0.0/16", 3),
        ("::/0", 4),
    ] {
        assert_eq!(mappings.set_v2b(prefix(text), &[endpoint(n)]), Ok(1));
        assert_eq!(mappings.set_v2b(prefix(text), &[endpoint(n)]), Ok(0));
    }
    for (addr, n) in [
        ("9.9.9.9", 1),
        ("1.2.3.4", 2),
        ("1.1.3.4", 3),
        ("fd00::", 4),
    ] {
        assert_eq!(of(addr), Some(endpoint(n)), "{addr}");
    }
    assert_eq!(mappings.clear_v2b(prefix("1.1.0.0/16"), &[]), Ok(1));
    assert_eq!(of("1.1.3.4"), Some(endpoint(2)));
    assert_eq!(
        mappings.dump_v2b(),
        [
            v2b("0.0.0.0/0", &[1]),
            v2b("1.0.0.0/8", &[2]),
            v2b("::/0", &[4])
        ]
    );
}

#[test]
fn a_v2b_change_outdates_its_own_answers_and_no_others() {
    let mappings = Sut::new(1);
    let stamp = |addr: &str| mappings.boundary(&ip(addr), 0).unwrap().1;
    for text in ["0.0.0.0/0", "1.0.0.0/8", "::/0"] {
        mappings.set_v2b(prefix(text), &[endpoint(1)]).unwrap();
    }
    let by = |change: &dyn Fn()| moved(&mappings, change);
    let set = |text: &str, n: u16| {
        by(&|| assert!(mappings.set_v2b(prefix(text), &[endpoint(n)]).is_ok()))
    };
    let only = |addr: &str| BTreeSet::from([stamp(addr).slot]);
    assert_eq!(set("1.0.0.0/8", 1), [].into());
    assert_eq!(set("1.0.0.0/8", 2), only("1.2.3.4"));
    // A longer prefix takes addresses from the next shorter one.
    let of_shorter = only("1.1.2.3");
    assert_eq!(set("1.1.0.0/16", 3), of_shorter);
    assert_eq!(set("2.0.0.0/8", 3), only("9.9.9.9"));
    // Without it, they go back: those that were decided by it.
    let of_longer = only("1.1.2.3");
    assert_eq!(
        by(&|| assert_eq!(mappings.clear_v2b(prefix("1.1.0.0/16"), &[]), Ok(1))),
        of_longer
    );
    // The slots are the prefixes' own.
    assert_eq!(
        BTreeSet::from(["9.9.9.9", "1.2.3.4", "2.2.2.2", "::"].map(|a| stamp(a).slot)).len(),
        4,
        "collide with this seed"
    );
}

#[test]
fn losing_an_end_point_moves_only_its_flows() {
    let mappings = Sut::new(1);
    let all = [1, 2, 3, 4, 5].map(endpoint);
    assert_eq!(mappings.set_v2b(Prefix::V6_ANY, &all), Ok(5));
    let choose = || -> Vec<_> {
        let flows = 0..10_000_u32;
        flows
            .map(|flow| mappings.boundary(&ip("2001:db8::1"), flow).unwrap().0)
            .collect()
    };
    let before = choose();
    for endpoint in &all {
        let count = before.iter().filter(|e| *e == endpoint).count();
        assert!((1_850..2_150).contains(&count), "{endpoint}: {count}");
    }
    assert_eq!(mappings.clear_v2b(Prefix::V6_ANY, &all[2..3]), Ok(1));
    let after = choose();
    let differ = before.iter().zip(&after).filter(|(b, a)| b != a);
    let had = before.iter().filter(|e| **e == all[2]);
    assert_eq!(differ.count(), had.count());
    assert!(!after.contains(&all[2]));
    // And back again: the very same choice.
    assert_eq!(mappings.set_v2b(Prefix::V6_ANY, &all), Ok(1));
    assert_eq!(choose(), before);
}

#[test]
fn pages_have_everything_once_whatever_else_changes() {
    let mappings = Sut::new(1);
    let all = many(1_000);
    mappings.set_v2p(&all).unwrap();
    for max in [1, 7, 999, 1_000, 1_001, u32::MAX] {
        let (mut seen, mut cursor) = (Vec::new(), Some(0));
        while let Some(from) = cursor {
            let (entries, next) = mappings.dump_v2p(from, max);
            assert!(!entries.is_empty() && entries.len() <= max as usize);
            seen.extend(entries);
            cursor = next;
        }
        let addresses: BTreeSet<_> = seen.iter().map(|m| m.address).collect();
        assert_eq!((seen.len(), addresses.len()), (1_000, 1_000), "{max}");
    }
    // Others come and go between pages.
    let (mut seen, mut cursor, mut round) = (Vec::new(), Some(0), 0);
    while let Some(from) = cursor {
        let (entries, next) = mappings.dump_v2p(from, 10);
        seen.extend(entries.into_iter().map(|m| m.address));
        cursor = next;
        mappings
            .clear_v2p(all[round].vni, all[round].address)
            .unwrap();
        let other = v2p(9, &format!("10.9.9.{round}"), 1);
        mappings.set_v2p(&[other]).unwrap();
        round += 1;
    }
    for mapping in &all[round..] {
        assert_eq!(seen.iter().filter(|a| **a == mapping.address).count(), 1);
    }
    // A cursor that nobody gave out ends the listing.
    for cursor in [64 << 32, u64::MAX] {
        let (entries, next) = mappings.dump_v2p(cursor, 10);
        assert_eq!((entries, next), ([].into(), None));
    }
    assert_eq!(Sut::new(1).dump_v2p(0, 0).1, None);
}

#[test]
fn places_are_used_again() {
    let mappings = Sut::new(1);
    let places = || -> usize { mappings.v2p.iter().map(|s| s.lock().list.len()).sum() };
    let all = many(1_000);
    mappings.set_v2p(&all).unwrap();
    for mapping in all.iter().cycle().take(5_000) {
        mappings.clear_v2p(mapping.vni, mapping.address).unwrap();
        mappings.set_v2p(&[*mapping]).unwrap();
    }
    assert_eq!(places(), 1_000);
    mappings.commit(mappings.plan_replace(&[], &[]).unwrap());
    assert_eq!(places(), 0);
}

#[test]
fn an_outdated_answer_never_looks_current() {
    use core::sync::atomic::AtomicU16;
    let (mappings, done) = (Sut::new(1), AtomicU16::new(0));
    let rounds = if cfg!(miri) { 20 } else { 5_000 };
    mappings.set_v2p(&[v2p(7, "10.0.0.1", 0)]).unwrap();
    let number = |sled: Ipv6Addr| sled.segments()[7];
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for round in 1..=rounds {
                mappings.set_v2p(&[v2p(7, "10.0.0.1", round)]).unwrap();
                done.store(round, Ordering::SeqCst);
            }
        });
        loop {
            let found = mappings.resolve(vni(7), &ip("10.0.0.1")).unwrap();
            let last = done.load(Ordering::SeqCst);
            assert!(number(found.sled) >= last || !mappings.current(found.stamp));
            if last == rounds {
                break;
            }
        }
    });
}

#[test]
fn a_refused_v2p_command_changes_nothing() {
    let mappings = Sut::new(1);
    let good = v2p(7, "10.0.0.1", 1);
    let with = |change: &dyn Fn(&mut V2p)| {
        let mut bad = v2p(7, "10.0.0.2", 1);
        change(&mut bad);
        let before = generations(&mappings);
        let error = mappings.set_v2p(&[good, bad]).unwrap_err();
        assert_eq!(mappings.plan_replace(&[good, bad], &[]).unwrap_err(), error);
        assert_eq!(mappings.dump_v2p(0, 9).0, []);
        assert_eq!(generations(&mappings), before);
        (error.code, error.field)
    };
    let not_unicast = |field: &str| (ErrorCode::NotUnicast, field.into());
    for bad in [
        "0.0.0.0",
        "224.1.1.1",
        "255.255.255.255",
        "127.0.0.1",
        "::",
        "ff02::1",
        "::1",
    ] {
        let got = with(&|m| m.address = ip(bad));
        assert_eq!(got, not_unicast("address"), "{bad}");
    }
    for bad in ["::", "ff02::1", "::1"] {
        let got = with(&|m| m.sled = bad.parse().unwrap());
        assert_eq!(got, not_unicast("sled"), "{bad}");
    }
    for bad in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([1; 6])] {
        assert_eq!(with(&|m| m.mac = bad), not_unicast("mac"), "{bad}");
    }
    let twice = with(&|m| {
        m.address = good.address;
        m.sled = "fd00::2".parse().unwrap();
    });
    assert_eq!(twice.0, ErrorCode::Conflict);
    assert_eq!(
        mappings.set_v2p(&[good, good]),
        Ok(1),
        "the same twice is no conflict"
    );
}

#[test]
fn a_refused_v2b_command_changes_nothing() {
    let mappings = Sut::new(1);
    mappings.set_v2b(Prefix::V4_ANY, &[endpoint(1)]).unwrap();
    let before = mappings.dump_v2b();
    let set = |text: &str, endpoints: &[TunnelEndpoint]| {
        let error = mappings.set_v2b(prefix(text), endpoints).unwrap_err();
        let all = V2b {
            prefix: prefix(text),
            endpoints: endpoints.to_vec(),
        };
        assert!(mappings.plan_replace(&[], &[all]).is_err() || text == "0.0.0.0/0");
        (error.code, error.field)
    };
    let too_many: Vec<_> = (1..).map(endpoint).take(V2B_ENDPOINTS_MAX + 1).collect();
    let unspecified = TunnelEndpoint {
        address: Ipv6Addr::UNSPECIFIED,
        ..endpoint(1)
    };
    let field = || "endpoints".to_string();
    assert_eq!(set("1.0.0.0/8", &[]), (ErrorCode::OutOfRange, field()));
    assert_eq!(
        set("1.0.0.0/8", &too_many),
        (ErrorCode::OutOfRange, field())
    );
    assert_eq!(
        set("0.0.0.0/0", &too_many[1..]),
        (ErrorCode::LimitReached, field())
    );
    assert_eq!(
        set("1.0.0.0/8", &[unspecified]),
        (ErrorCode::NotUnicast, field())
    );
    for group in ["224.0.0.0/4", "ff04::/16"] {
        assert_eq!(set(group, &[endpoint(1)]).0, ErrorCode::NotUnicast);
    }
    let twice = [v2b("::/0", &[1]), v2b("::/0", &[1])];
    let error = mappings.plan_replace(&[], &twice).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    for (text, endpoints) in [
        ("1.0.0.0/8", &[][..]),
        ("0.0.0.0/0", &[endpoint(1), endpoint(2)]),
    ] {
        let error = mappings.clear_v2b(prefix(text), endpoints).unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }
    assert_eq!(mappings.dump_v2b(), before);
}

#[test]
fn the_number_of_mappings_is_bounded() {
    if cfg!(miri) {
        return;
    }
    let mappings = Sut::new(1);
    let mut all = many(u32::try_from(V2P_MAX).unwrap());
    mappings.set_v2p(&all).unwrap();
    let one_more = v2p(8, "10.0.0.1", 1);
    let error = mappings.set_v2p(&[one_more]).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
    assert_eq!(mappings.resolve(one_more.vni, &one_more.address), None);
    // Changing one that is there is possible, and with one less another fits.
    assert_eq!(mappings.set_v2p(&[v2p(7, "10.0.0.0", 9)]), Ok(1));
    mappings.clear_v2p(all[5].vni, all[5].address).unwrap();
    assert_eq!(mappings.set_v2p(&[one_more]), Ok(1));
    all.push(one_more);
    let error = mappings.plan_replace(&all, &[]).unwrap_err();
    assert_eq!(error.code, ErrorCode::LimitReached);
}

#[test]
fn replacing_everything_touches_what_differs() {
    let mappings = Sut::new(1);
    let (a, b, c) = (
        v2p(7, "10.0.0.1", 1),
        v2p(7, "10.0.0.2", 1),
        v2p(8, "fd00::3", 1),
    );
    let replace = |v2p: &[V2p], v2b: &[V2b]| {
        let plan = mappings.plan_replace(v2p, v2b).unwrap();
        let text = |c: &Change| format!("{:?} {}", c.verb, c.object);
        let changes: Vec<_> = plan.changes.iter().map(text).collect();
        let slots = moved(&mappings, || mappings.commit(plan));
        (changes, slots)
    };
    let (changes, _) = replace(&[b, a], &[v2b("::/0", &[2, 1]), v2b("1.0.0.0/8", &[1])]);
    assert_eq!(
        changes,
        [
            "Add v2p 7 10.0.0.1",
            "Add v2p 7 10.0.0.2",
            "Add v2b 1.0.0.0/8",
            "Add v2b ::/0"
        ]
    );
    let (changes, slots) = replace(&[a, b], &[v2b("1.0.0.0/8", &[1]), v2b("::/0", &[1, 2])]);
    assert_eq!((changes.len(), slots.len()), (0, 0), "nothing differs");
    let slot_of = |m: &V2p| mappings.resolve(m.vni, &m.address).unwrap().stamp.slot;
    let before = [
        slot_of(&a),
        slot_of(&b),
        mappings.boundary(&ip("::9"), 0).unwrap().1.slot,
    ];
    let moved_a = V2p {
        sled: "fd00::77".parse().unwrap(),
        ..a
    };
    let (changes, slots) = replace(&[moved_a, c], &[v2b("1.0.0.0/8", &[1]), v2b("::/0", &[1])]);
    assert_eq!(
        changes,
        [
            "Change v2p 7 10.0.0.1",
            "Remove v2p 7 10.0.0.2",
            "Add v2p 8 fd00::3",
            "Change v2b ::/0"
        ]
    );
    assert_eq!(
        slots,
        BTreeSet::from(before)
            .into_iter()
            .chain([slot_of(&c)])
            .collect()
    );
    assert_eq!(mappings.dump_v2p(0, 9).0.len(), 2);
    assert_eq!(*mappings.writer.lock(), 2);
    let verbs = mappings.plan_replace(&[], &[]).unwrap().changes;
    assert!(verbs.iter().all(|change| change.verb == ChangeVerb::Remove) && verbs.len() == 4);
}

#[test]
fn slots_stay_in_their_range() {
    let v2p: BTreeSet<_> = (0..100_000).map(|n| Slot::of(n, &v2p::SLOTS).0).collect();
    assert_eq!((v2p.len(), *v2p.last().unwrap()), (4_096, 4_095));
    let v2b: BTreeSet<_> = (0..100_000).map(|n| Slot::of(n, &v2b::SLOTS).0).collect();
    assert_eq!((v2b.len(), *v2b.first().unwrap()), (256, 4_096));
    assert_eq!(
        Generations::new().0.len(),
        4_096 + 256 + 1,
        "and one for all"
    );
}
