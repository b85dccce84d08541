//! ICMP queries: an answer belongs to its query, and a query of the far end to none.

use crate::sim::Sled;
use crate::sim::frame::{Flow, assert_checksums};
use crate::{ALLOW_ALL, G1, G2, port};
use opte_core::DropReason;

/// A message of this type with an identifier and twelve bytes behind.
fn message(flow: &Flow, kind: u8) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0, 0, 77, 0, 1];
    body.extend([0; 12]);
    flow.ip(if flow.src.is_ipv4() { 1 } else { 58 }, body, 2)
}

/// g1, which lets nothing in, and g2; queries and their answers' types.
fn guests() -> (Sled, Vec<(Flow, u8, u8)>) {
    let sled = Sled::with(1, &(port("g1", 1, "") + &port("g2", 2, ALLOW_ALL)));
    let v4 = Flow::new(G1, "10.0.0.1:0 > 10.0.0.2:0");
    let v6 = Flow::new(G1, "[fd00:7::1]:0 > [fd00:7::2]:0");
    let v4_kinds = [(8, 0), (13, 14), (15, 16), (17, 18), (42, 43)];
    let v6_kinds = [(128, 129), (160, 161)];
    let all = v4_kinds.map(|(query, answer)| (v4, query, answer));
    let all = all.into_iter();
    let v6_all = v6_kinds.map(|(query, answer)| (v6, query, answer));
    (sled, all.chain(v6_all).collect())
}

#[test]
fn an_answer_comes_to_who_has_asked() {
    let (sled, queries) = guests();
    for (flow, query, answer) in queries {
        let back = flow.back(G2);
        let early = sled.local("g2", &message(&back, answer));
        assert_eq!(early, Err(DropReason::FirewallDefault), "{answer}");
        sled.local("g1", &message(&flow, query)).unwrap();
        let got = sled.local("g2", &message(&back, answer)).unwrap();
        assert_checksums(&got);
    }
}

#[test]
fn who_is_asked_may_not_ask_for_that() {
    let (sled, queries) = guests();
    for (flow, query, _) in queries {
        sled.local("g1", &message(&flow, query)).unwrap();
        let asked = sled.local("g2", &message(&flow.back(G2), query));
        assert_eq!(asked, Err(DropReason::FirewallDefault), "{query}");
    }
}

#[test]
fn both_sides_ask_by_one_identifier_and_each_gets_its_answer() {
    let sled = crate::two_guests(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:0 > 10.0.0.2:0");
    let back = flow.back(G2);
    for (from, frame) in [("g1", &flow), ("g2", &back)] {
        sled.local(from, &message(frame, 8)).unwrap();
    }
    for (from, frame) in [("g1", &flow), ("g2", &back)] {
        sled.local(from, &message(frame, 0)).unwrap();
    }
    assert_eq!(crate::trial::stats(&sled, Some("g1")).flows, 2);
}
