//! A bad network between two sleds, and many connections.

use super::{Ctx, Scenario};
use crate::lab::crowd;
use crate::lab::weather::Weather;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bad-weather",
    about: "10,000 TCP connections between two sleds survive loss, copies and disorder.",
    programs: &[
        ("nstat", "iproute2"),
        ("ping", "iputils-ping"),
        ("tc", "iproute2"),
    ],
    run,
};

/// Connections, and how many there are at once.
const CONNECTIONS: u32 = 10_000;
const AT_ONCE: u32 = 600;
const WEATHER: Weather = Weather {
    loss: 15,
    copies: 20,
    delay_max: Duration::from_millis(4),
};
/// What Linux's TCP counts of such weather: segments sent again, segments that
/// came too early, and those that came twice.
const HARDSHIPS: [&str; 3] = [
    "TcpRetransSegs",
    "TcpExtTCPOFOQueue",
    "TcpExtTCPDSACKOldSent",
];
/// What tracking refuses, in counters.
const REFUSALS: [&str; 3] = ["tcp_out_of_window", "tcp_no_flow", "tcp_bad_flags"];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.give_addresses()?;
    let to = ctx.tenant("g3")?.address(false)?;
    ctx.run("g1", &format!("ping -c 1 -W 10 {to}"))?;
    // A hundred thousand frames more would tell tshark nothing new (rule C3).
    ctx.underlay("geneve", &["frame.number"])?;
    let storm = ctx.rack()?.storm("sled-b", WEATHER)?;
    let start = Instant::now();
    let (clients, servers) = (ctx.tenant("g1")?, ctx.tenant("g3")?);
    let failures = crowd::meet(
        &clients.guest.namespace,
        (&servers.guest.namespace, SocketAddr::new(to, 5001)),
        CONNECTIONS,
        AT_ONCE,
    )?;
    let took = start.elapsed();
    let damage = storm.end()?;
    println!("{CONNECTIONS} connections in {took:.1?}: {damage:?}");
    for failure in failures.iter().take(10) {
        println!("    | {failure}");
    }
    // The stacks have been through it.
    let counts = ctx.run("g3", &format!("nstat -asz {}", HARDSHIPS.join(" ")))?;
    for hardship in HARDSHIPS {
        let mut counts = counts.lines().map(str::split_whitespace);
        let count = counts.find_map(|mut line| (line.next()? == hardship).then(|| line.next())?);
        let count: u64 = count.and_then(|count| count.parse().ok()).unwrap_or(0);
        ensure!(count > 100, "{hardship} is {count}");
    }
    // Both ends follow the RFCs, so nothing of theirs is to be refused.
    for (sled, port) in [("sled-a", "g1"), ("sled-b", "g3")] {
        let counters = ctx.opteadm(sled, &["stats", "-p", port])?;
        for refusal in REFUSALS {
            ensure!(
                !counters.contains(refusal),
                "{port} has refused some: {refusal}"
            );
        }
    }
    ensure!(failures.is_empty(), "{} connections failed", failures.len());
    let enough = u64::from(CONNECTIONS) / 10;
    ensure!(
        damage.reaches([enough; 3]),
        "the weather was too good: {damage:?}"
    );
    Ok(())
}
