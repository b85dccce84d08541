//! Busybox's client for IPv6.

use super::dhcp_dhclient::{SLED, has};
use super::{Ctx, Scenario};
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dhcp-udhcpc6",
    about: "udhcpc6 gets a lease with DNS servers and search list, renews and releases it.",
    programs: &[("ip", "iproute2"), ("udhcpc6", "busybox's sources")],
    run,
};

/// Takes addresses as told, and keeps what it is told: Debian has no script
/// for this client. The event comes last: whoever waits for it finds all the
/// rest there and done.
const SCRIPT: &str = r#"cat > told.sh <<'END'
#!/bin/sh
case $1 in
bound) ip -6 address add "$ipv6/128" dev "$interface" ;;
deconfig) ip -6 address flush dev "$interface" scope global ;;
esac
{ env | grep '^[a-z0-9]*='; echo "event=$1"; } >> told.txt
END
chmod +x told.sh"#;

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&[SLED])?;
    ctx.run("g1", SCRIPT)?;
    // It sends from the link-local address, which comes about two seconds
    // after the link is up.
    ctx.wait("g1's link-local address is its own", |ctx| {
        let found = ctx.run("g1", "ip -6 address show dev g1 scope link")?;
        let is_good = found.contains("inet6 fe80::") && !found.contains("tentative");
        Ok(is_good.then_some(()))
    })?;
    let client = "udhcpc6 -f -i g1 -s ./told.sh -p pid -R -O dns -O search -O fqdn";
    // Its script is told the time with the bytes in the wrong order.
    let lease = "IPv6 obtained, lease time 20";
    let mut running = ctx.start("g1", client, lease)?;
    told(ctx, "bound")?;
    has(
        ctx,
        "cat told.txt",
        &[
            "\nipv6=fd77:0001:0000:0000:0000:0000:0000:0011\n",
            "\ndns=2001:0db8:0013:0000:0000:0000:0000:0053\n",
            "\nsearch=vpc.example.com example.org\n",
        ],
    )?;
    has(ctx, "ip -6 address show dev g1", &["inet6 fd77:1::11/128"])?;
    told(ctx, "renew")?;
    // The signal by which it gives the lease back.
    ctx.run("g1", "kill -USR2 $(cat pid)")?;
    ctx.wait("g1 has given its address back", |ctx| {
        let found = ctx.run("g1", "ip -6 address show dev g1")?;
        Ok((!found.contains("fd77:1::11")).then_some(()))
    })?;
    running.stop();
    let stats = ctx.opteadm("sled-a", &["stats"])?;
    for refusal in ["bad_dhcp", "dhcp_not_answered"] {
        ensure!(!stats.contains(refusal), "something was refused: {refusal}");
    }
    Ok(())
}

/// Waits until the script was told of an event.
fn told(ctx: &mut Ctx, event: &str) -> Result<()> {
    ctx.wait(&format!("the script is told `{event}`"), |ctx| {
        let told = ctx.run("g1", "cat told.txt")?;
        Ok(told.contains(&format!("event={event}")).then_some(()))
    })
}
