//! Packets that don't fit, hops, and what a SYN offers.

use super::{ends, ip, told};
use crate::sim::Sled;
use crate::sim::frame::{Flow, assert_checksums};
use crate::trial::BOUNDARY;
use crate::{ALLOW_ALL, G1, Verdict, geneve, port, underlay, v2p};
use opte_core::DropReason;
use opte_core::frame::Offload;

const SNAT: &str = r#"external = { snat = [
    { address = "203.0.113.9", first_port = 4096, last_port = 8191 },
    { address = "2001:db8::9", first_port = 4096, last_port = 8191 }] }"#;

/// A sled whose underlay carries 1500 bytes, with g1.
fn narrow(more: &str) -> Sled {
    let underlay = underlay(1).replace(r#"name = "u0" }"#, r#"name = "u0", mtu = 1500 }"#);
    let sled = Sled::with(1, &(underlay + &v2p(3, 2) + &port("g1", 1, more)));
    crate::learn_boundary(&sled, BOUNDARY);
    sled
}

/// What comes back of a frame that is too big.
fn too_big(sled: &Sled, frame: &[u8]) -> Vec<u8> {
    let (verdict, sent) = sled.tx("g1", frame);
    assert_eq!(verdict, Verdict::Dropped(DropReason::TooBig));
    assert_eq!((sent.links.len(), sent.ports.len()), (0, 1));
    sent.ports[0].1.clone()
}

#[test]
fn a_packet_too_big_for_the_underlay_is_answered_with_the_mtu() {
    for external in [
        SNAT,
        r#"external = { ephemeral = ["203.0.113.5", "2001:db8::5"] }"#,
    ] {
        let sled = narrow(external);
        for (text, gateway, what, most) in [
            ("10.0.0.1:1000 > 198.51.100.1:80", "10.0.0.254", (3, 4), 548),
            (
                "[fd00:7::1]:1000 > [2001:db8:1::1]:80",
                "fd00:7::fe",
                (2, 0),
                1_232,
            ),
        ] {
            let flow = Flow::new(G1, text);
            for n in 0..2 {
                for frame in [flow.udp(&[7; 1_430]), flow.tcp("S", 1, 0, &[7; 1_420])] {
                    let told = told(&too_big(&sled, &frame));
                    assert_eq!((told.from, told.to), (ip(gateway), flow.src));
                    assert_eq!((told.what, told.mtu), (what, 1_430), "time {n}");
                    assert_eq!(told.quote, frame[14..14 + most], "as the guest sent it");
                }
            }
            let fits = if flow.src.is_ipv4() { 1_402 } else { 1_382 };
            let frame = flow.udp(&vec![7; fits]);
            assert!(matches!(sled.tx("g1", &frame).0, Verdict::Link(_)));
        }
    }
}

#[test]
fn a_large_segment_is_judged_by_what_it_is_cut_into() {
    let sled = narrow(SNAT);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:80");
    let _ = sled.tx("g1", &flow.tcp("S", 1, 0, b""));
    let frame = flow.tcp("A", 2, 5, &[7; 9_000]);
    let offload = |segment_len| Offload {
        checksum_partial: true,
        segment_len,
    };
    let (verdict, _) = sled.tx_offloaded("g1", &frame, offload(1_390));
    assert!(matches!(verdict, Verdict::Link(_)));
    let (verdict, sent) = sled.tx_offloaded("g1", &frame, offload(1_400));
    assert_eq!(verdict, Verdict::Dropped(DropReason::TooBig));
    let told = told(&sent.ports[0].1);
    assert_eq!(told.mtu, 1_430);
    assert_eq!(
        told.quote,
        frame[14..14 + 548],
        "unfinished checksum and all"
    );
}

#[test]
fn a_packet_too_big_for_its_guest_is_answered_to_whoever_sent_it() {
    let small = "mtu = 1280\n".to_owned() + ALLOW_ALL;
    let sled = Sled::with(1, &(port("g1", 1, "") + &port("g2", 2, &small)));
    for (text, what, gateway) in [
        ("10.0.0.1:1000 > 10.0.0.2:80", (3, 4), "10.0.0.254"),
        ("[fd00:7::1]:1000 > [fd00:7::2]:80", (2, 0), "fd00:7::fe"),
    ] {
        let flow = Flow::new(G1, text);
        let frame = flow.udp(&[7; 1_300]);
        let told = told(&too_big(&sled, &frame));
        assert_eq!((told.from, told.to), (ip(gateway), flow.src));
        assert_eq!((told.what, told.mtu), (what, 1_280));
        assert_eq!(told.quote, frame[14..14 + told.quote.len()]);
    }
    // And to somebody outside, by the address that he called.
    let more = "mtu = 1280\nexternal = { ephemeral = [\"203.0.113.5\"] }\n".to_owned() + ALLOW_ALL;
    let sled = narrow(&more);
    let call = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "198.51.100.1:1000 > 203.0.113.5:80")
    };
    let (verdict, sent) = sled.rx(&geneve(BOUNDARY, &call.udp(&[7; 1_300])));
    assert_eq!(verdict, Verdict::Dropped(DropReason::TooBig));
    let told = told(&sent.links[0].1[70..]);
    assert_eq!((told.from, told.to, told.mtu), (call.dst, call.src, 1_280));
}

