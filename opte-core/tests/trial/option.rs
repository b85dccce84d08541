//! Timeouts, limits and MTUs that change under live flows.

use super::{answer_solicitations, counter, name, stats, world};
use crate::icmp::cut;
use crate::sim::frame::Flow;
use crate::sim::{Sled, carry};
use crate::{ALLOW_ALL, G1, G2, Verdict, port, two_sleds, underlay, v2p};
use opte_core::DropReason;
use opte_core::api::{Command, ConfigError, ErrorCode, Prefix, Response, Setting, TransitPrefix};
use opte_core::limits::{PORT_PREFIXES_MAX, SETTINGS_MAX};

fn guests(more: &str) -> Sled {
    let more = format!("{ALLOW_ALL}\n{more}");
    Sled::with(1, &(port("g1", 1, &more) + &port("g2", 2, &more)))
}

/// Changes settings of a port.
fn try_change(sled: &Sled, port: &str, settings: &str) -> Result<Response, ConfigError> {
    let settings = settings.split_ascii_whitespace();
    let settings = settings.map(|text| Setting::of_port(text).unwrap());
    sled.command(Command::SetPortOptions(name(port), settings.collect()))
}

fn change(sled: &Sled, settings: &str) {
    for port in ["g1", "g2"] {
        try_change(sled, port, settings).unwrap();
    }
}

fn flows(sled: &Sled) -> u32 {
    stats(sled, None).flows
}

/// What opens a flow between g1 and g2, in order: whether g1 sends it, and it.
type Script = Vec<(bool, Vec<u8>)>;

fn tcp(steps: &[(bool, &str, u32, u32)]) -> Script {
    let call = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    let step = |&(by_g1, flags, seq, ack): &(bool, &str, u32, u32)| {
        let flow = if by_g1 { call } else { call.back(G2) };
        (by_g1, flow.tcp(flags, seq, ack, b""))
    };
    steps.iter().map(step).collect()
}

fn play(sled: &Sled, script: &Script) {
    for (by_g1, frame) in script {
        let from = if *by_g1 { "g1" } else { "g2" };
        sled.local(from, frame).unwrap();
    }
}

const OPEN: [(bool, &str, u32, u32); 3] =
    [(true, "S", 1, 0), (false, "SA", 9, 2), (true, "A", 2, 10)];

/// Each timeout with its default and a flow that it is about.
fn timeouts() -> Vec<(&'static str, u64, Script)> {
    let udp = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    let gre = udp.ip(47, vec![0; 8], 0);
    let open = |more: &[_]| tcp(&[&OPEN, more].concat());
    vec![
        ("udp_one_way_s", 30, vec![(true, udp.udp(b""))]),
        (
            "udp_s",
            180,
            vec![(true, udp.udp(b"")), (false, udp.back(G2).udp(b""))],
        ),
        (
            "icmp_s",
            60,
            vec![(true, udp.ping()), (false, udp.back(G2).pong())],
        ),
        ("other_s", 120, vec![(true, gre)]),
        ("tcp_opening_s", 30, tcp(&OPEN[..1])),
        ("tcp_opening_s", 30, tcp(&OPEN[..2])),
        ("tcp_established_s", 7_440, open(&[])),
        ("tcp_closing_s", 240, open(&[(true, "FA", 2, 10)])),
        (
            "tcp_time_wait_s",
            120,
            open(&[
                (true, "FA", 2, 10),
                (false, "FA", 10, 3),
                (true, "A", 3, 11),
            ]),
        ),
        ("tcp_reset_s", 10, open(&[(true, "R", 2, 0)])),
    ]
}

/// Asserts that both guests' flows end after so many seconds without traffic.
fn assert_ends(sled: &Sled, after_s: u64, what: &str) {
    // The engine counts in seconds and adds one, so that none is cut short.
    sled.advance(after_s * 1_000 - 100);
    assert_eq!(flows(sled), 2, "{what}: before {after_s} s");
    sled.advance(2_200);
    assert_eq!(flows(sled), 0, "{what}: after {after_s} s");
}

#[test]
fn every_timeout_has_its_default() {
    for (setting, default_s, script) in timeouts() {
        let sled = guests("");
        play(&sled, &script);
        assert_ends(&sled, default_s, setting);
    }
}

