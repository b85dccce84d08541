//! Guests and the world outside, by shared and by floating addresses.

use super::{Ctx, Scenario};
use crate::lab::rack::{INTERNET_V4, INTERNET_V6, Plan};
use anyhow::{Context, Result, ensure};
use std::ops::RangeInclusive;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "outside",
    about: "SNAT and floating addresses, out and in, and guests that meet by them, on one sled and by the boundary.",
    programs: &[
        ("ping", "iputils-ping"),
        ("python3", "python3"),
        ("sysctl", "procps"),
    ],
    run,
};

/// Tells callers how it sees them.
pub(super) const MIRROR: &str = include_str!("mirror.py");
/// How long what may fail may take.
const BRIEF: Duration = Duration::from_secs(20);
/// Where it listens.
const PORT: &str = "7777";
/// g1's ports of its shared addresses.
const SHARED: RangeInclusive<u16> = 10_000..=10_999;
/// What a program chooses by itself.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

pub(super) const PLANS: [Plan<'_>; 2] = [
    Plan {
        name: "sled-a",
        setup: include_str!("outside_a.toml"),
    },
    Plan {
        name: "sled-b",
        setup: include_str!("outside_b.toml"),
    },
];

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&PLANS)?;
    ctx.give_addresses()?;
    turn_back(ctx)?;
    let mut mirrors = Vec::new();
    for place in ["internet", "g2", "g3"] {
        ctx.run(place, &format!("cat > mirror.py <<'END'\n{MIRROR}END"))?;
        let serve = format!("/usr/bin/python3 mirror.py serve {PORT}");
        mirrors.push(ctx.start(place, &serve, "mirror: ready")?);
    }
    ctx.run("g1", &format!("cat > mirror.py <<'END'\n{MIRROR}END"))?;
    for ipv6 in [false, true] {
        let at = |host: u8| match ipv6 {
            false => format!("198.51.100.{host}"),
            true => format!("2001:db8:51::{host}"),
        };
        let internet = match ipv6 {
            false => INTERNET_V4.to_string(),
            true => INTERNET_V6.to_string(),
        };
        // Out by a shared address, and by a floating one.
        meet(ctx, "g1", &internet, (&at(1), SHARED))?;
        meet(ctx, "g2", &internet, (&at(2), EPHEMERAL))?;
        // In by a floating one.
        meet(ctx, "internet", &at(2), (&internet, EPHEMERAL))?;
        // Next door, in another VPC with the very same addresses; and back by
        // the boundary. Each is seen by its external address.
        meet(ctx, "g1", &at(2), (&at(1), SHARED))?;
        meet(ctx, "g1", &at(3), (&at(1), SHARED))?;
        meet(ctx, "g3", &at(2), (&at(3), EPHEMERAL))?;
        // Nobody comes in by an address that is shared.
        let ask = format!("/usr/bin/python3 mirror.py ask {} 10500", at(1));
        let answered = ctx.attempt("internet", &ask, BRIEF)?.success;
        ensure!(!answered, "g1 was reached");
    }
    ctx.opteadm("sled-a", &["show-nat", "-p", "g1"])?;
    next_door_is_not_on_the_underlay(ctx)
}

/// Makes the internet's host a router, too, so that what is for another guest's
/// external address comes back to the boundary.
pub(super) fn turn_back(ctx: &mut Ctx) -> Result<()> {
    for setting in [
        "net.ipv4.conf.all.send_redirects=0",
        "net.ipv4.conf.internet.send_redirects=0",
        "net.ipv4.ip_forward=1",
        "net.ipv6.conf.all.forwarding=1",
    ] {
        ctx.attempt("internet", &format!("sysctl -w {setting}"), BRIEF)?;
    }
    Ok(())
}

/// Has a place ping and call an address, and looks as whom it is seen.
fn meet(
    ctx: &mut Ctx,
    from: &str,
    to: &str,
    (address, ports): (&str, RangeInclusive<u16>),
) -> Result<()> {
    ctx.run(from, &format!("ping -c 2 -i 0.2 -W 2 {to}"))?;
    let told = ctx.run(from, &format!("/usr/bin/python3 mirror.py ask {to} {PORT}"))?;
    for transport in ["tcp", "udp"] {
        let seen = told
            .lines()
            .find_map(|line| line.strip_prefix(transport)?.trim().split_once(' '));
        let (seen, port) = seen.with_context(|| format!("no answer by {transport}"))?;
        let port: u16 = port.parse().context("no port")?;
        ensure!(
            seen == address && ports.contains(&port),
            "{from} is seen as {seen} {port}, not {address}"
        );
    }
    Ok(())
}

/// What g1 and g2 said to each other took the short way.
fn next_door_is_not_on_the_underlay(ctx: &mut Ctx) -> Result<()> {
    let crossed = "geneve && ip.src == 198.51.100.1 && ip.dst == 198.51.100.2";
    ensure!(ctx.underlay(crossed, &["frame.number"])?.is_empty());
    let crossed = "geneve && ip.src == 198.51.100.1 && ip.dst == 198.51.100.3";
    ensure!(!ctx.underlay(crossed, &["frame.number"])?.is_empty());
    Ok(())
}
