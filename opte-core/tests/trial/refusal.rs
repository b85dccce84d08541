//! No drop is silent: reasons that no golden case has a frame for.
//!
//! Purpose   each reason of the enumeration has a frame that is dropped for it,
//!           a counter and a `drop` probe that says where. Those with a golden
//!           case are held to it by `cargo xtask tracer`
//!           (`xtask/src/tracer/reason.rs`); the others are injected here.
//!           That traces this test too, and compares what it prints with what
//!           `opte-drops.d` does.

use super::group::{GROUP, fleet, igmp, to_group};
use super::group_abuse::{joins, listeners};
use super::memory::MOST;
use crate::icmp::cut;
use crate::sim::frame::Flow;
use crate::sim::{Sled, carry};
use crate::{ALLOW_ALL, G1, G3, port, two_guests, two_sleds};
use opte_core::DropReason;
use opte_core::api::{Command, PortId, V2p};
use opte_core::limits::{
    FRAGMENTS_HELD_MAX, MCAST_COPIES_AT_ONCE, NEIGHBOURS_MAX, PORT_GROUPS_MAX,
};
use opte_core::verdict::Lost;
use opte_core::wire::Vni;

/// What a `drop` probe says besides the reason: the port, the direction and
/// the layer; no rule has decided about any of these.
type Place = (Option<&'static str>, &'static str, Option<&'static str>);

const AT_G1: Place = (Some("g1"), "Out", None);
const AT_GATEWAY: Place = (Some("g1"), "Out", Some("Gateway"));
const AT_OVERLAY: Place = (Some("g1"), "Out", Some("Overlay"));

/// Has a frame dropped for a reason, on a sled and in a place. `None` is for
/// those that have a golden case.
fn inject(reason: DropReason) -> Option<(Sled, Place)> {
    use DropReason::*;
    Some(match reason {
        Fragment => (fragment_of_denied(), AT_G1),
        BadArp => (bad_arp(), AT_GATEWAY),
        NextHopQueueFull => (full_queue(), (None, "Out", None)),
        NoLink => (frame_of_no_link(), (None, "In", None)),
        PortFlowsFull => (full_port(), AT_G1),
        NoHeadroom => (no_headroom(), AT_OVERLAY),
        DeviceFull => (
            lost(|sled| Lost::ToPort(sled.port("g1"))),
            (Some("g1"), "In", None),
        ),
        LinkFull => (lost(|sled| Lost::FromPort(sled.port("g1"))), AT_G1),
        PortDown => (port_down(), (None, "Out", None)),
        UnderlayFull => (full_underlay(), AT_OVERLAY),
        FragmentsFull => (full_of_fragments(), AT_G1),
        SctpNoFlow => (sctp(0, 2), AT_G1),
        SctpBadTag => (sctp(7, 1), AT_G1),
        MembershipFull => (
            reports(1, PORT_GROUPS_MAX + 1),
            (Some("g11"), "Out", Some("Gateway")),
        ),
        MembershipRate => (
            reports(100, PORT_GROUPS_MAX),
            (Some("g11"), "Out", Some("Gateway")),
        ),
        MulticastRate => (many_copies(), (Some("g11"), "Out", Some("Overlay"))),
        NoMemory => (no_memory(), AT_G1),
        Truncated | BadIp | BadTransport | BadExtension | BadChecksum | UnknownEthertype
        | VlanTagged | TooBig | SpoofedMac | SpoofedIp | BadDestinationMac | NotForPort
        | FamilyOff | ArpNotAnswered | NdpNotAnswered | BadNdp | DhcpNotAnswered | BadDhcp
        | IcmpNotAnswered | FirewallDeny | FirewallDefault | NoRoute | RouteDrop
        | NoExternalAddress | SnatExhausted | NoMapping | NoV2p | NoV2b | NoUnderlayRoute
        | NextHopUnresolved | UnderlayNotForUs | UnderlayNotGeneve | BadUnderlay | BadGeneve
        | GeneveCriticalOption | NoPort | HostFlowsFull | TcpNoFlow | TcpOutOfWindow
        | TcpBadFlags | NoMulticast | GatewayNotAnswered | Martian | GeneveVersion | WrongVni
        | NatFiltered | FirewallReject | IcmpUnrelated | IcmpNotForwarded | TtlExceeded
        | FragmentOverlap | FragmentTimeout | DhcpDeclined | DhcpReleased | DhcpCrossing
        | NdpCrossing | NoM2p | GroupScope | TcpToGroup | ReplicatedElsewhere | MulticastLoop
        | BadMembership | MembershipNotHeard | OtherAddress => return None,
    })
}

#[test]
fn every_reason_has_its_counter_and_its_probe() {
    // Ends the line that names the test.
    println!();
    let mut injected = 0;
    for reason in DropReason::ALL {
        let Some((sled, (port, dir, layer))) = inject(*reason) else {
            continue;
        };
        injected += 1;
        let name = reason.name();
        let mine = format!("reason: {reason:?},");
        let events = sled.events("Drop {");
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.contains(&mine))
            .collect();
        let counted = sled.drops(*reason);
        assert!(counted > 0, "{name} isn't counted: {events:?}");
        assert_eq!(told.len() as u64, counted, "{name}: {told:?}");
        // PORT DIR LAYER RULE REASON COUNT, as the script has it.
        let words = [port, Some(dir), layer].map(|word| word.unwrap_or("-").to_lowercase());
        println!("injected {} 0 {name} {counted}", words.join(" "));
        let port = port.map_or("port: None".to_owned(), |port| {
            format!("port: Some({port} ")
        });
        let layer = layer.map_or("layer: None".to_owned(), |layer| {
            format!("layer: Some({layer})")
        });
        for event in told {
            let words = [port.as_str(), &format!("dir: {dir}"), &layer, "rule: 0,"];
            assert!(
                words.iter().all(|word| event.contains(word)),
                "{words:?}: {event}"
            );
        }
    }
    assert_eq!(injected, 17);
}

