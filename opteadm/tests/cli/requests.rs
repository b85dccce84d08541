//! What is sent for each command line.

use crate::fake::Fake;
use opte_core::api::{
    Advertise, Applied, Behaviour, Change, ChangeVerb, Command, DhcpOptions, ExternalIps, Floating,
    Ipv4Config, Ipv6Config, LinkSpec, M2p, NatChange, NatOptions, Pooling, PortOptions, PortSpec,
    Response, Setting, SetupPart, Snat, TransitPrefix, UnderlayRoute, UnderlaySpec, V2p,
};
use opte_core::wire::MacAddr;
use opte_core::{Direction, LayerId};
use std::fmt::Debug;
use std::str::FromStr;

fn p<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn port() -> PortSpec {
    PortSpec {
        name: p("g1"),
        mac: p("A8:40:25:F0:00:01"),
        vni: p("100"),
        ipv4: Some(Ipv4Config {
            address: p("10.0.0.1"),
            gateway: p("10.0.0.254"),
        }),
        ipv6: None,
        mtu: 1_500,
        gateway_mac: MacAddr::GATEWAY,
        dhcp: DhcpOptions::default(),
        options: PortOptions::default(),
        external: ExternalIps::default(),
        attached_subnets: vec![],
        transit: vec![],
        rules: vec![],
        routes: vec![],
        advertise: Advertise::default(),
    }
}

fn setting(number: u16, value: u64) -> Setting {
    Setting { number, value }
}

fn transit(prefix: &str, inbound: bool, outbound: bool) -> TransitPrefix {
    TransitPrefix {
        prefix: p(prefix),
        inbound,
        outbound,
    }
}

fn underlay_route() -> UnderlayRoute {
    UnderlayRoute {
        dest: p("fd00:2::/64"),
        via: Some(p("fe80::1")),
        link: "eth1".into(),
    }
}

/// Runs each line and compares what it has the driver do.
fn check(lines: &[(&str, Command)]) {
    let fake = Fake::answering(Response::Done);
    for (line, command) in lines {
        assert_eq!(fake.line(line).good(), "", "{line}");
        assert_eq!(fake.asked(), std::slice::from_ref(command), "{line}");
    }
}

#[test]
fn commands_about_ports_and_rules_send_what_they_say() {
    check(&[
        ("delete-xde g1", Command::DeletePort(p("g1"))),
        ("clear-uft -p g1", Command::ClearUft(p("g1"))),
        (
            "clear-lft --port g1 nat",
            Command::ClearLft(p("g1"), LayerId::Nat),
        ),
        (
            "add-fw-rule -p g1 dir=in priority=1 action=deny ports=80,443",
            Command::AddFwRule(p("g1"), p("dir=in priority=1 action=deny ports=80,443")),
        ),
        (
            "rm-fw-rule -p g1 out 7",
            Command::RmFwRule(p("g1"), Direction::Out, 7),
        ),
        (
            "set-port-options -p g1 mtu=8930 udp_s=60 tcp_mid_stream=false",
            Command::SetPortOptions(
                p("g1"),
                vec![setting(1, 8_930), setting(4, 60), setting(13, 0)],
            ),
        ),
        (
            "set-host-options flows_max=1000",
            Command::SetHostOptions(vec![setting(1, 1_000)]),
        ),
        (
            "set-address-set web 10.0.0.0/8 fd00::1",
            Command::SetAddressSet(p("web"), vec![p("10.0.0.0/8"), p("fd00::1")]),
        ),
        (
            "set-address-set none",
            Command::SetAddressSet(p("none"), vec![]),
        ),
        (
            "delete-address-set web",
            Command::DeleteAddressSet(p("web")),
        ),
    ]);
}

#[test]
fn commands_about_mappings_and_routes_send_what_they_say() {
    check(&[
        (
            "set-v2p 100 10.0.0.2 A8:40:25:F0:00:02 fd00:2::1",
            Command::SetV2p(vec![V2p {
                vni: p("100"),
                address: p("10.0.0.2"),
                mac: p("A8:40:25:F0:00:02"),
                sled: p("fd00:2::1"),
            }]),
        ),
        (
            "clear-v2p 100 fd00::2",
            Command::ClearV2p(p("100"), p("fd00::2")),
        ),
        (
            "set-v2b 0.0.0.0/0 fd00:99::1 fd00:99::2,98",
            Command::SetV2b(p("0.0.0.0/0"), vec![p("fd00:99::1,99"), p("fd00:99::2,98")]),
        ),
        ("clear-v2b ::/0", Command::ClearV2b(p("::/0"), vec![])),
        (
            "add-router-entry -p g1 10.0.0.0/16 sub4=10.0.0.0/16 system",
            Command::AddRoute(p("g1"), p("10.0.0.0/16 sub4=10.0.0.0/16 system")),
        ),
        (
            "del-router-entry -p g1 ::/0 ig custom",
            Command::DelRoute(p("g1"), p("::/0 ig custom")),
        ),
    ]);
}

