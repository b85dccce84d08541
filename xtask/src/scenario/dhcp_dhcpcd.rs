//! dhcpcd, which does without the kernel: it solicits routers, looks for
//! duplicates of both families and takes two messages where it can.

use super::dhcp_dhclient::{SLED, addresses, has, released};
use super::{Ctx, Scenario};
use anyhow::Result;
use std::time::Duration;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dhcp-dhcpcd",
    about: "dhcpcd gets leases of both families in two messages each, renews and releases them.",
    programs: &[
        ("dhcpcd", "dhcpcd-base"),
        ("ip", "iproute2"),
        ("ping", "iputils-ping"),
    ],
    run,
};

fn run(ctx: &mut Ctx) -> Result<()> {
    ctx.build(&[SLED])?;
    ctx.run("g1", "mkdir -p /run/dhcpcd /var/lib/dhcpcd")?;
    // NTP is what Debian's configuration doesn't ask for.
    let client = "dhcpcd -B -d -o ntp_servers g1";
    let mut client = ctx.start("g1", client, "soliciting a DHCP lease")?;
    addresses(ctx)?;
    has(
        ctx,
        "dhcpcd -U g1",
        &[
            "ip_address=10.0.0.11",
            "subnet_cidr=32",
            "routers=10.0.0.1",
            "dhcp_server_identifier=10.0.0.1",
            "dhcp_lease_time=20",
            "rapid_commit=",
            "domain_name_servers=203.0.113.53 203.0.113.54",
            "domain_name=vpc.example.com",
            "domain_search=vpc.example.com example.org",
            "host_name=web",
            "interface_mtu=1400",
            "ntp_servers=203.0.113.123",
            "nd1_flags=MO",
            "nd1_rdnss1_servers=2001:db8:13::53",
            "dhcp6_server_id=00030001a84025ff7777",
            "dhcp6_ia_na1_ia_addr1=fd77:1::11",
            "dhcp6_ia_na1_t1=10",
            "dhcp6_name_servers=2001:db8:13::53",
            "dhcp6_domain_search=vpc.example.com example.org",
            "dhcp6_fqdn=web.vpc.example.com",
        ],
    )?;
    // The last line is when it has done all, and minds signals again.
    for renewal in [
        "broadcasting RENEW6",
        "renewing lease of 10.0.0.11",
        "ARP announcing 10.0.0.11 (2 of 2)",
    ] {
        client.wait_for_line(renewal, Duration::from_secs(25))?;
    }
    ctx.run("g1", "dhcpcd -k g1")?;
    released(ctx)
}
