//! Rule sets and address sets that are replaced under live flows.

use super::{answer_solicitations, name, stats, world};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, V2p, Verdict, Vni, port};
use opte_core::api::dump::{LayerDumpEntry, RuleEntry};
use opte_core::api::{Command, ErrorCode, FwRule, Response};
use opte_core::{DropReason, LayerId};

const CONNECTIONS: u16 = 1_000;

fn connection(n: u16) -> Flow {
    Flow::new(
        G2,
        &format!("10.0.0.2:{} > 10.0.0.1:{}", 20_000 + n, 1_000 + n),
    )
}

/// Data one way and back; how much of it arrived.
fn exchange(sled: &Sled, n: u16, round: u32) -> (Result<(), DropReason>, Result<(), DropReason>) {
    let call = connection(n);
    let (seq, ack) = (2 + round * 4, 10 + round * 4);
    let there = sled.local("g2", &call.tcp("PA", seq, ack, b"data"));
    let back = sled.local("g1", &call.back(G1).tcp("PA", ack, seq + 4, b"back"));
    (there.map(drop), back.map(drop))
}

/// A rule for each connection, those that `which` names, in an order and with
/// priorities that differ from round to round.
fn rules(round: u32, which: impl Fn(u16) -> bool) -> Vec<FwRule> {
    let priority = |n: u16| (u32::from(n) * 7 + round * 13) % 1_000;
    let rule = |n: u16| {
        let action = if which(n) { "allow" } else { "deny" };
        let text = format!(
            "dir=in priority={} action={action} hosts=10.0.0.2 protocols=tcp ports={} source_ports={}",
            priority(n),
            1_000 + n,
            20_000 + n
        );
        text.parse().unwrap()
    };
    (0..CONNECTIONS).map(rule).collect()
}

#[test]
fn a_thousand_connections_carry_data_while_a_thousand_rules_are_replaced() {
    let sled = Sled::with(1, &(port("g1", 1, "") + &port("g2", 2, "")));
    let set = |rules| {
        sled.command(Command::SetFwRules(name("g1"), rules))
            .unwrap();
    };
    set(rules(0, |_| true));
    for n in 0..CONNECTIONS {
        let call = connection(n);
        sled.local("g2", &call.tcp("S", 1, 0, b"")).unwrap();
        sled.local("g1", &call.back(G1).tcp("SA", 9, 2, b""))
            .unwrap();
        sled.local("g2", &call.tcp("A", 2, 10, b"")).unwrap();
    }
    sled.events("");
    // In each round another tenth is forbidden for good.
    for round in 0..5 {
        let allowed = |round: u32, n: u16| u32::from(n % 10) >= round;
        for n in 0..CONNECTIONS {
            // In the middle of the round, between two packets of one connection.
            if n == CONNECTIONS / 2 {
                set(rules(round + 1, |n| allowed(round + 1, n)));
            }
            let round_now = round + u32::from(n >= CONNECTIONS / 2);
            let sent = exchange(&sled, n, round);
            let expected = match allowed(round_now, n) {
                true => Ok(()),
                false => Err(DropReason::FirewallDeny),
            };
            assert_eq!(sent, (expected, expected), "round {round} connection {n}");
        }
        assert_eq!(sled.events("FlowExpire").len(), 0, "no state is lost");
    }
    let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g1"), 0)) else {
        panic!()
    };
    assert_eq!(page.entries.len(), usize::from(CONNECTIONS));
    for entry in page.entries {
        let n = entry.key.local_port - 1_000;
        // The rules under which it was tried last.
        let forbidden = 4 + u16::from(n >= CONNECTIONS / 2);
        let state = match n % 10 < forbidden {
            true => "REVOKED",
            false => "ESTABLISHED",
        };
        assert_eq!(entry.state, state, "connection {n}");
    }
}

/// The firewall rules of a port, with their counters.
fn fw_rules(sled: &Sled, port: &str) -> Vec<RuleEntry> {
    let dump = Command::DumpLayer(name(port), LayerId::Firewall, 0);
    let Ok(Response::Layer(page)) = sled.command(dump) else {
        panic!()
    };
    let rule = |entry| match entry {
        LayerDumpEntry::Rule(rule) => Some(rule),
        LayerDumpEntry::Flow(_) => None,
    };
    page.entries.into_iter().filter_map(rule).collect()
}

