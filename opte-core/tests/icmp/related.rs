//! ICMP errors about flows that are there.

use super::{error, ip, told};
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::trial::{BOUNDARY, Rng, stats, world};
use crate::{G1, G2, MacAddr, Verdict, geneve, two_guests};
use opte_core::DropReason;

const SNAT: &str = r#"external = { snat = [
    { address = "203.0.113.9", first_port = 4096, last_port = 8191 },
    { address = "2001:db8::9", first_port = 4096, last_port = 8191 }] }
rules = ["dir=in priority=1 action=deny protocols=icmp,icmp6"]"#;
const FLOATING: &str = r#"
external = { floating = [{ address = "203.0.113.5" }, { address = "2001:db8::5" }] }
rules = ["dir=in priority=1 action=allow protocols=tcp,udp,132,47",
         "dir=in priority=2 action=allow protocols=icmp:8,icmp6:128",
         "dir=out priority=1 action=deny protocols=icmp,icmp6"]"#;
const ENDS: [(&str, &str); 2] = [
    ("10.0.0.1:1000 > 198.51.100.1:80", "192.0.2.77"),
    ("[fd00:7::1]:1000 > [2001:db8:1::1]:80", "2001:db8:77::1"),
];

/// Every kind of packet that SNAT translates.
fn packets(flow: &Flow) -> Vec<Vec<u8>> {
    vec![flow.udp(b"data"), flow.tcp("S", 7, 0, b""), flow.ping()]
}

/// What a guest's packet looks like outside.
fn outside(sled: &Sled, frame: &[u8]) -> Vec<u8> {
    let (verdict, sent) = sled.tx("g1", frame);
    assert!(matches!(verdict, Verdict::Link(_)), "{verdict:?}");
    sent.links[0].1[84..].to_vec()
}

/// A router outside reports about a packet that it saw.
fn report(sled: &Sled, router: &str, what: (u8, u8), seen: &[u8]) -> Result<Vec<u8>, DropReason> {
    let (src, _) = super::ends(seen);
    let flow = Flow {
        src_mac: BOUNDARY,
        dst_mac: G1,
        src: ip(router),
        dst: src,
        sport: 0,
        dport: 0,
    };
    arrive(sled, &error(&flow, what, 1_400, seen))
}

fn arrive(sled: &Sled, inner: &[u8]) -> Result<Vec<u8>, DropReason> {
    match sled.rx(&geneve(BOUNDARY, inner)) {
        (Verdict::Port(_), sent) => Ok(sent.ports[0].1.clone()),
        (Verdict::Dropped(reason), _) => Err(reason),
        other => panic!("{other:?}"),
    }
}

fn kinds(flow: &Flow) -> [(u8, u8); 3] {
    match flow.src.is_ipv4() {
        true => [(3, 4), (11, 0), (3, 1)],
        false => [(2, 0), (3, 0), (1, 4)],
    }
}

#[test]
fn an_error_from_outside_comes_through_snat_with_the_guests_own_packet() {
    let sled = world(SNAT);
    for (text, router) in ENDS {
        let flow = Flow::new(G1, text);
        for sent in packets(&flow) {
            let seen = outside(&sled, &sent);
            assert_ne!(seen, sent[14..]);
            for what in kinds(&flow) {
                let frame = report(&sled, router, what, &seen).unwrap();
                assert_eq!(frame[..12], [G1.0, MacAddr::GATEWAY.0].concat());
                let told = told(&frame);
                assert_eq!((told.from, told.to), (ip(router), flow.src));
                assert_eq!((told.what, told.mtu), (what, 1_400), "as it was");
                assert_eq!(
                    told.quote,
                    sent[14..],
                    "what the guest sent, and every checksum"
                );
            }
            // As few bytes as RFC 792 asks for.
            let short = seen.len().min(if flow.src.is_ipv4() { 28 } else { 48 });
            let told = told(&report(&sled, router, kinds(&flow)[1], &seen[..short]).unwrap());
            assert_eq!(told.quote.len(), short);
        }
    }
}

#[test]
fn who_reports_about_a_connection_knows_its_place_in_the_stream() {
    let sled = world(SNAT);
    for (text, router) in ENDS {
        let flow = Flow::new(G1, text);
        let at = if flow.src.is_ipv4() { 24 } else { 44 };
        let seen = outside(&sled, &flow.tcp("S", 1_000_000, 0, b""));
        for (sequence, expected) in [
            (1_000_000_u32, None),
            // Sent again, or data with the SYN.
            (999_999, None),
            (1_000_001, None),
            (2_000_000, Some(DropReason::IcmpUnrelated)),
            (0, Some(DropReason::IcmpUnrelated)),
            (3_000_000_000, Some(DropReason::IcmpUnrelated)),
        ] {
            let mut quote = seen.clone();
            quote[at..at + 4].copy_from_slice(&sequence.to_be_bytes());
            let got = report(&sled, router, kinds(&flow)[0], &quote);
            assert_eq!(got.err(), expected, "{text} {sequence}");
        }
    }
}

