//! Setups are applied whole or not at all.

use super::{NEXT_DOOR, name, world};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, port, underlay, v2p};
use opte_core::LayerId;
use opte_core::api::setup::{Applied, ChangeVerb};
use opte_core::api::{Command, Response, TransitPrefix};

/// Everything that the host tells of itself, but for counters.
fn dump(sled: &Sled) -> String {
    let mut all = String::new();
    let Ok(Response::Ports(ports)) = sled.command(Command::ListPorts(0)) else {
        panic!()
    };
    for mut entry in ports.entries {
        let name = entry.name;
        entry.stats = Default::default();
        all += &format!("{entry:?}\n");
        for layer in LayerId::ALL {
            let rules = sled.command(Command::DumpLayer(name, layer, 0)).unwrap();
            let flows = sled.command(Command::DumpLayer(name, layer, 1 << 40));
            all += &format!("{rules:?}\n{flows:?}\n");
        }
        for command in [
            Command::ListLayers(name),
            Command::DumpUft(name, 0),
            Command::DumpTcpFlows(name, 0),
            Command::DumpRoutes(name, 0),
        ] {
            all += &format!("{:?}\n", sled.command(command).unwrap());
        }
    }
    for command in [
        Command::DumpV2p(0),
        Command::DumpV2b(0),
        Command::DumpUnderlayRoutes(0),
        Command::ShowUnderlay,
    ] {
        all += &format!("{:?}\n", sled.command(command).unwrap());
    }
    all
}

/// Both alike, or where they part.
fn assert_same(one: &str, other: &str, what: &str) {
    for (one, other) in one.lines().zip(other.lines()) {
        assert_eq!(one, other, "{what}");
    }
    assert_eq!(one.len(), other.len(), "{what}");
}

/// Two guests with a live connection and one flow through the boundary.
fn live() -> Sled {
    let more =
        r#"external = { snat = [{ address = "203.0.113.9", first_port = 1, last_port = 99 }] }"#;
    let sled = world(more);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g2", &flow.back(G2).tcp("SA", 9, 2, b""))
        .unwrap();
    sled
}

/// Another underlay link, another port, g2 with another MAC address, no g1,
/// other mappings.
fn other() -> String {
    underlay(1).replace(
        r#"link = [{ name = "u0" }]"#,
        r#"link = [{ name = "u0" }, { name = "u1" }, { name = "u2" }]"#,
    ) + &v2p(4, 2)
        + &port("g2", 2, ALLOW_ALL).replace("0:02\"", "0:22\"")
        + &port("g4", 4, ALLOW_ALL)
        + &port("g5", 5, ALLOW_ALL)
}