#[test]
fn a_rule_counts_what_it_let_pass_both_ways_and_when_it_was_last() {
    let text = r#"rules = ["dir=in priority=1 action=allow protocols=udp ports=53",
        "dir=in priority=2 action=deny protocols=udp"]"#;
    let sled = Sled::with(1, &(port("g1", 1, text) + &port("g2", 2, "")));
    let call = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:53");
    let (there, back) = (call.udp(b"question"), call.back(G1).udp(b"a long answer"));
    sled.local("g2", &there).unwrap();
    sled.advance(2_000);
    sled.local("g1", &back).unwrap();
    sled.advance(3_000);
    let other = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:54");
    sled.local("g2", &other.udp(b"")).unwrap_err();
    sled.advance(1_000);
    let [allow, deny] = fw_rules(&sled, "g1").try_into().unwrap();
    // A flow keeps its time to a quarter of a second.
    let idle = |rule: &RuleEntry, ms: u64| (ms..ms + 300).contains(&rule.idle_ms.unwrap());
    assert_eq!(
        (allow.packets, allow.bytes),
        (2, (there.len() + back.len()) as u64)
    );
    assert!(idle(&allow, 4_000), "{allow:?}");
    assert_eq!(deny.packets, 1);
    assert!(idle(&deny, 1_000), "{deny:?}");
    // Another set with the same rule in it: the rule goes on counting.
    let same = "dir=in priority=1 action=allow protocols=udp ports=53";
    let new = "dir=in priority=0 action=deny protocols=tcp";
    let rules = [same, new].map(|text| text.parse().unwrap());
    sled.command(Command::SetFwRules(name("g1"), rules.into()))
        .unwrap();
    sled.local("g2", &there).unwrap();
    let [new, same] = fw_rules(&sled, "g1").try_into().unwrap();
    assert_eq!((same.id, same.packets), (allow.id, 3));
    assert!(idle(&same, 0), "{same:?}");
    assert_eq!((new.packets, new.idle_ms), (0, None));
}

const SETS: &str = r#"
[[address_set]]
name = "friends"
prefixes = ["10.0.0.0/25", "fd00:7::2"]
[[address_set]]
name = "nobody"
"#;

fn set(sled: &Sled, set: &str, prefixes: &[&str]) {
    let prefixes = prefixes.iter().map(|text| text.parse().unwrap()).collect();
    sled.command(Command::SetAddressSet(name(set), prefixes))
        .unwrap();
}

#[test]
fn an_address_set_is_replaced_whole_and_live_flows_follow() {
    let by_set = r#"rules = ["dir=in priority=1 action=allow hosts=set=friends",
        "dir=in priority=0 action=deny hosts=set=nobody"]"#;
    let setup = SETS.to_string() + &port("g1", 1, by_set) + &port("g2", 2, ALLOW_ALL);
    let sled = Sled::with(1, &setup);
    let v4 = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:53");
    let v6 = Flow::new(G2, "[fd00:7::2]:1000 > [fd00:7::1]:53");
    let tcp = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:80");
    sled.local("g2", &v4.udp(b"")).unwrap();
    sled.local("g2", &v6.udp(b"")).unwrap();
    sled.local("g2", &tcp.tcp("S", 1, 0, b"")).unwrap();
    sled.local("g1", &tcp.back(G1).tcp("SA", 9, 2, b""))
        .unwrap();
    // The new content still has the IPv4 address: nothing is lost of its flows.
    set(&sled, "friends", &["10.0.0.2"]);
    sled.local("g1", &v4.back(G1).udp(b"")).unwrap();
    sled.local("g2", &tcp.tcp("A", 2, 10, b"x")).unwrap();
    let no = Err(DropReason::FirewallDefault);
    assert_eq!(sled.local("g2", &v6.udp(b"")), no);
    // Judged as opened, whichever side speaks first.
    set(&sled, "friends", &["fd00:7::/64"]);
    assert_eq!(sled.local("g1", &v4.back(G1).udp(b"")), no);
    assert_eq!(sled.local("g2", &tcp.tcp("A", 2, 10, b"x")), no);
    sled.local("g2", &v6.udp(b"")).unwrap();
    set(&sled, "friends", &["0.0.0.0/0"]);
    set(&sled, "nobody", &["10.0.0.2"]);
    let denied = Err(DropReason::FirewallDeny);
    assert_eq!(sled.local("g2", &tcp.tcp("A", 2, 10, b"x")), denied);
    set(&sled, "nobody", &[]);
    sled.local("g2", &tcp.tcp("A", 2, 10, b"x")).unwrap();
}

