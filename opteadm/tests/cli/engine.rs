//! The tool and a real engine: what a command leaves behind, and whether what
//! is told of it is so.

use crate::fake::Fake;
use opte_core::Instant;
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, ObjectKind, PortId, PortSpec};
use opte_core::event::Unobserved;
use opte_core::host::{Devices, Host, HostConfig, LinkDevice};
use opte_core::verdict::{LinkId, Output};
use serde_json::Value;

/// Ports have devices; there is no underlay.
struct Bench;

impl Devices for Bench {
    fn open_port(&mut self, _: PortId, _: &PortSpec) -> Result<(), ConfigError> {
        Ok(())
    }

    fn close_port(&mut self, _: PortId) {}

    fn open_link(&mut self, _: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        Err(ConfigError::new(
            ErrorCode::NotFound,
            ObjectKind::Link,
            &spec.name,
        ))
    }

    fn close_link(&mut self, _: LinkId) {}
}

impl Output for Bench {
    fn to_port(&mut self, _: PortId, _: &[u8]) {}

    fn to_link(&mut self, _: LinkId, _: &[u8]) {}
}

/// A driver that is an engine without devices.
fn engine() -> Fake {
    let config = HostConfig { seed: 7, lanes: 1 };
    let host: Host<parking_lot::RawMutex, Unobserved> = Host::new(config, Unobserved);
    let now = Instant::from_millis(1_000);
    Fake::new(move |command| host.command(command, now, &mut Bench, &mut Bench))
}

/// Makes a port of this name, with more.
fn create(name: &str, more: &str) -> String {
    format!(
        "create-xde {name} --mac A8:40:25:F0:00:01 --vni 7 --ipv4 10.0.0.1 \
         --ipv4-gateway 10.0.0.254 {more}"
    )
}

#[test]
fn a_refused_port_is_not_there() {
    let engine = engine();
    for (more, why) in [
        (
            "--option mss_max=100",
            "options.mss_max 100 is out of range",
        ),
        (
            "--option fragment_s=0",
            "options.fragment_s 0 is out of range",
        ),
        (
            "--option fragments_max=0 --mapping address-dependent",
            "options.fragments_max 0 is out of range",
        ),
    ] {
        let run = engine.line(&create("g9", more));
        assert_eq!((run.code, &*run.stdout), (1, ""), "{more}: {run:?}");
        assert!(run.stderr.contains(why), "{}", run.stderr);
        assert_eq!(engine.line("list-ports").good(), "", "{more}");
    }
}

#[test]
fn refused_addresses_leave_the_port_as_it_was() {
    let engine = engine();
    let floating = "--floating 192.0.2.9 --filtering address-dependent";
    engine.line(&create("g1", floating)).good();
    let before = engine.line("list-ports --json").good();
    let line = "set-external-ips -p g1 --snat 192.0.2.1,1024-1024 --floating 192.0.2.1 \
                --mapping address-dependent";
    assert_eq!(engine.line(line).code, 1);
    assert_eq!(engine.line("list-ports --json").good(), before);
    let line = "set-external-ips -p g1 --snat 192.0.2.1,1024-2047 --pooling arbitrary";
    engine.line(line).good();
    let row = engine
        .line("list-ports -o snat,floating,filtering,pooling -p")
        .good();
    assert_eq!(row, "192.0.2.1,1024-2047::address-dependent:arbitrary\n");
}

#[test]
fn a_driver_of_before_refuses_and_has_done_nothing() {
    let old = Fake::new(|_| {
        let error = ConfigError::new(ErrorCode::UnknownCommand, ObjectKind::Request, "");
        Err(error.field("command", 48))
    });
    let run = old.line(&create("g1", "--option decrement_ttl=true"));
    assert_eq!(old.asked().len(), 1);
    assert_eq!((run.code, &*run.stdout), (1, ""));
    assert_eq!(
        run.stderr,
        "opteadm: request: command 48 is not a command that this driver knows \
         (it is older than this tool; nothing was changed) [E10 unknown-command]\n"
    );
}