fn flow(from: u16) -> Flow {
    Flow::new(G1, &format!("10.0.0.1:{from} > 10.0.0.2:53"))
}

fn fragment_of_denied() -> Sled {
    let rules = r#"rules = ["dir=out priority=1 action=deny ports=53"]"#;
    let sled = Sled::with(1, &(port("g1", 1, rules) + &port("g2", 2, ALLOW_ALL)));
    for piece in cut(&flow(1).udp(&[9; 4_000]), 1_400, 1) {
        let _ = sled.tx("g1", &piece);
    }
    sled
}

fn bad_arp() -> Sled {
    let sled = two_guests("");
    let mut frame = [[0xff; 6], G1.0].concat();
    // A hardware type that isn't Ethernet.
    frame.extend([0x08, 0x06, 0, 9, 8, 0, 6, 4, 0, 1]);
    frame.extend([0; 20]);
    let _ = sled.tx("g1", &frame);
    sled
}

fn full_queue() -> Sled {
    let (sled, _) = two_sleds(ALLOW_ALL);
    for _ in 0..2_000 {
        let _ = sled.tx("g1", &Flow::new(G1, "10.0.0.1:1 > 10.0.0.3:53").udp(b""));
        if sled.drops(DropReason::NextHopQueueFull) > 0 {
            break;
        }
    }
    sled
}

fn frame_of_no_link() -> Sled {
    let sled = two_guests("");
    let _ = sled.rx(&flow(1).udp(b"from nowhere"));
    sled
}

fn full_port() -> Sled {
    let options = format!("{ALLOW_ALL}\noptions = {{ flows_max = 256 }}");
    let sled = Sled::with(1, &(port("g1", 1, &options) + &port("g2", 2, ALLOW_ALL)));
    for n in 1..=300 {
        if sled.local("g1", &flow(n).udp(b"")).is_ok() {
            let _ = sled.local("g2", &flow(n).back(crate::G2).udp(b""));
        }
    }
    sled
}

fn no_memory() -> Sled {
    let sled = two_guests("");
    sled.scarce.set(MOST);
    assert!(sled.local("g1", &flow(1).udp(b"")).is_err());
    sled
}

fn no_headroom() -> Sled {
    let (a, b) = two_sleds(ALLOW_ALL);
    let frame = Flow::new(G1, "10.0.0.1:1 > 10.0.0.3:53").udp(b"");
    let _ = a.tx("g1", &frame);
    carry(&a, &b);
    let _ = a.tx_tight(a.port("g1"), &frame);
    a
}

fn lost(what: impl Fn(&Sled) -> Lost) -> Sled {
    let sled = two_guests("");
    sled.advance(1);
    sled.lose(what(&sled));
    sled
}

fn port_down() -> Sled {
    let sled = two_guests("");
    let _ = sled.tx_tight(PortId(99), &flow(1).udp(b""));
    sled
}

fn full_underlay() -> Sled {
    let (sled, _) = two_sleds(ALLOW_ALL);
    let mapping = |n: usize| V2p {
        vni: Vni::new(7).unwrap(),
        address: format!("fd00:7::1:{n:x}").parse().unwrap(),
        mac: G3,
        sled: format!("fd00:99::{n:x}").parse().unwrap(),
    };
    let all: Vec<_> = (1..NEIGHBOURS_MAX + 10).map(mapping).collect();
    for some in all.chunks(256) {
        sled.command(Command::SetV2p(some.to_vec())).unwrap();
    }
    for n in 1..NEIGHBOURS_MAX + 10 {
        let text = format!("[fd00:7::1]:1 > [fd00:7::1:{n:x}]:53");
        let _ = sled.tx("g1", &Flow::new(G1, &text).udp(b""));
    }
    sled
}

fn full_of_fragments() -> Sled {
    let sled = two_guests(ALLOW_ALL);
    for id in 0..FRAGMENTS_HELD_MAX + 1 {
        let pieces = cut(&flow(1).udp(&[9; 2_000]), 1_400, id);
        let _ = sled.tx("g1", &pieces[1]);
    }
    sled
}

/// A packet with one chunk and a verification tag.
fn sctp(tag: u8, kind: u8) -> Sled {
    let sled = two_guests(ALLOW_ALL);
    let mut body = vec![
        0x0b, 0xb8, 0x0b, 0xb9, 0, 0, 0, tag, 0, 0, 0, 0, kind, 0, 0, 20,
    ];
    body.extend([0, 0, 0, 1]);
    body.extend([0; 12]);
    let _ = sled.tx("g1", &flow(1).ip(132, body, 8));
    sled
}

/// One copy more than a guest may have made at once.
fn many_copies() -> Sled {
    let [sled, ..] = fleet();
    let frame = to_group(11, GROUP).udp(b"x");
    // One to the link and two to members.
    for _ in 0..=MCAST_COPIES_AT_ONCE.div_ceil(3) {
        let _ = sled.tx("g11", &frame);
        sled.wire.borrow_mut().clear();
    }
    sled
}

/// Reports that join or leave groups, in turns.
fn reports(count: usize, groups: usize) -> Sled {
    let sled = listeners();
    for n in 0..count {
        let kind = if n % 2 == 0 { 4 } else { 3 };
        let _ = sled.tx("g11", &igmp(11, &joins(kind, 0x100..0x100 + groups)));
    }
    sled
}