#[test]
fn what_a_guest_reports_goes_out_by_the_address_that_was_called() {
    let sled = world(FLOATING);
    for (call, own) in [
        ("198.51.100.1:5000 > 203.0.113.5:80", "10.0.0.1"),
        ("[2001:db8:1::1]:5000 > [2001:db8::5]:80", "fd00:7::1"),
    ] {
        let flow = Flow {
            dst_mac: G1,
            ..Flow::new(BOUNDARY, call)
        };
        for call in packets(&flow) {
            let got = arrive(&sled, &call).unwrap();
            let back = Flow {
                src: ip(own),
                ..flow.back(G1)
            };
            let back = Flow {
                dst_mac: MacAddr::GATEWAY,
                ..back
            };
            let unreachable = error(&back, kinds(&flow)[2], 0, &got[14..]);
            let told = told(&[vec![0; 14], outside(&sled, &unreachable)].concat_family(&flow));
            assert_eq!((told.from, told.to), (flow.dst, flow.src));
            assert_eq!(told.quote, call[14..], "what the caller sent");
        }
    }
}

/// Puts an Ethernet header of the right type in front of a packet.
trait ConcatFamily {
    fn concat_family(&self, flow: &Flow) -> Vec<u8>;
}

impl ConcatFamily for [Vec<u8>; 2] {
    fn concat_family(&self, flow: &Flow) -> Vec<u8> {
        let mut frame = self.concat();
        frame[12..14].copy_from_slice(match flow.src.is_ipv4() {
            true => &[0x08, 0x00],
            false => &[0x86, 0xdd],
        });
        frame
    }
}

#[test]
fn guests_report_to_each_other() {
    let sled = two_guests(r#"rules = ["dir=in priority=1 action=allow protocols=udp"]"#);
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:53",
        "[fd00:7::1]:1000 > [fd00:7::2]:53",
    ] {
        let flow = Flow::new(G1, text);
        let sent = flow.udp(b"anybody?");
        let got = sled.local("g1", &sent).unwrap();
        let back = error(&flow.back(G2), kinds(&flow)[2], 0, &got[14..]);
        let told = told(&sled.local("g2", &back).unwrap());
        assert_eq!((told.from, told.to), (flow.dst, flow.src));
        assert_eq!(told.quote, sent[14..]);
    }
    assert_eq!(
        stats(&sled, Some("g1")).flows,
        2,
        "none was made of an error"
    );
}

#[test]
fn an_error_keeps_no_flow_alive_and_makes_none() {
    let sled = world(SNAT);
    let (text, router) = ENDS[0];
    let seen = outside(&sled, &Flow::new(G1, text).udp(b"data"));
    // By a shared address the flow lives for two minutes (RFC 4787 REQ-5).
    for _ in 0..130 {
        sled.advance(1_000);
        _ = report(&sled, router, (11, 0), &seen);
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 0);
    let late = report(&sled, router, (11, 0), &seen);
    assert_eq!(late, Err(DropReason::IcmpUnrelated));
    assert_eq!(stats(&sled, Some("g1")).flows, 0);
}

#[test]
fn nobody_makes_up_what_he_reports_about() {
    let sled = world(FLOATING);
    for (text, router) in ENDS {
        let flow = Flow::new(G1, text);
        let what = kinds(&flow)[1];
        let seen = outside(&sled, &flow.udp(b"data"));
        let to = Flow {
            src_mac: BOUNDARY,
            dst_mac: G1,
            src: ip(router),
            dst: super::ends(&seen).0,
            sport: 0,
            dport: 0,
        };
        let unrelated = |quote: &[u8], whence: &str| {
            let got = arrive(&sled, &error(&to, what, 0, quote));
            assert_eq!(got, Err(DropReason::IcmpUnrelated), "{whence}");
        };
        report(&sled, router, what, &seen).unwrap();
        let (ports, proto) = match flow.src.is_ipv4() {
            true => (20, 9),
            false => (40, 6),
        };
        for (at, whose) in [
            (ports, "another port of the guest"),
            (ports + 2, "another port of the far end"),
            (ports - 1, "another far end"),
            (proto, "another protocol"),
        ] {
            let mut quote = seen.clone();
            quote[at] ^= 1;
            unrelated(&quote, whose);
        }
        unrelated(&seen[..ports + 7], "too little of it");
        unrelated(&seen[..ports - 1], "less than a header");
        unrelated(&[0; 60], "nothing");
        // What went to the guest, as if the guest had sent it: the error would
        // have to go to the far end.
        let back = Flow {
            src: flow.dst,
            dst: super::ends(&seen).0,
            sport: flow.dport,
            dport: flow.sport,
            ..flow
        };
        unrelated(&back.udp(b"data")[14..], "the other direction");
        // To an address of the guest, about a packet of somebody else.
        let other = Flow {
            src: ip(router),
            ..flow
        };
        let forged = error(&to, what, 0, &other.udp(b"")[14..]);
        assert_eq!(arrive(&sled, &forged), Err(DropReason::IcmpUnrelated));
        // From inside of the VPC about a flow to the outside.
        let mut inside = error(&to, what, 0, &seen);
        inside[..6].copy_from_slice(&G1.0);
        let outer = super::inside(&geneve(BOUNDARY, &inside));
        assert_eq!(
            sled.rx(&outer).0,
            Verdict::Dropped(DropReason::IcmpUnrelated)
        );
        // Damaged on the way.
        let mut damaged = error(&to, what, 0, &seen);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert_eq!(arrive(&sled, &damaged), Err(DropReason::BadChecksum));
    }
}

