//! A port's MTU is raised while its guest runs, and large packets go from end to
//! end.

use super::{Ctx, Scenario};
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "jumbo",
    about: "two guests' MTU is raised live to all that links of 9000 bytes carry; packets of that size cross the underlay whole.",
    programs: &[
        ("dhclient", "isc-dhcp-client"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
    ],
    run,
};

/// 9000 less 70 bytes of outer headers.
const MTU: u16 = 8_930;
/// Of which IPv4 and ICMP take 28.
const PAYLOAD: u16 = MTU - 28;
/// Payload of the underlay's IPv6: UDP, Geneve and Ethernet take 30.
const OUTER_PAYLOAD: u16 = MTU + 30;

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build_demo()?;
    for (guest, sled) in [("g1", "sled-a"), ("g3", "sled-b")] {
        has_mtu(ctx, guest, 1_500)?;
        ctx.opteadm(
            sled,
            &["set-port-options", "-p", guest, &format!("mtu={MTU}")],
        )?;
        // The guest hears of it with its next lease.
        ctx.run(guest, "dhclient -4 -r")?;
        has_mtu(ctx, guest, MTU)?;
        let listed = ctx.opteadm(sled, &["list-ports", "-o", "name,mtu", "-p"])?;
        ensure!(listed.contains(&format!("{guest}:{MTU}")), "{listed}");
    }
    let to = ctx.tenant("g3")?.address(false)?;
    ctx.run(
        "g1",
        &format!("ping -M do -s {PAYLOAD} -c 3 -i 0.2 -W 2 {to}"),
    )?;
    // And no byte more: the guest's own stack knows.
    let more = PAYLOAD + 1;
    let line = format!("ping -M do -s {more} -c 1 -W 1 {to} || true");
    let told = ctx.run("g1", &line)?;
    ensure!(told.contains("too long"), "a packet of {more} bytes left");
    let filter = format!("geneve && ipv6.plen == {OUTER_PAYLOAD}");
    let frames = ctx.underlay(&filter, &["frame.number"])?;
    ensure!(frames.len() == 6, "{} large frames crossed", frames.len());
    Ok(())
}

/// Gets a lease and waits until the guest's device has this MTU.
fn has_mtu(ctx: &mut Ctx, guest: &str, mtu: u16) -> Result<()> {
    ctx.dhclient(guest, "-4")?;
    ctx.wait(
        &format!("{guest} has an MTU of {mtu} and its routes"),
        |ctx| {
            let link = ctx.run(guest, &format!("ip link show {guest}"))?;
            let routes = ctx.run(guest, "ip -4 route")?;
            let done = link.contains(&format!("mtu {mtu} ")) && routes.contains("default via");
            Ok(done.then_some(()))
        },
    )
}
