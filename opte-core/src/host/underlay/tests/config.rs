//! Configurations of the underlay: planning, committing, showing.

use super::*;

const A: usize = 0;
const B: usize = 1;

#[test]
fn without_an_underlay_there_is_no_path() {
    let under = Under::new(1);
    let seen = Seen::default();
    assert_eq!(under.address(), None);
    let path = under.path_for(&addr(B), 1, Instant::ZERO, &seen);
    assert_eq!(path, Err(DropReason::NoUnderlayRoute));
    assert!(under.path(PathId(0)).is_none());
    assert!(under.path(PathId(1 << 16)).is_none());
    let accept = under.rx(
        LinkId(0),
        &[0; 60],
        Instant::ZERO,
        &mut Sent::default(),
        &seen,
    );
    assert_eq!(accept, Accept::Drop(DropReason::NoLink));
    let error = under.add_route(&flat()[0], Instant::ZERO, &mut Sent::default(), &seen);
    assert_eq!(error.unwrap_err().code, ErrorCode::Missing);
}

#[test]
fn our_addresses_are_told_to_the_link_three_times() {
    let mut net = Net::new(1, 1, &flat());
    net.run(10_000);
    // The first pair left with the commit.
    assert_eq!(net.asked(A, ADVERTISEMENT), 4);
    net.configure(A, Some(&net.spec(A, 1, &[])));
    assert_eq!(
        net.asked(A, ADVERTISEMENT),
        0,
        "nothing that they know changed"
    );
}

#[test]
fn what_is_ours_is_known_without_the_lock() {
    let net = Net::new(1, 2, &flat());
    let under = &net.nodes[A].underlay;
    let _held = under.control.lock();
    assert_eq!(under.address(), Some(addr(A)));
    assert!(under.is_ours(LinkId(1), mac(A, 1), &addr(A)));
    assert!(!under.is_ours(LinkId(1), mac(A, 0), &addr(A)));
    assert!(!under.is_ours(LinkId(2), mac(A, 0), &addr(A)));
    assert!(!under.is_ours(LinkId(0), mac(A, 0), &addr(B)));
    assert_eq!(
        (under.mtu(LinkId(0)), under.mtu(LinkId(2))),
        (Some(9_000), None)
    );
}

#[test]
fn the_generation_follows_configuration_and_nothing_else() {
    let mut net = Net::new(2, 1, &flat());
    let generation = |net: &Net| net.nodes[A].underlay.generation();
    let start = generation(&net);
    net.send(A, &addr(B), 1, 1).unwrap();
    net.run(100_000);
    assert_eq!(generation(&net), start, "a neighbour came and got stale");
    let same = net.nodes[A].underlay.spec().unwrap();
    net.configure(A, Some(&same));
    assert_eq!(generation(&net), start, "nothing changed");
    let more = route("::/0", Some(addr(B)), "net0");
    net.call(A, |n, now, out| {
        n.underlay.add_route(&more, now, out, &n.seen)
    })
    .unwrap();
    assert_eq!(generation(&net), start + 1);
    let twice = net.call(A, |n, now, out| {
        n.underlay.add_route(&more, now, out, &n.seen)
    });
    assert_eq!(twice.unwrap_err().code, ErrorCode::Exists);
    net.call(A, |n, now, out| {
        n.underlay.del_route(&more, now, out, &n.seen)
    })
    .unwrap();
    let twice = net.call(A, |n, now, out| {
        n.underlay.del_route(&more, now, out, &n.seen)
    });
    assert_eq!(twice.unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(generation(&net), start + 2);
}

#[test]
fn another_address_shows_in_the_same_paths() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    let id = net.path(A, &addr(B), 1).unwrap();
    let mut spec = net.spec(A, 1, &flat());
    spec.address = addr(40);
    net.configure(A, Some(&spec));
    assert_eq!(net.nodes[A].underlay.address(), Some(addr(40)));
    assert_eq!(
        net.path(A, &addr(B), 1),
        Ok(id),
        "and the neighbour is still known"
    );
    let mut header = [0; ENCAP_LEN];
    let path = net.nodes[A].underlay.path(id).unwrap();
    assert_eq!(path.write_header(&mut header), Some(LinkId(0)));
    assert_eq!(header[22..38], addr(40).octets());
}

