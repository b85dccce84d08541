//! What is told of the guests' traffic, as their own network providers would.

use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{G1, two_guests};
use opte_core::api::Command;
use opte_core::verdict::Verdict;
use std::sync::atomic::Ordering;

const OPEN: &str = r#"rules = ["dir=in priority=1 action=allow protocols=tcp,udp"]"#;

/// How often each of these events was told since the last call.
fn count<const N: usize>(sled: &Sled, names: [&str; N]) -> [usize; N] {
    let events = sled.events("");
    names.map(|name| {
        let start = format!("{name} {{");
        events
            .iter()
            .filter(|event| event.starts_with(&start))
            .count()
    })
}

#[test]
fn a_datagram_is_sent_by_one_guest_and_received_by_the_other() {
    let sled = two_guests(OPEN);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    sled.events("");
    let names = [
        "GldSend",
        "GldReceive",
        "IpSend",
        "IpReceive",
        "UdpSend",
        "UdpReceive",
    ];
    for opened in [2, 0] {
        sled.local("g1", &flow.udp(b"question")).unwrap();
        let [stream, told @ ..] = count(
            &sled,
            [
                "UdpStreamOpen",
                names[0],
                names[1],
                names[2],
                names[3],
                names[4],
                names[5],
            ],
        );
        assert_eq!(stream, opened, "one for each port, by the first packet");
        assert_eq!(told, [1; 6]);
    }
}

#[test]
fn who_begins_to_listen_hears_packets_after_a_tick_or_a_command() {
    let sled = two_guests(OPEN);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:53");
    // By its number, for which this asks once: to ask is a command.
    let g1 = sled.port("g1");
    let sent = || {
        let verdict = sled.tx_tight(g1, &flow.udp(b"question"));
        assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}");
        count(&sled, ["IpSend"])
    };
    let listen = |is: bool| sled.host.observer().deaf.store(!is, Ordering::Relaxed);
    let looks: [&dyn Fn(); 2] = [&|| drop(sled.advance(100)), &|| {
        drop(sled.command(Command::ListPorts(0)))
    }];
    for look in looks {
        listen(false);
        look();
        listen(true);
        assert_eq!(sent(), [0], "nobody has looked who listens");
        look();
        assert_eq!(sent(), [1]);
    }
}

#[test]
fn a_connection_is_asked_for_and_accepted() {
    let sled = two_guests(OPEN);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    let back = flow.back(crate::G2);
    sled.events("");
    let names = [
        "TcpConnectRequest",
        "TcpConnectEstablished",
        "TcpAcceptEstablished",
        "TcpSend",
    ];
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    assert_eq!(count(&sled, names), [1, 0, 0, 1]);
    sled.local("g2", &back.tcp("SA", 9, 2, b"")).unwrap();
    assert_eq!(count(&sled, names), [0, 0, 0, 1]);
    sled.local("g1", &flow.tcp("A", 2, 10, b"")).unwrap();
    assert_eq!(count(&sled, names), [0, 1, 1, 1]);
}

#[test]
fn a_refused_connection_and_a_dropped_packet_are_told() {
    let sled = two_guests(OPEN);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.2:80");
    let back = flow.back(crate::G2);
    sled.local("g1", &flow.tcp("S", 1, 0, b"")).unwrap();
    sled.events("");
    sled.local("g2", &back.tcp("RA", 0, 2, b"")).unwrap();
    let names = [
        "TcpConnectRefused",
        "TcpAcceptRefused",
        "IpDropOut",
        "IpDropIn",
    ];
    assert_eq!(count(&sled, names), [1, 1, 0, 0]);
    let forbidden = Flow::new(G1, "10.0.0.1:7 > 10.0.0.2:0").ping();
    sled.local("g1", &forbidden).unwrap_err();
    assert_eq!(count(&sled, names), [0, 0, 0, 1]);
}

#[test]
fn an_sctp_packet_tells_its_senders_window() {
    let sled = two_guests(r#"rules = ["dir=in priority=1 action=allow"]"#);
    let flow = Flow::new(G1, "10.0.0.1:3000 > 10.0.0.2:3001");
    let chunk = |kind: u8| {
        let mut body = vec![0x0b, 0xb8, 0x0b, 0xb9, 0, 0, 0, 0, 0, 0, 0, 0];
        body.extend([
            kind, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1,
        ]);
        flow.ip(132, body, 8)
    };
    sled.events("");
    sled.local("g1", &chunk(1)).unwrap();
    let windows = sled.events("SctpWindow {");
    assert_eq!(windows.len(), 2, "g1 sends and g2 gets: {windows:?}");
    assert!(windows.iter().all(|event| event.contains("window: 65536")));
    // A heartbeat.
    let _ = sled.local("g1", &chunk(4));
    assert!(sled.events("SctpWindow {").is_empty());
}