#[test]
fn a_changed_timeout_holds_for_the_flows_that_are_there() {
    for (setting, default_s, script) in timeouts() {
        for new_s in [3, default_s + 500] {
            let sled = guests("");
            play(&sled, &script);
            change(&sled, &format!("{setting}={new_s}"));
            assert_ends(&sled, new_s, setting);
            // And for those to come.
            play(&sled, &script);
            assert_ends(&sled, new_s, setting);
        }
    }
}

#[test]
fn a_shorter_timeout_that_is_over_already_ends_a_flow_at_once() {
    let sled = guests("");
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    sled.advance(20_000);
    change(&sled, "udp_one_way_s=10");
    sled.advance(1_000);
    assert_eq!(flows(&sled), 0);
}

#[test]
fn a_cached_decision_that_rests_is_made_again_and_loses_no_state() {
    let more = r#"external = { snat = [{ address = "203.0.113.9", first_port = 4096, last_port = 8191 }] }"#;
    let sled = world(more);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:53");
    let source = || {
        let (verdict, sent) = sled.tx("g1", &flow.udp(b""));
        assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
        sent.links.last().unwrap().1[70 + 26..70 + 36].to_vec()
    };
    let before = source();
    for (uft_s, pause_ms, made_again) in [
        (60, 25_000, 0),
        (20, 25_000, 1),
        (26, 25_000, 0),
        (1, 2_000, 1),
    ] {
        try_change(&sled, "g1", &format!("uft_s={uft_s} udp_one_way_s=600")).unwrap();
        sled.advance(pause_ms);
        answer_solicitations(&sled);
        sled.events("");
        assert_eq!(source(), before, "the same external port");
        let mut again = sled.events("UftInvalidate");
        again.retain(|event| event.contains("cause: Idle"));
        assert_eq!(again.len(), made_again, "{uft_s} {again:?}");
    }
}

#[test]
fn whether_a_stream_may_be_joined_in_its_middle_changes_at_once() {
    let sled = guests("");
    let middle = |port: u16| {
        let flow = Flow::new(G1, &format!("10.0.0.1:{port} > 10.0.0.2:80"));
        sled.local("g1", &flow.tcp("A", 500, 700, b"data"))
            .map(drop)
    };
    assert_eq!(middle(1), Ok(()));
    change(&sled, "tcp_mid_stream=false");
    assert_eq!(middle(2), Err(DropReason::TcpNoFlow));
    assert_eq!(middle(1), Ok(()), "it is known");
    change(&sled, "tcp_mid_stream=true");
    assert_eq!(middle(2), Ok(()));
}

#[test]
fn options_change_no_decision() {
    let sled = guests("");
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    let generation = || stats(&sled, Some("g1")).generation;
    let before = generation();
    change(&sled, "udp_s=99 mtu=1400 flows_max=1000");
    assert_eq!(
        generation(),
        before + 1,
        "who asks sees that something changed"
    );
    sled.events("");
    sled.local("g1", &flow.udp(b"")).unwrap();
    assert_eq!(sled.events("UftHit").len(), 2);
    let Ok(Response::Ports(page)) = sled.command(Command::ListPorts(0)) else {
        panic!()
    };
    let options = page.entries[0].options;
    assert_eq!(
        (options.udp_s, options.flows_max, page.entries[0].mtu),
        (99, 1_000, 1_400)
    );
}

#[test]
fn how_many_fragments_wait_and_how_long_is_an_option() {
    let sled = guests("");
    change(&sled, "fragment_s=5 fragments_max=2");
    let Ok(Response::Settings(shown)) = sled.command(Command::ShowPortOptions(name("g1"))) else {
        panic!()
    };
    for text in ["fragment_s=5", "fragments_max=2", "udp_s=180", "mtu=1500"] {
        assert!(shown.contains(&Setting::of_port(text).unwrap()), "{text}");
    }
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    let held = |id| sled.tx("g1", &cut(&flow.udp(&[9; 2_000]), 1_400, id)[1]).0;
    assert_eq!([held(1), held(2)], [Verdict::Held; 2]);
    assert_eq!(held(3), Verdict::Dropped(DropReason::FragmentsFull));
    sled.advance(5_100);
    assert_eq!(sled.drops(DropReason::FragmentTimeout), 2);
    assert_eq!(held(4), Verdict::Held);
}

