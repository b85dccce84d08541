//! First packets of flows: `miss/out/rules_N/..` through N rules of which only
//! the last applies, `miss/routes_N/..`, and `lpm/routes_N/ns`, a look-up in a
//! table of N prefixes by itself.
//!
//! Every packet opens a flow of its own; the misses are counted. What is
//! allocated once, on the way to a table's greatest size, is there before.

use crate::hit::allocs;
use crate::rig::flows::{Kind, Stage};
use crate::rig::rng::Rng;
use crate::rig::traffic::{BURST, Traffic};
use crate::rig::{Raw, Rig, Shape};
use crate::{Figures, median};
use opte_core::Direction;
use opte_core::api::{FwRule, Prefix, RouteSpec};
use opte_core::host::Lane;
use opte_core::rule::Lpm;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

/// Flows that are opened in one run: as many as the table takes without
/// thinking about its limits.
const FLOWS: u32 = 32_768;

pub(crate) fn run(figures: &Figures) {
    for count in [1, 10, 100, 1_000, 10_000] {
        let stem = format!("miss/out/rules_{count}");
        if figures.wants(&stem) {
            let (rig, mut lane) = Rig::new(with_rules(count));
            measure(figures, &stem, &rig, &mut lane);
        }
    }
    let stems = ["miss/routes_10", "miss/routes_10000"];
    if stems.iter().any(|stem| figures.wants(stem)) {
        let ns = [10, 10_000].map(|count| {
            let shape = Shape {
                routes: routes(count),
                ..Shape::default()
            };
            let (rig, mut lane) = Rig::new(shape);
            measure(figures, &format!("miss/routes_{count}"), &rig, &mut lane)
        });
        figures.tell("miss/routes_10000/ratio", ns[1] / ns[0]);
    }
    if figures.wants("lpm/routes_1000000") {
        lpm(figures, 1_000_000);
    }
}

fn measure(figures: &Figures, stem: &str, rig: &Rig, lane: &mut Lane<Raw>) -> f64 {
    let mut traffic = openings();
    let mut times = Vec::new();
    for _ in 0..=figures.runs() {
        let before = rig.stats(lane, Direction::Out).misses;
        let mut took_s = Vec::new();
        for _ in 0..traffic.count() / BURST {
            let (took, passed) = traffic.burst(rig, lane);
            assert_eq!(passed as usize, BURST, "all go on");
            took_s.push(took.as_secs_f64());
        }
        let misses = rig.stats(lane, Direction::Out).misses - before;
        assert_eq!(misses, u64::from(FLOWS), "every packet is a miss");
        rig.clear(lane);
        times.push(median(took_s) * 1e9 / BURST as f64);
    }
    let ns = median(times.split_off(1));
    figures.tell(&format!("{stem}/ns"), ns);
    figures.tell(&format!("{stem}/allocs"), allocs(rig, lane, &mut traffic));
    rig.clear(lane);
    ns
}

/// First packets of flows.
pub(crate) fn openings() -> Traffic {
    let order = Rng::new(1).permutation(FLOWS);
    let frames = order
        .into_iter()
        .map(|number| Kind::Udp4.out(&Kind::Udp4.ends(number), Stage::Open, 64));
    Traffic::new(Direction::Out, frames)
}

/// Outbound rules by host, by port, by protocol and by all three in turn, in
/// random order of priority. None applies but the last.
pub(crate) fn with_rules(count: usize) -> Shape {
    let mut rng = Rng::new(2);
    let mut rules: Vec<FwRule> = (1..count)
        .map(|number| {
            let host = Ipv4Addr::from(0xac10_0000 + (rng.next() as u32 & 0xf_ffff));
            let len = 20 + rng.below(13);
            let port = 10_000 + rng.below(50_000);
            let priority = rng.below(60_000);
            let action = ["allow", "deny"][rng.below(2)];
            let what = match number % 4 {
                0 => format!("hosts={}", cut(host, len)),
                1 => format!("ports={port}-{}", port + rng.below(100)),
                2 => format!("protocols=icmp:{}/{}", rng.below(256), rng.below(256)),
                _ => format!("hosts={} protocols=tcp ports={port}", cut(host, len)),
            };
            format!("dir=out priority={priority} action={action} {what}")
                .parse()
                .unwrap()
        })
        .collect();
    let last = "dir=out priority=65000 action=allow hosts=10.0.0.0/16 protocols=udp ports=80-90";
    rules.push(last.parse().unwrap());
    Shape {
        rules,
        ..Shape::default()
    }
}

/// The prefix of this length that an address is in.
fn cut(addr: Ipv4Addr, len: usize) -> String {
    let mask = u32::MAX.checked_shl(32 - len as u32).unwrap_or(0);
    format!("{}/{len}", Ipv4Addr::from(u32::from(addr) & mask))
}

/// So many routes to prefixes of all lengths.
fn routes(count: usize) -> Vec<RouteSpec> {
    prefixes(count, 0xac00_0000, 6)
        .into_iter()
        .map(|prefix| format!("{prefix} ig custom").parse().unwrap())
        .collect()
}

/// Different random prefixes under one of length `above`.
fn prefixes(count: usize, base: u32, above: usize) -> Vec<Prefix> {
    let mut rng = Rng::new(3);
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < count {
        // As in tables of the internet, most are of length 24.
        let len = match rng.below(10) {
            0..6 => 24,
            6..8 => 16 + rng.below(9),
            8 => 25 + rng.below(8),
            _ => above.max(8) + rng.below(10),
        };
        let below = u32::MAX.checked_shr(above as u32).unwrap_or(0);
        let addr = Ipv4Addr::from(base | (rng.next() as u32 & below));
        seen.insert(cut(addr, len));
    }
    seen.iter().map(|text| text.parse().unwrap()).collect()
}

fn lpm(figures: &Figures, count: usize) {
    let all = prefixes(count, 0, 0);
    let mut number = 0_u32;
    let table = Lpm::build(all.into_iter().map(|prefix| {
        number += 1;
        (prefix, number)
    }));
    let mut rng = Rng::new(4);
    let addrs: Vec<IpAddr> = (0..1 << 20)
        .map(|_| Ipv4Addr::from(rng.next() as u32).into())
        .collect();
    let mut times = Vec::new();
    for _ in 0..=figures.runs() {
        let start = std::time::Instant::now();
        let mut sum = 0_u32;
        for addr in &addrs {
            sum = sum.wrapping_add(table.lookup(addr).copied().unwrap_or(0));
        }
        black_box(sum);
        times.push(start.elapsed().as_secs_f64() * 1e9 / addrs.len() as f64);
    }
    figures.tell(
        &format!("lpm/routes_{count}/ns"),
        median(times.split_off(1)),
    );
}
