//! One or more representative values of every message.

use opte_core::api::dump::{
    AddressSetEntry, Counter, DefaultAction, DirStats, FlowKey, LayerDumpEntry, LayerEntry,
    LayerFlow, LinkEntry, NeighbourEntry, PortEntry, PortStats, RouteEntry, RuleEntry, RuleText,
    Stats, TcpEntry, UftAction, UftEntry, UnderlayEntry,
};
use opte_core::api::nat::PoolEntry;
use opte_core::api::{
    AddressSet, Advertise, AdvertisedPrefix, Applied, Behaviour, Change, ChangeVerb, Command,
    DhcpOptions, ExternalIps, Floating, FwRule, HostOptions, Ipv4Config, Ipv6Config, LinkSpec, M2p,
    McastForward, McastMember, McastOrigin, McastSub, MulticastSpec, Name, NatChange, NatEntry,
    NatOptions, Page, Pooling, PortId, PortOptions, PortSpec, Prefix, Response, RouteSpec, Setting,
    Setup, Snat, SourceFilter, TransitPrefix, UnderlayRoute, UnderlaySpec, V2b, V2p,
};
use opte_core::flow::{Family, Proto};
use opte_core::layer::nat::Transport;
use opte_core::wire::{MacAddr, Vni};
use opte_core::{Direction, LayerId};
use std::fmt::Debug;
use std::str::FromStr;

fn p<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn name() -> Name {
    p("guest_1")
}

fn rule() -> FwRule {
    p(
        "dir=out priority=300 action=allow hosts=10.0.0.0/8,fd00::/16,vni=7 \
       protocols=tcp,icmp:8/0,89 ports=22,8000-8100 source_ports=1024-65535",
    )
}

fn v2p() -> V2p {
    V2p {
        vni: p("100"),
        address: p("10.0.0.2"),
        mac: p("A8:40:25:F0:00:02"),
        sled: p("fd00:2::1"),
    }
}

fn v2b() -> V2b {
    V2b {
        prefix: p("0.0.0.0/0"),
        endpoints: vec![p("fd00:99::1,99"), p("fd00:99::2")],
    }
}

const fn nat_options() -> NatOptions {
    NatOptions {
        mapping: Behaviour::AddressAndPortDependent,
        filtering: Behaviour::AddressDependent,
        pooling: Pooling::Arbitrary,
    }
}

fn external() -> ExternalIps {
    ExternalIps {
        snat: vec![Snat {
            address: p("192.0.2.1"),
            first_port: 16_384,
            last_port: 32_767,
        }],
        ephemeral: vec![p("192.0.2.2"), p("2001:db8::2")],
        floating: vec![
            Floating {
                address: p("192.0.2.3"),
                gateway: None,
            },
            Floating {
                address: p("2001:db8::3"),
                gateway: Some(p("01234567-89ab-cdef-0123-456789abcdef")),
            },
        ],
        ..ExternalIps::default()
    }
}

fn transit() -> TransitPrefix {
    TransitPrefix {
        prefix: p("172.16.0.0/12"),
        inbound: true,
        outbound: false,
    }
}

fn dhcp() -> DhcpOptions {
    DhcpOptions {
        hostname: Some("g1".into()),
        domain: Some("example.org".into()),
        search: vec!["a.example".into(), "b.example".into()],
        dns4: vec![p("9.9.9.9")],
        dns6: vec![p("2620:fe::9")],
        ntp4: vec![p("10.0.0.123")],
        ntp6: vec![p("fd00::123")],
        lease_s: Some(3_600),
    }
}