#[test]
fn a_setup_with_other_timeouts_or_fewer_flows_keeps_the_port_and_its_flows() {
    let setup = |more: &str| port("g1", 1, more) + &port("g2", 2, ALLOW_ALL);
    let sled = Sled::with(1, &setup(ALLOW_ALL));
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.local("g1", &flow.udp(b"")).unwrap();
    let more = format!("{ALLOW_ALL}\nmtu = 1300\noptions = {{ udp_s = 9, flows_max = 64 }}");
    sled.apply(&setup(&more)).unwrap();
    assert_eq!(flows(&sled), 2);
    sled.events("");
    sled.local("g1", &flow.udp(b"")).unwrap();
    assert_eq!(sled.events("UftHit").len(), 2, "nothing was decided anew");
}

#[test]
fn a_setup_with_more_flows_than_a_port_has_room_for_makes_it_anew() {
    let more = |flows| format!("{ALLOW_ALL}\noptions = {{ flows_max = {flows} }}");
    let setup = |flows| port("g1", 1, &more(flows)) + &port("g2", 2, ALLOW_ALL);
    let sled = Sled::with(1, &setup(64));
    let flow = |n: u16| Flow::new(G1, &format!("10.0.0.1:{n} > 10.0.0.2:53"));
    sled.local("g1", &flow(1).udp(b"")).unwrap();
    sled.apply(&setup(100_000)).unwrap();
    assert_eq!(stats(&sled, Some("g1")).flows, 0, "another port");
    assert_eq!(stats(&sled, Some("g2")).flows, 1, "the same one");
    // The limit isn't only said.
    for n in 1..=1_000 {
        sled.local("g1", &flow(n).udp(b"")).unwrap();
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 1_000);
}

#[test]
fn a_port_s_budget_keeps_established_flows_and_refuses_others() {
    let sled = world("options = { flows_max = 256 }");
    let flow = |n: u16| Flow::new(G1, &format!("10.0.0.1:{n} > 10.0.0.2:53"));
    let open = |n| sled.local("g1", &flow(n).udp(b"")).map(drop);
    let answer = |n| sled.local("g2", &flow(n).back(G2).udp(b"")).map(drop);
    for n in 1..=100 {
        assert_eq!((open(n), answer(n)), (Ok(()), Ok(())));
    }
    try_change(&sled, "g1", "flows_max=100").unwrap();
    for n in 101..=150 {
        assert_eq!(open(n), Err(DropReason::PortFlowsFull));
    }
    assert_eq!(sled.drops(DropReason::PortFlowsFull), 50);
    // Fewer than there are: what is there stays.
    try_change(&sled, "g1", "flows_max=10").unwrap();
    assert_eq!(open(101), Err(DropReason::PortFlowsFull));
    for n in 1..=100 {
        assert_eq!((open(n), answer(n)), (Ok(()), Ok(())));
    }
    try_change(&sled, "g1", "flows_max=101").unwrap();
    assert_eq!(open(101), Ok(()));
    // What is half open gives way to what is new.
    assert_eq!(open(102), Ok(()));
    assert_eq!(stats(&sled, Some("g1")).flows, 101);
}

#[test]
fn the_host_s_budget_keeps_established_flows_and_refuses_others() {
    let sled = guests("");
    let host = |settings: &str| {
        let setting = Setting::of_host(settings).unwrap();
        sled.command(Command::SetHostOptions(vec![setting]))
    };
    let flow = |n: u16| Flow::new(G1, &format!("10.0.0.1:{n} > 10.0.0.2:53"));
    let open = |n| sled.local("g1", &flow(n).udp(b"")).map(drop);
    let answer = |n| sled.local("g2", &flow(n).back(G2).udp(b"")).map(drop);
    for n in 1..=100 {
        assert_eq!((open(n), answer(n)), (Ok(()), Ok(())));
    }
    host("flows_max=200").unwrap();
    for n in 101..=110 {
        assert_eq!(open(n), Err(DropReason::HostFlowsFull));
    }
    assert_eq!(sled.drops(DropReason::HostFlowsFull), 10);
    host("flows_max=20").unwrap();
    assert_eq!(counter(&stats(&sled, None), "flows_max"), 20);
    for n in 1..=100 {
        assert_eq!((open(n), answer(n)), (Ok(()), Ok(())));
    }
    assert_eq!(flows(&sled), 200);
    host("flows_max=202").unwrap();
    assert_eq!(open(101), Ok(()));
    let error = host("flows_max=0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "host: flows_max 0 is out of range (1 to 8388608)"
    );
    let error = host("flows_max=99999999999").unwrap_err();
    assert_eq!(
        error.to_string(),
        "host: flows_max 99999999999 is out of range (1 to 8388608)"
    );
    // As the setup file says it.
    let setup = port("g1", 1, ALLOW_ALL) + &port("g2", 2, ALLOW_ALL);
    sled.apply(&format!("host = {{ flows_max = 204 }}\n{setup}"))
        .unwrap();
    assert_eq!(open(102), Ok(()));
    assert_eq!((answer(101), answer(102)), (Ok(()), Ok(())));
    assert_eq!(open(103), Err(DropReason::HostFlowsFull));
    sled.apply(&setup).unwrap();
    assert_eq!(open(103), Ok(()), "the default again");
}

