//! Connections through a shared address (RFC 5382).

use super::*;
use crate::trial::{name, stats};
use opte_core::api::{Command, Response};

/// The state of the connection with 198.51.100.1.
fn state(sled: &Sled) -> String {
    let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g1"), 0)) else {
        panic!()
    };
    let peer: IpAddr = "198.51.100.1".parse().unwrap();
    page.entries
        .iter()
        .find(|e| e.key.remote == peer)
        .map_or(String::new(), |e| e.state.clone())
}

#[test]
fn both_sides_may_open_at_once() {
    let sled = world(&snat(4096, 8191, ""));
    let flow = out("10.0.0.1:1000 > 198.51.100.1:80");
    let left = leaves(&sled, &flow.tcp("S", 100, 0, b""));
    let far = back(&flow, &left);
    // The SYNs cross; then each acknowledges the other's (RFC 9293 figure 7).
    let got = comes(&sled, &far.tcp("S", 500, 0, b"")).unwrap();
    assert_eq!(destination(&got), (flow.src, flow.sport));
    leaves(&sled, &flow.tcp("SA", 100, 501, b""));
    comes(&sled, &far.tcp("SA", 500, 101, b"")).unwrap();
    assert_eq!(state(&sled), "ESTABLISHED");
    leaves(&sled, &flow.tcp("PA", 101, 501, b"x"));
}

#[test]
fn an_unsolicited_syn_is_dropped_in_silence_and_spoils_nothing() {
    for filtering in [
        "endpoint-independent",
        "address-dependent",
        "address-and-port-dependent",
    ] {
        let more = format!(", nat = {{ filtering = \"{filtering}\" }}");
        let sled = world(&snat(4096, 8191, &more));
        // The guest's socket is known outside, but not to this peer yet.
        let other = out("10.0.0.1:1000 > 198.51.100.9:3478");
        let (_, port) = source(&leaves(&sled, &other.tcp("S", 1, 0, b"")));
        let peer = call(&format!("198.51.100.1:80 > 203.0.113.9:{port}"));
        for _ in 0..3 {
            // `comes` sees to it that nothing is answered.
            comes(&sled, &peer.tcp("S", 500, 0, b"")).unwrap_err();
            let said = sled.advance(3_000);
            assert!(
                said.ports
                    .iter()
                    .all(|(_, frame)| frame[12..14] == [0x86, 0xdd])
            );
            assert!(
                sled.wire
                    .borrow_mut()
                    .drain(..)
                    .all(|(_, frame)| frame[20] == 58)
            );
        }
        assert_eq!(stats(&sled, Some("g1")).flows, 1, "nor remembered");
        // Now the guest opens from its side, and the peer's SYN comes again.
        let flow = out("10.0.0.1:1000 > 198.51.100.1:80");
        let left = leaves(&sled, &flow.tcp("S", 100, 0, b""));
        assert_eq!(source(&left).1, port);
        comes(&sled, &peer.tcp("S", 500, 0, b"")).unwrap();
        leaves(&sled, &flow.tcp("SA", 100, 501, b""));
        comes(&sled, &peer.tcp("SA", 500, 101, b"")).unwrap();
    }
}

#[test]
fn a_connection_that_comes_in_is_tracked_like_one_that_goes_out() {
    let sled = world(&(snat(4096, 8191, "") + "rules = [\"dir=in priority=1 action=allow\"]"));
    let other = out("10.0.0.1:80 > 198.51.100.9:3478");
    let (_, port) = source(&leaves(&sled, &other.tcp("S", 1, 0, b"")));
    let peer = call(&format!("198.51.100.1:5000 > 203.0.113.9:{port}"));
    let answer = out("10.0.0.1:80 > 198.51.100.1:5000");
    comes(&sled, &peer.tcp("S", 500, 0, b"")).unwrap();
    let left = leaves(&sled, &answer.tcp("SA", 100, 501, b""));
    assert_eq!(source(&left), ("203.0.113.9".parse().unwrap(), port));
    comes(&sled, &peer.tcp("A", 501, 101, b"")).unwrap();
    assert_eq!(state(&sled), "ESTABLISHED");
    // It ends from both sides.
    comes(&sled, &peer.tcp("FA", 501, 101, b"bye")).unwrap();
    leaves(&sled, &answer.tcp("FA", 101, 505, b""));
    comes(&sled, &peer.tcp("A", 505, 102, b"")).unwrap();
    assert_eq!(state(&sled), "TIME_WAIT");
}