/// A port with the fewest fields that one can have.
fn small_port() -> PortSpec {
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

fn full_port() -> PortSpec {
    PortSpec {
        name: name(),
        ipv6: Some(Ipv6Config {
            address: p("fd00::1"),
            gateway: p("fd00::fe"),
        }),
        mtu: 8_900,
        dhcp: dhcp(),
        external: external(),
        attached_subnets: vec![p("198.51.100.0/24")],
        transit: vec![transit()],
        rules: vec![rule()],
        routes: routes(),
        ..small_port()
    }
}

fn routes() -> Vec<RouteSpec> {
    [
        "0.0.0.0/0 ig system",
        "::/0 ig=01234567-89ab-cdef-0123-456789abcdef custom",
        "10.0.0.0/16 sub4=10.0.0.0/16 system",
        "10.1.0.0/16 ip4=10.0.0.9 custom",
        "10.2.0.0/16 drop custom",
    ]
    .map(p)
    .into()
}

fn underlay_route() -> UnderlayRoute {
    UnderlayRoute {
        dest: p("fd00:2::/64"),
        via: Some(p("fe80::2")),
        link: "eth1".into(),
    }
}

fn underlay() -> UnderlaySpec {
    UnderlaySpec {
        address: p("fd00:1::1"),
        links: vec![LinkSpec {
            name: "eth1".into(),
            mtu: 9_000,
        }],
        routes: vec![
            underlay_route(),
            UnderlayRoute {
                via: None,
                ..underlay_route()
            },
        ],
    }
}

fn page<T>(entries: Vec<T>) -> Page<T> {
    Page {
        entries,
        next: Some(1_024),
        generation: 9,
    }
}

fn key(local_port: u16) -> FlowKey {
    FlowKey {
        family: Family::V4,
        proto: Proto::TCP,
        local: p("10.0.0.1"),
        local_port,
        remote: p("10.0.0.2"),
        remote_port: 443,
    }
}

/// Commands, each with a name.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let setup = Setup {
        underlay: Some(underlay()),
        v2p: vec![v2p()],
        v2b: vec![v2b()],
        ports: vec![small_port()],
        ..Setup::default()
    };
    let mut commands = vec![
        ("small", Command::CreatePort(small_port())),
        ("full", Command::CreatePort(full_port())),
        ("one", Command::DeletePort(name())),
        ("start", Command::ListPorts(0)),
        ("further", Command::ListPorts(u64::MAX)),
        ("one", Command::ListLayers(name())),
        ("one", Command::DumpLayer(name(), LayerId::Firewall, 70_000)),
        ("one", Command::DumpUft(name(), 1)),
        ("one", Command::ClearUft(name())),
        ("one", Command::ClearLft(name(), LayerId::Nat)),
        ("one", Command::DumpTcpFlows(name(), 2)),
        ("one", Command::AddFwRule(name(), rule())),
        ("one", Command::RmFwRule(name(), Direction::In, 300)),
        (
            "two",
            Command::SetFwRules(name(), vec![rule(), p("dir=in priority=1 action=deny")]),
        ),
        ("none", Command::SetFwRules(name(), vec![])),
        ("one", Command::SetV2p(vec![v2p()])),
        ("one", Command::ClearV2p(p("100"), p("fd00::2"))),
        ("one", Command::DumpV2p(3)),
        ("two", Command::SetV2b(v2b().prefix, v2b().endpoints)),
        ("all", Command::ClearV2b(v2b().prefix, vec![])),
        ("one", Command::DumpV2b(4)),
        ("gateway", Command::AddRoute(name(), routes()[1])),
        ("subnet", Command::AddRoute(name(), routes()[2])),
        ("next-hop", Command::AddRoute(name(), routes()[3])),
        ("drop", Command::DelRoute(name(), routes()[4])),
        ("one", Command::DumpRoutes(name(), 5)),
        ("all", Command::SetExternalIps(name(), external())),
        ("one", Command::AllowCidr(name(), transit())),
        ("one", Command::RemoveCidr(name(), transit())),
        (
            "one",
            Command::AttachSubnet(name(), p::<Prefix>("fd01::/48")),
        ),
        (
            "one",
            Command::DetachSubnet(name(), p::<Prefix>("fd01::/48")),
        ),
        ("one", Command::SetUnderlay(underlay())),
        ("one", Command::ClearUnderlay),
        ("one", Command::ShowUnderlay),
        ("one", Command::DumpUnderlayRoutes(6)),
        ("one", Command::AddUnderlayRoute(underlay_route())),
        ("one", Command::DelUnderlayRoute(underlay_route())),
        ("host", Command::Stats(None)),
        ("port", Command::Stats(Some(name()))),
        ("one", Command::Apply(setup)),
        ("empty", Command::Apply(Setup::default())),
    ];
    commands.extend(newer_commands());
    commands.extend(whole_commands());
    commands.extend(group_commands());
    commands
}