fn applied(sled: &Sled, setup: &str) -> Applied {
    match sled.apply(setup) {
        Ok(Response::Applied(applied)) => applied,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_that_fails_leaves_everything_as_it_was() {
    let sled = live();
    let before = dump(&sled);
    for device in 0..5 {
        sled.devices.borrow_mut().open.clear();
        sled.devices.borrow_mut().fail_after = Some(device);
        sled.apply(&other()).unwrap_err();
        assert_same(&dump(&sled), &before, &format!("device {device}"));
        let (mut open, mut closed): (Vec<_>, Vec<_>) = sled
            .devices
            .borrow_mut()
            .open
            .drain(..)
            .partition(|id| !id.starts_with('-'));
        assert_eq!(open.len(), device);
        open.sort();
        closed.sort();
        let closed: Vec<_> = closed.iter().map(|id| id[1..].to_string()).collect();
        assert_eq!(open, closed, "what was opened is closed again");
    }
    sled.devices.borrow_mut().fail_after = None;
    let changes = applied(&sled, &other()).changes;
    assert!(!changes.is_empty());
    assert!(dump(&sled) != before);
}

#[test]
fn a_setup_with_one_fault_changes_nothing() {
    let sled = live();
    let before = dump(&sled);
    let route = |text: &str| other().replacen("10.0.0.0/24 sub4", text, 1);
    for (what, setup) in [
        (
            "a route of two families",
            route("10.0.0.0/24 ip=fd00::1\", \"10.0.0.0/24 sub4"),
        ),
        ("two ports of a name", other() + &port("g4", 6, "")),
        ("two ports of an address", other() + &port("g6", 4, "")),
        (
            "a mapping given twice",
            v2p(4, 2) + &other().replace("fd00:2::1", "fd00:3::1"),
        ),
        (
            "an external address of no host",
            other()
                + &port(
                    "g6",
                    6,
                    r#"external = { floating = [{ address = "224.0.0.1" }] }"#,
                ),
        ),
        ("an MTU out of range", other() + &port("g6", 6, "mtu = 99")),
        (
            "a rule that can't match",
            other()
                + &port(
                    "g6",
                    6,
                    r#"rules = ["dir=in priority=1 action=allow protocols=icmp ports=80"]"#,
                ),
        ),
        (
            "the boundary's VNI",
            other() + &port("g6", 6, "").replace("vni = 7", "vni = 99"),
        ),
    ] {
        let parsed: Result<opte_core::api::Setup, _> = toml::from_str(&setup);
        let Ok(parsed) = parsed else {
            continue;
        };
        let refused = sled.command(Command::Apply(parsed));
        assert!(refused.is_err(), "{what}");
        assert_same(&dump(&sled), &before, what);
    }
    assert_eq!(sled.devices.borrow().open.len(), 3, "two ports and a link");
}

#[test]
fn a_setup_applied_again_changes_nothing() {
    let sled = live();
    let setup = |rules: &str| {
        underlay(1)
            + &v2p(3, 2)
            + &port(
                "g2",
                2,
                &format!("external = {{ ephemeral = [\"203.0.113.200\"] }}\n{rules}"),
            )
            + &port(
                "g1",
                1,
                r#"external = { snat = [{ address = "203.0.113.9", first_port = 1, last_port = 99 }] }"#,
            )
    };
    let before = dump(&sled);
    assert!(NEXT_DOOR.ends_with(ALLOW_ALL));
    let same = applied(&sled, &setup(ALLOW_ALL));
    assert_eq!(same.changes, [], "only the order of ports is another");
    assert_same(&dump(&sled), &before, "the same setup");
    let rules = r#"rules = ["dir=out priority=7 action=deny ports=81 protocols=tcp", "dir=in priority=100 action=allow",
        "dir=in priority=5 action=allow protocols=udp", "dir=in priority=5 action=deny hosts=10.0.0.9"]"#;
    let once = applied(&sled, &setup(rules));
    assert_eq!(once.changes.len(), 1);
    let twice = applied(&sled, &setup(rules));
    assert_eq!((twice.changes, twice.more), (vec![], 0));
    assert_eq!(
        twice.generation, once.generation,
        "what is there is what was there"
    );
}

#[test]
fn a_port_with_another_identity_is_another_port() {
    let sled = live();
    let mac = |setup: String| setup.replace("A8:40:25:F0:00:02\"\nvni", "A8:40:25:F0:00:22\"\nvni");
    let setup = underlay(1) + &v2p(3, 2) + &port("g1", 1, ALLOW_ALL) + &port("g2", 2, ALLOW_ALL);
    let old = sled.port("g2");
    let changes = applied(&sled, &mac(setup)).changes;
    let change = |name: &str| {
        let object = format!("port {name}");
        changes.iter().find(|c| c.object == object).map(|c| c.verb)
    };
    assert_eq!(change("g2"), Some(ChangeVerb::Change));
    assert_ne!(sled.port("g2"), old, "it has another number");
    assert_eq!(
        sled.devices.borrow().open.last().unwrap(),
        &format!("-{old}")
    );
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    let frame = sled.local("g1", &flow.tcp("A", 2, 10, b"x")).unwrap();
    assert_eq!(frame[5], 0x22, "found at its new MAC address");
    let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g2"), 0)) else {
        panic!()
    };
    assert_eq!(page.entries.len(), 1, "{:?}", page.entries);
}