/// A setup with a port that has everything which isn't in its entry.
const SETUP: &str = r#"
[[port]]
name = "g1"
mac = "A8:40:25:F0:00:01"
vni = 7
ipv4 = { address = "10.0.0.1", gateway = "10.0.0.254" }
ipv6 = { address = "fd00::1", gateway = "fd00::fe" }
options = { decrement_ttl = true, mss_max = 1360, fragment_s = 10, fragments_max = 128 }
external = { nat = { mapping = "address-dependent", pooling = "arbitrary" } }
advertise = { managed = false, interval_s = 30, prefix = { prefix = "fd00::/64", on_link = true } }
"#;

/// What of it each form of the listing is to tell.
const FACTS: [(&str, &str, &str); 16] = [
    ("decrement_ttl", "/options/decrement_ttl", "true"),
    ("mss_max", "/options/mss_max", "1360"),
    ("fragment_s", "/options/fragment_s", "10"),
    ("fragments_max", "/options/fragments_max", "128"),
    ("mapping", "/external/nat/mapping", "address-dependent"),
    (
        "filtering",
        "/external/nat/filtering",
        "endpoint-independent",
    ),
    ("pooling", "/external/nat/pooling", "arbitrary"),
    ("advertise_managed", "/advertise/managed", "false"),
    ("advertise_other", "/advertise/other", "true"),
    ("advertise_interval_s", "/advertise/interval_s", "30"),
    ("advertise_lifetime_s", "", "90"),
    ("advertise_prefix", "/advertise/prefix/prefix", "fd00::/64"),
    ("advertise_on_link", "/advertise/prefix/on_link", "true"),
    (
        "advertise_autonomous",
        "/advertise/prefix/autonomous",
        "false",
    ),
    ("advertise_valid_s", "/advertise/prefix/valid_s", "2592000"),
    (
        "advertise_preferred_s",
        "/advertise/prefix/preferred_s",
        "604800",
    ),
];

#[test]
fn every_form_of_a_listing_tells_what_is_so() {
    let engine = engine();
    let file = engine.file("setup.toml", SETUP);
    engine.run(&["apply", &file]).good();
    let json: Value = serde_json::from_str(&engine.line("list-ports --json").good()).unwrap();
    let verbose = engine.line("list-ports -v").good();
    let all = engine.line("list-ports -o all").good();
    let (heads, row) = all.split_once('\n').unwrap();
    let (heads, row): (Vec<_>, Vec<_>) = (
        heads.split_whitespace().collect(),
        row.split_whitespace().collect(),
    );
    for (name, path, value) in FACTS {
        assert_eq!(
            engine
                .line(&format!("list-ports -o {name} -p"))
                .good()
                .trim(),
            value,
            "{name}"
        );
        let line = verbose
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")));
        assert_eq!(
            line.unwrap().split_whitespace().last(),
            Some(value),
            "{name}"
        );
        let at = heads.iter().position(|head| *head == name.to_uppercase());
        assert_eq!(row[at.unwrap()], value, "{name}");
        if !path.is_empty() {
            let told = json[0].pointer(path).unwrap();
            let told = told.as_str().map_or_else(|| told.to_string(), String::from);
            assert_eq!(told, value, "{path}");
        }
    }
}

#[test]
fn what_is_not_shown_is_not_asked_for() {
    let engine = engine();
    engine.line(&create("g1", "")).good();
    engine.asked();
    for (line, count) in [
        ("list-ports", 1),
        ("list-ports -o name,udp_s -p", 1),
        ("list-ports -o name,mss_max -p", 4),
        ("list-ports -v", 4),
    ] {
        engine.line(line).good();
        assert_eq!(engine.asked().len(), count, "{line}");
    }
}
