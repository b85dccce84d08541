//! A port's MTU changes while its guest is at work.

use super::{Ctx, Scenario};
use crate::demo::rack::PLANS;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "mtu",
    about: "a guest takes a changed MTU from DHCP; its TAP, which is its own, is left alone.",
    programs: &[
        ("dhclient", "isc-dhcp-client"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
    ],
    run,
};

/// Packets of 1500 and of 1400 bytes that nobody may cut.
const WHOLE: &str = "ping -c 1 -W 10 -M do -s 1472 10.0.0.13";
const LESS: &str = "ping -c 1 -W 10 -M do -s 1372 10.0.0.13";
/// How long a ping may take that may fail.
const BRIEF: Duration = Duration::from_secs(20);

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    ctx.tenant("g3")?.give()?;
    configure(ctx, 1_500)?;
    ctx.run("g1", WHOLE)?;
    let [sled, _] = PLANS;
    let name = "name = \"g1\"";
    let less = sled.setup.replacen(name, &format!("{name}\nmtu = 1400"), 1);
    ctx.apply(sled.name, &less)?;
    let wanted = ["cannot set the MTU", "g1", "1400"];
    ctx.wait("xded says that it can't reach the TAP", |ctx| {
        let log = std::fs::read_to_string(ctx.rack()?.sled(sled.name)?.log())?;
        let is_it = |line: &str| wanted.iter().all(|what| line.contains(what));
        Ok(log.lines().any(is_it).then_some(()))
    })?;
    let refused = ctx.attempt("g1", WHOLE, BRIEF)?;
    ensure!(!refused.success, "a packet of 1500 bytes went through");
    ctx.run("g1", LESS)?;
    configure(ctx, 1_400)?;
    let refused = ctx.attempt("g1", WHOLE, BRIEF)?;
    ensure!(
        refused.text.contains("message too long"),
        "g1's own stack doesn't know"
    );
    ctx.run("g1", LESS)?;
    Ok(())
}

/// Has g1 ask anew, and waits until its device has the MTU.
fn configure(ctx: &mut Ctx, mtu: u16) -> Result<()> {
    // Without this a client that has a lease asks for less.
    ctx.run("g1", "dhclient -4 -r g1")?;
    ctx.dhclient("g1", "-4")?;
    ctx.wait(&format!("g1 has an MTU of {mtu} and a route"), |ctx| {
        let device = ctx.run("g1", "ip link show g1; ip route")?;
        let right = device.contains(&format!("mtu {mtu}")) && device.contains("default via");
        Ok(right.then_some(()))
    })
}
