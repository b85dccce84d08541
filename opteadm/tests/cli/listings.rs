//! What listings look like. Tables are compared with files in
//! `tests/snapshots`; `BLESS=1` in the environment writes them anew.

use crate::fake::Fake;
use opte_core::api::dump::{
    AddressSetEntry, Counter, DefaultAction, DirStats, FlowKey, LayerDumpEntry, LayerEntry,
    LayerFlow, LinkEntry, NeighbourEntry, PortEntry, PortStats, RouteEntry, RuleEntry, RuleText,
    Stats, TcpEntry, UftAction, UftEntry, UnderlayEntry,
};
use opte_core::api::nat::PoolEntry;
use opte_core::api::{
    Advertise, Behaviour, Command, ConfigError, DhcpOptions, ErrorCode, ExternalIps, Floating,
    Ipv4Config, Ipv6Config, M2p, McastForward, McastOrigin, McastSub, Name, NatEntry, NatOptions,
    ObjectKind, Page, PortId, PortOptions, Response, Setting, Snat, TransitPrefix, UnderlayRoute,
    V2b, V2p,
};
use opte_core::flow::{Family, Proto};
use opte_core::layer::nat::Transport;
use opte_core::wire::MacAddr;
use opte_core::{Direction, LayerId};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;
use std::str::FromStr;

fn p<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Compares with a file.
#[track_caller]
fn snapshot(name: &str, text: &str) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let file = dir.join(name).with_extension("txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{name} looks different; see with BLESS=1");
}

fn last<T>(entries: Vec<T>) -> Page<T> {
    Page {
        entries,
        next: None,
        generation: 3,
    }
}

fn v2p(number: u8) -> V2p {
    V2p {
        vni: p("100"),
        address: [10, 0, 0, number].into(),
        mac: MacAddr([0xa8, 0x40, 0x25, 0xf0, 0, number]),
        sled: p("fd00:2::1"),
    }
}

