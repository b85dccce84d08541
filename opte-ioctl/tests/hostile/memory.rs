//! What a request may take up in memory, whatever its bytes are.

use super::{DRIVER, common, envelope as request};
use opte_core::api::{Command, FwRule, PortSpec, Response, Setup};
use opte_core::limits::{FW_RULES_MAX, REQUEST_BYTES_MAX, REQUEST_MEMORY_MAX};
use opte_ioctl::{command, envelope, serve};

/// Growing may take so many times what is paid for: a list that is moved is
/// there twice, the second time with room for twice as many entries.
const FACTOR: u64 = 3;

/// A number as postcard writes it (LEB128).
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A setup of `count` ports that are all `port`, without anything else.
fn setup(port: &PortSpec, count: usize) -> Vec<u8> {
    // No underlay, no mapping of either kind.
    let mut payload = vec![0, 0, 0];
    payload.extend(varint(count));
    let port = postcard::to_allocvec(port).unwrap();
    for _ in 0..count {
        payload.extend(&port);
    }
    payload
}

/// Serves a request: the most bytes that were allocated at one time, whether
/// the handler was called, and the refusal's sentence.
fn served(request: &[u8]) -> (u64, bool, String) {
    let (mut called, mut response) = (false, Vec::new());
    let info = allocation_counter::measure(|| {
        let handler = |_| {
            called = true;
            Ok(Response::Done)
        };
        response = serve(request, handler, &DRIVER);
    });
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    let sentence = match header.status {
        0 => String::new(),
        _ => postcard::from_bytes::<opte_core::api::ConfigError>(payload)
            .unwrap()
            .to_string(),
    };
    (info.bytes_max, called, sentence)
}

fn port() -> PortSpec {
    let spec = common::commands()
        .into_iter()
        .find_map(|(_, command)| match command {
            Command::CreatePort(spec) => Some(spec),
            _ => None,
        });
    spec.unwrap()
}

fn apply() -> u16 {
    command::number(&Command::Apply(Setup::default()))
}

#[test]
fn many_small_entries_in_many_lists_are_refused_before_they_are_there() {
    // Seven bytes each on the wire, and four empty lists in memory.
    let rule: FwRule = "dir=in priority=1 action=deny".parse().unwrap();
    assert!(size_of::<FwRule>() > 10 * postcard::to_allocvec(&rule).unwrap().len());
    let full = PortSpec {
        rules: vec![rule; FW_RULES_MAX],
        ..port()
    };
    let one = postcard::to_allocvec(&full).unwrap().len();
    let count = (REQUEST_BYTES_MAX - envelope::HEADER_LEN - 16) / one;
    let request = request(apply(), &setup(&full, count));
    assert!(request.len() > REQUEST_BYTES_MAX - one - 64);
    let (bytes, called, sentence) = served(&request);
    assert!(!called);
    assert_eq!(
        sentence,
        "request apply is too large (what is in it takes up more than 67108864 bytes of memory; \
         send it in parts)"
    );
    assert!(bytes <= FACTOR * REQUEST_MEMORY_MAX as u64, "{bytes}");
}

#[test]
fn no_list_takes_up_more_than_the_budget() {
    // Every list there is, with the smallest entries and in the longest
    // request: the entry's bytes are zero but where that isn't a value.
    let texts = ["hosts=vni=0", "protocols=0 ports=0 source_ports=0"];
    for text in texts {
        let text = format!("dir=in priority=0 action=deny {text}");
        let mut rule: FwRule = text.parse().unwrap();
        for list in 0..2 {
            if list == 1 {
                // As long as a list may be.
                rule.hosts = rule.hosts.repeat(256 / rule.hosts.len().max(1));
                rule.ports = rule.ports.repeat(256 / rule.ports.len().max(1));
                rule.protocols = rule.protocols.repeat(256 / rule.protocols.len().max(1));
                rule.source_ports = rule
                    .source_ports
                    .repeat(256 / rule.source_ports.len().max(1));
            }
            let rule_len = postcard::to_allocvec(&rule).unwrap().len();
            let rules = FW_RULES_MAX.min(REQUEST_BYTES_MAX / rule_len / 2);
            let full = PortSpec {
                rules: vec![rule.clone(); rules],
                ..port()
            };
            let one = postcard::to_allocvec(&full).unwrap().len();
            let count = (REQUEST_BYTES_MAX - envelope::HEADER_LEN - 16) / one;
            let (bytes, _, _) = served(&request(apply(), &setup(&full, count)));
            let most = FACTOR * REQUEST_MEMORY_MAX as u64;
            assert!(bytes <= most, "{text}: {bytes} of {most}");
        }
    }
}

#[test]
fn what_a_host_really_needs_fits() {
    // A thousand ports with fifty rules each, as people write them.
    let rule: FwRule = "dir=in priority=100 action=allow hosts=10.0.0.0/8,vni=7 protocols=tcp \
                        ports=22,443,8000-8100"
        .parse()
        .unwrap();
    let full = PortSpec {
        rules: vec![rule; 50],
        ..port()
    };
    let (bytes, called, sentence) = served(&request(apply(), &setup(&full, 1_000)));
    assert!(called, "{sentence}");
    assert!(bytes <= FACTOR * REQUEST_MEMORY_MAX as u64, "{bytes}");
}

#[test]
fn a_long_list_ends_with_no_room_to_spare() {
    // The largest list of mappings that fits a request.
    let v2p = common::commands()
        .into_iter()
        .find_map(|(_, command)| match command {
            Command::SetV2p(list) => list.first().copied(),
            _ => None,
        });
    let v2p = v2p.unwrap();
    let entry = postcard::to_allocvec(&v2p).unwrap();
    let count = (REQUEST_BYTES_MAX - envelope::HEADER_LEN - 16) / entry.len();
    let payload = [varint(count), entry.repeat(count)].concat();
    let number = command::number(&Command::SetV2p(Vec::new()));
    let (bytes, called, sentence) = served(&request(number, &payload));
    assert!(called, "{sentence}");
    let list = (count * size_of_val(&v2p)) as u64;
    // Whoever grows by doubling alone ends with room for twice as many.
    assert!(bytes <= 2 * list + 4_096, "{bytes} for {list}");
}
