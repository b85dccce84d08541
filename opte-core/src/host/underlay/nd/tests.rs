//! Neighbour discovery messages as they come from a link.

use super::*;
use std::vec::Vec;

const OURS: Ours = Ours {
    mac: MacAddr([2, 0, 0, 0, 0, 1]),
    mtu: 9_000,
    tunnel: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
};
const THEIRS: Ours = Ours {
    mac: MacAddr([2, 0, 0, 0, 0, 2]),
    mtu: 9_000,
    tunnel: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
};

fn icmp(message: &Icmp<'_>, ends: Ends) -> Vec<u8> {
    let mut out = Writer::default();
    message.emit(&ends, &mut out);
    frame(THEIRS.mac, OURS.mac, ends, 64, out.bytes()).into_vec()
}

fn ends(source: Ipv6Addr, destination: Ipv6Addr) -> Ends {
    Ends::V6 {
        source,
        destination,
    }
}

/// Asks for one of our addresses and reads the answer as the asker does.
#[test]
fn a_solicitation_is_answered_and_the_answer_is_understood() {
    for target in [OURS.tunnel, OURS.mac.link_local()] {
        for direct in [None, Some(OURS.mac)] {
            let question = solicitation(THEIRS.mac, &target, direct);
            let Ok(Message::Solicitation {
                source,
                mac,
                answer,
            }) = read(&OURS, &question)
            else {
                panic!("{target} {direct:?}");
            };
            assert_eq!(source, THEIRS.mac.link_local());
            assert_eq!(mac, Some(THEIRS.mac));
            let advert = Advert {
                mac: Some(OURS.mac),
                solicited: true,
                overrides: true,
            };
            let read = read(&THEIRS, &answer);
            assert_eq!(read, Ok(Message::Advertisement { target, advert }));
        }
    }
}

#[test]
fn a_question_goes_to_the_solicited_node_group() {
    let question = solicitation(THEIRS.mac, &"fd00::12:3456".parse().unwrap(), None);
    assert_eq!(question[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    assert_eq!(question[21], 255);
    let group: Ipv6Addr = "ff02::1:ff12:3456".parse().unwrap();
    assert_eq!(question[38..54], group.octets());
}

#[test]
fn who_is_about_to_take_our_address_hears_that_it_is_ours() {
    let mut message = Writer::default();
    let target = OURS.tunnel;
    let ends = ends(Ipv6Addr::UNSPECIFIED, solicited_node(target));
    Ndp::NeighbourSolicitation { target }.emit(&ends, &[], &mut message);
    let mac = group_mac(&solicited_node(target));
    let probe = frame(THEIRS.mac, mac, ends, HOP_LIMIT, message.bytes());
    let Ok(Message::Solicitation { mac, answer, .. }) = read(&OURS, &probe) else {
        panic!("not answered");
    };
    assert_eq!(mac, None);
    assert_eq!(answer, announcement(OURS.mac, &target));
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
    let advert = Advert {
        mac: Some(OURS.mac),
        solicited: false,
        overrides: true,
    };
    let heard = read(&THEIRS, &answer);
    assert_eq!(heard, Ok(Message::Advertisement { target, advert }));
}

#[test]
fn an_echo_request_comes_back() {
    let echo = crate::wire::icmp::Echo {
        identifier: 7,
        sequence: 9,
        data: &[1, 2, 3],
    };
    for us in [OURS.tunnel, OURS.mac.link_local()] {
        let there = ends(THEIRS.tunnel, us);
        let request = icmp(&Icmp::EchoRequest(echo), there);
        let mut expected = icmp(&Icmp::EchoReply(echo), there.reverse());
        expected[..6].copy_from_slice(&THEIRS.mac.0);
        expected[6..12].copy_from_slice(&OURS.mac.0);
        let reply = read(&OURS, &request);
        assert_eq!(reply, Ok(Message::Reply(expected.into())));
    }
    let refused = |message, ends| read(&OURS, &icmp(&message, ends)).unwrap_err();
    let no_answer = DropReason::IcmpNotAnswered;
    assert_eq!(
        refused(Icmp::EchoReply(echo), ends(THEIRS.tunnel, OURS.tunnel)),
        no_answer
    );
    let from_nobody = ends(Ipv6Addr::UNSPECIFIED, OURS.tunnel);
    assert_eq!(refused(Icmp::EchoRequest(echo), from_nobody), no_answer);
    let from_group = ends(ALL_NODES, OURS.tunnel);
    assert_eq!(refused(Icmp::EchoRequest(echo), from_group), no_answer);
    let to_group = ends(THEIRS.tunnel, ALL_NODES);
    assert_eq!(refused(Icmp::EchoRequest(echo), to_group), no_answer);
}

/// Every frame that is of no use, and why.
#[test]
fn what_is_not_for_us_or_not_right_has_a_reason() {
    let good = solicitation(THEIRS.mac, &OURS.tunnel, Some(OURS.mac)).into_vec();
    assert!(read(&OURS, &good).is_ok());
    let refused = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        read(&OURS, &frame).unwrap_err()
    };
    assert_eq!(refused(&|f| f.truncate(13)), DropReason::BadUnderlay);
    assert_eq!(refused(&|f| f.truncate(50)), DropReason::BadUnderlay);
    assert_eq!(refused(&|f| f[5] = 9), DropReason::UnderlayNotForUs);
    assert_eq!(refused(&|f| f[6] = 1), DropReason::BadUnderlay);
    assert_eq!(refused(&|f| f[13] = 0), DropReason::UnderlayNotGeneve);
    assert_eq!(refused(&|f| f[14] = 0x45), DropReason::BadUnderlay);
    assert_eq!(refused(&|f| f[20] = 17), DropReason::UnderlayNotGeneve);
    assert_eq!(refused(&|f| f[21] = 254), DropReason::BadNdp);
    assert_eq!(refused(&|f| f[53] = 9), DropReason::UnderlayNotForUs);
    assert_eq!(refused(&|f| f[0] = 0x33), DropReason::UnderlayNotForUs);
    assert_eq!(refused(&|f| f[56] ^= 1), DropReason::BadChecksum);

    let elsewhere = solicitation(THEIRS.mac, &"fd00::9".parse().unwrap(), Some(OURS.mac));
    assert_eq!(read(&OURS, &elsewhere), Err(DropReason::UnderlayNotForUs));
}

#[test]
fn impossible_mac_addresses_are_not_learnt() {
    for mac in [MacAddr::ZERO, MacAddr::BROADCAST, OURS.mac] {
        let ends = ends(THEIRS.tunnel, ALL_NODES);
        let claim = Ndp::NeighbourAdvertisement {
            target: THEIRS.tunnel,
            router: false,
            solicited: false,
            overrides: true,
        };
        let mut message = Writer::default();
        claim.emit(&ends, &[Opt::TargetLinkAddr(mac)], &mut message);
        let frame = frame(
            THEIRS.mac,
            group_mac(&ALL_NODES),
            ends,
            HOP_LIMIT,
            message.bytes(),
        );
        assert_eq!(read(&OURS, &frame), Err(DropReason::BadNdp), "{mac}");
    }
    // Nobody else can advertise our own address to us.
    let claim = announcement(THEIRS.mac, &OURS.tunnel);
    assert_eq!(read(&OURS, &claim), Err(DropReason::NdpNotAnswered));
}