/// Commands that came after the founding ones.
fn newer_commands() -> Vec<(&'static str, Command)> {
    let set = AddressSet {
        name: p("web"),
        prefixes: vec![p("192.0.2.0/24"), p("fd00::7")],
    };
    let setup = Setup {
        underlay: Some(underlay()),
        host: HostOptions { flows_max: 1_000 },
        address_sets: vec![set.clone()],
        v2p: vec![v2p()],
        v2b: vec![v2b()],
        ports: vec![small_port()],
        ..Setup::default()
    };
    let mut translated = small_port();
    translated.external.nat = nat_options();
    let with_nat = Setup {
        ports: vec![translated],
        ..Setup::default()
    };
    let by_set = p("dir=in priority=1 action=deny hosts=set=web");
    let mut traced = small_port();
    (traced.options.decrement_ttl, traced.options.mss_max) = (true, 1_360);
    let with_path = Setup {
        ports: vec![traced],
        ..Setup::default()
    };
    let mut patient = small_port();
    (patient.options.fragment_s, patient.options.fragments_max) = (60, 300);
    let with_fragments = Setup {
        ports: vec![patient],
        ..Setup::default()
    };
    vec![
        ("path", Command::ApplyParts(with_path.into_parts())),
        (
            "fragments",
            Command::ApplyParts(with_fragments.into_parts()),
        ),
        ("one", Command::ShowPortOptions(name())),
        ("by-set", Command::AddFwRule(name(), by_set)),
        ("two", Command::SetPortOptions(name(), two_settings())),
        ("two", Command::SetAddressSet(set.name, set.prefixes)),
        ("one", Command::DeleteAddressSet(p("web"))),
        ("one", Command::ListAddressSets(7)),
        ("one", Command::DumpAddressSet(p("web"), 8)),
        ("all", Command::ApplyParts(setup.into_parts())),
        ("none", Command::ApplyParts(vec![])),
        ("nat", Command::ApplyParts(with_nat.into_parts())),
        (
            "one",
            Command::SetHostOptions(vec![Setting {
                number: 1,
                value: 65_536,
            }]),
        ),
        ("nothing", Command::SetNat(name(), NatChange::default())),
        ("all", Command::SetNat(name(), NatChange::to(nat_options()))),
        ("one", Command::ShowNat(name())),
    ]
}

/// Commands that do at once what takes several of the founding ones.
fn whole_commands() -> Vec<(&'static str, Command)> {
    let mut whole = PortSpec {
        external: ExternalIps {
            nat: nat_options(),
            ..external()
        },
        advertise: advertise(),
        ..full_port()
    };
    (whole.options.decrement_ttl, whole.options.fragment_s) = (true, 60);
    vec![
        ("whole", Command::CreatePortParts(whole.into_parts())),
        ("one", Command::ShowAdvertise(name())),
        (
            "all",
            Command::SetExternalNat(name(), external(), NatChange::to(nat_options())),
        ),
    ]
}

/// Commands about groups.
fn group_commands() -> Vec<(&'static str, Command)> {
    let MulticastSpec { m2p, forward, .. } = multicast();
    let [group, underlay] = [p("239.1.1.1"), p("ff0e::101")];
    let filter = p::<SourceFilter>("include=10.0.0.7,10.0.0.8");
    let hops = forward[0].hops.clone();
    let to = forward[0].underlay;
    let setup = Setup {
        multicast: multicast(),
        ..Setup::default()
    };
    vec![
        ("two", Command::SetM2p(m2p)),
        ("fleet", Command::ClearM2p(None, group)),
        ("vpc", Command::ClearM2p(Some(p("100")), underlay)),
        ("one", Command::DumpM2p(1)),
        ("three", Command::SetMcastFwd(to, hops)),
        ("one", Command::ClearMcastFwd(to, vec![p("fd00::9")])),
        ("all", Command::ClearMcastFwd(to, vec![])),
        ("one", Command::DumpMcastFwd(2)),
        ("some", Command::McastSubscribe(name(), group, filter)),
        (
            "any",
            Command::McastSubscribe(name(), underlay, SourceFilter::ANY),
        ),
        ("one", Command::McastUnsubscribe(name(), group)),
        ("port", Command::McastUnsubscribeAll(Some(name()), None)),
        ("group", Command::McastUnsubscribeAll(None, Some(group))),
        ("one", Command::DumpMcastSubs(3)),
        ("on", Command::SetMcastListen(name(), true)),
        ("one", Command::SetMcastVni(p("100"))),
        ("multicast", Command::ApplyParts(setup.into_parts())),
    ]
}