#[test]
fn a_link_that_goes_takes_its_paths_along_and_no_others() {
    let routes = [
        route("fd00::2/128", None, "net0"),
        route("fd00::3/128", None, "net1"),
    ];
    let mut net = Net::new(3, 2, &routes);
    net.dead.insert(B);
    net.send(A, &addr(1), 1, 1).unwrap();
    net.send(A, &addr(2), 1, 1).unwrap();
    let (gone, kept) = (
        net.path(A, &addr(1), 1).unwrap(),
        net.path(A, &addr(2), 1).unwrap(),
    );
    let mut spec = net.spec(A, 2, &routes[1..]);
    spec.links.remove(0);
    net.configure(A, Some(&spec));
    assert!(net.nodes[A].underlay.path(gone).is_none());
    assert_eq!(net.nodes[A].underlay.drops()[0].1, 1, "what waited there");
    assert_eq!(net.send_on(A, kept, 2), Ok(Some(LinkId(1))));
    assert_eq!(net.path(A, &addr(1), 1), Err(DropReason::NoUnderlayRoute));
    net.configure(A, None);
    assert!(net.nodes[A].underlay.path(kept).is_none());
    assert_eq!(net.nodes[A].underlay.address(), None);
    let shown = net.nodes[A].underlay.show();
    assert_eq!(
        UnderlayEntry {
            generation: 0,
            ..shown
        },
        UnderlayEntry::default()
    );
}

#[test]
fn our_own_address_is_nobody_to_send_to() {
    let net = Net::new(1, 1, &flat());
    assert_eq!(net.path(A, &addr(A), 1), Err(DropReason::NoUnderlayRoute));
    let elsewhere = "fe00::1".parse().unwrap();
    assert_eq!(net.path(A, &elsewhere, 1), Err(DropReason::NoUnderlayRoute));
}

#[test]
fn neighbours_are_bounded_and_room_is_made_in_time() {
    let mut net = Net::new(1, 1, &[route("fd00::/16", None, "net0")]);
    let far = |i: usize| Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 1, i as u16);
    for i in 0..crate::limits::NEIGHBOURS_MAX {
        assert!(net.path(A, &far(i), 1).is_ok());
    }
    assert_eq!(net.path(A, &far(60_000), 1), Err(DropReason::UnderlayFull));
    assert!(
        net.path(A, &far(5), 1).is_ok(),
        "those that are there still work"
    );
    net.run(601_000);
    assert!(net.path(A, &far(60_000), 1).is_ok());
}

#[test]
fn show_tells_what_is_there() {
    let mut net = Net::new(2, 1, &flat());
    net.send(A, &addr(B), 1, 1).unwrap();
    let shown = net.nodes[A].underlay.show();
    assert_eq!(shown.address, Some(addr(A)));
    assert_eq!(net.nodes[A].underlay.spec().unwrap().routes, flat());
    let [link] = &shown.links[..] else {
        panic!("{:?}", shown.links)
    };
    assert_eq!(
        (link.name.as_str(), link.mac, link.mtu),
        ("net0", mac(A, 0), 9_000)
    );
    assert_eq!(
        link.link_local,
        "fe80::ff:fe00:1".parse::<Ipv6Addr>().unwrap()
    );
    assert!(link.rx_packets >= 1 && link.tx_packets >= 2);
    let [neighbour] = &shown.neighbours[..] else {
        panic!("{:?}", shown.neighbours)
    };
    assert_eq!(neighbour.mac, Some(mac(B, 0)));
    assert_eq!(
        (neighbour.link.as_str(), neighbour.state.as_str()),
        ("net0", "REACHABLE")
    );
}
