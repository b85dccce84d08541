//! Fragments of packets to groups.

use super::group::*;
use crate::icmp::cut;
use crate::sim::Sled;
use opte_core::DropReason;
use opte_core::verdict::Verdict;
use opte_core::wire::MacAddr;

/// Sends fragments and tells how many copies arrived, on the sender's host and
/// on the others: all with the gateway's MAC address, and otherwise as they
/// were sent.
fn arrived(sleds: &[Sled], pieces: &[Vec<u8>]) -> (usize, usize) {
    quiet(sleds);
    let mut near = Vec::new();
    for piece in pieces {
        let (_, sent) = sleds[0].tx("g11", piece);
        near.extend(sent.ports.into_iter().map(|(_, frame)| frame));
    }
    let (_, far) = segment(sleds);
    let far: Vec<_> = far.into_iter().map(|(_, frame)| frame).collect();
    for frame in near.iter().chain(&far) {
        assert_eq!(frame[6..12], MacAddr::GATEWAY.0);
        let is_it = |piece: &&Vec<u8>| piece[12..] == frame[12..] && piece[..6] == frame[..6];
        assert!(pieces.iter().any(|piece| is_it(&piece)), "{frame:x?}");
    }
    (near.len(), far.len())
}

#[test]
fn fragments_in_any_order_reach_every_member() {
    for group in [GROUP, GROUP6] {
        let sleds = fleet();
        let pieces = cut(&to_group(11, group).udp(&[9; 4_000]), 1_400, 7);
        for (number, order) in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]]
            .iter()
            .enumerate()
        {
            // Each time another packet.
            let id = 8 + u32::try_from(number).unwrap();
            let pieces = cut(&to_group(11, group).udp(&[9; 4_000]), 1_400, id);
            let pieces = order.map(|at: usize| pieces[at].clone());
            assert_eq!(arrived(&sleds, &pieces), (3, 12), "{group} {order:?}");
        }
        // Without the first nothing arrives.
        assert_eq!(arrived(&sleds, &pieces[1..]), (0, 0));
    }
}

#[test]
fn what_the_rules_refuse_has_no_fragments_either() {
    let sleds = fleet();
    // The members' rules take UDP only.
    let mut frame = to_group(11, GROUP).udp(&[9; 4_000]);
    frame[23] = 47;
    assert_eq!(arrived(&sleds, &cut(&frame, 1_400, 7)), (0, 0));
    assert_eq!(sleds[0].drops(DropReason::FirewallDefault), 1);
    assert_eq!(sleds[0].drops(DropReason::Fragment), 2);
}

#[test]
fn fragments_keep_to_what_frames_for_groups_have_to() {
    let sleds = fleet();
    quiet(&sleds);
    let refused = |frame: &[u8], id, mac: Option<[u8; 6]>| {
        // The first and a later one alike.
        cut(frame, 1_400, id)[..2]
            .iter()
            .map(|piece| {
                let mut piece = piece.clone();
                if let Some(mac) = mac {
                    piece[..6].copy_from_slice(&mac);
                }
                match sleds[0].tx("g11", &piece).0 {
                    Verdict::Dropped(reason) => reason,
                    other => panic!("{other:?}"),
                }
            })
            .collect::<Vec<_>>()
    };
    // In a frame for another group, or for one host of many.
    let frame = to_group(11, GROUP).udp(&[9; 4_000]);
    for mac in [[0x01, 0, 0x5e, 9, 9, 9], [0xff; 6]] {
        assert_eq!(
            refused(&frame, 8, Some(mac)),
            [DropReason::BadDestinationMac; 2]
        );
    }
    // From somebody else, and what is for the gateway to read.
    let mut spoofed = to_group(12, GROUP);
    spoofed.src_mac = mac(11);
    let spoofed = spoofed.udp(&[9; 4_000]);
    assert_eq!(refused(&spoofed, 9, None), [DropReason::SpoofedIp; 2]);
    let mut report = frame;
    report[23] = 2;
    assert_eq!(refused(&report, 10, None), [DropReason::BadMembership; 2]);
    assert_eq!(sleds[0].wire.borrow().len(), 0);
}

#[test]
fn a_fragment_that_a_member_lacks_costs_only_that_member() {
    let sleds = fleet();
    quiet(&sleds);
    let pieces = cut(&to_group(11, GROUP).udp(&[9; 4_000]), 1_400, 7);
    for piece in &pieces[1..] {
        assert_eq!(sleds[0].tx("g11", piece).0, Verdict::Held);
    }
    // Its own port keeps them until the first one comes, or for so long.
    assert_eq!(sleds[0].wire.borrow().len(), 0);
    for _ in 0..32 {
        sleds[0].advance(1_000);
    }
    assert_eq!(sleds[0].drops(DropReason::FragmentTimeout), 2);
    assert_eq!(arrived(&sleds, &pieces[..1]), (1, 4));
}