#[test]
fn a_guest_reports_about_its_own_flows_only() {
    let sled = world(FLOATING);
    let call = Flow {
        dst_mac: G1,
        ..Flow::new(BOUNDARY, "198.51.100.1:5000 > 203.0.113.5:80")
    };
    let got = arrive(&sled, &call.udp(b"")).unwrap();
    let back = Flow::new(G1, "10.0.0.1:80 > 198.51.100.1:5000");
    let refused = |flow: &Flow, quote: &[u8], reason| {
        let frame = error(flow, (3, 3), 0, quote);
        assert_eq!(sled.tx("g1", &frame).0, Verdict::Dropped(reason));
    };
    let unrelated = DropReason::IcmpUnrelated;
    refused(&back, &call.udp(b"")[14..], unrelated);
    refused(
        &Flow {
            dst: ip("198.51.100.2"),
            ..back
        },
        &got[14..],
        unrelated,
    );
    refused(
        &Flow {
            dst: ip("10.0.0.2"),
            ..back
        },
        &got[14..],
        unrelated,
    );
    refused(&back, &back.udp(b"")[14..], unrelated);
    refused(
        &Flow {
            src: ip("10.0.0.9"),
            ..back
        },
        &got[14..],
        DropReason::SpoofedIp,
    );
    // Before a packet has come nobody can complain of it.
    let asked = Flow::new(G1, "10.0.0.1:7 > 198.51.100.1:7");
    outside(&sled, &asked.udp(b""));
    refused(&asked, &asked.back(G1).udp(b"")[14..], unrelated);
}

#[test]
fn what_means_nothing_here_is_not_forwarded() {
    let sled = world(FLOATING);
    let (text, router) = ENDS[0];
    let seen = outside(&sled, &Flow::new(G1, text).udp(b"data"));
    for kind in [4, 5] {
        let got = report(&sled, router, (kind, 1), &seen);
        assert_eq!(got, Err(DropReason::IcmpNotForwarded));
    }
    for spoof in [
        "10.0.0.254",
        "10.0.0.1",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
    ] {
        let got = report(&sled, spoof, (11, 0), &seen);
        assert_eq!(got, Err(DropReason::Martian), "{spoof}");
    }
}

#[test]
fn a_revoked_flow_has_no_related_errors() {
    let sled = world(FLOATING);
    let (text, router) = ENDS[0];
    let seen = outside(&sled, &Flow::new(G1, text).udp(b"data"));
    let rules = vec!["dir=out priority=1 action=deny".parse().unwrap()];
    let set = opte_core::api::Command::SetFwRules(crate::name("g1"), rules);
    sled.command(set).unwrap();
    let got = report(&sled, router, (11, 0), &seen);
    assert_eq!(got, Err(DropReason::FirewallDeny));
}

#[test]
fn any_error_at_all_is_sound_or_dropped() {
    let sled = world(SNAT);
    for (text, router) in ENDS {
        let flow = Flow::new(G1, text);
        for (number, sent) in packets(&flow).into_iter().enumerate() {
            let seen = outside(&sled, &sent);
            let (src, _) = super::ends(&seen);
            let to = Flow {
                src_mac: BOUNDARY,
                dst_mac: G1,
                src: ip(router),
                dst: src,
                sport: 0,
                dport: 0,
            };
            for seed in 0..2_000 {
                let mut rng = Rng(seed);
                let mut quote = seen.clone();
                for _ in 0..rng.below(4) {
                    let at = rng.below(quote.len());
                    quote[at] = rng.next() as u8;
                }
                quote.truncate(rng.below(quote.len() * 2));
                let what = [(3, 4), (11, 0), (12, 0), (2, 0), (1, 1), (100, 3)];
                let frame = error(&to, *rng.pick(&what), rng.next() as u32, &quote);
                if let Ok(frame) = arrive(&sled, &frame) {
                    let told = told(&frame);
                    assert_eq!(told.to, flow.src, "seed {seed}, packet {number}");
                    assert_eq!(super::ends(&told.quote).0, flow.src, "seed {seed}");
                }
            }
        }
    }
}
