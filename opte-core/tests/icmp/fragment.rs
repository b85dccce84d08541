//! Fragments through ports, sleds and translation.

use super::{cut, ip};
use crate::sim::frame::{Flow, assert_checksums};
use crate::sim::{Sled, carry};
use crate::trial::{BOUNDARY, Rng, name, stats, world};
use crate::{ALLOW_ALL, G1, G2, Verdict, geneve, two_guests, two_sleds};
use opte_core::DropReason;
use opte_core::api::{Command, Response};

const SNAT: &str = r#"external = { snat = [
    { address = "203.0.113.9", first_port = 4096, last_port = 8191 },
    { address = "2001:db8::9", first_port = 4096, last_port = 8191 }] }"#;
const ENDS: [&str; 2] = [
    "10.0.0.1:1000 > 198.51.100.1:80",
    "[fd00:7::1]:1000 > [2001:db8:1::1]:80",
];

/// What fragments carry, put together as their receiver does it: the packet's
/// frame. They have to be all there.
fn whole(mut pieces: Vec<Vec<u8>>) -> Vec<u8> {
    let is_v4 = pieces[0][12] == 8;
    let offset = |piece: &[u8]| match is_v4 {
        true => (u16::from_be_bytes([piece[20], piece[21]]) & 0x1fff) << 3,
        false => u16::from_be_bytes([piece[56], piece[57]]) & 0xfff8,
    };
    pieces.sort_by_key(|piece| offset(piece));
    let header = if is_v4 { 34 } else { 62 };
    let mut frame = pieces[0][..header].to_vec();
    for piece in &pieces {
        if is_v4 {
            assert_eq!(checksum(&piece[14..34]), 0, "each header's own");
        }
        assert_eq!(usize::from(offset(piece)), frame.len() - header);
        assert_eq!(piece[..12], frame[..12]);
        frame.extend(&piece[header..]);
    }
    if is_v4 {
        let len = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame[20..22].fill(0);
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        frame[20] = frame[54];
        frame.drain(54..62);
        let len = (frame.len() - 54) as u16;
        frame[18..20].copy_from_slice(&len.to_be_bytes());
    }
    frame
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        sum + u32::from(u16::from_be_bytes([pair[0], pair[1]]))
    });
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// The inner frames that a guest's fragments become on the link.
fn sent_out(sled: &Sled, pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        let (verdict, sent) = sled.tx("g1", piece);
        assert!(
            matches!(verdict, Verdict::Link(_) | Verdict::Held),
            "{verdict:?}"
        );
        out.extend(
            sent.links
                .into_iter()
                .map(|(_, frame)| frame[70..].to_vec()),
        );
    }
    out
}

fn shuffled(mut pieces: Vec<Vec<u8>>, rng: &mut Rng) -> Vec<Vec<u8>> {
    for at in (1..pieces.len()).rev() {
        pieces.swap(at, rng.below(at + 1));
    }
    pieces
}

#[test]
fn fragments_in_any_order_leave_by_one_external_port() {
    let sled = world(SNAT);
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let flow = Flow::new(G1, ENDS[rng.below(2)]);
        let frame = match rng.below(2) {
            0 => flow.udp(&[9; 4_000]),
            _ => flow.tcp("S", 1, 0, &[9; 4_000]),
        };
        let pieces = shuffled(cut(&frame, 1_400, seed as u32), &mut rng);
        let out = sent_out(&sled, &pieces);
        assert_eq!(out.len(), pieces.len(), "seed {seed}");
        let whole = whole(out);
        assert_checksums(&whole);
        let (src, dst) = super::ends(&whole[14..]);
        assert_ne!(src, flow.src, "translated");
        assert_eq!(dst, flow.dst);
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 4);
    assert_eq!(sled.drops(DropReason::Fragment), 0);
}

#[test]
fn fragments_come_in_through_translation_in_any_order() {
    let more = "external = { floating = [{ address = \"203.0.113.5\" }, { address = \"2001:db8::5\" }] }\n";
    let sled = world(&(more.to_owned() + ALLOW_ALL));
    for seed in 0..60 {
        let mut rng = Rng(seed);
        let (text, own) = [
            ("198.51.100.1:5000 > 203.0.113.5:80", "10.0.0.1"),
            ("[2001:db8:1::1]:5000 > [2001:db8::5]:80", "fd00:7::1"),
        ][rng.below(2)];
        let flow = Flow {
            dst_mac: G1,
            ..Flow::new(BOUNDARY, text)
        };
        let pieces = cut(&flow.udp(&[9; 4_000]), 1_400, seed as u32);
        let mut got = Vec::new();
        for piece in shuffled(pieces, &mut rng) {
            let (_, sent) = sled.rx(&geneve(BOUNDARY, &piece));
            got.extend(sent.ports.into_iter().map(|(_, frame)| frame));
        }
        assert_eq!(got.len(), 3, "seed {seed}");
        let whole = whole(got);
        assert_checksums(&whole);
        assert_eq!(super::ends(&whole[14..]), (flow.src, ip(own)));
    }
}

