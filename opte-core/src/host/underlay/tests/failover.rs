//! Equal-cost next hops that fall silent and come back.

use super::*;
use std::collections::BTreeMap;

const A: usize = 0;
/// The two routers.
const R: [usize; 2] = [1, 2];

fn far(i: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd11, 0, 0, 0, 0, 0, 0, i + 1)
}

/// A host with a router on each of two links.
fn net() -> Net {
    let routes = [
        route("fd11::/16", Some(addr(R[0])), "net0"),
        route("fd11::/16", Some(addr(R[1])), "net1"),
    ];
    let mut net = Net::new(3, 2, &[]);
    net.configure(A, Some(&net.spec(A, 2, &routes)));
    net.run(3_000);
    // Each router is on one link only.
    net.nodes[R[0]].ids.remove(&LinkId(1));
    net.nodes[R[1]].ids.remove(&LinkId(0));
    net
}

fn link_of(net: &Net, id: PathId) -> Option<LinkId> {
    let path = net.nodes[A].underlay.path(id).unwrap();
    path.write_header(&mut [0; ENCAP_LEN])
}

/// One path per far end and router, all resolved.
fn resolved(net: &mut Net, ends: u16) -> BTreeMap<PathId, LinkId> {
    for flow in 0..64 {
        let id = net
            .path(A, &far((flow % u32::from(ends)) as u16), flow)
            .unwrap();
        net.send_on(A, id, 0).unwrap();
    }
    let ids: BTreeSet<_> = (0..64)
        .map(|flow| {
            net.path(A, &far((flow % u32::from(ends)) as u16), flow)
                .unwrap()
        })
        .collect();
    ids.into_iter()
        .map(|id| (id, link_of(net, id).unwrap()))
        .collect()
}

#[test]
fn flows_use_both_routers() {
    let mut net = net();
    let paths = resolved(&mut net, 4);
    assert_eq!(paths.len(), 8, "four ends by two routers");
    let first = paths.values().filter(|l| **l == LinkId(0)).count();
    assert_eq!(first, 4);
}

#[test]
fn the_other_router_stands_in_and_stands_down() {
    let mut net = net();
    let paths = resolved(&mut net, 4);
    let generation = net.nodes[A].underlay.generation();
    net.dead.insert(R[0]);
    let send = |net: &mut Net, seconds: u64| {
        for _ in 0..seconds {
            for id in paths.keys() {
                let _ = net.send_on(A, *id, 0);
            }
            net.run(1_000);
        }
    };
    send(&mut net, 45);
    for (id, before) in &paths {
        assert_eq!(link_of(&net, *id), Some(LinkId(1)), "was on {before:?}");
    }
    net.dead.clear();
    send(&mut net, 20);
    for (id, before) in &paths {
        assert_eq!(link_of(&net, *id), Some(*before));
    }
    assert_eq!(
        net.nodes[A].underlay.generation(),
        generation,
        "no flow was looked at"
    );
}

#[test]
fn frames_that_wait_for_a_dead_router_go_by_the_other() {
    let mut net = net();
    net.dead.insert(R[0]);
    let flow = (0..64)
        .find(|flow| {
            let id = net.path(A, &far(0), *flow).unwrap();
            let node = &net.nodes[A].underlay;
            let _ = id;
            node.show()
                .neighbours
                .iter()
                .any(|n| n.address == addr(R[0]))
        })
        .unwrap();
    assert_eq!(net.send(A, &far(0), flow, 7), Ok(None));
    net.run(5_000);
    // The router gets the frame, though it isn't its tunnel end point.
    let id = net.path(A, &far(0), flow).unwrap();
    assert_eq!(link_of(&net, id), Some(LinkId(1)));
    assert_eq!(
        net.nodes[A].underlay.drops(),
        [
            (DropReason::NextHopUnresolved, 0),
            (DropReason::NextHopQueueFull, 0),
        ]
    );
}

#[test]
fn without_any_router_frames_are_refused_until_one_is_back() {
    let mut net = net();
    let paths = resolved(&mut net, 1);
    net.dead.extend(R);
    let mut refused = BTreeSet::new();
    for _ in 0..60 {
        for id in paths.keys() {
            refused.extend(net.send_on(A, *id, 0).err());
        }
        net.run(1_000);
    }
    assert_eq!(refused, BTreeSet::from([DropReason::NextHopUnresolved]));
    net.dead.remove(&R[1]);
    for _ in 0..10 {
        for id in paths.keys() {
            let _ = net.send_on(A, *id, 0);
        }
        net.run(1_000);
    }
    for id in paths.keys() {
        assert_eq!(link_of(&net, *id), Some(LinkId(1)));
    }
}

#[test]
fn a_route_that_goes_moves_only_its_flows() {
    let mut net = net();
    let before: Vec<_> = (0..200)
        .map(|flow| net.path(A, &far(0), flow).unwrap())
        .collect();
    let gone = route("fd11::/16", Some(addr(R[0])), "net0");
    net.call(A, |n, now, out| {
        n.underlay.del_route(&gone, now, out, &n.seen)
    })
    .unwrap();
    let after: Vec<_> = (0..200)
        .map(|flow| net.path(A, &far(0), flow).unwrap())
        .collect();
    let ids: BTreeSet<_> = before.iter().collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), 1);
    for (old, new) in before.iter().zip(&after) {
        assert!(old == new || *new == after[0]);
    }
    net.call(A, |n, now, out| {
        n.underlay.add_route(&gone, now, out, &n.seen)
    })
    .unwrap();
    let again: Vec<_> = (0..200)
        .map(|flow| net.path(A, &far(0), flow).unwrap())
        .collect();
    assert_eq!(again, before);
}