#[test]
fn a_gateway_that_counts_hops_says_when_there_is_none_left() {
    let more = format!("{SNAT}\n[port.options]\ndecrement_ttl = true\n");
    let sled = narrow(&more);
    for (text, gateway, at, what) in [
        ("10.0.0.1:1000 > 198.51.100.1:80", "10.0.0.254", 22, (11, 0)),
        (
            "[fd00:7::1]:1000 > [2001:db8:1::1]:80",
            "fd00:7::fe",
            21,
            (3, 0),
        ),
    ] {
        let flow = Flow::new(G1, text);
        for mut frame in [flow.udp(b"probe"), flow.tcp("S", 1, 0, b""), flow.ping()] {
            let ttl = |frame: &mut [u8], hops: u8| {
                let old = frame[at];
                frame[at] = hops;
                if at == 22 {
                    let sum = u16::from_be_bytes([frame[24], frame[25]]);
                    let sum = sum.wrapping_add(u16::from(old - hops) << 8);
                    // End-around carry of one's complement.
                    let carry = u16::from(sum < u16::from(old - hops) << 8);
                    frame[24..26].copy_from_slice(&(sum + carry).to_be_bytes());
                }
            };
            for _ in 0..2 {
                let (verdict, sent) = sled.tx("g1", &frame);
                assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
                let inner = &sent.links[0].1[70..];
                assert_checksums(inner);
                assert_eq!(inner[at], 63);
            }
            ttl(&mut frame, 1);
            let (verdict, sent) = sled.tx("g1", &frame);
            assert_eq!(verdict, Verdict::Dropped(DropReason::TtlExceeded));
            let told = told(&sent.ports[0].1);
            assert_eq!(
                (told.from, told.to, told.what),
                (ip(gateway), flow.src, what)
            );
            assert_eq!(told.quote, frame[14..]);
        }
        // The gateway itself is no hop away.
        let mut ping = Flow {
            dst: ip(gateway),
            ..flow
        }
        .ping();
        ping[at] = 1;
        if at == 22 {
            ping[24..26].fill(0);
            let sum = ping[14..34].chunks(2).fold(0_u32, |sum, pair| {
                sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
            });
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ping[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let (verdict, sent) = sled.tx("g1", &ping);
        assert_eq!(verdict, Verdict::Consumed);
        assert_eq!(ends(&sent.ports[0].1[14..]), (ip(gateway), flow.src));
    }
}

#[test]
fn a_syn_offers_what_the_port_says_in_both_directions() {
    let more = "external = { ephemeral = [\"203.0.113.5\"] }\n".to_owned()
        + ALLOW_ALL
        + "\n[port.options]\nmss_max = 1360\n";
    let sled = narrow(&more);
    let with_mss = |flow: &Flow, flags| {
        let mut frame = flow.tcp(flags, 1, 0, &[2, 4, 5, 0xb4]);
        // The data become options.
        frame[46] = 0x60;
        let mut segment = frame.split_off(34);
        segment[16..18].fill(0);
        flow.ip(6, segment, 16)
    };
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:80");
    let (_, sent) = sled.tx("g1", &with_mss(&flow, "S"));
    let inner = &sent.links[0].1[70..];
    assert_checksums(inner);
    assert_eq!(inner[54..58], [2, 4, 5, 0x50]);
    let answer = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "198.51.100.1:80 > 203.0.113.5:1000")
    };
    let (_, sent) = sled.rx(&geneve(BOUNDARY, &with_mss(&answer, "SA")));
    assert_checksums(&sent.ports[0].1);
    assert_eq!(sent.ports[0].1[54..58], [2, 4, 5, 0x50]);
}

#[test]
fn a_tcp_sender_that_heeds_the_answer_gets_through() {
    // Sends its window, shrinks segments when told to, and sends them again.
    let sled = narrow(SNAT);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 198.51.100.1:80");
    let _ = sled.tx("g1", &flow.tcp("S", 0, 0, b""));
    let (mut seq, mut mss, mut sent_off, mut errors) = (1_u32, 1_460_usize, 0, 0);
    while sent_off < 100_000 {
        let (verdict, sent) = sled.tx("g1", &flow.tcp("A", seq, 1, &vec![7; mss]));
        match verdict {
            Verdict::Link(_) => {
                seq += mss as u32;
                sent_off += mss;
            }
            Verdict::Dropped(DropReason::TooBig) => {
                errors += 1;
                mss = told(&sent.ports[0].1).mtu as usize - 40;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((errors, mss), (1, 1_390));
}
