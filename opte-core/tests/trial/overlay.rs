//! Ways out of a port: boundary end points, next hops, services by link-local
//! addresses.

use super::{BOUNDARY, answer_solicitations, name, world};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, G3, Verdict, geneve, port, underlay};
use opte_core::DropReason;
use opte_core::api::{Command, ErrorCode, ExternalIps};
use std::collections::BTreeMap;
use std::net::Ipv6Addr;

/// The tunnel end point that a frame of g1 goes to, and its source port.
fn left(sled: &Sled, frame: &[u8]) -> Result<(Ipv6Addr, u16), DropReason> {
    let (verdict, sent) = sled.tx("g1", frame);
    let outer = match verdict {
        Verdict::Link(_) => sent.links.last().unwrap().1.clone(),
        Verdict::Held => answer_solicitations(sled).pop().unwrap(),
        Verdict::Dropped(reason) => return Err(reason),
        other => panic!("{other:?}"),
    };
    let to = Ipv6Addr::from(<[u8; 16]>::try_from(&outer[38..54]).unwrap());
    Ok((to, u16::from_be_bytes([outer[54], outer[55]])))
}

fn flow(n: u16) -> Flow {
    Flow::new(G1, &format!("10.0.0.1:{} > 198.51.100.1:53", 1_000 + n))
}

