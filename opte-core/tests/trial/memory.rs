//! Packets when memory is short: what grows with them is refused, and what
//! there is stays as it is.

use super::account::{EXTERNAL, seeds, spoil};
use super::group::{igmp, to_group};
use super::group_abuse::{joins, listeners};
use super::{Rng, world};
use crate::icmp::cut;
use crate::sim::Sled;
use crate::sim::frame::Flow;
use crate::{ALLOW_ALL, G1, G2, Verdict, port};
use opte_core::DropReason;

/// What a packet may take without asking whether it is there: less than so
/// many bytes at a time (rule M1 of `fallible`).
pub(super) const MOST: usize = 2_048;

const NO_MEMORY: Verdict = Verdict::Dropped(DropReason::NoMemory);

fn flow(from: u16) -> Flow {
    Flow::new(G1, &format!("10.0.0.1:{from} > 10.0.0.2:53"))
}

fn guests(more: &str) -> Sled {
    let ports = ["g1", "g2"].into_iter().zip(1..);
    let ports: String = ports.map(|(name, host)| port(name, host, more)).collect();
    Sled::with(1, &ports)
}

#[test]
fn a_flow_without_memory_is_refused_and_others_go_on() {
    let sled = guests(ALLOW_ALL);
    assert!(sled.local("g1", &flow(1).udp(b"")).is_ok());
    sled.scarce.set(MOST);
    let known = (1..=2_000).filter(|from| sled.tx("g1", &flow(*from).udp(b"")).0 != NO_MEMORY);
    // The first one's line has room for more.
    let known: Vec<_> = known.collect();
    assert!((1..200).contains(&known.len()), "{}", known.len());
    for from in &known {
        assert!(sled.local("g1", &flow(*from).udp(b"")).is_ok());
        assert!(sled.local("g2", &flow(*from).back(G2).udp(b"")).is_ok());
    }
    sled.scarce.set(usize::MAX);
    for from in 1..=2_000 {
        assert!(sled.local("g1", &flow(from).udp(b"")).is_ok(), "{from}");
    }
}

#[test]
fn a_table_that_cannot_grow_uses_the_room_that_it_has() {
    let sled = guests(ALLOW_ALL);
    let mut refused = 0;
    for from in 1..=20_000 {
        // Growth falls into one of the lean times, now and then.
        sled.scarce
            .set(if from / 50 % 2 == 0 { MOST } else { usize::MAX });
        match sled.tx("g1", &flow(from).udp(b"")).0 {
            NO_MEMORY => refused += 1,
            verdict => assert!(matches!(verdict, Verdict::Port(_)), "{verdict:?}"),
        }
    }
    assert!(refused > 0);
    sled.scarce.set(usize::MAX);
    for from in 1..=20_000 {
        assert!(sled.local("g1", &flow(from).udp(b"")).is_ok(), "{from}");
    }
}

#[test]
fn fragments_without_memory_are_refused() {
    let sled = guests(ALLOW_ALL);
    let pieces = cut(&flow(1).udp(&[9; 4_000]), 1_400, 1);
    sled.scarce.set(MOST);
    for piece in &pieces {
        assert_eq!(sled.tx("g1", piece).0, NO_MEMORY);
    }
    sled.scarce.set(usize::MAX);
    for piece in &pieces {
        assert!(matches!(sled.tx("g1", piece).0, Verdict::Port(_)));
    }
}

/// An engine that took what isn't there would end this process.
#[test]
fn no_packet_needs_a_large_block() {
    for seed in 0..4 {
        let sled = world(EXTERNAL);
        let (mut rng, seeds) = (Rng(seed), seeds());
        sled.scarce.set(MOST);
        for _ in 0..5_000 {
            let (from_guest, mut frame) = rng.pick(&seeds).clone();
            spoil(&mut rng, &mut frame);
            let _ = match from_guest {
                true => sled.tx("g1", &frame),
                false => sled.rx(&frame),
            };
            if rng.below(50) == 0 {
                let _ = sled.advance(100);
            }
        }
    }
}

#[test]
fn neither_do_reports_and_frames_for_groups() {
    let sled = listeners();
    sled.scarce.set(MOST);
    for n in 0..40 {
        let kind = [4, 3, 2, 1][n % 4];
        for from in [11, 12] {
            let report = igmp(from, &joins(kind, 0x100..0x100 + 2 * n));
            let _ = sled.tx(&format!("g{from}"), &report);
        }
        for payload in [&[1_u8; 100][..], &[2; 8_000]] {
            let frame = to_group(11, "239.1.1.1").udp(payload);
            let _ = sled.tx("g11", &frame);
            for piece in cut(&frame, 1_400, n as u32) {
                let _ = sled.tx("g11", &piece);
            }
        }
        let _ = sled.advance(1_500);
    }
}
