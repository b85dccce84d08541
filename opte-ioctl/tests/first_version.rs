//! Tools of the contract's first version against the driver of today.
//!
//! Every request of `golden.txt`, which are the bytes that such tools send, is
//! carried out by a host that has a port and an underlay. `first_version.txt` has
//! what came of each: the number and name of the answer, or of the refusal. A
//! line that changes is a tool in the field that works no more.
//! `BLESS=1` in the environment adds lines for new requests, and changes none.

use opte_core::Instant;
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, PortId, PortSpec};
use opte_core::event::Unobserved;
use opte_core::host::{Devices, Host, HostConfig, LinkDevice};
use opte_core::verdict::{LinkId, Output};
use opte_core::wire::MacAddr;
use opte_ioctl::{Driver, envelope, response, serve};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const DRIVER: Driver = Driver {
    name: "today",
    version: env!("CARGO_PKG_VERSION"),
};

/// Devices that are always there.
struct Present;

impl Devices for Present {
    fn open_port(&mut self, _: PortId, _: &PortSpec) -> Result<(), ConfigError> {
        Ok(())
    }

    fn close_port(&mut self, _: PortId) {}

    fn open_link(&mut self, _: LinkId, _: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        Ok(LinkDevice {
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
            mtu: 9_000,
        })
    }

    fn close_link(&mut self, _: LinkId) {}
}

/// Nobody gets the frames.
struct Nowhere;

impl Output for Nowhere {
    fn to_port(&mut self, _: PortId, _: &[u8]) {}

    fn to_link(&mut self, _: LinkId, _: &[u8]) {}
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Label and bytes of the requests, in the order of the file.
fn requests() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let lines = include_str!("golden.txt").lines();
    let requests = lines.filter(|line| line.starts_with("request "));
    requests.map(|line| {
        let (label, bytes) = line.rsplit_once(' ').unwrap();
        (label, unhex(bytes))
    })
}

/// Requests that make a host on which the others have something to do.
const BEFORE: [&str; 2] = ["create-port/full", "set-underlay/one"];

/// Carries a request out on a host of its own.
fn carried_out(label: &str, bytes: &[u8]) -> String {
    let config = HostConfig { seed: 1, lanes: 1 };
    let host: Host<parking_lot::RawMutex, Unobserved> = Host::new(config, Unobserved);
    let now = Instant::from_millis(1_000);
    let serve = |bytes: &[u8]| {
        let command = |command| host.command(command, now, &mut Present, &mut Nowhere);
        told(&serve(bytes, command, &DRIVER))
    };
    let is_one = |label: &str, name: &&str| label.ends_with(&format!(" {name}"));
    // What makes a port or an underlay anew finds none.
    if !label.contains("create-port") && !label.contains("set-underlay") {
        for name in &BEFORE {
            let (_, bytes) = requests().find(|(label, _)| is_one(label, name)).unwrap();
            let done = serve(&bytes);
            assert!(done.starts_with("answer"), "{name}: {done}");
        }
    }
    serve(bytes)
}

/// What became of a request, as the tool of then reads it.
fn told(answer: &[u8]) -> String {
    let (header, payload) = envelope::Response::parse(answer).unwrap();
    assert_eq!(header.version, 1, "it answers in another version");
    if header.status != 0 {
        return format!("refused {}", ErrorCode::from(header.status).name());
    }
    if header.number == response::HELLO {
        return "answer 0 hello".into();
    }
    response::decode(header.number, payload).unwrap();
    let known = response::ALL.iter().find(|(n, _)| *n == header.number);
    format!("answer {} {}", header.number, known.unwrap().1)
}

#[test]
fn a_tool_of_the_first_version_gets_what_it_always_got() {
    let mut results: BTreeMap<&str, &str> = include_str!("first_version.txt")
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .collect();
    let mut new = String::new();
    for (label, bytes) in requests() {
        let now = carried_out(label, &bytes);
        match results.remove(label) {
            Some(then) => assert_eq!(now, then, "{label}"),
            None => writeln!(new, "{label} -> {now}").unwrap(),
        }
    }
    assert!(results.is_empty(), "requests are gone: {results:?}");
    if !new.is_empty() && std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/first_version.txt");
        let file = std::fs::read_to_string(&path).unwrap() + &new;
        std::fs::write(path, file).unwrap();
        return;
    }
    assert!(new.is_empty(), "add with BLESS=1:\n{new}");
}