#[test]
fn settings_that_make_no_sense_change_nothing() {
    let sled = world("");
    let options = || {
        let Ok(Response::Ports(page)) = sled.command(Command::ListPorts(0)) else {
            panic!()
        };
        (
            page.entries[0].options,
            page.entries[0].mtu,
            page.entries[0].generation,
        )
    };
    let before = options();
    for (settings, why) in [
        (
            "udp_s=7 udp_one_way_s=0",
            "port g1: options.udp_one_way_s 0 is out of range (1 to 604800)",
        ),
        (
            "icmp_s=604801",
            "port g1: options.icmp_s 604801 is out of range (1 to 604800)",
        ),
        (
            "icmp_s=99999999999",
            "port g1: icmp_s 99999999999 is out of range (1 to 604800)",
        ),
        (
            "flows_max=65537",
            "port g1: options.flows_max 65537 is out of range (65536 at most while the port lives: its table was made for them)",
        ),
        (
            "fragment_s=121",
            "port g1: options.fragment_s 121 is out of range (1 to 120)",
        ),
        (
            "fragment_s=7 fragments_max=0",
            "port g1: options.fragments_max 0 is out of range (1 to 1024)",
        ),
        (
            "mtu=1279",
            "port g1: mtu 1279 is out of range (1280 to 65000)",
        ),
        (
            "mtu=8931",
            "port g1: mtu 8931 is out of range (8930 at most, as link u0 carries 9000 with 70 bytes of outer headers)",
        ),
    ] {
        let error = try_change(&sled, "g1", settings).unwrap_err();
        assert_eq!(error.to_string(), why);
        assert_eq!(options(), before);
    }
    let unknown = Setting {
        number: 9_999,
        value: 1,
    };
    let error = sled
        .command(Command::SetPortOptions(name("g1"), vec![unknown]))
        .unwrap_err();
    assert_eq!(error.to_string(), "port g1: setting 9999 is not supported");
}

/// A UDP packet of so many bytes of IP, from g1 to g3 on another sled.
fn of_len(len: usize) -> Vec<u8> {
    Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53").udp(&vec![7; len - 28])
}

#[test]
fn jumbo_frames_go_from_end_to_end_as_far_as_both_ports_take_them() {
    let (a, b) = two_sleds(ALLOW_ALL);
    let arrives = |len| {
        let (verdict, _) = a.tx("g1", &of_len(len));
        let arrived = carry(&a, &b);
        match (verdict, arrived.last()) {
            (Verdict::Dropped(reason), _) => Err((1, reason)),
            // The other end says so.
            (_, Some((_, frame))) if frame[..6] == G1.0 => Err((2, DropReason::TooBig)),
            (_, Some((_, frame))) => {
                assert_eq!(frame[14..], of_len(len)[14..]);
                Ok(())
            }
            _ => panic!("nothing came of {len} bytes"),
        }
    };
    assert_eq!(arrives(1_500), Ok(()));
    assert_eq!(arrives(1_501), Err((1, DropReason::TooBig)));
    try_change(&a, "g1", "mtu=8930").unwrap();
    assert_eq!(
        arrives(8_930),
        Err((2, DropReason::TooBig)),
        "g3 takes 1500"
    );
    assert_eq!(b.drops(DropReason::TooBig), 1);
    try_change(&b, "g3", "mtu=8930").unwrap();
    // The same flow, known all along.
    for len in [8_930, 1_501, 28] {
        assert_eq!(arrives(len), Ok(()), "{len}");
    }
    assert_eq!(arrives(8_931), Err((1, DropReason::TooBig)));
    try_change(&a, "g1", "mtu=1280").unwrap();
    assert_eq!(arrives(1_280), Ok(()));
    assert_eq!(arrives(1_281), Err((1, DropReason::TooBig)));
    let told = a.devices.borrow().open.clone();
    assert_eq!(told[told.len() - 2..], ["0 mtu 8930", "0 mtu 1280"]);
}