#[test]
fn commands_about_groups_send_what_they_say() {
    let m2p = |vni| M2p {
        group: p("239.1.1.1"),
        underlay: p("ff04::1"),
        vni,
    };
    check(&[
        (
            "set-m2p 239.1.1.1 ff04::1",
            Command::SetM2p(vec![m2p(None)]),
        ),
        (
            "set-m2p 239.1.1.1 ff04::1 --vni 8",
            Command::SetM2p(vec![m2p(Some(p("8")))]),
        ),
        (
            "clear-m2p 239.1.1.1",
            Command::ClearM2p(None, p("239.1.1.1")),
        ),
        (
            "set-mcast-fwd ff04::1 fd00::2 fd00::3,external",
            Command::SetMcastFwd(
                p("ff04::1"),
                vec![p("fd00::2,underlay"), p("fd00::3,external")],
            ),
        ),
        (
            "clear-mcast-fwd ff04::1 fd00::2",
            Command::ClearMcastFwd(p("ff04::1"), vec![p("fd00::2")]),
        ),
        (
            "mcast-subscribe -p g1 239.1.1.1",
            Command::McastSubscribe(p("g1"), p("239.1.1.1"), p("any")),
        ),
        (
            "mcast-subscribe -p g1 239.1.1.1 exclude=10.0.0.9",
            Command::McastSubscribe(p("g1"), p("239.1.1.1"), p("exclude=10.0.0.9")),
        ),
        (
            "mcast-unsubscribe -p g1 ff0e::1",
            Command::McastUnsubscribe(p("g1"), p("ff0e::1")),
        ),
        (
            "mcast-unsubscribe-all -p g1",
            Command::McastUnsubscribeAll(Some(p("g1")), None),
        ),
        (
            "mcast-unsubscribe-all 239.1.1.1",
            Command::McastUnsubscribeAll(None, Some(p("239.1.1.1"))),
        ),
        (
            "set-mcast-listen -p g1 off",
            Command::SetMcastListen(p("g1"), false),
        ),
        ("set-mcast-vni 78", Command::SetMcastVni(p("78"))),
    ]);
}

#[test]
fn commands_about_external_addresses_send_what_they_say() {
    check(&[
        (
            "set-external-ips -p g1 --snat 192.0.2.1,1024-2047 --floating 192.0.2.9",
            Command::SetExternalIps(
                p("g1"),
                ExternalIps {
                    snat: vec![Snat {
                        address: p("192.0.2.1"),
                        first_port: 1_024,
                        last_port: 2_047,
                    }],
                    ephemeral: vec![],
                    floating: vec![Floating {
                        address: p("192.0.2.9"),
                        gateway: None,
                    }],
                    ..ExternalIps::default()
                },
            ),
        ),
        (
            "set-nat -p g1 --mapping address-and-port-dependent --pooling arbitrary",
            Command::SetNat(
                p("g1"),
                NatChange {
                    mapping: Some(Behaviour::AddressAndPortDependent),
                    filtering: None,
                    pooling: Some(Pooling::Arbitrary),
                },
            ),
        ),
        (
            "set-external-ips -p g1 --none",
            Command::SetExternalIps(p("g1"), ExternalIps::default()),
        ),
        (
            "allow-cidr -p g1 172.16.0.0/12",
            Command::AllowCidr(p("g1"), transit("172.16.0.0/12", true, true)),
        ),
        (
            "remove-cidr -p g1 172.16.0.0/12 out",
            Command::RemoveCidr(p("g1"), transit("172.16.0.0/12", false, true)),
        ),
        (
            "attach-subnet -p g1 fd01::/48",
            Command::AttachSubnet(p("g1"), p("fd01::/48")),
        ),
        (
            "detach-subnet -p g1 fd01::/48",
            Command::DetachSubnet(p("g1"), p("fd01::/48")),
        ),
    ]);
}

