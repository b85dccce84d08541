//! What a guest's reports come to, against a model of a host's side of IGMP.

use super::filter::Filter;
use super::listener::Listener;
use crate::Instant;
use crate::limits::{MCAST_SOURCES_MAX, PORT_GROUPS_MAX};
use crate::ordered::OrderedSet;
use crate::rng::Rng;
use crate::wire::membership::{Change, Record};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::vec::Vec;

fn group(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(239, 0, 0, n))
}

fn source(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn bytes<'s>(sources: impl IntoIterator<Item = &'s IpAddr>) -> Vec<u8> {
    let octets = sources.into_iter().flat_map(|source| match source {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    });
    octets.collect()
}

fn tell(
    listener: &mut Listener,
    now: Instant,
    records: &[(Change, IpAddr, Vec<u8>)],
) -> Vec<IpAddr> {
    let records = records.iter().map(|(c, g, s)| Record::new(*c, *g, s));
    let outcome = listener.take(records, now);
    assert!(!outcome.full);
    outcome.changed.iter().copied().collect()
}

/// The host's side of IGMP: what its sockets want together, by group.
#[derive(Default)]
struct Guest {
    wants: BTreeMap<IpAddr, Filter>,
}

impl Guest {
    /// Changes what it wants, and the records that say so (RFC 3376 section
    /// 5.1).
    fn change(&mut self, to: IpAddr, new: Filter) -> Vec<(Change, IpAddr, Vec<u8>)> {
        let nothing = Filter::Include(OrderedSet::new());
        let old = self.wants.insert(to, new.clone()).unwrap_or(nothing);
        let difference = |change, of: &OrderedSet<IpAddr>, without| {
            let sources = bytes(of.difference(without));
            (!sources.is_empty()).then_some((change, to, sources))
        };
        let records = match (&old, &new) {
            (Filter::Include(a), Filter::Include(b)) => [
                difference(Change::Allow, b, a),
                difference(Change::Block, a, b),
            ],
            (Filter::Exclude(a), Filter::Exclude(b)) => [
                difference(Change::Allow, a, b),
                difference(Change::Block, b, a),
            ],
            (Filter::Include(_), Filter::Exclude(b)) => {
                [Some((Change::ToExclude, to, bytes(b.iter()))), None]
            }
            (Filter::Exclude(_), Filter::Include(b)) => {
                [Some((Change::ToInclude, to, bytes(b.iter()))), None]
            }
        };
        records.into_iter().flatten().collect()
    }

    /// The answer to a general query (RFC 3376 section 5.2).
    fn answer(&self) -> Vec<(Change, IpAddr, Vec<u8>)> {
        let records = self
            .wants
            .iter()
            .filter_map(|(group, filter)| match filter {
                Filter::Include(sources) if sources.is_empty() => None,
                Filter::Include(sources) => {
                    Some((Change::IsInclude, *group, bytes(sources.iter())))
                }
                Filter::Exclude(sources) => {
                    Some((Change::IsExclude, *group, bytes(sources.iter())))
                }
            });
        records.collect()
    }
}

fn random_filter(rng: &mut Rng) -> Filter {
    let sources = (1..6).filter(|_| rng.below(2) == 0).map(source).collect();
    match rng.below(2) {
        0 => Filter::Include(sources),
        _ => Filter::Exclude(sources),
    }
}

/// Whatever a guest's sockets do, and however often it is asked, the listener
/// knows what the guest wants; and when it says no more, nothing is left.
#[test]
fn a_listener_knows_what_the_guest_wants() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let (mut guest, mut listener) = (Guest::default(), Listener::default());
        let mut now = Instant::from_millis(1_000);
        for _ in 0..60 {
            now = now.plus_millis(rng.next() % 100_000);
            // It answers every query, so nothing that it wants may end.
            let (_, ended) = listener.wake(now);
            assert!(ended.is_empty(), "seed {seed}");
            let said = match rng.below(3) {
                0 => {
                    let to = group(rng.below(4) as u8);
                    guest.change(to, random_filter(&mut rng))
                }
                _ => guest.answer(),
            };
            tell(&mut listener, now, &said);
            for (group, wanted) in &guest.wants {
                let nothing = Filter::Include(OrderedSet::new());
                let known = listener.filter(group).unwrap_or(nothing);
                assert_eq!(known, *wanted, "seed {seed}: {group}");
            }
            tell(&mut listener, now, &guest.answer());
        }
        let members: BTreeSet<_> = listener.groups().collect();
        let (_, ended) = listener.wake(now.plus_millis(260_000));
        assert_eq!(ended.into_iter().collect::<BTreeSet<_>>(), members);
        assert_eq!(listener.groups().count(), 0);
    }
}

