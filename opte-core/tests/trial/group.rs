//! Groups: members on three hosts that share one segment, loops, filters,
//! what guests say of their memberships, and commands.

use crate::sim::frame::{Flow, assert_checksums};
use crate::sim::{Sent, Sled};
use opte_core::DropReason;
use opte_core::api::{
    Command, ErrorCode, M2p, McastOrigin, McastSub, Name, Response, SourceFilter,
};
use opte_core::verdict::Verdict;
use opte_core::wire::membership::GeneralQuery;
use opte_core::wire::{MacAddr, Vni};

use std::collections::BTreeMap;
use std::net::IpAddr;

pub(super) const GROUP: &str = "239.1.1.1";
pub(super) const GROUP6: &str = "ff0e::101";

/// Guest `number` of host `host`, with everything allowed in.
pub(super) fn port(number: u8, vni: u32) -> String {
    format!(
        r#"
[[port]]
name = "g{number}"
mac = "A8:40:25:F0:00:{number:02X}"
vni = {vni}
ipv4 = {{ address = "10.0.0.{number}", gateway = "10.0.0.254" }}
ipv6 = {{ address = "fd00:7::{number:x}", gateway = "fd00:7::fe" }}
rules = ["dir=in priority=100 action=allow protocols=udp"]
"#
    )
}

/// Host `host` on a segment with every other, and what it says of groups.
pub(super) fn setup(host: u8, multicast: &str, ports: &str) -> String {
    format!(
        r#"
[underlay]
address = "fd00:{host}::1"
link = [{{ name = "u0" }}]
route = [{{ dest = "fd00::/16", link = "u0" }}, {{ dest = "ff04::/16", link = "u0" }}]
[multicast]
m2p = [{{ group = "{GROUP}", underlay = "ff04::e001:101" }},
       {{ group = "{GROUP6}", underlay = "ff04::6:101" }}]
forward = [{{ underlay = "ff04::e001:101", hops = ["ff04::e001:101"] }},
           {{ underlay = "ff04::6:101", hops = ["fd00:9::1,both", "fd00:8::1,underlay"] }}]
{multicast}
{ports}
"#
    )
}

pub(super) fn members(ports: &[&str]) -> String {
    let member = |port: &&str| {
        let one = |group| format!("{{ port = \"{port}\", group = \"{group}\" }}");
        format!("{}, {}", one(GROUP), one(GROUP6))
    };
    let all: Vec<_> = ports.iter().map(member).collect();
    format!("member = [{}]", all.join(", "))
}

/// Three hosts with two guests each, g11 to g32, all of them members.
pub(super) fn fleet() -> [Sled; 3] {
    [1_u8, 2, 3].map(|host| {
        let (one, two) = (host * 10 + 1, host * 10 + 2);
        let names = [format!("g{one}"), format!("g{two}")];
        let members = members(&[&names[0], &names[1]]);
        Sled::with(
            host,
            &setup(host, &members, &(port(one, 7) + &port(two, 7))),
        )
    })
}

pub(super) fn mac(number: u8) -> MacAddr {
    MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, number])
}

/// A flow from a guest to a group.
pub(super) fn to_group(number: u8, group: &str) -> Flow {
    let group: IpAddr = group.parse().unwrap();
    let (from, to) = match group {
        IpAddr::V4(_) => (format!("10.0.0.{number}:5000"), format!("{group}:6000")),
        IpAddr::V6(_) => (
            format!("[fd00:7::{number:x}]:5000"),
            format!("[{group}]:6000"),
        ),
    };
    let mut flow = Flow::new(mac(number), &format!("{from} > {to}"));
    flow.dst_mac = MacAddr::of_group(group);
    flow
}

