//! What routers say reaches guests, and large packets find their way.

use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use crate::lab::rack::{INTERNET_V4, INTERNET_V6};
use anyhow::{Context, Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "trace",
    about: "traceroute through SNAT, path MTU discovery and an upload over a narrow underlay, and ping with fragments.",
    programs: &[
        ("iperf3", "iperf3"),
        ("ping", "iputils-ping"),
        ("tracepath", "iputils-tracepath"),
        ("traceroute", "traceroute"),
    ],
    run,
};

/// What the link carries, as most of the world's do.
const LINK_MTU: &str = "mtu = 1500";
/// Of which outer headers take 70 bytes.
const PATH_MTU: &str = "pmtu 1430";

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.give_addresses()?;
    for plan in PLANS {
        let narrow = plan.setup.replacen("mtu = 9000", LINK_MTU, 1);
        ensure!(narrow != plan.setup, "{} has another link MTU", plan.name);
        // Tracepath's probes may come in, so that somebody answers them.
        let open = narrow.replace("protocols=icmp,icmp6", "protocols=icmp,icmp6,udp");
        ctx.apply(plan.name, &open)?;
    }
    let count = ["set-port-options", "-p", "g1", "decrement_ttl=true"];
    ctx.opteadm("sled-a", &count)?;
    for ipv6 in [false, true] {
        let (internet, gateway) = match ipv6 {
            false => (INTERNET_V4.to_string(), "10.0.0.1"),
            true => (INTERNET_V6.to_string(), "fd77:1::1"),
        };
        for probe in ["-U", "-I", "-T"] {
            let hops = ctx.run("g1", &format!("traceroute -n -q 1 -w 3 {probe} {internet}"))?;
            hop(&hops, 1, gateway)?;
            hop(&hops, 2, &internet)?;
        }
        let peer = ctx.tenant("g3")?.address(ipv6)?.to_string();
        // Inside of the VPC, and through translation.
        for (place, to) in [("g3", &peer), ("internet", &internet)] {
            let path = ctx.run("g1", &format!("tracepath -n {to}"))?;
            ensure!(path.contains(PATH_MTU), "tracepath found another MTU");
            upload(ctx, place, to)?;
        }
        // The lab's boundary knows later fragments by an address alone, which
        // g3 has.
        for (from, to) in [("g1", &peer), ("g3", &internet)] {
            ctx.run(from, &format!("ping -c 3 -i 0.2 -W 2 -s 4000 {to}"))?;
        }
    }
    Ok(())
}

/// Whether this hop of a traceroute answered.
fn hop(hops: &str, number: u8, address: &str) -> Result<()> {
    let number = number.to_string();
    let line = hops
        .lines()
        .find(|line| line.split_whitespace().next() == Some(&number))
        .with_context(|| format!("no hop {number}"))?;
    let who = line.split_whitespace().nth(1);
    ensure!(who == Some(address), "hop {number} isn't {address}: {line}");
    Ok(())
}

/// Six megabytes, which would hang if the sender weren't told what fits. Many
/// are still in buffers when the server is asked what has come.
fn upload(ctx: &mut Ctx, place: &str, to: &str) -> Result<()> {
    let server = "iperf3 --server --one-off --forceflush --port 5001";
    let _server = ctx.start(place, server, "Server listening")?;
    let client = format!("iperf3 --client {to} --port 5001 --bytes 6M --json");
    let report: serde_json::Value = serde_json::from_str(&ctx.run("g1", &client)?)?;
    let received = report
        .pointer("/end/sum_received/bytes")
        .and_then(serde_json::Value::as_u64);
    ensure!(received >= Some(1_000_000), "{received:?} bytes arrived");
    Ok(())
}
