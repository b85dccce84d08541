//! systemd's own clients of both families.

use super::dhcp_dhclient::{SLED, addresses, has, heard};
use super::{Ctx, Scenario};
use anyhow::Result;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dhcp-networkd",
    about: "systemd-networkd follows the router's advertisement to leases of both families, and renews them.",
    programs: &[
        ("ip", "iproute2"),
        ("networkctl", "systemd"),
        ("ping", "iputils-ping"),
    ],
    run,
};

/// It drops its privileges to a user that a sandbox doesn't have, unless it is
/// the one there is. The folders are made by other units elsewhere.
const PREPARE: &str = r"
sed -i 's/^systemd-network:x:[0-9]*:[0-9]*:/systemd-network:x:0:0:/' /etc/passwd
sed -i 's/^systemd-network:x:[0-9]*:/systemd-network:x:0:/' /etc/group
mkdir -p /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
mkdir -p /etc/systemd/network
cat > /etc/systemd/network/g1.network <<'END'
[Match]
Name=g1
[Network]
DHCP=yes
IPv6AcceptRA=yes
[DHCPv4]
UseDomains=yes
UseMTU=yes
END";

/// Where there is no udev, /sys has to be read-only for it to be known.
const DAEMON: &str = "sh -c 'mount -t sysfs -o ro sysfs /sys && SYSTEMD_LOG_LEVEL=debug exec /lib/systemd/systemd-networkd'";

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&[SLED])?;
    ctx.run("g1", PREPARE)?;
    let mut daemon = ctx.start("g1", DAEMON, "DHCPv6 client: ")?;
    addresses(ctx)?;
    has(
        ctx,
        "cat /run/systemd/netif/leases/*",
        &[
            "ADDRESS=10.0.0.11",
            "NETMASK=255.255.255.255",
            "ROUTER=10.0.0.1",
            "SERVER_ADDRESS=10.0.0.1",
            "MTU=1400",
            "T1=10",
            "T2=18",
            "LIFETIME=20",
            "DNS=203.0.113.53 203.0.113.54",
            "NTP=203.0.113.123",
            "DOMAINNAME=vpc.example.com",
            "DOMAIN_SEARCH_LIST=vpc.example.com example.org",
            "HOSTNAME=web",
            "CLASSLESS_ROUTES=10.0.0.1/32,0.0.0.0 0.0.0.0/0,10.0.0.1",
        ],
    )?;
    // It writes this a while after it has learnt it.
    ctx.wait("the link is configured", |ctx| {
        let state = ctx.run("g1", "cat /run/systemd/netif/links/*")?;
        let all = [
            "ADMIN_STATE=configured",
            "2001:db8:13::53",
            "NTP=203.0.113.123 2001:db8:13::123",
        ];
        Ok(all.iter().all(|what| state.contains(what)).then_some(()))
    })?;
    for renewal in [
        "DHCPv4 client: REQUEST (renewing)",
        "DHCPv6 client: Sent Renew",
    ] {
        daemon.wait_for_line(renewal, Duration::from_secs(25))?;
    }
    // Of its leases it gives back that of IPv4 when it ends.
    daemon.stop();
    heard(ctx)
}