fn multicast() -> MulticastSpec {
    let m2p = |group: &str, underlay: &str, vni| M2p {
        group: p(group),
        underlay: p(underlay),
        vni,
    };
    MulticastSpec {
        vni: p("77"),
        m2p: vec![
            m2p("239.1.1.1", "ff04::e001:101", None),
            m2p("ff0e::101", "ff04::101", Some(p("100"))),
        ],
        forward: vec![McastForward {
            underlay: p("ff04::101"),
            hops: vec![p("fd00::9,external"), p("ff04::101"), p("fd00::8,both")],
        }],
        member: vec![McastMember {
            port: name(),
            group: p("239.1.1.1"),
            filter: p("exclude=10.0.0.9"),
        }],
        listen: vec![name()],
    }
}

fn port_entry() -> PortEntry {
    let stats = DirStats {
        packets: 1,
        bytes: 1_000,
        hits: 2,
        misses: 3,
        hairpins: 4,
        drops: 5,
    };
    PortEntry {
        id: PortId(7),
        name: name(),
        mac: p("A8:40:25:F0:00:01"),
        vni: Vni::new(Vni::MAX).unwrap(),
        ipv4: full_port().ipv4,
        ipv6: full_port().ipv6,
        mtu: 1_500,
        gateway_mac: MacAddr::GATEWAY,
        dhcp: dhcp(),
        options: PortOptions::default(),
        external: external(),
        attached_subnets: vec![p("198.51.100.0/24")],
        transit: vec![transit()],
        generation: 12,
        flows: 65_536,
        stats: PortStats {
            inbound: stats,
            outbound: DirStats::default(),
        },
    }
}

fn layer_entries() -> Vec<LayerDumpEntry> {
    let rule_entry = |predicates| RuleEntry {
        id: 3,
        dir: Direction::Out,
        priority: Some(300),
        predicates,
        packets: 10,
        bytes: 1 << 40,
        idle_ms: Some(1_500),
    };
    vec![
        LayerDumpEntry::Rule(rule_entry(RuleText::Firewall(rule()))),
        LayerDumpEntry::Rule(RuleEntry {
            priority: None,
            idle_ms: None,
            ..rule_entry(RuleText::Route(routes()[0]))
        }),
        LayerDumpEntry::Rule(rule_entry(RuleText::BuiltIn("arp".into(), "reply".into()))),
        LayerDumpEntry::Flow(LayerFlow {
            key: key(1),
            outside: Some(key(20_000)),
            opened: Direction::Out,
            rule: 3,
            idle_ms: 20,
        }),
    ]
}

fn uft_entries() -> Vec<UftEntry> {
    [
        UftAction::Deliver,
        UftAction::Local(PortId(2)),
        UftAction::Encapsulate {
            sled: p("fd00:2::1"),
            vni: p("100"),
            mac: p("A8:40:25:F0:00:02"),
            source_port: 50_000,
        },
    ]
    .map(|action| UftEntry {
        dir: Direction::In,
        before: key(1),
        after: key(2),
        action,
        packets: 1,
        bytes: 64,
        idle_ms: 5,
        current: true,
    })
    .into()
}

fn underlay_entry() -> UnderlayEntry {
    UnderlayEntry {
        generation: 6,
        address: Some(p("fd00:1::1")),
        links: vec![LinkEntry {
            name: "eth1".into(),
            mac: p("02:00:00:00:00:01"),
            link_local: p("fe80::1"),
            mtu: 9_000,
            rx_packets: 1,
            rx_bytes: 2,
            tx_packets: 3,
            tx_bytes: 4,
        }],
        neighbours: vec![NeighbourEntry {
            address: p("fe80::2"),
            link: "eth1".into(),
            mac: None,
            state: "INCOMPLETE".into(),
            queued: 1,
        }],
    }
}

/// Responses, each with a name.
pub(crate) fn responses() -> Vec<(&'static str, Response)> {
    let mut responses = short_responses();
    responses.extend(pages());
    responses.sort_by_key(|(_, response)| opte_ioctl::response::number(response));
    responses
}