#[test]
fn what_changes_nothing_is_told_apart_from_what_does() {
    let (mut listener, now) = (Listener::default(), Instant::from_millis(1));
    let (one, two) = (bytes(&[source(1)]), bytes(&[source(1), source(2)]));
    for (change, sources, changes) in [
        (Change::Block, &one, false),
        (Change::ToInclude, &Vec::new(), false),
        (Change::IsExclude, &Vec::new(), true),
        (Change::IsExclude, &Vec::new(), false),
        (Change::Block, &one, true),
        (Change::Block, &one, false),
        (Change::ToExclude, &two, true),
        (Change::Allow, &two, true),
        (Change::Allow, &two, false),
        (Change::IsInclude, &one, true),
        (Change::IsInclude, &one, false),
        (Change::Allow, &two, true),
        (Change::Block, &two, true),
        (Change::Allow, &one, true),
        (Change::ToInclude, &Vec::new(), true),
    ] {
        let changed = tell(&mut listener, now, &[(change, group(1), sources.clone())]);
        assert_eq!(!changed.is_empty(), changes, "{change:?} {sources:?}");
    }
    assert_eq!(listener.groups().count(), 0);
}

#[test]
fn link_local_and_source_specific_groups_have_their_rules() {
    let (mut listener, now) = (Listener::default(), Instant::from_millis(1));
    for (change, to, sources, kept) in [
        (Change::IsExclude, "224.0.0.251", 0, false),
        (Change::IsExclude, "ff02::fb", 0, false),
        (Change::IsExclude, "10.0.0.1", 0, false),
        (Change::ToExclude, "232.1.1.1", 0, false),
        (Change::Allow, "232.1.1.1", 1, true),
        (Change::IsExclude, "ff0e::1", 0, true),
    ] {
        let to: IpAddr = to.parse().unwrap();
        let sources = bytes(&[source(1)][..sources]);
        tell(&mut listener, now, &[(change, to, sources)]);
        assert_eq!(listener.filter(&to).is_some(), kept, "{to}");
    }
}

#[test]
fn a_guest_cannot_fill_more_than_its_part() {
    let (mut listener, now) = (Listener::default(), Instant::from_millis(1));
    let many: Vec<IpAddr> = (0..200).map(source).collect();
    let many = bytes(&many);
    let one = bytes(&[source(1)]);
    for n in 0..200 {
        let record = Record::new(Change::Allow, group(n), &many);
        assert!(listener.take([record].into_iter(), now).full);
    }
    assert_eq!(listener.groups().count(), PORT_GROUPS_MAX);
    for group in listener.groups().collect::<Vec<_>>() {
        let Some(Filter::Include(sources)) = listener.filter(&group) else {
            panic!()
        };
        assert_eq!(sources.len(), MCAST_SOURCES_MAX);
    }
    // Reports have a rate: a burst, and then so many a second.
    let (mut listener, mut taken) = (Listener::default(), 0);
    while listener.may_report(now) {
        taken += 1;
    }
    assert_eq!(taken, 512);
    let later = now.plus_millis(500);
    assert_eq!((0..100).filter(|_| listener.may_report(later)).count(), 32);
    // A group that changes counts as a report.
    let mut listener = Listener::default();
    for n in 0..64 {
        let record = Record::new(Change::Allow, group(n), &one);
        listener.take([record].into_iter(), now);
    }
    assert_eq!((0..600).filter(|_| listener.may_report(now)).count(), 448);
}

#[test]
fn queries_come_quickly_at_first() {
    let mut listener = Listener::default();
    let mut asked = Vec::new();
    for second in 0..400 {
        if listener.wake(Instant::from_millis(second * 1_000)).0 {
            asked.push(second);
        }
    }
    assert_eq!(asked, [0, 32, 157, 282]);
}
