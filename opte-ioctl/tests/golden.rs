//! The bytes of every message, held in `golden.txt`.
//!
//! A line is `KIND NUMBER NAME/SAMPLE HEX`. Lines are only ever added: write
//! the new message's sample in `common/mod.rs` and run the test once with
//! `BLESS=1` in the environment, which adds what is missing (the other tests
//! here pass from the next run on). A line that is
//! there and doesn't fit any more is never rewritten: the change broke the
//! contract and needs a number of its own (rule C2).

mod common;

use opte_core::api::{Command, ConfigError, ErrorCode, ObjectKind, Response};
use opte_ioctl::envelope;
use opte_ioctl::hello::Hello;
use opte_ioctl::{Driver, command, response, serve};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

const ID: u32 = 0x1234_5678;

// Version 1 throughout, whatever is the newest: its bytes are to stay.
fn request(number: u16, payload: &[u8]) -> Vec<u8> {
    let header = envelope::Request {
        version_min: 1,
        version_max: 1,
        number,
        flags: 0,
        id: ID,
    };
    header.emit(payload).unwrap()
}

/// The response that `serve` makes of a handler's result.
fn answer(result: Result<Response, ConfigError>) -> Vec<u8> {
    let driver = Driver {
        name: "xded",
        version: "0.1.0",
    };
    // Any command will do: the table of responses is what is asked for.
    let command = Command::ShowUnderlay;
    let payload = command::encode(&command).unwrap();
    let request = request(command::number(&command), &payload);
    serve(&request, |_| result, &driver)
}

fn refusal() -> ConfigError {
    ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, "g1")
        .field("mtu", 99_999)
        .hint("576 to 65000")
}

fn hello() -> Hello {
    Hello {
        driver: "xded".into(),
        driver_version: "0.1.0".into(),
        version_min: 1,
        version_max: 300,
        capabilities: vec![1, 2, 65_535],
    }
}

fn hello_answer() -> Vec<u8> {
    let header = envelope::Response {
        version: 1,
        status: 0,
        number: response::HELLO,
        flags: 0,
        id: ID,
    };
    header
        .emit(&postcard::to_allocvec(&hello()).unwrap())
        .unwrap()
}

fn name(table: &[(u16, &'static str)], number: u16) -> &'static str {
    table.iter().find(|(known, _)| *known == number).unwrap().1
}

/// Every message's label and bytes, in the order of the file.
fn messages() -> Vec<(String, Vec<u8>)> {
    let mut messages = vec![("request 0 hello/one".into(), request(command::HELLO, &[]))];
    for (sample, value) in common::commands() {
        let number = command::number(&value);
        let label = format!("request {number} {}/{sample}", name(command::ALL, number));
        messages.push((label, request(number, &command::encode(&value).unwrap())));
    }
    messages.push(("response 0 hello/xded".into(), hello_answer()));
    messages.push(("response 0 refusal/full".into(), answer(Err(refusal()))));
    for (sample, value) in common::responses() {
        let number = response::number(&value);
        let label = format!("response {number} {}/{sample}", name(response::ALL, number));
        messages.push((label, answer(Ok(value))));
    }
    messages
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16).unwrap()).collect();
    let pairs = digits.chunks_exact(2);
    pairs.map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

/// Label and bytes of every line that is neither empty nor a comment.
fn golden() -> BTreeMap<String, String> {
    let file = include_str!("golden.txt");
    let lines = file
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut golden = BTreeMap::new();
    for line in lines {
        let (label, bytes) = line.rsplit_once(' ').unwrap();
        assert!(
            golden.insert(label.into(), bytes.into()).is_none(),
            "{label} twice"
        );
    }
    golden
}

#[test]
fn every_message_has_the_bytes_that_it_always_had() {
    let mut golden = golden();
    let mut missing = String::new();
    for (label, bytes) in messages() {
        match golden.remove(&label) {
            Some(old) => assert_eq!(hex(&bytes), old, "{label} changed (rule C2)"),
            None => writeln!(missing, "{label} {}", hex(&bytes)).unwrap(),
        }
    }
    let gone: Vec<_> = golden.keys().collect();
    assert!(gone.is_empty(), "samples are gone: {gone:?}");
    if !missing.is_empty() && std::env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.txt");
        let file = std::fs::read_to_string(&path).unwrap() + &missing;
        std::fs::write(path, file).unwrap();
        return;
    }
    assert!(missing.is_empty(), "add with BLESS=1:\n{missing}");
}

#[test]
fn every_number_has_a_sample_and_the_tables_are_in_order() {
    let labels: Vec<_> = golden().into_keys().collect();
    for (kind, table) in [("request", command::ALL), ("response", response::ALL)] {
        let mut names = BTreeSet::new();
        let mut last = 0;
        for (number, name) in table {
            // Ranges of numbers are set aside for parts of the project.
            assert!(*number > last, "{name}");
            last = *number;
            assert!(names.insert(name), "{name} twice");
            let start = format!("{kind} {number} {name}/");
            assert!(labels.iter().any(|l| l.starts_with(&start)), "{start}");
        }
    }
}

#[test]
fn old_bytes_are_still_understood() {
    let golden = golden();
    for (sample, value) in common::commands() {
        let number = command::number(&value);
        let label = format!("request {number} {}/{sample}", name(command::ALL, number));
        let bytes = unhex(&golden[&label]);
        let (header, payload) = envelope::Request::parse(&bytes).unwrap();
        assert_eq!(command::decode(header.number, payload), Ok(value));
    }
    for (sample, value) in common::responses() {
        let number = response::number(&value);
        let label = format!("response {number} {}/{sample}", name(response::ALL, number));
        let bytes = unhex(&golden[&label]);
        let (header, payload) = envelope::Response::parse(&bytes).unwrap();
        assert_eq!(response::decode(header.number, payload), Ok(value));
    }
    let bytes = unhex(&golden["response 0 refusal/full"]);
    let (_, payload) = envelope::Response::parse(&bytes).unwrap();
    assert_eq!(postcard::from_bytes(payload), Ok(refusal()));
    let bytes = unhex(&golden["response 0 hello/xded"]);
    let (_, payload) = envelope::Response::parse(&bytes).unwrap();
    assert_eq!(postcard::from_bytes(payload), Ok(hello()));
}