/// As a network brings them that sends some frames twice.
#[test]
fn copies_of_fragments_change_nothing() {
    for text in ENDS {
        for seed in 0..30 {
            let sled = world(SNAT);
            let mut rng = Rng(seed);
            let pieces = cut(&Flow::new(G1, text).udp(&[9; 6_000]), 1_400, 5);
            let mut all = shuffled([pieces.clone(), pieces.clone()].concat(), &mut rng);
            all.extend(pieces);
            let mut out = Vec::new();
            for piece in all {
                let (_, sent) = sled.tx("g1", &piece);
                out.extend(
                    sent.links
                        .into_iter()
                        .map(|(_, frame)| frame[70..].to_vec()),
                );
            }
            // A receiver leaves copies out (RFC 791 section 3.2).
            out.sort_by_key(|piece| piece[18..62].to_vec());
            out.dedup();
            assert_checksums(&whole(out));
            assert_eq!(sled.drops(DropReason::FragmentsFull), 0);
        }
    }
}

#[test]
fn fragments_cross_sleds_and_next_door() {
    let (a, b) = two_sleds(ALLOW_ALL);
    let flow = Flow::new(G1, "10.0.0.1:1000 > 10.0.0.3:53");
    let _ = a.tx("g1", &flow.udp(b""));
    carry(&a, &b);
    for seed in 0..20 {
        let pieces = cut(&flow.udp(&[9; 4_000]), 1_400, seed);
        let pieces = shuffled(pieces, &mut Rng(u64::from(seed)));
        sent_out(&a, &pieces);
        let got: Vec<_> = carry(&a, &b).into_iter().map(|(_, frame)| frame).collect();
        assert_eq!(whole(got)[34..], flow.udp(&[9; 4_000])[34..]);
    }
    let sled = two_guests(ALLOW_ALL);
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:53",
        "[fd00:7::1]:1000 > [fd00:7::2]:53",
    ] {
        let flow = Flow::new(G1, text);
        let mut got = Vec::new();
        for piece in cut(&flow.udp(&[9; 4_000]), 1_400, 7).into_iter().rev() {
            let (_, sent) = sled.tx("g1", &piece);
            got.extend(sent.ports.into_iter().map(|(_, frame)| frame));
        }
        let whole = whole(got);
        assert_eq!(whole[..6], G2.0);
        assert_checksums(&whole);
    }
}

#[test]
fn a_fin_in_fragments_stands_at_the_end_of_its_segment() {
    let flow = Flow::new(G1, "10.0.0.1:2000 > 10.0.0.2:80");
    for order in [[0, 1, 2], [0, 2, 1], [2, 1, 0]] {
        let sled = two_guests(ALLOW_ALL);
        let back = flow.back(G2);
        sled.local("g1", &flow.tcp("S", 100, 0, b"")).unwrap();
        sled.local("g2", &back.tcp("SA", 500, 101, b"")).unwrap();
        sled.local("g1", &flow.tcp("A", 101, 501, b"")).unwrap();
        let pieces = cut(&flow.tcp("FA", 101, 501, &[9; 4_000]), 1_400, 7);
        for at in order {
            let verdict = sled.tx("g1", &pieces[at]).0;
            assert!(!matches!(verdict, Verdict::Dropped(_)), "{order:?} {at}");
        }
        sled.local("g2", &back.tcp("A", 501, 4_102, b"")).unwrap();
        let Ok(Response::Tcp(page)) = sled.command(Command::DumpTcpFlows(name("g1"), 0)) else {
            panic!()
        };
        assert_eq!(page.entries[0].state, "FIN_WAIT_2", "{order:?}");
    }
}

