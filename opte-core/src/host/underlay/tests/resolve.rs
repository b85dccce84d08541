//! Next hops that are looked for, found, moved and lost.

use super::*;
use crate::limits::NEIGHBOUR_QUEUE_MAX;

const A: usize = 0;
const B: usize = 1;

#[test]
fn two_hosts_find_each_other() {
    let mut net = Net::new(2, 1, &flat());
    assert_eq!(
        net.send(A, &addr(B), 1, 1),
        Ok(None),
        "the first frame is held"
    );
    assert_eq!(net.arrived(B), [1], "and sent as soon as the answer came");
    assert_eq!(net.send(A, &addr(B), 1, 2), Ok(Some(LinkId(0))));
    let frame = net.nodes[B].arrived.pop().unwrap();
    assert_eq!(frame[..6], mac(B, 0).0);
    assert_eq!(frame[6..12], mac(A, 0).0);
    assert_eq!(frame[22..38], addr(A).octets());
    assert_eq!(frame[38..54], addr(B).octets());
    assert_eq!(net.state(A, &addr(B)), "REACHABLE");
    // Nobody has a neighbour that it doesn't send to.
    assert_eq!(net.nodes[B].underlay.show().neighbours, []);
    assert_eq!(net.send(B, &addr(A), 1, 3), Ok(None));
    assert_eq!(net.arrived(A), [3]);
    let next_hops = net.nodes[A].seen.next_hops.take();
    assert_eq!(next_hops[0], (addr(B), addr(B), 0, false));
    assert!(next_hops.contains(&(addr(B), addr(B), 0, true)));
}

#[test]
fn a_held_frame_leaves_as_one_that_was_not() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 9).unwrap();
    net.send(A, &addr(B), 1, 9).unwrap();
    let arrived = &net.nodes[B].arrived;
    assert_eq!(arrived[0], arrived[1]);
}

#[test]
fn frames_wait_in_order() {
    let mut net = Net::new(2, 1, &flat());
    net.dead.insert(B);
    let frames = NEIGHBOUR_QUEUE_MAX as u8 + 3;
    for tag in 0..frames {
        assert_eq!(net.send(A, &addr(B), u32::from(tag), tag), Ok(None));
    }
    assert_eq!(net.nodes[A].underlay.show().neighbours[0].queued, 16);
    net.dead.clear();
    net.run(1_000);
    assert_eq!(
        net.arrived(B),
        (3..frames).collect::<Vec<_>>(),
        "the oldest gave way"
    );
    let drops = net.nodes[A].underlay.drops();
    assert_eq!(drops[1], (DropReason::NextHopQueueFull, 3));
    assert_eq!(
        net.nodes[A].seen.drops.take(),
        [DropReason::NextHopQueueFull; 3]
    );
}

#[test]
fn a_neighbour_that_is_not_there_costs_the_frames_a_reason() {
    let mut net = Net::new(1, 1, &flat());
    for tag in 0..3 {
        assert_eq!(net.send(A, &addr(B), 1, tag), Ok(None));
    }
    net.run(2_900);
    assert_eq!(net.asked(A, SOLICITATION), 3);
    assert_eq!(net.nodes[A].underlay.drops()[0].1, 0);
    net.run(200);
    assert_eq!(
        net.nodes[A].underlay.drops()[0],
        (DropReason::NextHopUnresolved, 3)
    );
    assert_eq!(
        net.nodes[A].seen.drops.take(),
        [DropReason::NextHopUnresolved; 3]
    );
    assert_eq!(net.state(A, &addr(B)), "UNREACHABLE");
    // Until it is asked again, frames to it don't wait.
    let refused = net.send(A, &addr(B), 1, 4);
    assert_eq!(refused, Err(DropReason::NextHopUnresolved));
}

#[test]
fn a_neighbour_that_comes_back_is_found() {
    let mut net = Net::new(2, 1, &flat());
    net.dead.insert(B);
    net.send(A, &addr(B), 1, 1).unwrap();
    net.run(3_500);
    assert_eq!(
        net.send(A, &addr(B), 1, 2),
        Err(DropReason::NextHopUnresolved)
    );
    net.dead.clear();
    net.run(1_000);
    assert_eq!(net.send(A, &addr(B), 1, 3), Ok(Some(LinkId(0))));
    assert_eq!(net.arrived(B), [3]);
}

#[test]
fn a_lossy_link_is_got_over() {
    for seed in 0..20 {
        let mut net = Net::new(2, 1, &flat());
        net.rng = Rng::new(seed);
        net.loss = 30;
        let mut through = false;
        for _ in 0..100 {
            through |= net.send(A, &addr(B), 1, 1) == Ok(Some(LinkId(0)));
            net.run(500);
        }
        assert!(through, "seed {seed}");
        assert_eq!(net.nodes[A].underlay.drops()[1].1, 0, "seed {seed}");
    }
}