#[test]
fn an_end_point_that_goes_moves_its_own_flows_and_no_others() {
    let sled = world(r#"external = { ephemeral = ["203.0.113.7"] }"#);
    let all = "0.0.0.0/0".parse().unwrap();
    let ends: Vec<Ipv6Addr> = (1..=8)
        .map(|n| format!("fd00:99::{n}").parse().unwrap())
        .collect();
    let point = |end: &Ipv6Addr| end.to_string().parse().unwrap();
    sled.command(Command::SetV2b(all, ends.iter().map(point).collect()))
        .unwrap();
    const FLOWS: u16 = 2_000;
    let places = || -> Vec<Ipv6Addr> {
        (0..FLOWS)
            .map(|n| left(&sled, &flow(n).udp(b"")).unwrap().0)
            .collect()
    };
    let before = places();
    sled.events("");
    let mut counts = BTreeMap::new();
    for end in &before {
        *counts.entry(end).or_insert(0_u32) += 1;
    }
    assert_eq!(counts.len(), ends.len(), "all of them are used");
    // 250 on average; five standard deviations are 74.
    assert!(
        counts.values().all(|n| (176..324).contains(n)),
        "{counts:?}"
    );
    let gone = ends[2];
    sled.command(Command::ClearV2b(all, vec![point(&gone)]))
        .unwrap();
    let after = places();
    let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
    assert_eq!(moved, usize::try_from(counts[&gone]).unwrap());
    assert!(!after.contains(&gone));
    for (before, after) in before.iter().zip(&after) {
        assert!(before == after || *before == gone);
    }
    // And when it comes back, it takes back what it had.
    sled.command(Command::SetV2b(all, vec![point(&gone)]))
        .unwrap();
    assert_eq!(places(), before);
}

#[test]
fn a_next_hop_that_goes_moves_its_own_flows_and_no_others() {
    let hops: Vec<String> = (1..=4).map(|n| format!("10.0.0.{}", 50 + n)).collect();
    let mut setup = underlay(1) + &port("g1", 1, "");
    for (hop, n) in hops.iter().zip(1..) {
        setup += &format!(
            "[[v2p]]\nvni = 7\naddress = \"{hop}\"\nmac = \"A8:40:25:F0:01:0{n}\"\nsled = \"fd00:{n}::2\"\n"
        );
    }
    let sled = Sled::with(1, &setup);
    let route = |hop: &String| format!("198.51.100.0/24 ip4={hop} custom").parse().unwrap();
    for hop in &hops {
        sled.command(Command::AddRoute(name("g1"), route(hop)))
            .unwrap();
    }
    let places = || -> Vec<Ipv6Addr> {
        (0..400)
            .map(|n| left(&sled, &flow(n).udp(b"")).unwrap().0)
            .collect()
    };
    let before = places();
    let gone: Ipv6Addr = "fd00:2::2".parse().unwrap();
    let had = before.iter().filter(|end| **end == gone).count();
    assert!(
        (60..140).contains(&had),
        "{had} of 400 flows, of four next hops"
    );
    sled.command(Command::DelRoute(name("g1"), route(&hops[1])))
        .unwrap();
    let after = places();
    let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
    assert_eq!(moved, had);
    // A custom route wins over any of the system's.
    let system = "198.51.100.0/24 drop system".parse().unwrap();
    sled.command(Command::AddRoute(name("g1"), system)).unwrap();
    assert_eq!(places(), after);
    let custom = "198.51.100.0/25 drop custom".parse().unwrap();
    sled.command(Command::AddRoute(name("g1"), custom)).unwrap();
    assert_eq!(left(&sled, &flow(1).udp(b"")), Err(DropReason::RouteDrop));
}

#[test]
fn flows_of_a_tunnel_have_source_ports_of_their_own() {
    let sled = world(r#"external = { ephemeral = ["203.0.113.7"] }"#);
    let mut ports = BTreeMap::new();
    for n in 0..500 {
        let (_, port) = left(&sled, &flow(n).udp(b"")).unwrap();
        assert!(port >= 49_152);
        assert_eq!(
            left(&sled, &flow(n).udp(b"more")).unwrap().1,
            port,
            "one path"
        );
        *ports.entry(port).or_insert(0) += 1;
    }
    // Of 16,384 ports about eight are taken twice by chance.
    assert!(ports.len() > 470, "{}", ports.len());
}

const GATEWAYS: [&str; 2] = [
    "11111111-1111-1111-1111-111111111111",
    "22222222-2222-2222-2222-222222222222",
];

#[test]
fn each_internet_gateway_has_its_own_address_and_an_unknown_one_is_refused() {
    let [one, two] = GATEWAYS;
    let sled = world(&format!(
        r#"external = {{ floating = [{{ address = "203.0.113.1", gateway = "{one}" }},
            {{ address = "203.0.113.2", gateway = "{two}" }}] }}"#
    ));
    let add = |text: String| sled.command(Command::AddRoute(name("g1"), text.parse().unwrap()));
    add(format!("198.51.100.0/24 ig={one} custom")).unwrap();
    add(format!("192.0.2.0/24 ig={two} custom")).unwrap();
    for (to, by) in [
        ("198.51.100.1", [203, 0, 113, 1]),
        ("192.0.2.1", [203, 0, 113, 2]),
    ] {
        let flow = Flow::new(G1, &format!("10.0.0.1:1000 > {to}:53"));
        left(&sled, &flow.udp(b"")).unwrap();
        let (_, sent) = sled.tx("g1", &flow.udp(b""));
        assert_eq!(sent.links[0].1[70 + 26..70 + 30], by, "{to}");
    }
    let other = "33333333-3333-3333-3333-333333333333";
    let error = add(format!("10.9.0.0/16 ig={other} custom")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "route 10.9.0.0/16 ig={other} custom: target ig={other} does not exist \
                 (port g1, no floating address of the port belongs to this gateway)"
        )
    );
    // An address may go before the route; its flows then have none.
    let none = Command::SetExternalIps(name("g1"), ExternalIps::default());
    sled.command(none).unwrap();
    assert_eq!(
        left(&sled, &Flow::new(G1, "10.0.0.1:1 > 192.0.2.1:53").udp(b"")),
        Err(DropReason::NoExternalAddress)
    );
    for (text, code) in [
        ("10.0.0.0/8 ip6=fd00::1 system", ErrorCode::FamilyMismatch),
        ("fd00::/8 sub4=10.0.0.0/8 system", ErrorCode::FamilyMismatch),
        ("224.0.0.0/4 ig system", ErrorCode::NotUnicast),
        ("ff02::/16 drop custom", ErrorCode::NotUnicast),
        ("10.0.0.0/8 ip4=224.0.0.1 custom", ErrorCode::NotUnicast),
    ] {
        assert_eq!(add(text.into()).unwrap_err().code, code, "{text}");
    }
}