#[test]
fn commands_about_the_underlay_send_what_they_say() {
    check(&[
        (
            "set-xde-underlay eth1 eth2,1500 --address fd00:1::1 --route fd00:2::/64,eth1,fe80::1",
            Command::SetUnderlay(UnderlaySpec {
                address: p("fd00:1::1"),
                links: vec![
                    LinkSpec {
                        name: "eth1".into(),
                        mtu: 9_000,
                    },
                    LinkSpec {
                        name: "eth2".into(),
                        mtu: 1_500,
                    },
                ],
                routes: vec![underlay_route()],
            }),
        ),
        ("clear-xde-underlay", Command::ClearUnderlay),
        (
            "add-underlay-route fd00:2::/64 eth1 fe80::1",
            Command::AddUnderlayRoute(underlay_route()),
        ),
        (
            "del-underlay-route fd00:2::/64 eth1",
            Command::DelUnderlayRoute(UnderlayRoute {
                via: None,
                ..underlay_route()
            }),
        ),
    ]);
}

#[test]
fn a_port_can_be_made_of_either_family_or_both() {
    let fake = Fake::answering(Response::Id(4));
    let start = "create-xde g1 --mac A8:40:25:F0:00:01 --vni 100";
    let v4 = "--ipv4 10.0.0.1 --ipv4-gateway 10.0.0.254";
    let v6 = "--ipv6 fd00::1 --ipv6-gateway fd00::fe";
    let ipv6 = Some(Ipv6Config {
        address: p("fd00::1"),
        gateway: p("fd00::fe"),
    });
    assert_eq!(fake.line(&format!("{start} {v4}")).good(), "4\n");
    assert_eq!(fake.asked(), [Command::CreatePort(port())]);
    let dual = PortSpec { ipv6, ..port() };
    fake.line(&format!("{start} {v4} {v6}")).good();
    assert_eq!(fake.asked(), [Command::CreatePort(dual.clone())]);
    fake.line(&format!("{start} {v6}")).good();
    let six = PortSpec { ipv4: None, ..dual };
    assert_eq!(fake.asked(), [Command::CreatePort(six)]);
}

