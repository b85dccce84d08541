//! SCTP associations through a port with an address of its own.

use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::trial::{BOUNDARY, stats, world};
use crate::{G1, MacAddr, Verdict, geneve};
use opte_core::DropReason;

const FLOATING: &str = r#"external = { floating = [{ address = "203.0.113.5" }] }"#;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const DATA: u8 = 0;

/// A packet with one chunk, and the tag that it announces.
fn packet(flow: &Flow, tag: u32, kind: u8, announced: u32) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(flow.sport.to_be_bytes());
    body.extend(flow.dport.to_be_bytes());
    body.extend(tag.to_be_bytes());
    // A checksum (CRC32c) that covers no address.
    body.extend([0xca, 0xfe, 0xba, 0xbe]);
    body.extend([kind, 0, 0, 20]);
    body.extend(announced.to_be_bytes());
    body.extend([0; 12]);
    let mut frame = flow.ip(132, body, 28);
    frame[34 + 28..34 + 30].fill(0);
    frame
}

fn out(sled: &Sled, frame: &[u8]) -> Result<Vec<u8>, DropReason> {
    match sled.tx("g1", frame) {
        (Verdict::Link(_), sent) => Ok(sent.links[0].1[70..].to_vec()),
        (Verdict::Dropped(reason), _) => Err(reason),
        other => panic!("{other:?}"),
    }
}

fn back(sled: &Sled, frame: &[u8]) -> Result<Vec<u8>, DropReason> {
    match sled.rx(&geneve(BOUNDARY, frame)) {
        (Verdict::Port(_), sent) => Ok(sent.ports[0].1.clone()),
        (Verdict::Dropped(reason), _) => Err(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_association_is_opened_kept_by_its_tags_and_aborted() {
    let sled = world(FLOATING);
    let flow = Flow::new(G1, "10.0.0.1:5000 > 198.51.100.1:3868");
    let far = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "198.51.100.1:3868 > 203.0.113.5:5000")
    };
    let sent = packet(&flow, 0, INIT, 7);
    let seen = out(&sled, &sent).unwrap();
    assert_eq!(seen[26..30], [203, 0, 113, 5]);
    assert_eq!(seen[34..], sent[34..], "nothing but the address changes");
    let answer = packet(&far, 7, INIT_ACK, 9);
    let got = back(&sled, &answer).unwrap();
    assert_eq!(
        (&got[6..12], &got[34..]),
        (&MacAddr::GATEWAY.0[..], &answer[34..])
    );
    out(&sled, &packet(&flow, 9, 10, 0)).unwrap();
    back(&sled, &packet(&far, 7, 11, 0)).unwrap();
    out(&sled, &packet(&flow, 9, DATA, 0)).unwrap();
    // Somebody who doesn't know the tags.
    for (kind, tag) in [(DATA, 8), (ABORT, 9), (INIT, 7)] {
        let forged = back(&sled, &packet(&far, tag, kind, 1));
        assert_eq!(forged, Err(DropReason::SctpBadTag));
    }
    // It outlives what has no state.
    for _ in 0..10 {
        sled.advance(60_000);
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 1);
    back(&sled, &packet(&far, 7, ABORT, 0)).unwrap();
    sled.advance(15_000);
    assert_eq!(stats(&sled, Some("g1")).flows, 0);
}