#[test]
fn a_new_mac_address_is_followed_when_it_is_announced() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    let id = net.path(A, &addr(B), 1).unwrap();
    net.change_mac(B, 0, MacAddr([2, 9, 9, 9, 9, 9]));
    net.deliver();
    assert_eq!(net.state(A, &addr(B)), "STALE");
    assert_eq!(
        net.send_on(A, id, 2),
        Ok(Some(LinkId(0))),
        "flows notice nothing"
    );
    assert_eq!(net.arrived(B), [1, 2]);
}

#[test]
fn a_new_mac_address_is_found_when_nobody_announces_it() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    net.dead.insert(B);
    net.change_mac(B, 0, MacAddr([2, 9, 9, 9, 9, 9]));
    net.run(3_000);
    net.dead.clear();
    net.arrived(B);
    let lost_until = (0..600)
        .find(|_| {
            let _ = net.send(A, &addr(B), 1, 2);
            net.run(100);
            !net.arrived(B).is_empty()
        })
        .unwrap();
    // 30 s reachable, 5 s delay, 3 s probes, 1 s more, and a sweep.
    assert!(lost_until <= 400, "{lost_until}");
}

#[test]
fn a_neighbour_in_use_is_kept_fresh_and_an_idle_one_is_not_asked() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    let id = net.path(A, &addr(B), 1).unwrap();
    net.asked.clear();
    for _ in 0..100 {
        assert_eq!(net.send_on(A, id, 2), Ok(Some(LinkId(0))));
        net.run(1_000);
    }
    let asked = net.asked(A, SOLICITATION);
    assert!((2..=3).contains(&asked), "{asked} questions in 100 s");
    assert_ne!(net.state(A, &addr(B)), "UNREACHABLE");
    net.run(100_000);
    assert!(net.asked(A, SOLICITATION) <= 1);
    assert_eq!(net.state(A, &addr(B)), "STALE");
}

#[test]
fn an_unused_path_is_forgotten_and_its_id_says_so() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    let id = net.path(A, &addr(B), 1).unwrap();
    net.run(500_000);
    assert!(net.nodes[A].underlay.path(id).is_some());
    net.run(200_000);
    assert!(net.nodes[A].underlay.path(id).is_none());
    assert_eq!(net.nodes[A].underlay.show().neighbours, []);
    let held = net.call(A, |n, now, out| {
        n.underlay.hold(id, &[0; 100], now, out, &n.seen)
    });
    assert_eq!(held, Err(DropReason::NoUnderlayRoute));
    let again = net.path(A, &addr(B), 1).unwrap();
    assert_ne!(again, id);
    assert_eq!(again.slot(), id.slot());
}

#[test]
fn a_group_needs_no_neighbour() {
    let group: Ipv6Addr = "ff04::1:2".parse().unwrap();
    let mut routes = flat();
    routes.push(route("ff04::/16", None, "net0"));
    let mut net = Net::new(2, 1, &routes);
    let id = net.path(A, &group, 1).unwrap();
    let mut header = [0; ENCAP_LEN];
    let path = net.nodes[A].underlay.path(id).unwrap();
    assert_eq!(path.write_header(&mut header), Some(LinkId(0)));
    assert_eq!(header[..6], [0x33, 0x33, 0, 1, 0, 2]);
    assert_eq!(header[38..54], group.octets());
    assert_eq!(net.asked(A, SOLICITATION), 0);
}

#[test]
fn frames_that_cannot_be_sent_are_not_held() {
    let mut net = Net::new(2, 1, &flat());
    let id = net.path(A, &addr(B), 1).unwrap();
    let mut hold = |len: usize| {
        let frame = vec![0; len];
        net.call(A, |n, now, out| {
            n.underlay.hold(id, &frame, now, out, &n.seen)
        })
    };
    assert_eq!(hold(ENCAP_LEN - 1), Err(DropReason::BadUnderlay));
    assert_eq!(hold(9_015), Err(DropReason::TooBig));
    assert_eq!(hold(9_014), Ok(()));
}

#[test]
fn what_comes_from_the_link_makes_no_neighbour() {
    let mut net = Net::new(2, 1, &flat());
    for node in 10..200 {
        let theirs = MacAddr([2, 0, 0, 0, 7, node as u8]);
        let question = nd::solicitation(theirs, &addr(A), None);
        let claim = nd::announcement(theirs, &addr(node));
        let accept = |frame: &[u8]| {
            let mut out = Sent::default();
            let n = &net.nodes[A];
            n.underlay.rx(LinkId(0), frame, net.now, &mut out, &n.seen)
        };
        assert_eq!(accept(&question), Accept::Consumed);
        assert_eq!(accept(&claim), Accept::Drop(DropReason::NdpNotAnswered));
    }
    assert_eq!(net.nodes[A].underlay.show().neighbours, []);
    net.deliver();
}
