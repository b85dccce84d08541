//! Bytes that no tool would send: the decoder refuses, it never panics.

#[path = "../common/mod.rs"]
mod common;
mod memory;

use opte_core::api::{ConfigError, Response};
use opte_ioctl::envelope::{self, HEADER_LEN};
use opte_ioctl::{Driver, command, response, serve};

const DRIVER: Driver = Driver {
    name: "test",
    version: "0.0.0",
};

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, good enough.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn requests() -> Vec<(u16, Vec<u8>)> {
    common::commands()
        .iter()
        .map(|(_, value)| (command::number(value), command::encode(value).unwrap()))
        .collect()
}

fn responses() -> Vec<(u16, Vec<u8>)> {
    common::responses()
        .iter()
        .map(|(_, value)| (response::number(value), response::encode(value).unwrap()))
        .collect()
}

fn envelope(number: u16, payload: &[u8]) -> Vec<u8> {
    let header = envelope::Request {
        version_min: 1,
        version_max: 1,
        number,
        flags: 0,
        id: 1,
    };
    header.emit(payload).unwrap()
}

/// Serves `bytes`; whether the handler was called. The response is always one.
fn served(bytes: &[u8]) -> bool {
    let mut called = false;
    let handler = |_| {
        called = true;
        Ok(Response::Done)
    };
    let response = serve(bytes, handler, &DRIVER);
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    if header.status != 0 {
        let error: ConfigError = postcard::from_bytes(payload).unwrap();
        assert_eq!(header.status, u16::from(error.code));
        assert!(!called, "a refused request reached the handler");
    }
    called
}

#[test]
fn a_payload_cut_anywhere_is_refused() {
    for (number, payload) in requests() {
        assert!(served(&envelope(number, &payload)));
        for end in 0..payload.len() {
            assert!(
                !served(&envelope(number, &payload[..end])),
                "{number} {end}"
            );
        }
        let longer = [&payload[..], &[0]].concat();
        assert!(!served(&envelope(number, &longer)), "{number}");
    }
    for (number, payload) in responses() {
        for end in 0..payload.len() {
            let cut = &payload[..end];
            assert!(response::decode(number, cut).is_err(), "{number} {end}");
        }
        let longer = [&payload[..], &[0]].concat();
        assert!(response::decode(number, &longer).is_err(), "{number}");
    }
}

#[test]
fn a_request_cut_anywhere_is_refused() {
    for (number, payload) in requests() {
        let bytes = envelope(number, &payload);
        for end in 0..bytes.len() {
            assert!(!served(&bytes[..end]), "{number} {end}");
        }
    }
}

/// Whatever is understood says the same when it is sent on.
fn decode_twice(number: u16, payload: &[u8]) {
    if let Ok(value) = command::decode(number, payload) {
        let again = command::encode(&value).unwrap();
        assert_eq!(command::decode(number, &again), Ok(value));
    }
    if let Ok(value) = response::decode(number, payload) {
        let again = response::encode(&value).unwrap();
        assert_eq!(response::decode(number, &again), Ok(value));
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let mut rng = Rng(seed);
        for (number, payload) in requests().into_iter().chain(responses()) {
            for _ in 0..50 {
                let mut bytes = payload.clone();
                for _ in 0..=rng.below(3) {
                    if bytes.is_empty() {
                        break;
                    }
                    let at = rng.below(bytes.len());
                    bytes[at] = match rng.below(4) {
                        0 => 0,
                        1 => 0xff,
                        2 => bytes[at].wrapping_add(1),
                        _ => rng.next() as u8,
                    };
                }
                decode_twice(number, &bytes);
                served(&envelope(number, &bytes));
            }
        }
    }
}

#[test]
fn a_changed_header_does_no_harm() {
    for (number, payload) in requests() {
        let bytes = envelope(number, &payload);
        for at in 0..HEADER_LEN {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                served(&bytes);
            }
        }
    }
}

#[test]
fn random_bytes_do_no_harm() {
    for seed in 0..if cfg!(miri) { 20 } else { 2_000 } {
        let mut rng = Rng(seed);
        let len = rng.below(200);
        let bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        assert!(!served(&bytes), "seed {seed}");
        let most = command::ALL.last().map_or(0, |(number, _)| *number);
        let number = rng.below(usize::from(most) + 3) as u16;
        decode_twice(number, &bytes);
        served(&envelope(number, &bytes));
    }
}

#[test]
fn a_length_in_a_payload_reserves_nothing() {
    // A list, a string and a page that claim to have 2^64 - 1 entries.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    for (number, name) in command::ALL {
        // Where one cursor is all there is, the bytes are a number, and a good one.
        let cursor = [
            "list-ports",
            "dump-v2p",
            "dump-v2b",
            "dump-underlay-routes",
            "list-address-sets",
            "dump-m2p",
            "dump-mcast-fwd",
            "dump-mcast-subs",
        ]
        .contains(name);
        assert_eq!(served(&envelope(*number, &huge)), cursor, "{name}");
    }
    for (number, name) in response::ALL {
        let decoded = response::decode(*number, &huge);
        assert_eq!(decoded.is_ok(), *name == "count", "{name}");
    }
}
