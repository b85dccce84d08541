//! Differences are found, and said so that one can act on them.

use super::bless::sentence;
use super::capture::pcap;
use super::compare::{file, refusal};
use super::replay::Replayed;
use crate::script::{Frame, Place};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use std::borrow::Cow;
use std::time::Duration;

fn pcapng(frames: &[&[u8]]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let link = InterfaceDescriptionBlock::new(pcap_file::DataLink::ETHERNET, 0);
    writer.write_pcapng_block(link).unwrap();
    for frame in frames {
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(5),
            original_len: u32::try_from(frame.len()).unwrap(),
            data: Cow::Borrowed(frame),
            options: Vec::new(),
        };
        writer.write_pcapng_block(packet).unwrap();
    }
    writer.into_inner()
}

#[test]
fn equal_files_do_not_differ() {
    let capture = pcapng(&[&[1, 2, 3]]);
    assert_eq!(file("a.pcapng", &capture, &capture), None);
    assert_eq!(file("a.json", b"{}", b"{}"), None);
}

#[test]
fn the_first_frame_that_differs_is_shown() {
    let (want, have) = (
        pcapng(&[&[1; 20], &[2; 20]]),
        pcapng(&[&[1; 20], &[2, 2, 3]]),
    );
    let text = file("a.pcapng", &want, &have).unwrap();
    assert!(text.contains("first difference at frame 2"), "{text}");
    assert!(text.contains("+ 0000 02 02 03\n"), "{text}");
    assert!(text.contains("- 0010 02 02 02 02"), "{text}");
}

#[test]
fn a_missing_frame_is_said_to_be_missing() {
    let text = file("a.pcapng", &pcapng(&[&[1], &[2]]), &pcapng(&[&[1]])).unwrap();
    assert!(text.contains("1 frames, 2 expected"), "{text}");
    assert!(text.contains("+ nothing"), "{text}");
    let text = file("a.pcapng", &pcapng(&[&[1]]), b"junk").unwrap();
    assert!(text.contains("cannot be compared"), "{text}");
}

#[test]
fn counters_are_compared_by_name() {
    let want = br#"{"port":{"g1":{"drop":{"no_route":1,"fragment":2}}}}"#;
    let have = br#"{"port":{"g1":{"drop":{"no_route":3,"fragment":2}}},"x":[1]}"#;
    let text = file("counters.json", want, have).unwrap();
    assert!(
        text.contains("port.g1.drop.no_route: 3, expected 1"),
        "{text}"
    );
    assert!(text.contains("x[0]: 1, expected nothing"), "{text}");
    assert!(!text.contains("fragment"), "{text}");
    let text = file("counters.json", b"{}", b"{ }").unwrap();
    assert!(text.contains("layout"), "{text}");
}

#[test]
fn lines_are_compared_by_number() {
    let text = file("verdicts.jsonl", b"a\nb\n", b"a\nc\nd\n").unwrap();
    assert!(
        text.contains("2 differences\nline 2\n- b\n+ c\nline 3\n- nothing\n+ d"),
        "{text}"
    );
}

#[test]
fn a_refusal_needs_the_expected_words() {
    let replayed = |success, error: &str| Replayed {
        success,
        error: error.to_owned(),
    };
    let words = "port g1: mtu: 1: it is out of range";
    assert!(
        refusal(
            words,
            &replayed(false, "error: port g1: mtu: 1: it is out of range\n")
        )
        .is_ok()
    );
    assert!(refusal(words, &replayed(false, "error: port g2\n")).is_err());
    assert!(refusal(words, &replayed(true, "")).is_err());
    assert!(refusal("", &replayed(false, "error: port g2\n")).is_err());
    assert_eq!(
        sentence("noise\nxded: a/setup.toml: port g1: no\n"),
        "port g1: no"
    );
}

#[test]
fn inputs_have_microseconds() {
    let frame = Frame {
        time: Duration::from_micros(1_500_001),
        place: Place::Tx("g1".to_owned()),
        bytes: vec![0xaa; 3],
    };
    let file = pcap(&[&frame]).unwrap();
    let (header, packet) = file.split_at(24);
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    assert_eq!(word(&header[..4]), 0xa1b2_c3d4);
    assert_eq!(word(&header[20..]), 1, "Ethernet");
    let fields: Vec<u32> = packet[..16].chunks(4).map(word).collect();
    assert_eq!(fields, [1, 500_001, 3, 3]);
    assert_eq!(&packet[16..], [0xaa; 3]);
}

#[test]
fn every_case_has_a_recording_or_a_script_that_compiles() {
    for case in super::list(&crate::workspace::root(), None).unwrap() {
        let scene = case.scene().unwrap();
        match std::fs::read_to_string(case.dir.join("frames.txt")) {
            Ok(text) => {
                let frames = crate::script::compile(&text, &scene);
                assert!(!frames.expect(&case.name).is_empty(), "{}", case.name);
            }
            Err(_) => {
                let recorded = super::compare::files(&case.dir).unwrap();
                let recorded = recorded.iter().any(|name| name.ends_with(".pcap"));
                assert!(
                    recorded || case.refused().is_file(),
                    "{} has no frames",
                    case.name
                );
            }
        }
    }
}