#[test]
fn a_port_can_be_made_with_everything_at_once() {
    let fake = Fake::answering(Response::Done);
    let line = "create-xde g1 --mac A8:40:25:F0:00:01 --vni 100 --ipv4 10.0.0.1 \
        --ipv4-gateway 10.0.0.254 --mtu 8900 --gateway-mac 02:00:00:00:00:01 --hostname h \
        --domain d.example --search a.example,b.example --dns 9.9.9.9,2620:fe::9 \
        --ntp 10.0.0.123 --lease 60 --ephemeral 192.0.2.2 --subnet 198.51.100.0/24 \
        --transit 172.16.0.0/12,in --option udp_s=60 --option flows_max=1000 \
        --option fragment_s=10 --option decrement_ttl=true --pooling arbitrary";
    let mut words: Vec<&str> = line.split_whitespace().collect();
    words.extend(["--rule", "dir=in priority=1 action=deny"]);
    words.extend(["--rule", "dir=out priority=1 action=deny ports=25"]);
    words.extend(["--route", "0.0.0.0/0 ig system"]);
    fake.run(&words).good();
    let spec = PortSpec {
        mtu: 8_900,
        gateway_mac: p("02:00:00:00:00:01"),
        dhcp: DhcpOptions {
            hostname: Some("h".into()),
            domain: Some("d.example".into()),
            search: vec!["a.example".into(), "b.example".into()],
            dns4: vec![p("9.9.9.9")],
            dns6: vec![p("2620:fe::9")],
            ntp4: vec![p("10.0.0.123")],
            ntp6: vec![],
            lease_s: Some(60),
        },
        options: PortOptions {
            udp_s: 60,
            flows_max: 1_000,
            fragment_s: 10,
            decrement_ttl: true,
            ..PortOptions::default()
        },
        external: ExternalIps {
            ephemeral: vec![p("192.0.2.2")],
            nat: NatOptions {
                pooling: Pooling::Arbitrary,
                ..NatOptions::default()
            },
            ..ExternalIps::default()
        },
        attached_subnets: vec![p("198.51.100.0/24")],
        transit: vec![transit("172.16.0.0/12", true, false)],
        rules: vec![
            p("dir=in priority=1 action=deny"),
            p("dir=out priority=1 action=deny ports=25"),
        ],
        routes: vec![p("0.0.0.0/0 ig system")],
        ..port()
    };
    // One command, so that what is refused leaves nothing behind.
    match &fake.asked()[..] {
        [Command::CreatePortParts(parts)] => {
            assert_eq!(PortSpec::from_parts(parts.clone()), Some(spec));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn rules_come_from_a_file_or_from_standard_input() {
    let fake = Fake::answering(Response::Count(2));
    let text = "# both ways\ndir=in priority=1 action=deny\n\ndir=out priority=2 action=allow\n";
    let expected = [Command::SetFwRules(
        p("g1"),
        vec![
            p("dir=in priority=1 action=deny"),
            p("dir=out priority=2 action=allow"),
        ],
    )];
    let file = fake.file("rules", text);
    let run = fake.run(&["set-fw-rules", "-p", "g1", &file]);
    assert_eq!(run.good(), "2 entries\n");
    assert_eq!(fake.asked(), expected);
    for words in [
        &["set-fw-rules", "-p", "g1"][..],
        &["set-fw-rules", "-p", "g1", "-"],
    ] {
        fake.run_with_input(words, text).good();
        assert_eq!(fake.asked(), expected);
    }
}

#[test]
fn an_address_set_comes_from_the_command_line_and_a_file() {
    let fake = Fake::answering(Response::Done);
    let file = fake.file("web", "# ours\n10.0.0.0/8\n\nfd00::1 # theirs\n");
    fake.run(&["set-address-set", "web", "192.0.2.1", "--file", &file])
        .good();
    let all = ["192.0.2.1", "10.0.0.0/8", "fd00::1"].map(p).into();
    assert_eq!(fake.asked(), [Command::SetAddressSet(p("web"), all)]);
}

#[test]
fn a_setup_that_is_more_than_founding_is_sent_in_parts() {
    let fake = Fake::answering(applied(&[], 0));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/setup/address-sets.toml");
    fake.run(&["apply", file]).good();
    match &fake.asked()[..] {
        [Command::ApplyParts(parts)] => {
            let has_sets =
                |part: &SetupPart| matches!(part, SetupPart::AddressSets(sets) if sets.len() == 2);
            assert!(parts.iter().any(has_sets));
        }
        other => panic!("{other:?}"),
    }
}

fn applied(changes: &[(ChangeVerb, &str)], more: u64) -> Response {
    let changes = changes.iter().map(|(verb, object)| Change {
        verb: *verb,
        object: (*object).into(),
    });
    Response::Applied(Applied {
        generation: 5,
        changes: changes.collect(),
        more,
    })
}

#[test]
fn apply_sends_the_setup_and_says_what_changed() {
    let changes = [
        (ChangeVerb::Add, "port g1"),
        (ChangeVerb::Change, "underlay"),
        (ChangeVerb::Remove, "v2p 7 10.0.0.1"),
    ];
    let fake = Fake::answering(applied(&changes, 12));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/setup/one-port.toml");
    let run = fake.run(&["apply", file]);
    assert_eq!(
        run.good(),
        "+ port g1\n~ underlay\n- v2p 7 10.0.0.1\nand 12 more\n"
    );
    match &fake.asked()[..] {
        [Command::Apply(setup)] => assert_eq!(setup.ports[0].name, p("g1")),
        other => panic!("{other:?}"),
    }
    let fake = Fake::answering(applied(&[], 0));
    let text = std::fs::read_to_string(file).unwrap();
    let run = fake.run_with_input(&["apply", "-"], &text);
    assert_eq!(run.good(), "nothing to change\n");
}

#[test]
fn check_needs_no_driver() {
    let nobody = Fake::absent();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/setup/one-port.toml");
    let run = nobody.run(&["apply", "--check", file]);
    assert_eq!(
        run.good(),
        "1 port, 0 v2p mappings, 0 v2b prefixes, no underlay\n"
    );
    let wrong = nobody.file("wrong.toml", "[[port]]\nname = 7\n");
    let run = nobody.run(&["apply", "--check", &wrong]);
    assert_eq!(run.code, 2);
    assert!(
        run.stderr.contains("line 2: port[0].name: "),
        "{}",
        run.stderr
    );
}

#[test]
fn addresses_and_their_use_are_one_command() {
    let fake = Fake::answering(Response::Done);
    let line = "set-external-ips -p g1 --none --filtering address-dependent";
    assert_eq!(fake.line(line).good(), "");
    let filtering = NatChange {
        filtering: Some(Behaviour::AddressDependent),
        ..NatChange::default()
    };
    let expected = Command::SetExternalNat(p("g1"), ExternalIps::default(), filtering);
    assert_eq!(fake.asked(), [expected]);
}
