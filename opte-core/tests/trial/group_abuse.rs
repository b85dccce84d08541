//! Groups against guests that mean no good: messages that no stack sends,
//! memberships in another's name, and more of everything than there may be.

use super::group::*;
use super::{Rng, name};
use crate::sim::Sled;
use opte_core::DropReason;
use opte_core::api::{Command, McastSub};
use opte_core::limits::{
    MCAST_COPIES_AT_ONCE, MCAST_COPIES_PER_S, MCAST_RECORDS_MAX, PORT_GROUPS_MAX,
};
use opte_core::verdict::Verdict;
use opte_core::wire::MacAddr;
use opte_core::wire::membership::{Change, report};
use std::net::Ipv6Addr;

/// g11 and g12, who may join groups.
pub(super) fn listeners() -> Sled {
    let ports = port(11, 7) + &port(12, 7);
    Sled::with(1, &setup(1, "listen = [\"g11\", \"g12\"]", &ports))
}

/// The message of an IGMP report with records of this kind for groups
/// 239.1.X.Y.
pub(super) fn joins(kind: u8, groups: std::ops::Range<usize>) -> Vec<u8> {
    let mut message = vec![0x22, 0, 0, 0, 0, 0];
    message.extend((groups.len() as u16).to_be_bytes());
    for n in groups {
        message.extend([kind, 0, 0, 0, 239, 1, (n >> 8) as u8, n as u8]);
    }
    message
}

fn groups_of<'s>(subs: &'s [McastSub], port: &str) -> Vec<&'s McastSub> {
    subs.iter().filter(|sub| sub.port == name(port)).collect()
}

/// A frame with a change, and with the checksum of its IPv4 header mended.
fn with(frame: &[u8], change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = frame.to_vec();
    change(&mut frame);
    if frame[12..14] == [8, 0] {
        seal(&mut frame[14..34], 10);
    }
    frame
}

/// Each frame of g11 is dropped for its reason and joins nothing; `good` does.
fn refuses(frames: Vec<(&str, Vec<u8>, DropReason)>, good: &[u8]) {
    let sled = listeners();
    for (what, frame, reason) in frames {
        let got = sled.tx("g11", &frame);
        assert_eq!(dropped(&got), Some(reason), "{what}");
        assert!(subs(&sled).is_empty(), "{what}");
    }
    assert_eq!(sled.tx("g11", good).0, Verdict::Consumed);
    assert_eq!(groups_of(&subs(&sled), "g11").len(), 1);
}

#[test]
fn igmp_that_is_malformed_or_not_from_the_link_joins_nothing() {
    let good = igmp(11, &joins(4, 0x101..0x102));
    let byte = |at: usize, value: u8| with(&good, |f| f[at] = value);
    // The message with another byte in it, and the checksum mended.
    let message = |at: usize, value: u8| igmp(11, &with(&joins(4, 0..1), |m| m[at] = value));
    let (bad, spoofed) = (DropReason::BadMembership, DropReason::SpoofedIp);
    refuses(
        vec![
            ("TTL", byte(22, 2), bad),
            ("TTL of zero", byte(22, 0), bad),
            ("another's address", byte(29, 12), spoofed),
            ("nobody's address", byte(26, 192), spoofed),
            ("a group's address", byte(26, 239), spoofed),
            ("another's MAC", byte(11, 12), DropReason::SpoofedMac),
            ("checksum", byte(36, 1), DropReason::BadChecksum),
            ("records", message(7, 2), bad),
            ("all records", message(6, 255), bad),
            ("sources", message(11, 1), bad),
            ("all sources", message(10, 255), bad),
            ("auxiliary data", message(9, 1), bad),
            ("a fragment", byte(20, 0x20), DropReason::BadMembership),
        ],
        &good,
    );
}

