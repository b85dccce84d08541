//! How long mappings live.

use super::*;
use crate::trial::{answer_solicitations, external_ports_used};

/// Whether a flow's mapping is still there so many seconds after its last packet.
fn lives_s(sled: &Sled, seconds: u64) -> bool {
    for _ in 0..seconds {
        sled.advance(1_000);
        answer_solicitations(sled);
    }
    external_ports_used(sled) > 0
}

fn shared() -> Sled {
    // Timeouts below the RFCs' least, where a shared address isn't concerned.
    let options = "options = { udp_one_way_s = 5, udp_s = 5, icmp_s = 5, tcp_established_s = 5, \
                   tcp_closing_s = 5, tcp_time_wait_s = 5, tcp_reset_s = 5, tcp_opening_s = 20 }";
    world(&(snat(4096, 8191, "") + options))
}

#[test]
fn a_udp_mapping_lives_for_two_minutes_at_least() {
    let sled = shared();
    let flow = out("10.0.0.1:1000 > 198.51.100.1:9");
    let left = leaves(&sled, &flow.udp(b""));
    assert!(lives_s(&sled, 119));
    comes(&sled, &back(&flow, &left).udp(b"late")).unwrap();
    // What goes out refreshes it, and what comes in by a flow does.
    assert!(lives_s(&sled, 119));
    let again = leaves(&sled, &flow.udp(b""));
    assert_eq!(source(&again), source(&left));
    assert!(lives_s(&sled, 119));
    assert!(!lives_s(&sled, 3));
    // DNS may be shorter (RFC 4787 REQ-5a).
    leaves(&sled, &out("10.0.0.1:1000 > 198.51.100.1:53").udp(b""));
    assert!(!lives_s(&sled, 8));
}

#[test]
fn what_the_firewall_refuses_refreshes_no_mapping() {
    let sled = shared();
    let flow = out("10.0.0.1:1000 > 198.51.100.1:9");
    let (_, port) = source(&leaves(&sled, &flow.udp(b"")));
    let stranger = call(&format!("198.51.100.2:9 > 203.0.113.9:{port}"));
    for _ in 0..4 {
        assert!(lives_s(&sled, 29));
        assert_eq!(
            comes(&sled, &stranger.udp(b"")),
            Err(DropReason::FirewallDefault)
        );
    }
    assert!(!lives_s(&sled, 7));
}

#[test]
fn an_icmp_query_lives_for_a_minute_at_least() {
    let sled = shared();
    leaves(&sled, &out("10.0.0.1:7 > 198.51.100.1:0").ping());
    assert!(lives_s(&sled, 59));
    assert!(!lives_s(&sled, 3));
}

#[test]
fn a_connection_lives_for_two_hours_and_a_closed_one_for_four_minutes() {
    for ends in ["A", "FA", "R"] {
        let sled = shared();
        let flow = out("10.0.0.1:1000 > 198.51.100.1:80");
        let left = leaves(&sled, &flow.tcp("S", 1, 0, b""));
        let far = back(&flow, &left);
        comes(&sled, &far.tcp("SA", 9, 2, b"")).unwrap();
        leaves(&sled, &flow.tcp("A", 2, 10, b""));
        match ends {
            "FA" => {
                leaves(&sled, &flow.tcp("FA", 2, 10, b""));
                comes(&sled, &far.tcp("FA", 10, 3, b"")).unwrap();
                leaves(&sled, &flow.tcp("A", 3, 11, b""));
            }
            // RFC 7857 section 2.2: it passes, and so does what is sent again.
            "R" => {
                for _ in 0..2 {
                    comes(&sled, &far.tcp("R", 10, 0, b"")).unwrap();
                }
            }
            _ => {}
        }
        let least = if ends == "A" { 7_439 } else { 239 };
        assert!(lives_s(&sled, least), "{ends}");
        assert!(!lives_s(&sled, 3), "{ends}");
    }
}

#[test]
fn a_connection_that_nobody_answers_is_short() {
    let sled = shared();
    leaves(
        &sled,
        &out("10.0.0.1:1000 > 198.51.100.1:80").tcp("S", 1, 0, b""),
    );
    assert!(lives_s(&sled, 19));
    assert!(!lives_s(&sled, 3));
}
