//! Every frame is accounted for once, whatever is in it, and what it took is
//! given back.

use super::{BOUNDARY, Rng, external_ports_used, name, stats, world};
use crate::sim::frame::Flow;
use crate::sim::{Sled, frame};
use crate::{G1, Verdict, geneve};
use opte_core::api::Command;
use opte_core::{DropReason, LayerId};
use std::collections::BTreeMap;

pub(super) const EXTERNAL: &str = r#"
external = { floating = [{ address = "203.0.113.5" }, { address = "203.0.113.6" }],
             snat = [{ address = "2001:db8::9", first_port = 4096, last_port = 4111 }] }
options = { flows_max = 256 }
rules = ["dir=in priority=100 action=allow protocols=tcp,udp,icmp"]"#;

/// Frames that mean something, to be spoilt: whether the guest sends them.
pub(super) fn seeds() -> Vec<(bool, Vec<u8>)> {
    let mut seeds = Vec::new();
    for text in [
        "10.0.0.1:1000 > 10.0.0.2:53",
        "10.0.0.1:1001 > 10.0.0.3:53",
        "10.0.0.1:1002 > 198.51.100.1:80",
        "10.0.0.1:1003 > 10.0.0.254:67",
        "[fd00:7::1]:1000 > [fd00:7::2]:53",
        "[fd00:7::1]:1001 > [fd00:7::3]:53",
        "[fd00:7::1]:1002 > [2001:db8:1::1]:80",
        "[fd00:7::1]:1003 > [fd00:7::fe]:80",
    ] {
        let flow = Flow::new(G1, text);
        seeds.push((true, flow.udp(b"data")));
        seeds.push((true, flow.ping()));
        for flags in ["S", "A", "PA", "FA", "R", "SA"] {
            seeds.push((true, flow.tcp(flags, 1, 1, b"data")));
        }
    }
    let solicitation = Flow::new(G1, "[fd00:7::1]:0 > [fd00:7::fe]:0");
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend("fd00:7::fe".parse::<std::net::Ipv6Addr>().unwrap().octets());
    message.extend([1, 1]);
    message.extend(G1.0);
    seeds.push((true, frame::icmp6(&solicitation, message)));
    for text in [
        "198.51.100.1:80 > 203.0.113.5:1002",
        "198.51.100.1:80 > 203.0.113.6:1002",
        "198.51.100.7:5000 > 203.0.113.5:22",
        "[2001:db8:1::1]:80 > [2001:db8::9]:4100",
    ] {
        let flow = Flow {
            dst_mac: G1,
            ..Flow::new(BOUNDARY, text)
        };
        seeds.push((false, geneve(BOUNDARY, &flow.udp(b"data"))));
        seeds.push((false, geneve(BOUNDARY, &flow.ping())));
        seeds.push((false, geneve(BOUNDARY, &flow.pong())));
        for flags in ["S", "A", "FA", "R", "SA"] {
            seeds.push((false, geneve(BOUNDARY, &flow.tcp(flags, 1, 1, b""))));
        }
    }
    seeds
}

/// Changes some bytes, or cuts the frame, or makes it longer.
pub(super) fn spoil(rng: &mut Rng, frame: &mut Vec<u8>) {
    for _ in 0..rng.below(4) {
        match rng.below(8) {
            0 => frame.truncate(rng.below(frame.len() + 1)),
            1 => frame.extend(vec![0; rng.below(1_600)]),
            // Mostly in the headers, where something depends on it.
            _ if !frame.is_empty() => {
                let at = rng.below(frame.len().min(140));
                frame[at] = match rng.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => frame[at].wrapping_add(1),
                    _ => rng.next() as u8,
                };
            }
            _ => {}
        }
    }
}

/// Drops by reason, as the host counts them.
fn counted(sled: &Sled) -> BTreeMap<&'static str, u64> {
    let each = DropReason::ALL.iter().map(|r| (r.name(), sled.drops(*r)));
    each.filter(|(_, count)| *count > 0).collect()
}

#[test]
fn spoilt_frames_are_accounted_for_once() {
    for seed in 0..4 {
        let sled = world(EXTERNAL);
        let mut rng = Rng(seed);
        let (seeds, before) = (seeds(), counted(&sled));
        assert!(before.is_empty(), "{before:?}");
        let mut dropped = BTreeMap::new();
        for step in 0..5_000 {
            let (from_guest, mut frame) = rng.pick(&seeds).clone();
            spoil(&mut rng, &mut frame);
            let (verdict, sent) = match from_guest {
                true => sled.tx("g1", &frame),
                false => sled.rx(&frame),
            };
            match verdict {
                Verdict::Dropped(reason) => {
                    *dropped.entry(reason.name()).or_insert(0) += 1;
                    assert!(sent.ports.is_empty() && sent.links.is_empty());
                }
                Verdict::Link(_) | Verdict::Port(_) | Verdict::Consumed => {}
                // To the sled that isn't there, until it is given up.
                Verdict::Held => {}
            }
            // A held frame may push out another one, which is another drop.
            let drops = sled.events("Drop {").into_iter();
            let drops: Vec<_> = drops.filter(|d| !d.contains("NextHopQueueFull")).collect();
            let is_drop = matches!(verdict, Verdict::Dropped(_));
            assert_eq!(
                drops.len(),
                usize::from(is_drop),
                "seed {seed} step {step} {drops:?}"
            );
        }
        // Frames to the missing sled push each other out of its queue.
        let mut counted = counted(&sled);
        let full = DropReason::NextHopQueueFull.name();
        counted.remove(full);
        dropped.remove(full);
        assert_eq!(counted, dropped, "seed {seed}");
        all_is_given_back(&sled, seed);
    }
}

/// Ends every flow and looks for what is left of them.
fn all_is_given_back(sled: &Sled, seed: u64) {
    for port in ["g1", "g2"] {
        let clear = Command::ClearLft(name(port), LayerId::Firewall);
        sled.command(clear).unwrap();
        assert_eq!(stats(sled, Some(port)).flows, 0, "seed {seed}");
    }
    assert_eq!(stats(sled, None).flows, 0, "seed {seed}: the host's budget");
    assert_eq!(external_ports_used(sled), 0, "seed {seed}");
}