#[test]
fn a_metadata_service_is_reached_where_the_operator_routes_it() {
    // g2 is the service: it has the address as a transit prefix.
    let service = format!("{ALLOW_ALL}\ntransit = [{{ prefix = \"169.254.169.254/32\" }}]");
    let sled = Sled::with(1, &(port("g1", 1, "") + &port("g2", 2, &service)));
    let ask = Flow::new(G1, "10.0.0.1:1000 > 169.254.169.254:80");
    let syn = ask.tcp("S", 1, 0, b"");
    assert_eq!(sled.local("g1", &syn), Err(DropReason::Martian));
    // The default route isn't meant for such addresses, a route for it is.
    let route = "169.254.169.254/32 ip4=10.0.0.2 system".parse().unwrap();
    sled.command(Command::AddRoute(name("g1"), route)).unwrap();
    let arrived = sled.local("g1", &syn).unwrap();
    assert_eq!(arrived[..6], G2.0);
    let answer = sled
        .local("g2", &ask.back(G2).tcp("SA", 9, 2, b""))
        .unwrap();
    assert_eq!(answer[26..30], [169, 254, 169, 254]);
    let other = Flow::new(G1, "10.0.0.1:1000 > 169.254.169.253:80");
    assert_eq!(
        sled.local("g1", &other.tcp("S", 1, 0, b"")),
        Err(DropReason::Martian)
    );
    // Who isn't the service can't pretend to be.
    let forged = Flow::new(G1, "169.254.169.254:80 > 10.0.0.2:5");
    assert_eq!(
        sled.local("g1", &forged.udp(b"")),
        Err(DropReason::SpoofedIp)
    );
    // With the route goes the way.
    sled.command(Command::DelRoute(name("g1"), route)).unwrap();
    assert_eq!(
        sled.local("g1", &ask.tcp("A", 2, 10, b"")),
        Err(DropReason::Martian)
    );
}

/// A frame from another host in Geneve: no option, a small VNI.
fn tunnel(vni: u8, inner: &[u8]) -> Vec<u8> {
    let mut frame = geneve(BOUNDARY, inner);
    frame.drain(70..74);
    let len = ((frame.len() - 54) as u16).to_be_bytes();
    frame[18..20].copy_from_slice(&len);
    frame[58..60].copy_from_slice(&len);
    (frame[62], frame[68]) = (0, vni);
    frame
}

#[test]
fn a_guest_of_another_vpc_is_not_reached_by_its_mac_address() {
    let sled = world(ALLOW_ALL);
    let call = Flow {
        dst_mac: G1,
        ..Flow::new(G3, "10.0.0.3:1000 > 10.0.0.1:53")
    };
    for (vni, reason) in [
        (7, None),
        (8, Some(DropReason::WrongVni)),
        (0, Some(DropReason::WrongVni)),
    ] {
        let (verdict, _) = sled.rx(&tunnel(vni, &call.udp(b"")));
        match reason {
            None => assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}"),
            Some(reason) => assert_eq!(verdict, Verdict::Dropped(reason)),
        }
    }
    let nobody = Flow {
        dst_mac: G3,
        ..call
    };
    let (verdict, _) = sled.rx(&tunnel(7, &nobody.udp(b"")));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoPort));
}

#[test]
fn a_guest_gets_what_the_outer_lengths_cover_and_no_more() {
    let sled = world(ALLOW_ALL);
    let flow = Flow {
        dst_mac: G1,
        ..Flow::new(G3, "10.0.0.3:9 > 10.0.0.1:7")
    };
    let whole = tunnel(7, &flow.udp(b"data"));
    let whole_len = whole.len() - 54;
    // IPv6 and UDP payload, and bytes behind.
    let with = |ipv6_len: usize, udp_len: usize, trailer: &[u8]| {
        let mut frame = [&whole, trailer].concat();
        frame[18..20].copy_from_slice(&(ipv6_len as u16).to_be_bytes());
        frame[58..60].copy_from_slice(&(udp_len as u16).to_be_bytes());
        let (verdict, sent) = sled.rx(&frame);
        sent.ports
            .first()
            .map(|(_, frame)| frame[14..].to_vec())
            .ok_or(verdict)
    };
    let inner = Ok(flow.udp(b"data")[14..].to_vec());
    // The first one opens the flow, the others are hits.
    for (longer, trailer) in [(0, &b""[..]), (0, b"trailer!"), (8, b"trailer!")] {
        let got = with(whole_len + longer, whole_len, trailer);
        assert_eq!(got, inner, "{longer} {trailer:?}");
    }
    // Geneve alone; with the inner Ethernet header; without the last byte.
    for (udp_len, reason) in [
        (16, DropReason::Truncated),
        (16 + 14, DropReason::Truncated),
        (whole_len - 1, DropReason::BadIp),
    ] {
        for ipv6_len in [udp_len, whole_len] {
            let got = with(ipv6_len, udp_len, b"");
            assert_eq!(got, Err(Verdict::Dropped(reason)), "{ipv6_len} {udp_len}");
        }
    }
}
