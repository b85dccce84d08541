//! Busybox's client, as small systems and initial ramdisks have it.

use super::dhcp_dhclient::{SLED, has, released};
use super::{Ctx, Scenario};
use anyhow::{Result, ensure};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dhcp-udhcpc",
    about: "udhcpc gets a lease with every option that it asks for, renews and releases it.",
    programs: &[
        ("busybox", "busybox"),
        ("ip", "iproute2"),
        ("udhcpc", "udhcpc"),
    ],
    run,
};

/// Runs Debian's script and keeps what it is told, as this client keeps no
/// lease file. The event comes last: whoever waits for it finds all the rest
/// there and done.
const SCRIPT: &str = r#"cat > told.sh <<'END'
#!/bin/sh
/etc/udhcpc/default.script "$1"
{ env | grep '^[a-z]*='; echo "event=$1"; } >> told.txt
END
chmod +x told.sh"#;

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&[SLED])?;
    ctx.run("g1", SCRIPT)?;
    let options = "-O search -O mtu -O ntpsrv -O staticroutes -O hostname";
    let client = format!("busybox udhcpc -f -i g1 -s ./told.sh -p pid -R {options}");
    let _client = ctx.start("g1", &client, "lease of 10.0.0.11 obtained")?;
    ctx.wait("the script has been told", |ctx| {
        let told = ctx.run("g1", "cat told.txt")?;
        Ok(told.contains("event=bound").then_some(()))
    })?;
    has(
        ctx,
        "cat told.txt",
        &[
            "\nip=10.0.0.11\n",
            "\nmask=32\n",
            "\nrouter=10.0.0.1\n",
            "\nserverid=10.0.0.1\n",
            "\nlease=20\n",
            "\nstaticroutes=10.0.0.1/32 0.0.0.0 0.0.0.0/0 10.0.0.1\n",
            "\ndns=203.0.113.53 203.0.113.54\n",
            "\ndomain=vpc.example.com\n",
            "\nsearch=vpc.example.com example.org\n",
            "\nhostname=web\n",
            "\nmtu=1400\n",
            "\nntpsrv=203.0.113.123\n",
        ],
    )?;
    ctx.wait("the lease is renewed", |ctx| {
        let told = ctx.run("g1", "cat told.txt")?;
        Ok(told.contains("event=renew").then_some(()))
    })?;
    let found = ctx.run("g1", "ip -4 address show dev g1")?;
    ensure!(found.contains("10.0.0.11/32"), "no address");
    // The signal by which it gives the lease back.
    ctx.run("g1", "kill -USR2 $(cat pid)")?;
    released(ctx)
}