/// Answers every command for which a test here has a use.
fn answer(command: Command) -> Response {
    match command {
        Command::ListPorts(_) => Response::Ports(last(ports())),
        Command::ShowAdvertise(_) => Response::Advertise(Advertise::default()),
        Command::ShowPortOptions(name) => Response::Settings(settings(name)),
        Command::ListAddressSets(_) => Response::AddressSets(last(address_sets())),
        Command::DumpAddressSet(..) => {
            Response::Prefixes(last(vec![p("10.0.0.0/8"), p("2001:db8::7")]))
        }
        Command::ListLayers(_) => Response::Layers(layers()),
        Command::DumpLayer(_, LayerId::Firewall, 0) => Response::Layer(Page {
            next: Some(2),
            ..last(firewall()[..2].to_vec())
        }),
        Command::DumpLayer(_, LayerId::Firewall, _) => {
            Response::Layer(last(firewall()[2..].to_vec()))
        }
        Command::DumpLayer(..) => Response::Layer(last(gateway())),
        Command::DumpUft(..) => Response::Uft(last(uft())),
        Command::DumpTcpFlows(..) => Response::Tcp(last(tcp())),
        // Three pages: two entries, none, one.
        Command::DumpV2p(cursor) => Response::V2p(match cursor {
            0 => Page {
                next: Some(70),
                ..last(vec![v2p(1), v2p(2)])
            },
            70 => Page {
                next: Some(71),
                ..last(vec![])
            },
            _ => last(vec![v2p(200)]),
        }),
        Command::DumpV2b(_) => Response::V2b(last(vec![V2b {
            prefix: p("0.0.0.0/0"),
            endpoints: vec![p("fd00:99::1"), p("fd00:99::2,98")],
        }])),
        Command::DumpM2p(_) => Response::M2p(last(m2p())),
        Command::DumpMcastFwd(_) => Response::McastFwd(last(vec![McastForward {
            underlay: p("ff04::101"),
            hops: vec![p("fd00:2::1"), p("fd00:99::1,external")],
        }])),
        Command::DumpMcastSubs(_) => Response::McastSubs(last(subs())),
        Command::DumpRoutes(..) => Response::Routes(last(routes())),
        Command::ShowUnderlay => Response::Underlay(underlay()),
        Command::ShowNat(_) => Response::Nat(nat()),
        Command::DumpUnderlayRoutes(_) => Response::UnderlayRoutes(last(underlay_routes())),
        Command::Stats(port) => Response::Stats(stats(port.is_some())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_an_older_driver_cannot_tell_is_not_made_up() {
    let old = Fake::new(|command| match command {
        Command::ListPorts(_) => Ok(answer(command)),
        _ => Err(ConfigError::new(
            ErrorCode::UnknownCommand,
            ObjectKind::Request,
            "",
        )),
    });
    let ports: Value = serde_json::from_str(&old.line("list-ports --json").good()).unwrap();
    assert_eq!(ports[0]["name"], "g1");
    assert_eq!(ports[0]["advertise"], Value::Null);
    let fields = old
        .line("list-ports -o name,advertise_managed,mss_max -p")
        .good();
    assert_eq!(fields.lines().next(), Some("g1::0"));
}

#[test]
fn a_port_that_goes_while_it_is_listed_is_left_out() {
    let fake = Fake::new(|command| match command {
        Command::ShowNat(name) if name.as_str() == "g1" => Err(ConfigError::new(
            ErrorCode::NotFound,
            ObjectKind::Port,
            name,
        )),
        command => Ok(answer(command)),
    });
    let names = fake.line("list-ports -o name,mss_max -p").good();
    assert_eq!(names, "a_guest_with_a_longer_name:0\n");
}

fn fake() -> Fake {
    Fake::new(|command| Ok(answer(command)))
}

fn m2p() -> Vec<M2p> {
    vec![
        M2p {
            group: p("239.1.1.1"),
            underlay: p("ff04::e001:101"),
            vni: None,
        },
        M2p {
            group: p("ff0e::101"),
            underlay: p("ff04::101"),
            vni: Some(p("100")),
        },
    ]
}

fn subs() -> Vec<McastSub> {
    vec![
        McastSub {
            port: p("g1"),
            group: p("239.1.1.1"),
            filter: p("any"),
            by: McastOrigin::Operator,
            expires_ms: None,
        },
        McastSub {
            port: p("g1"),
            group: p("239.1.1.1"),
            filter: p("include=10.0.0.2,10.0.0.3"),
            by: McastOrigin::Guest,
            expires_ms: Some(250_000),
        },
    ]
}

/// Settings that don't travel with a port's entry, and one of tomorrow.
fn settings(name: Name) -> Vec<Setting> {
    let set = |(number, value)| Setting { number, value };
    match name.as_str() {
        "g1" => [(14, 1), (15, 1_360), (16, 10), (17, 128), (999, 1)]
            .map(set)
            .into(),
        _ => vec![],
    }
}

fn ports() -> Vec<PortEntry> {
    let full = PortEntry {
        id: PortId(1),
        name: p("g1"),
        mac: p("A8:40:25:F0:00:01"),
        vni: p("100"),
        ipv4: Some(Ipv4Config {
            address: p("10.0.0.1"),
            gateway: p("10.0.0.254"),
        }),
        ipv6: Some(Ipv6Config {
            address: p("fd00::1"),
            gateway: p("fd00::fe"),
        }),
        mtu: 1_500,
        gateway_mac: MacAddr::GATEWAY,
        dhcp: DhcpOptions {
            dns4: vec![p("9.9.9.9")],
            dns6: vec![p("2620:fe::9")],
            ..DhcpOptions::default()
        },
        options: PortOptions::default(),
        external: ExternalIps {
            snat: vec![Snat {
                address: p("192.0.2.1"),
                first_port: 1_024,
                last_port: 2_047,
            }],
            ephemeral: vec![],
            floating: vec![Floating {
                address: p("2001:db8::3"),
                gateway: Some(p("01234567-89ab-cdef-0123-456789abcdef")),
            }],
            ..ExternalIps::default()
        },
        attached_subnets: vec![p("198.51.100.0/24")],
        transit: vec![TransitPrefix {
            prefix: p("172.16.0.0/12"),
            inbound: true,
            outbound: false,
        }],
        generation: 12,
        flows: 65_000,
        stats: PortStats {
            inbound: DirStats {
                packets: 1,
                bytes: 5_000_000,
                hits: 2,
                misses: 3,
                hairpins: 4,
                drops: 5,
            },
            outbound: DirStats::default(),
        },
    };
    let small = PortEntry {
        id: PortId(2),
        name: p("a_guest_with_a_longer_name"),
        ipv6: None,
        flows: 0,
        ..full.clone()
    };
    vec![full, small]
}

fn layers() -> Vec<LayerEntry> {
    LayerId::ALL
        .map(|layer| LayerEntry {
            layer,
            default_in: DefaultAction::Deny,
            default_out: match layer {
                LayerId::Firewall => DefaultAction::StatefulAllow,
                _ => DefaultAction::Allow,
            },
            rules_in: 1,
            rules_out: 20,
            flows: 300,
            default_hits_in: 4_000,
            default_hits_out: 0,
        })
        .into()
}

fn key(proto: Proto, local_port: u16) -> FlowKey {
    FlowKey {
        family: Family::V4,
        proto,
        local: p("10.0.0.1"),
        local_port,
        remote: p("192.0.2.77"),
        remote_port: 443,
    }
}

fn rule(id: u32, predicates: RuleText) -> LayerDumpEntry {
    LayerDumpEntry::Rule(RuleEntry {
        id,
        dir: Direction::In,
        priority: Some(100),
        predicates,
        packets: 12_345,
        bytes: 1_500_000,
        idle_ms: Some(1_500),
    })
}

fn firewall() -> Vec<LayerDumpEntry> {
    let text = |text| RuleText::Firewall(p(text));
    let unused = RuleEntry {
        id: 30,
        dir: Direction::Out,
        priority: Some(200),
        predicates: text("dir=out priority=200 action=deny hosts=fd00::1,vni=7"),
        packets: 0,
        bytes: 0,
        idle_ms: None,
    };
    let flow = |outside, rule| {
        LayerDumpEntry::Flow(LayerFlow {
            key: key(Proto::TCP, 50_000),
            outside,
            opened: Direction::Out,
            rule,
            idle_ms: 65_000,
        })
    };
    vec![
        rule(
            1,
            text("dir=in priority=100 action=allow protocols=tcp ports=22"),
        ),
        LayerDumpEntry::Rule(unused),
        flow(None, 0),
        flow(Some(key(Proto::TCP, 20_000)), 30),
    ]
}

fn gateway() -> Vec<LayerDumpEntry> {
    vec![rule(
        9,
        RuleText::BuiltIn("arp request for 10.0.0.254".into(), "reply".into()),
    )]
}

fn uft() -> Vec<UftEntry> {
    let entry = |before, after, action| UftEntry {
        dir: Direction::Out,
        before,
        after,
        action,
        packets: 10,
        bytes: 1_000,
        idle_ms: 20,
        current: true,
    };
    let tcp = key(Proto::TCP, 50_000);
    let gre = key(Proto(47), 0);
    vec![
        entry(
            tcp,
            key(Proto::TCP, 20_000),
            UftAction::Encapsulate {
                sled: p("fd00:2::1"),
                vni: p("100"),
                mac: p("A8:40:25:F0:00:02"),
                source_port: 50_001,
            },
        ),
        UftEntry {
            current: false,
            ..entry(gre, gre, UftAction::Local(PortId(2)))
        },
        UftEntry {
            dir: Direction::In,
            ..entry(tcp, tcp, UftAction::Deliver)
        },
    ]
}

fn tcp() -> Vec<TcpEntry> {
    vec![TcpEntry {
        key: key(Proto::TCP, 50_000),
        opened: Direction::Out,
        state: "ESTABLISHED".into(),
        packets_out: 10,
        packets_in: 9,
        bytes_out: 1_000,
        bytes_in: 9_000_000_000,
        idle_ms: 200,
        expires_ms: 7_440_000,
    }]
}

fn routes() -> Vec<RouteEntry> {
    [
        "0.0.0.0/0 ig system",
        "10.0.0.0/16 sub4=10.0.0.0/16 system",
        "fd00::/16 ip6=fd10::9 custom",
    ]
    .iter()
    .zip(5..)
    .map(|(text, id)| RouteEntry { id, route: p(text) })
    .collect()
}

fn nat() -> NatEntry {
    let pool = |transport, mappings| PoolEntry {
        address: p("192.0.2.1"),
        transport,
        mappings,
        resting: 2,
        ports: 1_024,
    };
    NatEntry {
        generation: 3,
        options: NatOptions {
            mapping: Behaviour::AddressAndPortDependent,
            ..NatOptions::default()
        },
        pools: vec![
            pool(Transport::Tcp, 5_000),
            pool(Transport::Udp, 0),
            pool(Transport::Echo, 1),
        ],
    }
}

fn underlay() -> UnderlayEntry {
    UnderlayEntry {
        generation: 6,
        address: Some(p("fd00:1::1")),
        links: vec![LinkEntry {
            name: "eth1".into(),
            mac: p("02:00:00:00:00:01"),
            link_local: p("fe80::1"),
            mtu: 9_000,
            rx_packets: 1_000,
            rx_bytes: 2_000_000,
            tx_packets: 3,
            tx_bytes: 400,
        }],
        neighbours: vec![NeighbourEntry {
            address: p("fe80::2"),
            link: "eth1".into(),
            mac: None,
            state: "INCOMPLETE".into(),
            queued: 2,
        }],
    }
}

fn underlay_routes() -> Vec<UnderlayRoute> {
    let route = |via| UnderlayRoute {
        dest: p("fd00:2::/64"),
        via,
        link: "eth1".into(),
    };
    vec![route(None), route(Some(p("fe80::2")))]
}

fn address_sets() -> Vec<AddressSetEntry> {
    let entry = |name, prefixes, rules| AddressSetEntry {
        name: p(name),
        prefixes,
        rules,
    };
    vec![entry("web", 2, 1), entry("blocked", 16_384, 12)]
}

fn stats(port: bool) -> Stats {
    let counter = |name: &str, value| Counter {
        name: name.into(),
        value,
    };
    Stats {
        generation: 40,
        flows: if port { 1 } else { 500_000 },
        counters: vec![counter("rx_packets", 123_456_789)],
        drops: vec![counter("firewall_deny", 17), counter("no_route", 3)],
    }
}

#[test]
fn tables_look_as_they_should() {
    let fake = fake();
    for (name, line) in [
        ("list-ports", "list-ports"),
        (
            "list-ports-fields",
            "list-ports -o name,snat,floating,subnets,transit,dns,in_bytes",
        ),
        ("list-ports-verbose", "list-ports -v"),
        ("list-address-sets", "list-address-sets"),
        ("dump-address-set", "dump-address-set web"),
        ("list-layers", "list-layers -p g1"),
        ("dump-layer", "dump-layer -p g1 firewall"),
        ("dump-layer-all", "dump-layer -p g1 firewall -o all"),
        ("dump-layer-gateway", "dump-layer -p g1 gateway"),
        ("dump-uft", "dump-uft -p g1"),
        ("dump-tcp-flows", "dump-tcp-flows -p g1"),
        ("dump-v2p", "dump-v2p"),
        ("dump-v2b", "dump-v2b"),
        ("dump-m2p", "dump-m2p"),
        ("dump-mcast-fwd", "dump-mcast-fwd"),
        ("dump-mcast-subs", "dump-mcast-subs"),
        ("dump-router", "dump-router -p g1"),
        ("show-nat", "show-nat -p g1"),
        (
            "show-nat-fields",
            "show-nat -p g1 -o transport,mappings,ports -P",
        ),
        ("show-underlay", "show-underlay"),
        ("show-underlay-links", "show-underlay links"),
        ("stats", "stats"),
        ("stats-port", "stats -p g1"),
        ("version", "version"),
    ] {
        snapshot(name, &fake.line(line).good());
    }
}

#[test]
fn every_page_is_asked_for_and_printed() {
    let fake = fake();
    let out = fake.line("dump-v2p -o address -p").good();
    assert_eq!(out, "10.0.0.1\n10.0.0.2\n10.0.0.200\n");
    let cursors = [0, 70, 71].map(Command::DumpV2p);
    assert_eq!(fake.asked(), cursors);
    let json: Value = serde_json::from_str(&fake.line("dump-v2p --json").good()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
    assert_eq!(
        json[2],
        json!({"vni": 100, "address": "10.0.0.200", "mac": "A8:40:25:F0:00:C8", "sled": "fd00:2::1"})
    );
}

#[test]
fn scripts_get_fields_without_header_and_with_colons_escaped() {
    let fake = fake();
    for (line, expected) in [
        (
            "list-ports -o name,mac,ipv6,in_bytes -p",
            "g1:A8\\:40\\:25\\:F0\\:00\\:01:fd00\\:\\:1:5000000\n\
             a_guest_with_a_longer_name:A8\\:40\\:25\\:F0\\:00\\:01::5000000\n",
        ),
        ("list-ports -P -o vni", "100\n100\n"),
        ("list-ports --parsable --output vni", "100\n100\n"),
        (
            "dump-router -p g1 -o id,class -p",
            "5:system\n6:system\n7:custom\n",
        ),
        ("dump-router -p g1 -o id -P", "5\n6\n7\n"),
        ("dump-router --port g1 --output id --parsable", "5\n6\n7\n"),
        ("dump-router -o id -p -p g1", "5\n6\n7\n"),
        (
            "dump-layer -p g1 firewall -o kind,id,idle,local,by -p",
            "rule:1:1500::\nrule:30:::\nflow::65000:10.0.0.1\\:50000:default\n\
             flow::65000:10.0.0.1\\:50000:30\n",
        ),
        (
            "dump-tcp-flows -p g1 -o state,bytes_in,expires -p",
            "ESTABLISHED:9000000000:7440000\n",
        ),
        (
            "show-underlay routes -o dest,via -p",
            "fd00\\:2\\:\\:/64:\nfd00\\:2\\:\\:/64:fe80\\:\\:2\n",
        ),
        (
            "stats -o name,value -p",
            "generation:40\nflows:500000\nrx_packets:123456789\nfirewall_deny:17\nno_route:3\n",
        ),
        (
            "version -o name,version -p",
            "opteadm:0.1.0\nopteadm:1\nfake:9.8.7\nfake:1\n",
        ),
    ] {
        let out = fake.line(line).good();
        let out = match line.starts_with("version") {
            true => out.split_inclusive('\n').take(4).collect(),
            false => out,
        };
        assert_eq!(out, expected, "{line}");
    }
}

#[test]
fn rules_and_routes_can_be_fed_back() {
    let fake = fake();
    let rules = fake.line("dump-layer -p g1 firewall --rules").good();
    assert_eq!(
        rules,
        "dir=in priority=100 action=allow protocols=tcp ports=22\n\
         dir=out priority=200 action=deny hosts=fd00::1,vni=7\n"
    );
    let taker = Fake::answering(Response::Done);
    taker
        .run_with_input(&["set-fw-rules", "-p", "g2"], &rules)
        .good();
    let lines = rules.lines().map(p).collect();
    assert_eq!(taker.asked(), [Command::SetFwRules(p("g2"), lines)]);

    let routes = fake.line("dump-router -p g1 --routes").good();
    for route in routes.lines() {
        taker
            .line(&format!("add-router-entry -p g2 {route}"))
            .good();
        assert_eq!(taker.asked(), [Command::AddRoute(p("g2"), p(route))]);
    }
    // What the engine makes itself is a comment for whoever reads it back.
    let builtin = fake.line("dump-layer -p g1 gateway --rules").good();
    assert_eq!(builtin, "# arp request for 10.0.0.254 -> reply\n");
}

#[test]
fn json_has_stable_names() {
    let fake = fake();
    let json = |line: &str| -> Value { serde_json::from_str(&fake.line(line).good()).unwrap() };
    let ports = json("list-ports --json");
    assert_eq!(
        ports[0]["ipv4"],
        json!({"address": "10.0.0.1", "gateway": "10.0.0.254"})
    );
    assert_eq!(ports[0]["stats"]["inbound"]["bytes"], 5_000_000);
    assert_eq!(ports[1]["ipv6"], Value::Null);
    let layers = json("list-layers -p g1 --json");
    assert_eq!(layers[1]["layer"], "firewall");
    assert_eq!(layers[1]["default_out"], "stateful_allow");
    let firewall = json("dump-layer -p g1 firewall --json");
    assert_eq!(
        firewall[0]["rule"]["predicates"],
        json!({"firewall": "dir=in priority=100 action=allow protocols=tcp ports=22"})
    );
    assert_eq!(firewall[2]["flow"]["key"]["proto"], "tcp");
    let uft = json("dump-uft -p g1 --json");
    assert_eq!(uft[0]["action"]["encapsulate"]["sled"], "fd00:2::1");
    assert_eq!(uft[1]["action"], json!({"local": 2}));
    assert_eq!(uft[2]["action"], "deliver");
    assert_eq!(json("dump-v2b --json")[0]["endpoints"][0], "fd00:99::1,99");
    assert_eq!(
        json("dump-router -p g1 --json")[0]["route"],
        "0.0.0.0/0 ig system"
    );
    assert_eq!(
        json("dump-tcp-flows -p g1 --json")[0]["state"],
        "ESTABLISHED"
    );
    let underlay = json("show-underlay --json");
    assert_eq!(underlay["generation"], 6);
    assert_eq!(underlay["address"], "fd00:1::1");
    assert_eq!(underlay["links"][0]["name"], "eth1");
    assert_eq!(underlay["neighbours"][0]["mac"], Value::Null);
    assert_eq!(underlay["routes"][1]["via"], "fe80::2");
    assert_eq!(
        json("stats --json")[3],
        json!({"kind": "drop", "name": "firewall_deny", "value": 17})
    );
    assert_eq!(json("version --json")[2]["version"], "9.8.7");
}

#[test]
fn an_empty_listing_prints_nothing_or_an_empty_list() {
    let fake = Fake::answering(Response::V2p(last(vec![])));
    assert_eq!(fake.line("dump-v2p").good(), "");
    assert_eq!(fake.line("dump-v2p -o vni -p").good(), "");
    assert_eq!(fake.line("dump-v2p --json").good(), "[]\n");
}

#[test]
fn the_tools_own_version_needs_no_driver() {
    let nobody = Fake::absent();
    let run = nobody.line("version");
    assert_eq!(run.code, 3);
    assert!(
        run.stdout.contains("tool") && run.stdout.contains("0.1.0"),
        "{}",
        run.stdout
    );
    assert!(run.stderr.contains("no driver listens"), "{}", run.stderr);
}

#[test]
fn completions_name_every_command() {
    let nobody = Fake::absent();
    for shell in ["bash", "zsh", "fish"] {
        let script = nobody.line(&format!("completions {shell}")).good();
        for command in ["create-xde", "dump-tcp-flows", "completions"] {
            assert!(script.contains(command), "{shell}");
        }
    }
}