#[test]
fn mld_that_is_malformed_or_not_from_the_link_joins_nothing() {
    let group: Ipv6Addr = GROUP6.parse().unwrap();
    let good = report(mac(11), &[(Change::ToExclude, group)]);
    let byte = |at: usize, value: u8| with(&good, |f| f[at] = value);
    let bad = DropReason::BadMembership;
    refuses(
        vec![
            ("hop limit", byte(21, 255), bad),
            ("a source from elsewhere", byte(22, 0xfd), bad),
            ("no router alert", byte(56, 1), bad),
            ("checksum", byte(64, 1), DropReason::BadChecksum),
            ("cut", good[..good.len() - 1].to_vec(), DropReason::BadIp),
        ],
        &good,
    );
}

/// What one guest says never moves the other's memberships.
#[test]
fn nobody_leaves_for_another() {
    let sled = listeners();
    assert_eq!(
        sled.tx("g12", &igmp(12, &joins(4, 0x101..0x102))).0,
        Verdict::Consumed
    );
    for leave in [
        igmp(11, &[0x17, 0, 0, 0, 239, 1, 1, 1]),
        igmp(11, &joins(3, 0x101..0x102)),
        igmp(12, &joins(3, 0x101..0x102)),
    ] {
        _ = sled.tx("g11", &leave);
        assert_eq!(groups_of(&subs(&sled), "g12").len(), 1);
    }
}

/// A report that another host's guest sends to a group stays a packet: it
/// joins nothing, and no guest gets to see it.
#[test]
fn nothing_from_the_underlay_is_a_report() {
    let sleds = fleet();
    sleds[1]
        .command(Command::SetMcastListen(name("g21"), true))
        .unwrap();
    quiet(&sleds);
    let (_, sent) = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"padding"));
    let copy = &sent.links[0].1;
    let before = subs(&sleds[1]);
    for proto in [2, 58] {
        let mut copy = copy.clone();
        let packet = &mut copy[78 + 14..];
        packet[9] = proto;
        seal(&mut packet[..20], 10);
        packet[20] = 0x16;
        packet[24..28].copy_from_slice(&[239, 7, 7, 7]);
        seal(&mut packet[20..], 2);
        let (_, sent) = sleds[1].rx(&copy);
        assert!(sent.ports.is_empty() && sent.links.is_empty());
        assert_eq!(subs(&sleds[1]), before);
    }
}

/// A flood of reports costs what is allowed at once and no more, whether it
/// changes groups to and fro or names more of them than there may be.
#[test]
fn a_flood_of_reports_is_held_to_its_rate() {
    let sled = listeners();
    sled.events("");
    let mut refused = 0;
    for n in 0..2_000 {
        // Joins all groups, and leaves them.
        let kind = if n % 2 == 0 { 4 } else { 3 };
        let groups = 0x100..0x100 + PORT_GROUPS_MAX;
        let got = sled.tx("g11", &igmp(11, &joins(kind, groups)));
        refused += usize::from(dropped(&got) == Some(DropReason::MembershipRate));
    }
    let changes = sled.events("McastMember").len();
    assert!(refused > 1_980, "{refused}");
    assert!(changes <= 512 + PORT_GROUPS_MAX, "{changes}");
    // The other guest has a rate of its own, and this one has its again soon.
    let join = |guest: u8| dropped(&sled.tx(&format!("g{guest}"), &igmp(guest, &joins(4, 1..2))));
    assert_eq!(join(12), None);
    assert_eq!(join(11), Some(DropReason::MembershipRate));
    sled.advance(2_000);
    assert_eq!(join(11), None);
}

#[test]
fn a_guest_is_in_so_many_groups_and_no_more() {
    let sled = listeners();
    let got = sled.tx(
        "g11",
        &igmp(11, &joins(4, 0x100..0x100 + PORT_GROUPS_MAX + 1)),
    );
    assert_eq!(dropped(&got), Some(DropReason::MembershipFull));
    assert_eq!(subs(&sled).len(), PORT_GROUPS_MAX);
    // Records behind those that are looked at join nothing.
    let mut message = joins(1, 0..MCAST_RECORDS_MAX);
    let last = joins(4, 0x777..0x778);
    message[6..8].copy_from_slice(&(MCAST_RECORDS_MAX as u16 + 1).to_be_bytes());
    message.extend(&last[8..]);
    let got = sled.tx("g12", &igmp(12, &message));
    assert_eq!(dropped(&got), Some(DropReason::MembershipFull));
    assert_eq!(subs(&sled).len(), PORT_GROUPS_MAX);
    // Turned off, nothing is left.
    sled.command(Command::SetMcastListen(name("g11"), false))
        .unwrap();
    assert!(subs(&sled).is_empty());
}