#[test]
fn a_changed_set_touches_no_port_that_does_not_name_it() {
    let by_set = r#"rules = ["dir=in priority=1 action=allow hosts=set=friends"]"#;
    let setup = SETS.to_string() + &port("g1", 1, by_set) + &port("g2", 2, ALLOW_ALL);
    let sled = Sled::with(1, &setup);
    let flow = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:53");
    sled.local("g2", &flow.udp(b"")).unwrap();
    for (changed, judged) in [("nobody", 0), ("friends", 1)] {
        set(&sled, changed, &["10.0.0.2", "10.0.0.3"]);
        sled.events("");
        sled.local("g2", &flow.udp(b"")).unwrap();
        let asked = sled.events("UftInvalidate");
        assert_eq!(asked.len(), judged, "{changed}: {asked:?}");
    }
}

#[test]
fn address_sets_are_listed_and_refused_by_name() {
    let by_set = r#"rules = ["dir=in priority=1 action=allow hosts=set=friends,10.9.0.0/16"]"#;
    let setup = SETS.to_string() + &port("g1", 1, by_set) + &port("g2", 2, by_set);
    let sled = Sled::with(1, &setup);
    let Ok(Response::AddressSets(page)) = sled.command(Command::ListAddressSets(0)) else {
        panic!()
    };
    let listed: Vec<_> = page
        .entries
        .iter()
        .map(|e| (e.name.as_str(), e.prefixes, e.rules))
        .collect();
    assert_eq!(listed, [("friends", 2, 2), ("nobody", 0, 0)]);
    let dump = |set| match sled.command(Command::DumpAddressSet(name(set), 0)) {
        Ok(Response::Prefixes(page)) => Ok(page.entries.iter().map(|p| p.to_string()).collect()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    let expected: Vec<String> = ["10.0.0.0/25", "fd00:7::2/128"].map(String::from).into();
    assert_eq!(dump("friends"), Ok(expected));
    assert_eq!(dump("x"), Err("address set x does not exist".into()));
    let refused = |command| sled.command(command).unwrap_err().to_string();
    assert_eq!(
        refused(Command::DeleteAddressSet(name("friends"))),
        "address set friends is in use (by rules of port g1)"
    );
    let rule = "dir=out priority=7 action=deny hosts=set=x"
        .parse()
        .unwrap();
    assert_eq!(
        refused(Command::AddFwRule(name("g1"), rule)),
        "rule dir=out priority=7 action=deny: hosts set=x does not exist (port g1)"
    );
    sled.command(Command::DeleteAddressSet(name("nobody")))
        .unwrap();
    sled.command(Command::SetFwRules(name("g1"), vec![]))
        .unwrap();
    sled.command(Command::SetFwRules(name("g2"), vec![]))
        .unwrap();
    sled.command(Command::DeleteAddressSet(name("friends")))
        .unwrap();
}

#[test]
fn a_setup_changes_sets_and_the_ports_that_name_them_in_one_breath() {
    let by_set = r#"rules = ["dir=in priority=1 action=allow hosts=set=friends"]"#;
    let ports = port("g1", 1, by_set) + &port("g2", 2, ALLOW_ALL);
    let sled = Sled::with(1, &(SETS.to_string() + &ports));
    let flow = Flow::new(G2, "10.0.0.2:1000 > 10.0.0.1:53");
    sled.local("g2", &flow.udp(b"")).unwrap();
    let changes = |setup: &str| match sled.apply(setup) {
        Ok(Response::Applied(applied)) => {
            let line =
                |change: opte_core::api::Change| format!("{:?} {}", change.verb, change.object);
            applied.changes.into_iter().map(line).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(changes(&(SETS.to_string() + &ports)), Vec::<String>::new());
    let other = "[[address_set]]\nname = \"friends\"\nprefixes = [\"10.9.0.0/16\"]\n";
    assert_eq!(
        changes(&(other.to_string() + &ports)),
        ["Remove address set nobody", "Change address set friends"]
    );
    let no = Err(DropReason::FirewallDefault);
    assert_eq!(sled.local("g2", &flow.udp(b"")), no);
    // A set and its rules go together; one without the other doesn't.
    let error = sled.apply(&ports).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound, "{error}");
    let without = port("g1", 1, "") + &port("g2", 2, ALLOW_ALL);
    assert_eq!(
        changes(&without),
        ["Remove address set friends", "Change port g1"]
    );
}

fn v2p(address: &str) -> V2p {
    V2p {
        vni: Vni::new(7).unwrap(),
        address: address.parse().unwrap(),
        mac: crate::G3,
        sled: "fd00:2::1".parse().unwrap(),
    }
}

fn clear_v2p(sled: &Sled, address: &str) {
    let vni = Vni::new(7).unwrap();
    sled.command(Command::ClearV2p(vni, address.parse().unwrap()))
        .unwrap();
}

/// What becomes of a frame of g1: sent, or dropped for a reason.
fn sent(sled: &Sled, frame: &[u8]) -> Result<(), DropReason> {
    let (verdict, _) = sled.tx("g1", frame);
    answer_solicitations(sled);
    match verdict {
        Verdict::Link(_) | Verdict::Held => Ok(()),
        Verdict::Dropped(reason) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rule_about_vpcs_is_asked_again_when_the_mapping_changes() {
    let more = r#"rules = ["dir=out priority=1 action=allow hosts=vni=7",
        "dir=out priority=2 action=deny"]"#;
    let sled = world(more);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53");
    assert_eq!(sent(&sled, &flow.udp(b"")), Ok(()));
    for _ in 0..2 {
        clear_v2p(&sled, "10.0.0.3");
        assert_eq!(sent(&sled, &flow.udp(b"")), Err(DropReason::FirewallDeny));
        sled.command(Command::SetV2p(vec![v2p("10.0.0.3")]))
            .unwrap();
        assert_eq!(sent(&sled, &flow.udp(b"")), Ok(()));
    }
    // Changes of others' mappings are nothing to this flow.
    sled.command(Command::SetV2p(vec![v2p("10.0.0.99")]))
        .unwrap();
    sled.events("");
    assert_eq!(sent(&sled, &flow.udp(b"")), Ok(()));
    assert_eq!(sled.events("LayerProcessEntry").len(), 0);
}

#[test]
fn a_rule_about_vpcs_is_asked_again_also_where_the_way_is_another_guests() {
    let more = r#"rules = ["dir=out priority=1 action=deny hosts=vni=7"]
external = { ephemeral = ["203.0.113.7"] }"#;
    let sled = world(more);
    let by_g3 = "192.0.2.0/24 ip4=10.0.0.3 custom".parse().unwrap();
    sled.command(Command::AddRoute(name("g1"), by_g3)).unwrap();
    // One by way of g3, one by the internet gateway; neither is of the VPC.
    for (to, address) in [
        ("192.0.2.7:80", "192.0.2.7"),
        ("198.51.100.5:80", "198.51.100.5"),
    ] {
        let flow = Flow::new(G1, &format!("10.0.0.1:1000 > {to}"));
        assert_eq!(sent(&sled, &flow.tcp("S", 1, 0, b"")), Ok(()), "{to}");
        sled.command(Command::SetV2p(vec![v2p(address)])).unwrap();
        let denied = Err(DropReason::FirewallDeny);
        assert_eq!(sent(&sled, &flow.tcp("S", 1, 0, b"")), denied, "{to}");
        clear_v2p(&sled, address);
        assert_eq!(sent(&sled, &flow.tcp("S", 1, 0, b"")), Ok(()), "{to}");
    }
    let flows = stats(&sled, Some("g1")).flows;
    assert_eq!(flows, 2, "one for each");
}
