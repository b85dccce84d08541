//! ISC's client for both families, on the stack that Linux configures by
//! router advertisement.

use super::{Ctx, Scenario};
use crate::lab::rack::Plan;
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dhcp-dhclient",
    about: "dhclient -4 and -6 get leases with every option, renew and release them; Linux takes the router and finds no duplicate.",
    programs: &[
        ("dhclient", "isc-dhcp-client"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
    ],
    run,
};

/// A sled with one guest, g1, whose leases are short.
pub(super) const SLED: Plan<'_> = Plan {
    name: "sled-a",
    setup: include_str!("dhcp.toml"),
};

/// Where the client keeps its leases.
const LEASES: &str = "/var/lib/dhcp";

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&[SLED])?;
    router(ctx)?;
    ctx.dhclient("g1", "-4")?;
    has(
        ctx,
        &format!("cat {LEASES}/dhclient.leases"),
        &[
            "fixed-address 10.0.0.11;",
            "option subnet-mask 255.255.255.255;",
            "option routers 10.0.0.1;",
            "option dhcp-server-identifier 10.0.0.1;",
            "option dhcp-lease-time 20;",
            "option dhcp-renewal-time 10;",
            "option dhcp-rebinding-time 18;",
            "option rfc3442-classless-static-routes 32,10,0,0,1,0,0,0,0,0,10,0,0,1;",
            "option domain-name-servers 203.0.113.53,203.0.113.54;",
            "option domain-name \"vpc.example.com\";",
            "option domain-search \"vpc.example.com.\", \"example.org.\";",
            "option host-name \"web\";",
            "option interface-mtu 1400;",
            "option ntp-servers 203.0.113.123;",
        ],
    )?;
    ctx.dhclient("g1", "-6")?;
    has(
        ctx,
        &format!("cat {LEASES}/dhclient6.leases"),
        &[
            "iaaddr fd77:1::11 {",
            "renew 10;",
            "rebind 16;",
            "max-life 20;",
            "option dhcp6.server-id 0:3:0:1:a8:40:25:ff:77:77;",
            "option dhcp6.name-servers 2001:db8:13::53;",
            "option dhcp6.domain-search \"vpc.example.com.\", \"example.org.\";",
            "option dhcp6.sntp-servers 2001:db8:13::123;",
            "option fqdn.fqdn \"web.vpc.example.com\";",
        ],
    )?;
    addresses(ctx)?;
    // Each lease that the client gets, it adds to its file.
    for (file, begin) in [
        ("dhclient.leases", "lease "),
        ("dhclient6.leases", "lease6 "),
    ] {
        let renewed = format!("[ $(grep -c '^{begin}' {LEASES}/{file}) -gt 1 ]");
        ctx.run("g1", &format!("until {renewed}; do sleep 0.2; done"))?;
    }
    ctx.run("g1", "dhclient -6 -r g1")?;
    ctx.run("g1", "dhclient -4 -r g1")?;
    released(ctx)
}

/// Linux has a default route by router advertisement, what comes with it, and
/// an address of its own that is nobody else's.
fn router(ctx: &mut Ctx) -> Result<()> {
    let routes = ctx.wait("g1 hears its router", |ctx| {
        let routes = ctx.run("g1", "ip -6 route show default")?;
        let gateway = "via fe80::aa40:25ff:feff:7777";
        Ok(routes.contains(gateway).then_some(routes))
    })?;
    ensure!(routes.contains("proto ra"), "{routes}");
    ensure!(routes.contains("hoplimit 64"), "{routes}");
    ctx.wait("g1's link-local address is its own", |ctx| {
        let found = ctx.run("g1", "ip -6 address show dev g1 scope link")?;
        ensure!(!found.contains("dadfailed"), "somebody claims it");
        let is_good = found.contains("inet6 fe80::") && !found.contains("tentative");
        Ok(is_good.then_some(()))
    })
}

/// Both addresses are there, and both are the guest's alone; and so are the
/// routes, which some clients add a moment later.
pub(super) fn addresses(ctx: &mut Ctx) -> Result<()> {
    ctx.wait("g1 has its addresses", |ctx| {
        let found = ctx.run("g1", "ip address show dev g1")?;
        ensure!(!found.contains("dadfailed"), "somebody claims one");
        let has_all = ["inet 10.0.0.11/32", "inet6 fd77:1::11/128", "mtu 1400"]
            .iter()
            .all(|what| found.contains(what));
        Ok((has_all && !found.contains("tentative")).then_some(()))
    })?;
    for family in ["-4", "-6"] {
        ctx.wait("g1 has a way out", |ctx| {
            let routes = ctx.run("g1", &format!("ip {family} route show default"))?;
            Ok(routes.contains("default via ").then_some(()))
        })?;
    }
    // The gateway hears the guest by both.
    ctx.run("g1", "ping -c 1 -W 10 10.0.0.1")?;
    ctx.run("g1", "ping -c 1 -W 10 -I fd77:1::11 fd77:1::1")?;
    Ok(())
}

/// What a line of shell prints has each of these.
pub(super) fn has(ctx: &mut Ctx, line: &str, all: &[&str]) -> Result<()> {
    let text = ctx.run("g1", line)?;
    for what in all {
        ensure!(text.contains(what), "`{line}` doesn't print `{what}`");
    }
    Ok(())
}

/// The engine has heard that the IPv4 lease isn't needed any more, and the
/// address is gone.
pub(super) fn released(ctx: &mut Ctx) -> Result<()> {
    ctx.wait("g1 has given its addresses back", |ctx| {
        let found = ctx.run("g1", "ip address show dev g1")?;
        let is_there = found.contains("10.0.0.11") || found.contains("fd77:1::11");
        Ok((!is_there).then_some(()))
    })?;
    heard(ctx)
}

/// Waits until the engine has heard of a release, which no client waits for.
pub(super) fn heard(ctx: &mut Ctx) -> Result<()> {
    ctx.wait("the engine has heard of a release", |ctx| {
        let stats = ctx.opteadm("sled-a", &["stats"])?;
        Ok(stats.contains("dhcp_released").then_some(()))
    })
}
