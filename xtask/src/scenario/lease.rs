//! A guest configured by ISC's DHCP client, as Debian's installer leaves it.

use super::{Ctx, Scenario};
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lease",
    about: "dhclient and its script configure a guest: address, routes, MTU, resolver, host name.",
    programs: &[
        ("dhclient", "isc-dhcp-client"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
    ],
    run,
};

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    let told = ctx.dhclient("g1", "-4")?;
    ensure!(told.contains("bound to 10.0.0.11"), "no lease");
    // The script may still be at work when the client says that it is bound.
    ctx.wait("g1 has its default route", |ctx| {
        let routes = ctx.run("g1", "ip -4 route")?;
        Ok(routes.contains("default via 10.0.0.1").then_some(()))
    })?;
    let addresses = ctx.run("g1", "ip -4 address show g1")?;
    ensure!(addresses.contains("10.0.0.11/32"), "no address");
    ensure!(addresses.contains("mtu 1500"), "another MTU");
    let resolver = ctx.run("g1", "cat /etc/resolv.conf")?;
    ensure!(resolver.contains("nameserver 203.0.113.53"), "no resolver");
    ctx.run("g1", "ping -c 2 -i 0.2 -W 2 10.0.0.1")?;
    // A released lease is no reason for the engine to forget the guest.
    ctx.run("g1", "dhclient -4 -r g1")?;
    ensure!(ctx.dhclient("g1", "-4")?.contains("bound to 10.0.0.11"));
    Ok(())
}
