//! The command line as it is defined, documented and refused.

#[path = "../../../pkg/man/page.rs"]
mod page;

use super::*;
use clap::CommandFactory as _;

/// The words of an example: quotes keep blanks together.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.into());
        } else {
            words.extend(part.split_whitespace().map(String::from));
        }
    }
    words
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_examples_that_are_command_lines() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter_map(|l| l.strip_prefix("  ")).collect();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let words = words(example);
            assert_eq!(words[1], name, "{example}");
            if let Err(error) = Cli::try_parse_from(&words) {
                panic!("{example}: {error}");
            }
        }
    }
}

#[test]
fn the_help_names_every_setting_of_a_port() {
    let mut cli = Cli::command();
    let command = cli.find_subcommand_mut("set-port-options").unwrap();
    let help = command.render_long_help().to_string();
    let words: Vec<&str> = help.split([',', ' ', '\n']).collect();
    let names = opte_core::api::Setting::of_port("?=1").unwrap_err();
    let (_, names) = names.split_once("none of ").unwrap();
    for name in names.split(", ").filter(|name| !name.ends_with("_s")) {
        assert!(words.contains(&name), "{name}: {help}");
    }
}

#[test]
fn the_manual_page_is_of_today() {
    let others = ["xded(8)", "xde(4D)", "opte-setup(5)", "opte-trace(8)"];
    page::hold("opteadm.8", &page::of(Cli::command(), &others));
    page::hold_at("docs/reference/opteadm.md", &page::markdown(Cli::command()));
}

#[test]
fn the_commands_are_these() {
    let commands = Cli::command();
    let names: Vec<&str> = commands.get_subcommands().map(|c| c.get_name()).collect();
    let expected = "create-xde delete-xde list-ports set-port-options list-layers dump-layer \
         clear-lft dump-uft clear-uft dump-tcp-flows add-fw-rule rm-fw-rule set-fw-rules \
         set-address-set delete-address-set list-address-sets dump-address-set \
         set-v2p clear-v2p dump-v2p \
         set-v2b clear-v2b dump-v2b set-m2p clear-m2p dump-m2p set-mcast-fwd clear-mcast-fwd \
         dump-mcast-fwd mcast-subscribe mcast-unsubscribe mcast-unsubscribe-all dump-mcast-subs \
         set-mcast-listen set-mcast-vni add-router-entry del-router-entry dump-router \
         set-external-ips set-nat show-nat allow-cidr remove-cidr attach-subnet detach-subnet set-xde-underlay \
         clear-xde-underlay show-underlay add-underlay-route del-underlay-route stats \
         set-host-options version apply completions";
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(names, expected);
}

#[test]
fn wrong_command_lines_are_refused_with_the_reason() {
    for (line, why) in [
        ("", "Usage"),
        ("create-xde g1", "--mac"),
        ("create-xde G1 --mac 2:0:0:0:0:1 --vni 1", "a name is"),
        ("create-xde g1 --mac 2:0:0:0:0:1 --vni 1", "--ipv4"),
        (
            "create-xde g1 --mac 2:0:0:0:0:1 --vni 1 --ipv4 10.0.0.1",
            "--ipv4-gateway",
        ),
        (
            "create-xde g1 --mac 2:0:0:0:0:1 --vni 16777216 --ipv4 1.1.1.1",
            "16777215",
        ),
        ("list-ports -p", "--output"),
        ("list-ports --json -o name", "cannot be used"),
        ("dump-layer -p g1 wall", "gateway, firewall, router"),
        ("dump-layer -p g1 nat --rules --json", "cannot be used"),
        ("add-fw-rule -p g1", "KEY=VALUE"),
        ("rm-fw-rule -p g1 up 3", "in, out"),
        ("set-v2p 100 10.0.0.2 nonsense fd00::1", "MAC address"),
        ("set-v2b 10.0.0.1/8 fd00::1", "must be zero"),
        ("set-v2b 10.0.0.0/8", "ENDPOINTS"),
        (
            "add-router-entry -p g1 0.0.0.0/0 nowhere system",
            "drop, ig",
        ),
        ("add-router-entry -p g1 0.0.0.0/0 ig", "CLASS"),
        ("set-external-ips -p g1", "--snat"),
        (
            "set-external-ips -p g1 --none --snat 1.1.1.1,1-2",
            "cannot be used",
        ),
        ("set-xde-underlay --address fd00::1", "LINK"),
        ("set-xde-underlay eth1,x --address fd00::1", "NAME,MTU"),
        ("stats --timeout 0", "1..=86400"),
        ("completions tcsh", "bash"),
        ("set-port-options -p g1", "NAME=VALUE"),
        ("set-port-options -p g1 colour=1", "udp_one_way_s"),
        ("set-port-options -p g1 mtu=big", "is a number"),
        ("set-host-options mtu=1500", "none of flows_max"),
        ("set-address-set Web 10.0.0.1", "a name is"),
        ("set-address-set web 10.0.0.1/8", "must be zero"),
        ("list-ports -v --json", "cannot be used"),
        ("frobnicate", "unrecognized"),
    ] {
        let line = format!("opteadm {line}");
        let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
        assert!(error.to_string().contains(why), "{line}: {error}");
    }
}