/// Responses in one piece.
fn short_responses() -> Vec<(&'static str, Response)> {
    let counter = |name: &str| Counter {
        name: name.into(),
        value: 1_000,
    };
    let change = |verb, object: &str| Change {
        verb,
        object: object.into(),
    };
    let layer = LayerEntry {
        layer: LayerId::Firewall,
        default_in: DefaultAction::Deny,
        default_out: DefaultAction::StatefulAllow,
        rules_in: 1,
        rules_out: 2,
        flows: 3,
        default_hits_in: 4,
        default_hits_out: 5,
    };
    let stats = Stats {
        generation: 1,
        flows: 2,
        counters: vec![counter("rx")],
        drops: vec![counter("no_route")],
    };
    let pool = PoolEntry {
        address: p("192.0.2.1"),
        transport: Transport::Echo,
        mappings: 1,
        resting: 2,
        ports: 64_512,
    };
    let nat = NatEntry {
        generation: 9,
        options: nat_options(),
        pools: vec![pool],
    };
    let applied = Applied {
        generation: 8,
        changes: vec![
            change(ChangeVerb::Add, "port g1"),
            change(ChangeVerb::Remove, "port g2"),
            change(ChangeVerb::Change, "port g3"),
        ],
        more: 1,
    };
    vec![
        ("one", Response::Done),
        ("one", Response::Id(300)),
        ("one", Response::Count(1 << 33)),
        ("one", Response::Layers(vec![layer])),
        ("one", Response::Underlay(underlay_entry())),
        ("none", Response::Underlay(UnderlayEntry::default())),
        ("one", Response::Stats(stats)),
        ("three", Response::Applied(applied)),
        ("one", Response::Nat(nat)),
        ("two", Response::Settings(two_settings())),
        ("usual", Response::Advertise(Advertise::default())),
        ("all", Response::Advertise(advertise())),
    ]
}

fn advertise() -> Advertise {
    Advertise {
        managed: false,
        other: true,
        interval_s: 30,
        lifetime_s: Some(90),
        prefix: Some(AdvertisedPrefix {
            prefix: p("fd00::/64"),
            on_link: true,
            autonomous: false,
            valid_s: 86_400,
            preferred_s: 3_600,
        }),
    }
}

fn two_settings() -> Vec<Setting> {
    let set = |(number, value)| Setting { number, value };
    [(1, 8_930), (13, 0)].map(set).into()
}

fn subs() -> Vec<McastSub> {
    let sub = |by, filter: &str, expires_ms| McastSub {
        port: name(),
        group: p("239.1.1.1"),
        filter: p(filter),
        by,
        expires_ms,
    };
    vec![
        sub(McastOrigin::Operator, "any", None),
        sub(McastOrigin::Guest, "include=10.0.0.7", Some(260_000)),
    ]
}

/// Responses that come in pages.
fn pages() -> Vec<(&'static str, Response)> {
    let tcp = TcpEntry {
        key: key(1),
        opened: Direction::In,
        state: "ESTABLISHED".into(),
        packets_out: 1,
        packets_in: 2,
        bytes_out: 3,
        bytes_in: 4,
        idle_ms: 5,
        expires_ms: 6,
    };
    let set = AddressSetEntry {
        name: p("web"),
        prefixes: 16_384,
        rules: 2,
    };
    let route = RouteEntry {
        id: 4,
        route: routes()[0],
    };
    let last = Page {
        next: None,
        ..page(vec![underlay_route()])
    };
    vec![
        ("one", Response::Ports(page(vec![port_entry()]))),
        ("every-kind", Response::Layer(page(layer_entries()))),
        ("every-kind", Response::Uft(page(uft_entries()))),
        ("one", Response::Tcp(page(vec![tcp]))),
        ("one", Response::V2p(page(vec![v2p()]))),
        ("one", Response::V2b(page(vec![v2b()]))),
        ("one", Response::Routes(page(vec![route]))),
        ("last-page", Response::UnderlayRoutes(last)),
        ("one", Response::AddressSets(page(vec![set]))),
        (
            "two",
            Response::Prefixes(page(vec![p("10.0.0.0/8"), p("fd00::/16")])),
        ),
        ("two", Response::M2p(page(multicast().m2p))),
        ("one", Response::McastFwd(page(multicast().forward))),
        ("two", Response::McastSubs(page(subs()))),
    ]
}
