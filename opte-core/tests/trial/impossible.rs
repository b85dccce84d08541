//! Commands that ask for what can't be: each is refused with one sentence, and
//! leaves everything as it was.

use super::{name, world};
use crate::sim::Sled;
use opte_core::api::{Command, TransitPrefix, V2p};
use opte_core::wire::{MacAddr, Vni};

fn vni(number: u32) -> Vni {
    Vni::new(number).unwrap()
}

fn v2p(number: u32, sled: &str) -> Command {
    Command::SetV2p(vec![V2p {
        vni: vni(number),
        address: "10.0.0.9".parse().unwrap(),
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        sled: sled.parse().unwrap(),
    }])
}

fn v2b(end: &str) -> Command {
    Command::SetV2b("0.0.0.0/0".parse().unwrap(), vec![end.parse().unwrap()])
}

fn attach(prefix: &str) -> Command {
    Command::AttachSubnet(name("g1"), prefix.parse().unwrap())
}

fn transit(prefix: &str, inbound: bool, outbound: bool) -> TransitPrefix {
    TransitPrefix {
        prefix: prefix.parse().unwrap(),
        inbound,
        outbound,
    }
}

fn allow(prefix: &str) -> Command {
    Command::AllowCidr(name("g1"), transit(prefix, true, true))
}

/// All that these commands could change.
fn state(sled: &Sled) -> String {
    let ask = |command| format!("{:?}", sled.command(command).unwrap());
    [
        Command::ListPorts(0),
        Command::DumpV2p(0),
        Command::DumpV2b(0),
        Command::DumpM2p(0),
    ]
    .map(ask)
    .join("\n")
}

/// Each command with what is refused about it, and why.
fn impossible() -> Vec<(Command, &'static str, &'static str)> {
    let m2p = "group = \"239.1.1.1\"\nunderlay = \"ff04::1\"\nvni = 99";
    let m2p = Command::SetM2p(vec![toml::from_str(m2p).unwrap()]);
    let outside = "conflicts with another setting (what has this VNI comes from outside of \
                   every VPC)";
    let global = "is out of range (a global or unique local address)";
    let unicast = "is not a unicast address";
    vec![
        (
            attach("224.0.0.0/4"),
            "port g1: attached_subnets 224.0.0.0/4",
            unicast,
        ),
        (
            attach("239.1.1.0/24"),
            "port g1: attached_subnets 239.1.1.0/24",
            unicast,
        ),
        (
            attach("ff00::/8"),
            "port g1: attached_subnets ff00::/8",
            unicast,
        ),
        (
            attach("127.0.0.0/8"),
            "port g1: attached_subnets 127.0.0.0/8",
            unicast,
        ),
        (attach("::1"), "port g1: attached_subnets ::1/128", unicast),
        (
            allow("224.0.0.0/4"),
            "port g1: transit 224.0.0.0/4",
            unicast,
        ),
        (allow("ff0e::/16"), "port g1: transit ff0e::/16", unicast),
        (allow("127.0.0.1"), "port g1: transit 127.0.0.1/32", unicast),
        (allow("::1"), "port g1: transit ::1/128", unicast),
        (allow("0.0.0.0"), "port g1: transit 0.0.0.0/32", unicast),
        (
            Command::RemoveCidr(name("g1"), transit("172.16.0.0/12", false, true)),
            "port g1: transit 172.16.0.0/12",
            "does not exist (it is allowed in only)",
        ),
        (
            Command::SetMcastVni(vni(99)),
            "host: multicast vni 99",
            outside,
        ),
        (m2p, "m2p 239.1.1.1: vni 99", outside),
        (v2p(99, "fd00::9"), "v2p 99 10.0.0.9: vni 99", outside),
        (v2p(7, "fe80::1"), "v2p 7 10.0.0.9: sled fe80::1", global),
        (
            v2p(7, "::ffff:10.0.0.1"),
            "v2p 7 10.0.0.9: sled ::ffff:10.0.0.1",
            global,
        ),
        (v2p(7, "ff04::1"), "v2p 7 10.0.0.9: sled ff04::1", unicast),
        (
            v2b("fe80::1"),
            "v2b 0.0.0.0/0: endpoints fe80::1,99",
            global,
        ),
    ]
}

#[test]
fn what_can_not_be_is_refused_and_changes_nothing() {
    let more = "transit = [{ prefix = \"172.16.0.0/12\", outbound = false }]";
    let sled = world(more);
    let before = state(&sled);
    for (command, object, why) in impossible() {
        let refused = sled.command(command.clone()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("{object} {why}"),
            "{command:?}"
        );
        assert_eq!(state(&sled), before, "{command:?}");
    }
    // What is beside it can be.
    for command in [
        allow("0.0.0.0/0"),
        allow("::/0"),
        attach("198.51.100.0/24"),
        Command::RemoveCidr(name("g1"), transit("172.16.0.0/12", true, true)),
        Command::SetMcastVni(vni(98)),
        v2p(98, "fd00::9"),
        v2b("fd00::9,98"),
    ] {
        sled.command(command.clone())
            .unwrap_or_else(|why| panic!("{command:?}: {why}"));
    }
}
