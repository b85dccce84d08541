//! What the driver's side answers, and when it calls its handler.

use super::*;
use crate::envelope::HEADER_LEN;
use alloc::string::ToString;
use opte_core::api::{FwRule, Name};

const DRIVER: Driver = Driver {
    name: "test",
    version: "0.0.0",
};

fn request(number: u16, payload: &[u8]) -> Vec<u8> {
    versioned(VERSION_MIN, VERSION_MAX, number, payload)
}

fn versioned(version_min: u16, version_max: u16, number: u16, payload: &[u8]) -> Vec<u8> {
    let header = envelope::Request {
        version_min,
        version_max,
        number,
        flags: 0,
        id: 77,
    };
    header.emit(payload).unwrap()
}

/// Serves with a handler that must not be called.
fn refused(bytes: &[u8]) -> (envelope::Response, ConfigError) {
    let response = serve(bytes, |command| panic!("{command:?}"), &DRIVER);
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    let error: ConfigError = whole(payload).unwrap();
    assert_eq!(header.status, u16::from(error.code));
    (header, error)
}

#[test]
fn a_command_reaches_the_handler_and_its_answer_comes_back() {
    let name: Name = "g1".parse().unwrap();
    let payload = command::encode(&Command::DeletePort(name)).unwrap();
    let mut seen = None;
    let response = serve(
        &request(2, &payload),
        |command| {
            seen = Some(command);
            Ok(Response::Count(300))
        },
        &DRIVER,
    );
    assert_eq!(seen, Some(Command::DeletePort(name)));
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    assert_eq!((header.version, header.status, header.id), (1, 0, 77));
    let response = response::decode(header.number, payload);
    assert_eq!(response, Ok(Response::Count(300)));
}

#[test]
fn hello_is_answered_whatever_the_version() {
    for (min, max, chosen) in [(1, 1, 1), (1, 9, 1), (900, 901, 0)] {
        let bytes = versioned(min, max, command::HELLO, &[]);
        let response = serve(&bytes, |command| panic!("{command:?}"), &DRIVER);
        let (header, payload) = envelope::Response::parse(&response).unwrap();
        assert_eq!((header.version, header.status), (chosen, 0));
        let hello: Hello = whole(payload).unwrap();
        assert_eq!((&*hello.driver, hello.version_max), ("test", VERSION_MAX));
    }
}

#[test]
fn an_unsupported_version_is_told_which_works() {
    for (min, max) in [(2, 3), (0, 0), (2, 1)] {
        let (header, error) = refused(&versioned(min, max, 29, &[]));
        assert_eq!(error.code, ErrorCode::UnsupportedVersion);
        assert_eq!(error.hint, "1 to 1 works");
        assert_eq!((header.version, header.id), (0, 77));
    }
    let (_, error) = refused(&versioned(2, 3, 29, &[]));
    assert_eq!(
        error.to_string(),
        "request: version 2 to 3 is not a version that this driver speaks (1 to 1 works)"
    );
}

#[test]
fn an_unknown_command_is_named_by_its_number() {
    for number in [999, u16::MAX] {
        let (_, error) = refused(&request(number, b"whatever"));
        assert_eq!(error.code, ErrorCode::UnknownCommand);
        assert_eq!(error.value, number.to_string());
    }
}

#[test]
fn only_critical_flags_are_refused() {
    let mut header = envelope::Request {
        version_min: 1,
        version_max: 1,
        number: 29,
        flags: 0x0200,
        id: 1,
    };
    let (_, error) = refused(&header.emit(&[]).unwrap());
    assert_eq!(error.code, ErrorCode::Unsupported);
    header.flags = 0x0002;
    let bytes = header.emit(&[]).unwrap();
    let response = serve(&bytes, |_| Ok(Response::Done), &DRIVER);
    assert_eq!(envelope::Response::parse(&response).unwrap().0.status, 0);
}

#[test]
fn what_is_no_request_is_refused_with_the_reason() {
    let good = request(29, &[]);
    for (bytes, code, hint) in [
        (&b""[..], ErrorCode::Malformed, "fewer bytes"),
        (&good[..HEADER_LEN - 1], ErrorCode::Malformed, "fewer bytes"),
        (&[b'x'; 40], ErrorCode::Malformed, "magic"),
        (&request(29, b"?"), ErrorCode::Malformed, "after"),
        (&request(0, b"?"), ErrorCode::Malformed, "after"),
        (&request(2, b""), ErrorCode::Malformed, "ends early"),
        (&request(2, b"\x02G1"), ErrorCode::Malformed, "impossible"),
        (
            &alloc::vec![0; REQUEST_BYTES_MAX + 1],
            ErrorCode::RequestTooLarge,
            "at most",
        ),
    ] {
        let (_, error) = refused(bytes);
        assert_eq!(error.code, code);
        assert!(error.hint.contains(hint), "{error}");
    }
}

#[test]
fn a_list_beyond_its_limit_is_refused_before_it_is_kept() {
    let rule: FwRule = "dir=in priority=1 action=deny".parse().unwrap();
    let name: Name = "g1".parse().unwrap();
    let many = alloc::vec![rule; opte_core::limits::FW_RULES_MAX + 1];
    let payload = command::encode(&Command::SetFwRules(name, many)).unwrap();
    let (_, error) = refused(&request(12, &payload));
    assert_eq!(error.code, ErrorCode::Malformed);
}

#[test]
fn an_answer_that_does_not_fit_becomes_a_refusal() {
    let huge = |_| {
        let change = opte_core::api::Change {
            verb: opte_core::api::ChangeVerb::Add,
            object: "x".repeat(RESPONSE_BYTES_MAX),
        };
        Ok(Response::Applied(opte_core::api::Applied {
            generation: 1,
            changes: alloc::vec![change],
            more: 0,
        }))
    };
    let response = serve(&request(29, &[]), huge, &DRIVER);
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    assert_eq!(header.status, u16::from(ErrorCode::ResponseTooLarge));
    let error: ConfigError = whole(payload).unwrap();
    assert!(error.to_string().contains("show-underlay"), "{error}");
    // A refusal that is too long itself keeps its status.
    let shout = |_| {
        let name = "x".repeat(RESPONSE_BYTES_MAX);
        Err(ConfigError::new(
            ErrorCode::NotFound,
            ObjectKind::Port,
            name,
        ))
    };
    let response = serve(&request(29, &[]), shout, &DRIVER);
    let (header, payload) = envelope::Response::parse(&response).unwrap();
    assert_eq!(header.status, u16::from(ErrorCode::NotFound));
    assert!(payload.is_empty());
}