#[test]
fn a_port_promises_no_more_than_the_underlay_carries() {
    let narrow = underlay(1).replace("name = \"u0\"", "name = \"u0\", mtu = 1600");
    let sled = Sled::with(
        1,
        &(narrow.clone() + &v2p(3, 2) + &port("g1", 1, "mtu = 1530")),
    );
    let error = try_change(&sled, "g1", "mtu=1531").unwrap_err();
    assert_eq!(
        error.to_string(),
        "port g1: mtu 1531 is out of range (1530 at most, as link u0 carries 1600 with 70 bytes of outer headers)"
    );
    // Nor may the underlay carry less than is promised.
    let links = |mtu: u16| narrow.replace("1600", &mtu.to_string());
    let error = sled
        .apply(&(links(1_500) + &port("g1", 1, "mtu = 1530")))
        .unwrap_err();
    assert!(error.to_string().contains("1500 at most"), "{error}");
    let spec: opte_core::api::Setup = toml::from_str(&links(1_599)).unwrap();
    let spec = spec.underlay.unwrap();
    let error = sled
        .command(Command::SetUnderlay(spec.clone()))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "link u0: mtu 1599 conflicts with another setting (port g1 has 1530, which takes 1600)"
    );
    try_change(&sled, "g1", "mtu=1529").unwrap();
    sled.command(Command::SetUnderlay(spec)).unwrap();
    // The usual MTU is always allowed, and so is any without links.
    sled.apply(&(links(1_500) + &port("g1", 1, "mtu = 1500")))
        .unwrap();
    sled.apply(&port("g1", 1, "mtu = 65000")).unwrap();
    let error = sled
        .apply(&(links(9_000) + &port("g1", 1, "mtu = 65000")))
        .unwrap_err();
    assert!(error.to_string().contains("8930 at most"), "{error}");
}

#[test]
fn one_prefix_or_setting_too_many_is_refused_and_changes_nothing() {
    let sled = guests("");
    let prefix = |n: usize| -> Prefix {
        format!("10.{}.{}.0/24", 1 + n / 256, n % 256)
            .parse()
            .unwrap()
    };
    let transit = |n| {
        let (inbound, outbound) = (true, true);
        let prefix = prefix(n);
        Command::AllowCidr(
            name("g1"),
            TransitPrefix {
                prefix,
                inbound,
                outbound,
            },
        )
    };
    let attached = |n| Command::AttachSubnet(name("g1"), prefix(n + PORT_PREFIXES_MAX + 1));
    let settings =
        |n| Command::SetPortOptions(name("g1"), vec![Setting::of_port("udp_s=99").unwrap(); n]);
    for n in 0..PORT_PREFIXES_MAX {
        sled.command(transit(n)).unwrap();
        sled.command(attached(n)).unwrap();
    }
    sled.command(settings(SETTINGS_MAX)).unwrap();
    let before = stats(&sled, Some("g1")).generation;
    for (command, text) in [
        (
            transit(PORT_PREFIXES_MAX),
            "port g1: transit 257 would be more than there may be (256 at most)",
        ),
        (
            attached(PORT_PREFIXES_MAX),
            "port g1: attached_subnets 257 would be more than there may be (256 at most)",
        ),
        (
            settings(SETTINGS_MAX + 1),
            "port g1: settings 65 would be more than there may be (64 at most)",
        ),
    ] {
        let error = sled.command(command).unwrap_err();
        assert_eq!(
            (error.code, error.to_string().as_str()),
            (ErrorCode::LimitReached, text)
        );
    }
    assert_eq!(stats(&sled, Some("g1")).generation, before);
}