/// Hands what is on each host's wire to all the others, as a segment does,
/// until all is quiet. How many frames were on the segment, and what reached
/// guests, by host.
pub(super) fn segment(sleds: &[Sled]) -> (usize, Vec<(usize, Vec<u8>)>) {
    let (mut on_wire, mut delivered) = (0, Vec::new());
    for _ in 0..1_000 {
        let sent = sleds.iter().enumerate().find_map(|(at, sled)| {
            let frame = sled.wire.borrow_mut().pop_front()?;
            Some((at, frame.1))
        });
        let Some((from, frame)) = sent else {
            return (on_wire, delivered);
        };
        // Neighbour discovery isn't what is counted here.
        on_wire += usize::from(frame[20] == 17);
        for (at, sled) in sleds.iter().enumerate().filter(|(at, _)| *at != from) {
            let (_, sent) = sled.rx(&frame);
            delivered.extend(sent.ports.into_iter().map(|(_, frame)| (at, frame)));
        }
    }
    panic!("the hosts never stop talking");
}

pub(super) fn quiet(sleds: &[Sled]) {
    sleds.iter().for_each(|sled| sled.wire.borrow_mut().clear());
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn dropped(result: &(Verdict, Sent)) -> Option<DropReason> {
    match result.0 {
        Verdict::Dropped(reason) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_frame_reaches_every_member_once_and_goes_on_the_segment_once() {
    let sleds = fleet();
    for group in [GROUP, GROUP6] {
        quiet(&sleds);
        let frame = to_group(11, group).udp(b"to all");
        let (verdict, sent) = sleds[0].tx("g11", &frame);
        assert_eq!(verdict, Verdict::Consumed);
        let own: Vec<_> = sent.ports.iter().map(|(port, _)| *port).collect();
        assert_eq!(own, [sleds[0].port("g12")], "not to who sent it");
        let (on_wire, far) = segment(&sleds);
        assert_eq!(on_wire, 1, "{group}");
        let hosts: Vec<_> = far.iter().map(|(host, _)| *host).collect();
        assert_eq!(hosts, [1, 1, 2, 2], "{group}");
        let near = sent.ports.into_iter().map(|(_, frame)| frame);
        for got in near.chain(far.into_iter().map(|(_, frame)| frame)) {
            assert_eq!(got[..6], frame[..6], "the group's MAC address");
            assert_eq!(got[6..12], MacAddr::GATEWAY.0, "from the gateway");
            assert_eq!(got[12..], frame[12..], "and otherwise as it was sent");
            assert_checksums(&got);
        }
    }
}

#[test]
fn a_copy_has_the_headers_that_say_what_it_is() {
    let sleds = fleet();
    quiet(&sleds);
    for (group, mode, underlay) in [
        (GROUP, 0x40, "ff04::e001:101"),
        // Two next hops on one link share a copy for what both are for.
        (GROUP6, 0x80, "ff04::6:101"),
    ] {
        let frame = to_group(11, group).udp(b"x");
        let (_, sent) = sleds[0].tx("g11", &frame);
        let (_, copy) = &sent.links[0];
        assert_eq!(sent.links.len(), 1);
        let underlay = ip(underlay);
        assert_eq!(copy[..6], MacAddr::of_group(underlay).0);
        let IpAddr::V6(to) = underlay else { panic!() };
        assert_eq!(copy[38..54], to.octets());
        assert_eq!(copy[62..70], [2, 0, 0x65, 0x58, 0, 0, 77, 0]);
        assert_eq!(copy[70..78], [0x01, 0x29, 1, 1, mode, 0, 0, 0]);
        assert_eq!(copy[78..], frame, "as the guest sent it");
        assert_eq!(
            usize::from(u16::from_be_bytes([copy[18], copy[19]])),
            copy.len() - 54
        );
        assert_eq!(copy[18..20], copy[58..60]);
        assert!(copy[54] >= 0xc0);
    }
}

#[test]
fn a_copy_is_never_copied_to_the_underlay_again() {
    let sleds = fleet();
    quiet(&sleds);
    let (_, sent) = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    let copy = sent.links[0].1.clone();
    // Back to its sender, as a switch without a clue would.
    assert_eq!(
        dropped(&sleds[0].rx(&copy)),
        Some(DropReason::MulticastLoop)
    );
    let (_, sent) = sleds[1].rx(&copy);
    assert_eq!((sent.ports.len(), sent.links.len()), (2, 0));
    // Whatever its mode says: it came to a group.
    for (mode, result) in [
        (0x00, Some(DropReason::ReplicatedElsewhere)),
        (0x80, None),
        (0xc0, Some(DropReason::BadGeneve)),
    ] {
        let mut copy = copy.clone();
        copy[74] = mode;
        let got = sleds[1].rx(&copy);
        assert_eq!(dropped(&got), result, "{mode:#x}");
        assert!(got.1.links.is_empty());
    }
}

/// What lies behind the inner frame is nobody's, whether the frame came to the
/// group's address or to the host's own.
#[test]
fn members_get_what_the_outer_lengths_cover_and_no_more() {
    let sleds = fleet();
    quiet(&sleds);
    let (_, sent) = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    let copy = sent.links[0].1.clone();
    let mut own = copy.clone();
    own[..6].copy_from_slice(&[2, 0xee, 0, 0, 2, 0]);
    own[38..54].copy_from_slice(&"fd00:2::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    for frame in [copy, own] {
        let (_, whole) = sleds[1].rx(&frame);
        assert_eq!(whole.ports.len(), 2);
        let mut longer = [&frame[..], b"trailer!"].concat();
        for of_packet in [false, true] {
            if of_packet {
                longer[19] += 8;
            }
            let (_, sent) = sleds[1].rx(&longer);
            assert_eq!(sent.ports, whole.ports, "{of_packet}");
            assert_eq!(sent.links.len(), whole.links.len());
        }
    }
}

/// A frame to the host's own address that asks for it is copied on, once: to
/// the group, where nobody copies it again.
#[test]
fn a_host_replicates_for_who_asks_it() {
    let sleds = fleet();
    quiet(&sleds);
    let (_, sent) = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    let mut asked = sent.links[0].1.clone();
    asked[..6].copy_from_slice(&[2, 0xee, 0, 0, 2, 0]);
    asked[38..54].copy_from_slice(&"fd00:2::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    quiet(&sleds);
    let (_, sent) = sleds[1].rx(&asked);
    assert_eq!((sent.ports.len(), sent.links.len()), (2, 1));
    let (on_wire, far) = segment(&sleds);
    assert_eq!(on_wire, 1);
    // The first host knows its own guest's frame; the third one's guests hear it.
    assert_eq!(
        far.iter().map(|(host, _)| *host).collect::<Vec<_>>(),
        [2, 2]
    );
    assert_eq!(sleds[0].drops(DropReason::MulticastLoop), 1);
    // Without the option it is for the guests here only.
    let plain = {
        let mut plain = asked[..70].to_vec();
        plain.extend(&asked[78..]);
        plain[62] = 0;
        for at in [18, 58] {
            let len = u16::from_be_bytes([asked[at], asked[at + 1]]) - 8;
            plain[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
        plain
    };
    let (_, sent) = sleds[1].rx(&plain);
    assert_eq!((sent.ports.len(), sent.links.len()), (2, 0));
}

#[test]
fn what_is_not_for_a_group_is_dropped_with_its_reason() {
    let sleds = fleet();
    quiet(&sleds);
    let good = to_group(11, GROUP);
    let with = |change: &dyn Fn(&mut Flow)| {
        let mut flow = good;
        change(&mut flow);
        flow.udp(b"x")
    };
    for (frame, reason) in [
        (good.tcp("S", 1, 0, b""), DropReason::TcpToGroup),
        (
            with(&|f| f.dst_mac.0[5] ^= 1),
            DropReason::BadDestinationMac,
        ),
        (
            with(&|f| f.dst_mac = MacAddr::BROADCAST),
            DropReason::BadDestinationMac,
        ),
        (
            with(&|f| f.dst = ip("10.0.0.12")),
            DropReason::BadDestinationMac,
        ),
        (with(&|f| f.src = ip("10.0.0.12")), DropReason::SpoofedIp),
        (with(&|f| f.src_mac = mac(12)), DropReason::SpoofedMac),
        (
            to_group(11, "224.0.0.251").udp(b"x"),
            DropReason::GroupScope,
        ),
        (to_group(11, "ff02::fb").udp(b"x"), DropReason::GroupScope),
        (to_group(11, "239.1.1.2").udp(b"x"), DropReason::NoM2p),
        (good.udp(&[0; 1_473]), DropReason::TooBig),
    ] {
        let before = sleds[0].drops(reason);
        let got = sleds[0].tx("g11", &frame);
        assert_eq!(dropped(&got), Some(reason));
        assert_eq!(sleds[0].drops(reason), before + 1, "{reason:?}");
        assert!(got.1.links.is_empty() && got.1.ports.is_empty());
    }
}

/// Who hears what, against an oracle that looks at the filters one by one.
#[test]
fn filters_decide_for_each_member() {
    let filters = [
        "any",
        "include=10.0.0.11",
        "exclude=10.0.0.11",
        "include=10.0.0.12,10.0.0.99",
    ];
    let ports: String = (11..15).map(|number| port(number, 7)).collect();
    let sled = Sled::with(1, &setup(1, "", &ports));
    for (number, filter) in (11..).zip(filters) {
        let filter: SourceFilter = filter.parse().unwrap();
        let command = Command::McastSubscribe(name(&format!("g{number}")), ip(GROUP), filter);
        sled.command(command).unwrap();
    }
    for sender in 11_u8..15 {
        let heard = |filter: &str| match filter.split_once('=') {
            None => true,
            Some((mode, list)) => {
                let is_in = list.split(',').any(|s| s == format!("10.0.0.{sender}"));
                is_in == (mode == "include")
            }
        };
        let wanted: Vec<_> = (11..)
            .zip(filters)
            .filter(|(number, filter)| *number != sender && heard(filter))
            .map(|(number, _)| sled.port(&format!("g{number}")))
            .collect();
        let (_, sent) = sled.tx(&format!("g{sender}"), &to_group(sender, GROUP).udp(b"x"));
        let got: Vec<_> = sent.ports.iter().map(|(port, _)| *port).collect();
        assert_eq!(got, wanted, "from g{sender}");
    }
}

#[test]
fn each_copy_passes_the_firewall_of_its_port() {
    let sleds = fleet();
    let deny = "dir=in priority=1 action=deny hosts=10.0.0.11"
        .parse()
        .unwrap();
    sleds[1]
        .command(Command::AddFwRule(name("g21"), deny))
        .unwrap();
    let by_vpc = "dir=in priority=1 action=deny hosts=vni=7".parse().unwrap();
    sleds[2]
        .command(Command::AddFwRule(name("g31"), by_vpc))
        .unwrap();
    quiet(&sleds);
    _ = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    let (_, far) = segment(&sleds);
    // Who is in the fleet's network may be of any VPC.
    let hosts: Vec<_> = far.iter().map(|(host, _)| *host).collect();
    assert_eq!(hosts, [1, 2, 2]);
    assert_eq!(sleds[1].drops(DropReason::FirewallDeny), 1);
    // Outbound too.
    let deny = "dir=out priority=1 action=deny protocols=udp"
        .parse()
        .unwrap();
    sleds[0]
        .command(Command::AddFwRule(name("g11"), deny))
        .unwrap();
    let got = sleds[0].tx("g11", &to_group(11, GROUP).udp(b"x"));
    assert_eq!(dropped(&got), Some(DropReason::FirewallDeny));
}

/// A VPC that maps a group of its own means that one; others the fleet's.
#[test]
fn a_vpc_may_have_a_group_of_its_own() {
    let ports = port(11, 7) + &port(12, 7) + &port(13, 8) + &port(14, 8);
    let sled = Sled::with(1, &setup(1, &members(&["g12", "g13", "g14"]), &ports));
    let heard = |sender: u8| {
        let (_, sent) = sled.tx(&format!("g{sender}"), &to_group(sender, GROUP).udp(b"x"));
        let vni = sent.links.first().map(|(_, copy)| copy[68]);
        (
            sent.ports
                .iter()
                .map(|(port, _)| port.0 + 11)
                .collect::<Vec<_>>(),
            vni,
        )
    };
    assert_eq!(heard(11), (vec![12, 13, 14], Some(77)));
    let own = M2p {
        group: ip(GROUP),
        underlay: "ff04::e001:101".parse().unwrap(),
        vni: Vni::new(8),
    };
    sled.command(Command::SetM2p(vec![own])).unwrap();
    assert_eq!(heard(11), (vec![12], Some(77)));
    assert_eq!(heard(13), (vec![14], Some(8)));
    sled.command(Command::ClearM2p(Vni::new(8), ip(GROUP)))
        .unwrap();
    assert_eq!(heard(13), (vec![12, 14], Some(77)));
}

/// A frame with an IGMP message of a guest.
pub(super) fn igmp(number: u8, message: &[u8]) -> Vec<u8> {
    let mut flow = to_group(number, "224.0.0.22");
    flow.dst_mac = MacAddr::of_group(ip("224.0.0.22"));
    let mut frame = flow.ip(6, vec![0; 20], 16);
    frame.truncate(34);
    frame.extend(message);
    frame[16..18].copy_from_slice(&(20 + message.len() as u16).to_be_bytes());
    (frame[22], frame[23]) = (1, 2);
    seal(&mut frame[14..34], 10);
    seal(&mut frame[34..], 2);
    frame
}

pub(super) fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

pub(super) fn subs(sled: &Sled) -> Vec<McastSub> {
    match sled.command(Command::DumpMcastSubs(0)) {
        Ok(Response::McastSubs(page)) => page.entries,
        other => panic!("{other:?}"),
    }
}

/// The IGMP and MLD queries among frames to guests.
fn queries(sent: &Sent) -> Vec<Vec<u8>> {
    let frames = sent.ports.iter().map(|(_, frame)| frame);
    let is_query = |frame: &&Vec<u8>| match frame[12..14] {
        [0x08, 0x00] => frame[23] == 2 && frame[38] == 0x11,
        _ => frame[20] == 0 && frame[62] == 130,
    };
    frames.filter(is_query).cloned().collect()
}

#[test]
fn a_guest_joins_and_leaves_where_it_may() {
    let ports = port(11, 7) + &port(12, 7);
    let sled = Sled::with(1, &setup(1, "", &ports));
    let join = igmp(12, &[0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 1, 1]);
    let got = sled.tx("g12", &join);
    let not_heard = Some(DropReason::MembershipNotHeard);
    assert_eq!(dropped(&got), not_heard, "not allowed");
    sled.command(Command::SetMcastListen(name("g12"), true))
        .unwrap();
    let asked = queries(&sled.advance(100));
    assert_eq!(asked.len(), 2, "IGMP and MLD");
    let query = GeneralQuery {
        answer_ms: 10_000,
        interval_s: 125,
        robustness: 2,
    };
    let gateway = ip("10.0.0.254");
    assert_eq!(asked[0], query.frame(MacAddr::GATEWAY, gateway));
    assert_eq!(sled.tx("g12", &join).0, Verdict::Consumed);
    assert_eq!(sled.events("McastMember").len(), 1);
    let all = subs(&sled);
    assert_eq!(
        (all.len(), all[0].by, all[0].expires_ms),
        (1, McastOrigin::Guest, Some(260_000))
    );
    let heard = || {
        let (_, sent) = sled.tx("g11", &to_group(11, GROUP).udp(b"x"));
        sent.ports.len()
    };
    assert_eq!(heard(), 1);
    // The operator's membership stays when the guest leaves.
    let only: SourceFilter = "include=10.0.0.99".parse().unwrap();
    sled.command(Command::McastSubscribe(name("g12"), ip(GROUP), only))
        .unwrap();
    assert_eq!((heard(), subs(&sled).len()), (1, 2));
    let leave = igmp(12, &[0x17, 0, 0, 0, 239, 1, 1, 1]);
    assert_eq!(sled.tx("g12", &leave).0, Verdict::Consumed);
    assert_eq!((heard(), subs(&sled).len()), (0, 1));
    // A guest that says nothing more is out in the end.
    assert_eq!(sled.tx("g12", &join).0, Verdict::Consumed);
    let mut asked = 0;
    for _ in 0..270 {
        assert_eq!(heard(), 1);
        asked += queries(&sled.advance(1_000)).len();
        if subs(&sled).len() == 1 {
            break;
        }
    }
    assert_eq!(heard(), 0);
    assert_eq!(asked, 2 * 2, "IGMP and MLD");
    // What it doesn't say well is dropped with a reason.
    for (message, reason) in [
        (
            &[0x11, 0, 0, 0, 0, 0, 0, 0][..],
            DropReason::MembershipNotHeard,
        ),
        (&[0x22, 0, 0, 0, 0, 0, 0, 9], DropReason::BadMembership),
        (&[0x99, 0, 0, 0, 0, 0, 0, 0], DropReason::BadMembership),
    ] {
        assert_eq!(dropped(&sled.tx("g12", &igmp(12, message))), Some(reason));
    }
    sled.command(Command::SetMcastListen(name("g12"), false))
        .unwrap();
    assert_eq!(dropped(&sled.tx("g12", &join)), not_heard);
}

#[test]
fn commands_change_what_they_name_and_refuse_what_makes_no_sense() {
    let sled = Sled::with(1, &setup(1, "", &port(11, 7)));
    let refusals: BTreeMap<&str, (Command, ErrorCode)> = [
        ("m2p 10.0.0.1: group 10.0.0.1 is not a multicast group",
         (m2p("10.0.0.1", "ff04::1"), ErrorCode::NotMulticast)),
        ("m2p 224.0.0.5: group 224.0.0.5 is out of range (a group that leaves its link)",
         (m2p("224.0.0.5", "ff04::1"), ErrorCode::OutOfRange)),
        ("m2p 239.1.1.9: underlay ff05::1 is out of range (in ff04::/16)",
         (m2p("239.1.1.9", "ff05::1"), ErrorCode::OutOfRange)),
        ("m2p 239.9.9.9: vni 77 does not exist",
         (Command::ClearM2p(None, ip("239.9.9.9")), ErrorCode::NotFound)),
        ("mcast-fwd ff04::1: hops 0 is out of range (1 to 16)",
         (fwd("ff04::1", &[]), ErrorCode::OutOfRange)),
        ("mcast-fwd ff04::1: hops ff04::2,underlay conflicts with another setting (a host, or the underlay group itself)",
         (fwd("ff04::1", &["ff04::2"]), ErrorCode::Conflict)),
        ("mcast-sub g11 232.1.1.1: filter any conflicts with another setting (a source-specific group is heard by include=LIST only)",
         (sub("g11", "232.1.1.1", "any"), ErrorCode::Conflict)),
        ("mcast-sub g11 239.1.1.1: source fd00::1 is not of the right address family",
         (sub("g11", GROUP, "include=fd00::1"), ErrorCode::FamilyMismatch)),
        ("port g99 does not exist", (sub("g99", GROUP, "any"), ErrorCode::NotFound)),
        ("mcast-sub g11 239.1.1.1 does not exist",
         (Command::McastUnsubscribe(name("g11"), ip(GROUP)), ErrorCode::NotFound)),
        ("host: multicast vni 78 is in use (there are groups in the old network or in the new one)",
         (Command::SetMcastVni(Vni::new(78).unwrap()), ErrorCode::InUse)),
    ].into();
    for (text, (command, code)) in refusals {
        let error = sled.command(command).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code), (text, code));
    }
    let count = |command| match sled.command(command) {
        Ok(Response::Count(count)) => count,
        other => panic!("{other:?}"),
    };
    assert_eq!(count(m2p("239.2.2.2", "ff04::2")), 1);
    assert_eq!(count(m2p("239.2.2.2", "ff04::2")), 0, "it was so already");
    assert_eq!(count(fwd("ff04::2", &["fd00:9::1", "fd00:8::1,both"])), 2);
    assert_eq!(count(fwd("ff04::2", &["fd00:8::1,external"])), 1);
    let Ok(Response::McastFwd(page)) = sled.command(Command::DumpMcastFwd(0)) else {
        panic!()
    };
    let shown: Vec<_> = page.entries[0]
        .hops
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["fd00:9::1,underlay", "fd00:8::1,external"]);
    let one = Command::ClearMcastFwd(
        "ff04::2".parse().unwrap(),
        vec!["fd00:9::1".parse().unwrap()],
    );
    assert_eq!(count(one), 1);
    assert_eq!(
        count(Command::ClearMcastFwd("ff04::2".parse().unwrap(), vec![])),
        1
    );
    sled.command(sub("g11", GROUP, "any")).unwrap();
    sled.command(sub("g11", "239.2.2.2", "any")).unwrap();
    assert_eq!(
        count(Command::McastUnsubscribeAll(None, Some(ip(GROUP)))),
        1
    );
    assert_eq!(
        count(Command::McastUnsubscribeAll(Some(name("g11")), None)),
        1
    );
    let Ok(Response::M2p(page)) = sled.command(Command::DumpM2p(0)) else {
        panic!()
    };
    assert_eq!(page.entries.len(), 3);
}

fn m2p(group: &str, underlay: &str) -> Command {
    Command::SetM2p(vec![M2p {
        group: ip(group),
        underlay: underlay.parse().unwrap(),
        vni: None,
    }])
}

fn fwd(underlay: &str, hops: &[&str]) -> Command {
    let hops = hops.iter().map(|hop| hop.parse().unwrap()).collect();
    Command::SetMcastFwd(underlay.parse().unwrap(), hops)
}

fn sub(port: &str, group: &str, filter: &str) -> Command {
    Command::McastSubscribe(name(port), ip(group), filter.parse().unwrap())
}

#[test]
fn a_setup_is_applied_whole_and_twice_is_once() {
    let ports = port(11, 7) + &port(12, 7);
    let wanted = setup(1, &(members(&["g11"]) + "\nlisten = [\"g12\"]"), &ports);
    let sled = Sled::with(1, &setup(1, "", &ports));
    let changes = |text: &str| match sled.apply(text) {
        Ok(Response::Applied(applied)) => applied
            .changes
            .into_iter()
            .map(|c| c.object)
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let first = [
        "mcast-sub g11 239.1.1.1",
        "mcast-sub g11 ff0e::101",
        "mcast-listen g12",
    ];
    assert_eq!(changes(&wanted), first);
    assert!(changes(&wanted).is_empty());
    assert_eq!(subs(&sled).len(), 2);
    // A port that comes back with another address has its memberships again.
    let moved = wanted.replace("10.0.0.11", "10.0.0.19");
    assert_eq!(changes(&moved), ["port g11"]);
    assert_eq!(subs(&sled).len(), 2);
    let (_, sent) = sled.tx("g12", &to_group(12, GROUP).udp(b"x"));
    assert_eq!(sent.ports.len(), 1);
    sled.command(Command::DeletePort(name("g11"))).unwrap();
    assert!(subs(&sled).is_empty());
    let unknown = setup(1, &members(&["g77"]), &ports);
    let error = sled.apply(&unknown).unwrap_err();
    assert_eq!(
        error.to_string(),
        "mcast-sub g77 239.1.1.1: port g77 does not exist"
    );
    let twice = unknown.replace("g77", "g12").replace(GROUP6, GROUP);
    let error = sled.apply(&twice).unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict, "{error}");
}

#[test]
fn a_setup_tells_which_groups_and_members_it_changes() {
    let sled = Sled::with(1, &setup(1, &members(&["g11"]), &port(11, 7)));
    let told = |what: &str| {
        let mut all = sled.events(what);
        all.sort();
        all
    };
    assert_eq!(told("McastMember").len(), 2, "both families");
    let apply = |text: &str| {
        sled.events("");
        sled.apply(text).unwrap();
    };
    // Another next hop of one underlay group, and a member less.
    let text = setup(1, "", &port(11, 7));
    let hops = text.replace("fd00:8::1,underlay", "fd00:7::1,underlay");
    apply(&hops);
    let maps = sled.events("");
    let of = |what: &str| maps.iter().filter(|event| event.starts_with(what)).count();
    assert_eq!((of("McastMap"), of("McastMember")), (1, 2));
    // Another underlay group, and one that is gone.
    let mapped = hops.replace(
        "underlay = \"ff04::e001:101\" },\n",
        "underlay = \"ff04::1\" },\n",
    );
    assert_ne!(mapped, hops);
    apply(&mapped);
    assert_eq!(told("McastMap").len(), 1);
    let bare = port(11, 7);
    apply(&bare);
    let gone = told("McastMap");
    assert_eq!(gone.len(), 2);
    assert!(gone.iter().all(|event| event.contains("None")), "{gone:?}");
    // Nothing changes.
    apply(&bare);
    assert_eq!(told("Mcast").len(), 0);
}