/// Whatever is done to good messages, the engine goes on, the bounds hold, and
/// nothing reaches the underlay or another guest.
#[test]
fn random_messages_break_nothing() {
    let sled = listeners();
    let group: Ipv6Addr = GROUP6.parse().unwrap();
    let good = [
        igmp(11, &joins(4, 0x101..0x104)),
        report(
            mac(11),
            &[(Change::Allow, group), (Change::ToExclude, group)],
        ),
    ];
    for seed in 0..4_000 {
        let mut rng = Rng(seed);
        let mut frame = rng.pick(&good).clone();
        for _ in 0..=rng.below(4) {
            let at = 12 + rng.below(frame.len() - 12);
            frame[at] = rng.next() as u8;
        }
        if rng.below(4) == 0 {
            frame.truncate(14 + rng.below(frame.len() - 13));
        }
        if frame.len() >= 40 && frame[12..14] == [8, 0] && rng.below(4) != 0 {
            seal(&mut frame[14..34], 10);
            seal(&mut frame[34..], 2);
        }
        let (_, sent) = sled.tx("g11", &frame);
        let to_others = sent.ports.iter().filter(|(id, _)| *id == sled.port("g12"));
        assert_eq!(to_others.count(), 0, "seed {seed}");
        assert!(sent.links.is_empty(), "seed {seed}");
        sled.advance(10);
    }
    assert!(groups_of(&subs(&sled), "g11").len() <= PORT_GROUPS_MAX);
    assert!(groups_of(&subs(&sled), "g12").is_empty());
}

/// A member that sends hears nothing of itself: not at once, and not when its
/// frame comes back, whichever way it was asked to go.
#[test]
fn a_sender_never_hears_itself() {
    let sleds = fleet();
    quiet(&sleds);
    let (_, sent) = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    assert!(sent.ports.iter().all(|(id, _)| *id != sleds[0].port("g11")));
    let copy = sent.links[0].1.clone();
    for mode in [0, 0x40, 0x80] {
        let mut copy = copy.clone();
        copy[74] = mode;
        let (_, sent) = sleds[0].rx(&copy);
        assert!(sent.ports.is_empty() && sent.links.is_empty());
        // To the host itself, with the wish that it is copied on.
        copy[..6].copy_from_slice(&MacAddr([2, 0xee, 0, 0, 1, 0]).0);
        copy[38..54].copy_from_slice(&"fd00:1::1".parse::<Ipv6Addr>().unwrap().octets());
        let (_, sent) = sleds[0].rx(&copy);
        assert!(sent.ports.is_empty() && sent.links.is_empty());
    }
    assert_eq!(sleds[0].drops(DropReason::MulticastLoop), 6);
}

#[test]
fn a_guests_frames_are_copied_so_often_and_no_more() {
    let sleds = fleet();
    let frame = to_group(11, GROUP).udp(b"x");
    // One to the link and two to members, the sender counted.
    let send = |count: u64| {
        let passed = (0..count).filter(|_| {
            let (verdict, sent) = sleds[0].tx("g11", &frame);
            quiet(&sleds);
            let is_good = verdict == Verdict::Consumed;
            assert_eq!(sent.ports.len(), usize::from(is_good));
            is_good
        });
        u64::try_from(passed.count()).unwrap()
    };
    let at_once = MCAST_COPIES_AT_ONCE.div_ceil(3);
    assert_eq!(send(at_once + 1_000), at_once);
    assert_eq!(sleds[0].drops(DropReason::MulticastRate), 1_000);
    // Another guest isn't hindered.
    let other = sleds[0].tx("g12", &to_group(12, GROUP).udp(b"x"));
    assert_eq!(other.0, Verdict::Consumed);
    sleds[0].advance(100);
    let passed = send(MCAST_COPIES_PER_S);
    assert!(passed.abs_diff(MCAST_COPIES_PER_S / 30) <= 2, "{passed}");
}