#[test]
fn fragments_of_what_is_denied_are_dropped_and_not_kept() {
    let sled = world(r#"rules = ["dir=out priority=1 action=deny ports=80"]"#);
    let frame = Flow::new(G1, ENDS[0]).udp(&[9; 4_000]);
    let pieces = cut(&frame, 1_400, 1);
    let verdicts: Vec<_> = pieces.iter().map(|piece| sled.tx("g1", piece).0).collect();
    let dropped = Verdict::Dropped;
    assert_eq!(
        verdicts,
        [
            dropped(DropReason::FirewallDeny),
            dropped(DropReason::Fragment),
            dropped(DropReason::Fragment)
        ]
    );
    // And those that came first are dropped when it is denied.
    for piece in cut(&frame, 1_400, 2).iter().rev() {
        let _ = sled.tx("g1", piece);
    }
    assert_eq!(sled.drops(DropReason::Fragment), 4);
    assert_eq!(sled.drops(DropReason::FirewallDeny), 2);
}

#[test]
fn a_fragment_that_waits_too_long_is_lost_with_its_reason() {
    let sled = world(SNAT);
    let pieces = cut(&Flow::new(G1, ENDS[0]).udp(&[9; 4_000]), 1_400, 1);
    assert_eq!(sled.tx("g1", &pieces[1]).0, Verdict::Held);
    assert_eq!(sled.tx("g1", &pieces[2]).0, Verdict::Held);
    sled.advance(29_900);
    assert_eq!(sled.drops(DropReason::FragmentTimeout), 0);
    sled.advance(200);
    assert_eq!(sled.drops(DropReason::FragmentTimeout), 2);
    assert_eq!(
        sent_out(&sled, &pieces[..1]).len(),
        1,
        "and nothing after it"
    );
}

#[test]
fn overlaps_spoils_and_impossible_fragments_have_their_reasons() {
    let sled = world(SNAT);
    for (number, text) in ENDS.into_iter().enumerate() {
        let frame = Flow::new(G1, text).udp(&[9; 4_000]);
        let pieces = cut(&frame, 1_400, 5);
        assert_eq!(sent_out(&sled, &pieces[..2]).len(), 2);
        let overlap = Verdict::Dropped(DropReason::FragmentOverlap);
        // A copy goes nowhere; what overlaps spoils the packet.
        assert_eq!(sled.tx("g1", &pieces[1]).0, overlap);
        let other = &cut(&frame, 1_000, 5)[2];
        assert_eq!(sled.tx("g1", other).0, overlap);
        assert_eq!(sled.tx("g1", &pieces[2]).0, overlap, "spoiled");
        let again = sled.tx("g1", &pieces[0]).0;
        assert_eq!(again == overlap, number == 1, "IPv4 numbers come again");
        // A piece that isn't the last and has seven bytes too many.
        let odd = cut(&frame, 1_399, 6);
        let bad = Verdict::Dropped(DropReason::BadIp);
        assert_eq!(sled.tx("g1", &odd[0]).0, bad);
        assert_eq!(sled.tx("g1", &odd[1]).0, bad);
        // A first one without all of its header (RFC 1858).
        let tcp = Flow::new(G1, text).tcp("S", 1, 0, &[9; 400]);
        let tiny = cut(&tcp, 8, 9);
        assert!(matches!(sled.tx("g1", &tiny[0]).0, Verdict::Dropped(_)));
        let spoofed = Flow {
            src: if number == 0 {
                ip("10.0.0.9")
            } else {
                ip("fd00:7::9")
            },
            ..Flow::new(G1, text)
        };
        let spoofed = &cut(&spoofed.udp(&[9; 4_000]), 1_400, 5)[1];
        assert_eq!(
            sled.tx("g1", spoofed).0,
            Verdict::Dropped(DropReason::SpoofedIp)
        );
    }
}

#[test]
fn a_flow_of_fragments_lives_and_is_counted_as_any_other() {
    let sled = world(SNAT);
    let frame = Flow::new(G1, ENDS[0]).udp(&[9; 4_000]);
    for n in 0..3 {
        sent_out(&sled, &cut(&frame, 1_400, n));
        sled.advance(20_000);
    }
    assert_eq!(stats(&sled, Some("g1")).flows, 1);
    sled.events("");
    sled.advance(130_000);
    let ended = sled.events("FlowExpire");
    assert!(ended[0].contains("packets 9+0"), "{ended:?}");
}

#[test]
fn any_fragments_at_all_are_survived() {
    let sled = world(&(SNAT.to_owned() + "\n" + ALLOW_ALL));
    for seed in 0..3_000 {
        let mut rng = Rng(seed);
        let flow = Flow::new(G1, ENDS[rng.below(2)]);
        let size = 8 * (1 + rng.below(150));
        let mut pieces = cut(
            &flow.udp(&vec![9; rng.below(1_500)]),
            size,
            seed as u32 % 50,
        );
        let at = rng.below(pieces.len());
        let mut piece = std::mem::take(&mut pieces[at]);
        for _ in 0..rng.below(3) {
            let at = 14 + rng.below((piece.len() - 14).min(60));
            piece[at] = rng.next() as u8;
        }
        let _ = sled.tx("g1", &piece);
        if seed % 100 == 0 {
            sled.advance(1_000);
        }
    }
}
