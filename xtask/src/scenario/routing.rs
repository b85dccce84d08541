//! Ways of a guest that are not its own address: internet gateways, an attached
//! subnet, a prefix that it forwards for, and a route through a guest.

use super::outside::MIRROR;
use super::{Ctx, Scenario};
use crate::lab::rack::Plan;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "routing",
    about: "a guest has an address at each of two internet gateways and answers by the one called; another has a subnet and a transit prefix, until they are taken away.",
    programs: &[
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
        ("python3", "python3"),
    ],
    run,
};

const PLANS: [Plan<'_>; 2] = [
    Plan {
        name: "sled-a",
        setup: include_str!("routing_a.toml"),
    },
    Plan {
        name: "sled-b",
        setup: include_str!("routing_b.toml"),
    },
];
/// How long what may fail may take.
const BRIEF: Duration = Duration::from_secs(20);

/// What one family calls everything.
struct Names {
    /// Hosts on the internet, by the first gateway and by the second.
    hosts: [&'static str; 2],
    /// g1's addresses at these gateways.
    floating: [&'static str; 2],
    /// The subnet that is g2's, and an address of it.
    attached: [&'static str; 2],
    /// The prefix that g2 forwards for, and an address of it.
    transit: [&'static str; 2],
    /// g3's address.
    g3: &'static str,
    /// Bits of an address.
    bits: u8,
}

const FAMILIES: [Names; 2] = [
    Names {
        hosts: ["203.0.113.10", "203.0.113.20"],
        floating: ["198.51.100.1", "198.51.100.2"],
        attached: ["198.51.100.16/28", "198.51.100.17"],
        transit: ["10.9.0.0/16", "10.9.0.1"],
        g3: "10.0.0.13",
        bits: 32,
    },
    Names {
        hosts: ["2001:db8:13::10", "2001:db8:13::20"],
        floating: ["2001:db8:51::1", "2001:db8:51::2"],
        attached: ["2001:db8:51:16::/64", "2001:db8:51:16::17"],
        transit: ["fd79::/64", "fd79::1"],
        g3: "fd77:1::13",
        bits: 128,
    },
];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&PLANS)?;
    ctx.give_addresses()?;
    let mut mirrors = Vec::new();
    for names in &FAMILIES {
        let Names {
            hosts: [_, host],
            attached: [_, attached],
            transit: [_, transit],
            bits,
            ..
        } = names;
        for (place, address, device) in [
            ("internet", host, "inet"),
            ("g2", attached, "lo"),
            ("g2", transit, "lo"),
        ] {
            let line = format!("ip address add {address}/{bits} dev {device}");
            let nodad = if *bits == 128 { " nodad" } else { "" };
            ctx.run(place, &format!("{line}{nodad}"))?;
        }
    }
    for place in ["internet", "g1", "g2", "g3"] {
        ctx.run(place, &format!("cat > mirror.py <<'END'\n{MIRROR}END"))?;
    }
    for place in ["internet", "g1", "g2"] {
        let serve = "/usr/bin/python3 mirror.py serve 7777";
        mirrors.push(ctx.start(place, serve, "mirror: ready")?);
    }
    for names in &FAMILIES {
        gateways(ctx, names)?;
        attached(ctx, names)?;
        transit(ctx, names)?;
    }
    Ok(())
}

/// A gateway each way, and back by the address of arrival, whatever the way to
/// the sender is.
fn gateways(ctx: &mut Ctx, names: &Names) -> Result<()> {
    for (host, address) in names.hosts.into_iter().zip(names.floating) {
        seen_as(ctx, "g1", (host, ""), address)?;
    }
    for host in names.hosts {
        for address in names.floating {
            seen_as(ctx, "internet", (address, host), host)?;
            let ping = format!("ping -c 1 -W 10 -I {host} {address}");
            ctx.run("internet", &ping)?;
        }
    }
    Ok(())
}

/// Addresses of the subnet are outside what they are inside.
fn attached(ctx: &mut Ctx, names: &Names) -> Result<()> {
    let [subnet, address] = names.attached;
    let [host, _] = names.hosts;
    seen_as(ctx, "g2", (host, address), address)?;
    seen_as(ctx, "internet", (address, host), host)?;
    let ping = format!("-I {address} {host}");
    reached(ctx, ("g2", &ping))?;
    ctx.opteadm("sled-a", &["detach-subnet", "-p", "g2", subnet])?;
    refused(ctx, ("g2", &ping), "spoofed_ip")?;
    refused(ctx, ("internet", address), "no_mapping")?;
    ctx.opteadm("sled-a", &["attach-subnet", "-p", "g2", subnet])?;
    reached(ctx, ("g2", &ping))?;
    Ok(())
}

/// g3's packets for what is behind g2 go to g2, and the answers come back.
fn transit(ctx: &mut Ctx, names: &Names) -> Result<()> {
    let [prefix, address] = names.transit;
    seen_as(ctx, "g3", (address, ""), names.g3)?;
    reached(ctx, ("g3", address))?;
    for (taken, reason) in [("in", "not_for_port"), ("out", "spoofed_ip")] {
        let kept = if taken == "in" { "out" } else { "in" };
        ctx.opteadm("sled-a", &["remove-cidr", "-p", "g2", prefix, taken])?;
        // A flow that is there was opened in a direction that is still allowed.
        let from = format!("-I {address} {}", names.g3);
        match kept {
            "in" => refused(ctx, ("g2", &from), reason)?,
            _ => refused(ctx, ("g3", address), reason)?,
        }
        ctx.opteadm("sled-a", &["allow-cidr", "-p", "g2", prefix])?;
        reached(ctx, ("g3", address))?;
    }
    Ok(())
}

/// Has a place call an address, from one of its own if it is named, and looks
/// as whom it is seen.
fn seen_as(ctx: &mut Ctx, place: &str, (to, from): (&str, &str), address: &str) -> Result<()> {
    let told = ctx.run(
        place,
        &format!("/usr/bin/python3 mirror.py ask {to} 7777 {from}"),
    )?;
    for transport in ["tcp", "udp"] {
        let seen = format!("{transport} {address} ");
        ensure!(told.contains(&seen), "{place} isn't seen as {address}");
    }
    Ok(())
}

/// A ping of a place is answered.
fn reached(ctx: &mut Ctx, (place, ping): (&str, &str)) -> Result<()> {
    ctx.run(place, &format!("ping -c 1 -W 10 {ping}"))?;
    Ok(())
}

/// A ping of a place isn't answered, and g2's port says why.
fn refused(ctx: &mut Ctx, (place, ping): (&str, &str), reason: &str) -> Result<()> {
    let before = count(ctx, reason)?;
    let done = ctx.attempt(place, &format!("ping -c 1 -W 1 {ping}"), BRIEF)?;
    ensure!(!done.success, "{place} got through");
    ctx.wait(&format!("the reason is {reason}"), |ctx| {
        Ok((count(ctx, reason)? > before).then_some(()))
    })
}

/// How many packets g2's port has dropped for a reason.
fn count(ctx: &Ctx, reason: &str) -> Result<u64> {
    let stats = ctx.opteadm("sled-a", &["stats", "-p", "g2"])?;
    let counts = stats
        .lines()
        .filter(|line| line.contains(reason))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    Ok(counts.sum())
}