#[test]
fn a_refused_command_moves_no_generation() {
    let sled = live();
    let generation = || super::stats(&sled, None).generation;
    let before = generation();
    for command in [
        Command::DeletePort(name("nobody")),
        Command::DelRoute(name("g1"), "192.0.2.0/24 ig system".parse().unwrap()),
        Command::AddRoute(name("g1"), "0.0.0.0/0 ig system".parse().unwrap()),
        Command::DetachSubnet(name("g1"), "192.0.2.0/24".parse().unwrap()),
        Command::ClearV2b("192.0.2.0/24".parse().unwrap(), vec![]),
    ] {
        sled.command(command.clone()).unwrap_err();
        assert_eq!(generation(), before, "{command:?}");
    }
    let attach = Command::AttachSubnet(name("g1"), "192.0.2.0/24".parse().unwrap());
    sled.command(attach).unwrap();
    assert_eq!(generation(), before + 1);
}

#[test]
fn a_device_is_told_of_another_mtu_and_of_nothing_else() {
    let sled = live();
    let told = || {
        let open = &mut sled.devices.borrow_mut().open;
        let told: Vec<_> = open.drain(..).filter(|what| what.contains("mtu")).collect();
        told
    };
    let setup =
        |more: &str| underlay(1) + &v2p(3, 2) + &port("g1", 1, more) + &port("g2", 2, ALLOW_ALL);
    applied(&sled, &setup("mtu = 1400"));
    assert_eq!(told(), [format!("{} mtu 1400", sled.port("g1"))]);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    sled.local("g1", &flow.tcp("A", 2, 10, b"x")).unwrap();
    applied(
        &sled,
        &setup("mtu = 1400\nrules = []\noptions = { udp_s = 7 }"),
    );
    assert_eq!(told(), [""; 0]);
    // A refused setup tells nobody.
    sled.apply(&setup("mtu = 1")).unwrap_err();
    assert_eq!(told(), [""; 0]);
}

#[test]
fn prefixes_that_make_no_sense_are_refused() {
    let sled = world(r#"external = { floating = [{ address = "203.0.113.5" }] }"#);
    let g1 = || name("g1");
    let neither = |prefix: &str| TransitPrefix {
        prefix: prefix.parse().unwrap(),
        inbound: false,
        outbound: false,
    };
    let no_way = "port g1: transit 172.16.0.0/12 is not well-formed \
                  (neither inbound nor outbound is set)";
    let attached = |prefix: &str, address: &str| {
        format!(
            "port g1: attached_subnets {prefix} conflicts with another setting \
             (external address {address} is in it, which is translated)"
        )
    };
    let refused = |command: Command, sentence: &str| {
        let before = dump(&sled);
        let error = sled.command(command).unwrap_err();
        assert_eq!(error.to_string(), sentence);
        assert_same(&dump(&sled), &before, sentence);
    };
    let transit = neither("172.16.0.0/12");
    refused(Command::AllowCidr(g1(), transit), no_way);
    refused(Command::RemoveCidr(g1(), transit), no_way);
    let both = TransitPrefix {
        inbound: true,
        outbound: true,
        ..transit
    };
    sled.command(Command::AllowCidr(g1(), both)).unwrap();
    refused(Command::AllowCidr(g1(), transit), no_way);
    refused(Command::RemoveCidr(g1(), transit), no_way);
    // Whichever comes second.
    let covers = "203.0.113.0/24".parse().unwrap();
    let sentence = attached("203.0.113.0/24", "203.0.113.5");
    refused(Command::AttachSubnet(g1(), covers), &sentence);
    let beside = "198.51.100.0/24".parse().unwrap();
    sled.command(Command::AttachSubnet(g1(), beside)).unwrap();
    for ips in [
        "ephemeral = [\"198.51.100.7\"]",
        "floating = [{ address = \"198.51.100.7\" }]",
        "snat = [{ address = \"198.51.100.7\", first_port = 1, last_port = 2 }]",
    ] {
        let ips = toml::from_str(ips).unwrap();
        let sentence = attached("198.51.100.0/24", "198.51.100.7");
        refused(Command::SetExternalIps(g1(), ips), &sentence);
    }
}
