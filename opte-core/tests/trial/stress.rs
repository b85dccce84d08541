//! Many threads on one host: what they leave behind must add up.

use super::{Rng, name};
use crate::sim::frame::Flow;
use crate::sim::{Record, Sent, TestDevices};
use crate::{ALLOW_ALL, G1, G2, port, underlay};
use opte_core::api::dump::Stats;
use opte_core::api::{Command, ExternalIps, PortId, PortSpec, Response, Setup};
use opte_core::frame::SliceFrame;
use opte_core::host::{Host, HostConfig};
use opte_core::verdict::Verdict;
use opte_core::{Instant, LayerId};
use std::sync::atomic::{AtomicU64, Ordering};

type TestHost = Host<parking_lot::RawMutex, Quiet>;

/// Watches nothing.
struct Quiet;

impl opte_core::event::Observer for Quiet {
    fn enabled(&self, _: opte_core::event::Probe) -> bool {
        false
    }

    fn event(&self, _: &opte_core::event::Event<'_>) {}
}

const SNAT: &str = r#"
options = { flows_max = 8192, udp_one_way_s = 1, tcp_opening_s = 1 }
external = { snat = [{ address = "203.0.113.9", first_port = 1024, last_port = 1535 }] }
rules = ["dir=in priority=100 action=allow"]"#;

fn command(host: &TestHost, command: Command, now: Instant) -> Option<Response> {
    let mut devices = TestDevices::default();
    host.command(command, now, &mut devices, &mut Sent::default())
        .ok()
}

/// A thread's share of frames; how many were dropped.
fn traffic(host: &TestHost, index: usize, clock: &AtomicU64, count: usize) -> u64 {
    let mut lane = host.lane(index).unwrap();
    let (mut rng, mut dropped, mut out) = (Rng(index as u64), 0, Sent::default());
    for step in 0..count {
        let now = Instant::from_millis(clock.fetch_add(1, Ordering::Relaxed));
        let (id, flow) = match rng.below(3) {
            0 => (
                1,
                Flow::new(G2, &format!("10.0.0.2:{} > 10.0.0.1:80", 1 + rng.below(40))),
            ),
            1 => (
                0,
                Flow::new(G1, &format!("10.0.0.1:80 > 10.0.0.2:{}", 1 + rng.below(40))),
            ),
            _ => {
                let text = format!("10.0.0.1:{} > 198.51.100.1:80", 1 + rng.below(700));
                (0, Flow::new(G1, &text))
            }
        };
        let frame = match rng.below(5) {
            0 => flow.udp(b"x"),
            1 => flow.tcp("S", 1, 0, b""),
            2 => flow.tcp("R", 1, 0, b""),
            3 => flow.tcp("FA", 2, 2, b""),
            _ => flow.tcp("A", 2, 2, b""),
        };
        let mut buffer = vec![0; 128 + frame.len()];
        buffer[128..].copy_from_slice(&frame);
        let end = buffer.len();
        let mut slice = SliceFrame::new(&mut buffer, 128, end);
        let verdict = host.tx(&mut lane, PortId(id), &mut slice, now, &mut out);
        dropped += u64::from(matches!(verdict, Verdict::Dropped(_)));
        if step.is_multiple_of(50) && index == 1 {
            host.tick(&mut lane, now, &mut out);
        }
        out = Sent::default();
    }
    dropped
}

/// Changes everything that can change, again and again.
fn trouble(host: &TestHost, clock: &AtomicU64, count: usize) {
    let mut rng = Rng(99);
    let spec: Setup = toml::from_str(&port("g2", 2, ALLOW_ALL)).unwrap();
    let spec: PortSpec = spec.ports[0].clone();
    for _ in 0..count {
        let now = Instant::from_millis(clock.load(Ordering::Relaxed));
        let first = 1_024 + 64 * rng.below(8);
        let snat = format!(
            r#"snat = [{{ address = "203.0.113.9", first_port = {first}, last_port = 1535 }}]"#
        );
        let external: ExternalIps = toml::from_str(&snat).unwrap();
        let next = match rng.below(9) {
            0 => Command::SetExternalIps(name("g1"), external),
            1 => Command::ClearUft(name("g1")),
            2 => Command::ClearLft(name("g1"), LayerId::Nat),
            3 => Command::ClearLft(name("g2"), LayerId::Firewall),
            4 => Command::AddRoute(
                name("g1"),
                "198.51.100.0/25 ip4=10.0.0.2 custom".parse().unwrap(),
            ),
            5 => Command::DelRoute(
                name("g1"),
                "198.51.100.0/25 ip4=10.0.0.2 custom".parse().unwrap(),
            ),
            6 => Command::SetFwRules(name("g1"), vec![ALLOW_IN.parse().unwrap()]),
            7 => {
                command(host, Command::DeletePort(name("g2")), now);
                Command::CreatePort(spec.clone())
            }
            _ => Command::DumpUft(name("g1"), 0),
        };
        command(host, next, now);
        std::thread::yield_now();
    }
}

const ALLOW_IN: &str = "dir=in priority=1 action=allow protocols=tcp";

fn stats(host: &TestHost, port: Option<&str>) -> Stats {
    match command(host, Command::Stats(port.map(name)), Instant::ZERO) {
        Some(Response::Stats(stats)) => stats,
        other => panic!("{other:?}"),
    }
}

#[test]
fn threads_leave_nothing_behind() {
    let config = HostConfig { seed: 7, lanes: 4 };
    let host: TestHost = Host::new(config, Quiet);
    let setup = underlay(1) + &port("g1", 1, SNAT) + &port("g2", 2, ALLOW_ALL);
    let setup = toml::from_str(&setup).unwrap();
    command(&host, Command::Apply(setup), Instant::ZERO).unwrap();
    let clock = AtomicU64::new(1);
    let frames = if cfg!(debug_assertions) {
        10_000
    } else {
        100_000
    };
    std::thread::scope(|threads| {
        let (host, clock) = (&host, &clock);
        for index in 0..3 {
            threads.spawn(move || traffic(host, index, clock, frames));
        }
        threads.spawn(|| trouble(host, clock, frames / 20));
    });
    let total = stats(&host, None);
    let used: u64 = ["g1", "g2"]
        .iter()
        .map(|p| u64::from(stats(&host, Some(p)).flows))
        .sum();
    assert_eq!(
        u64::from(total.flows),
        used,
        "the budget is what ports have"
    );
    assert!(
        stats(&host, Some("g1")).flows <= 8_192 + 4,
        "nearly the limit"
    );
    for port in ["g1", "g2"] {
        let clear = Command::ClearLft(name(port), LayerId::Firewall);
        command(&host, clear, Instant::ZERO).unwrap();
    }
    assert_eq!(stats(&host, None).flows, 0);
    let g1 = stats(&host, Some("g1"));
    let held: Vec<_> = g1
        .counters
        .iter()
        .filter(|c| c.name.ends_with("_used"))
        .collect();
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn drops_of_all_threads_are_counted() {
    let config = HostConfig { seed: 7, lanes: 4 };
    let host: TestHost = Host::new(config, Quiet);
    let setup = port("g1", 1, SNAT) + &port("g2", 2, "");
    let setup = toml::from_str(&setup).unwrap();
    command(&host, Command::Apply(setup), Instant::ZERO).unwrap();
    let clock = AtomicU64::new(1);
    let dropped: u64 = std::thread::scope(|threads| {
        let (host, clock) = (&host, &clock);
        let running: Vec<_> = (0..4)
            .map(|index| threads.spawn(move || traffic(host, index, clock, 3_000)))
            .collect();
        running.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let counted: u64 = stats(&host, None).drops.iter().map(|c| c.value).sum();
    assert_eq!(counted, dropped);
    let _ = Record::default();
}
