//! `create-xde`, `delete-xde`.

use crate::external::ExternalArgs;
use crate::failure::Failure;
use crate::nat::NatArgs;
use crate::session::Session;
use crate::text;
use clap::{ArgGroup, Args};
use opte_core::api::{
    Advertise, Command, DhcpOptions, ExternalIps, FwRule, Ipv4Config, Ipv6Config, Name, NatChange,
    NatOptions, PortSpec, Prefix, RouteSpec, TransitPrefix,
};
use opte_core::wire::{MacAddr, Vni};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `create-xde`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("family").args(["ipv4", "ipv6"]).multiple(true).required(true))]
pub(crate) struct Create {
    /// Name of the port and of its device
    name: Name,
    /// The guest's MAC address
    #[arg(long)]
    mac: MacAddr,
    /// The VPC
    #[arg(long)]
    vni: Vni,
    /// The guest's IPv4 address
    #[arg(long, value_name = "ADDRESS", requires = "ipv4_gateway")]
    ipv4: Option<Ipv4Addr>,
    /// The virtual gateway's IPv4 address
    #[arg(long, value_name = "ADDRESS", requires = "ipv4")]
    ipv4_gateway: Option<Ipv4Addr>,
    /// The guest's IPv6 address
    #[arg(long, value_name = "ADDRESS", requires = "ipv6_gateway")]
    ipv6: Option<Ipv6Addr>,
    /// The virtual gateway's IPv6 address
    #[arg(long, value_name = "ADDRESS", requires = "ipv6")]
    ipv6_gateway: Option<Ipv6Addr>,
    /// Bytes of IP packet
    #[arg(long, default_value_t = 1_500)]
    mtu: u16,
    /// The virtual gateway's MAC address
    #[arg(long, value_name = "MAC", default_value_t = MacAddr::GATEWAY)]
    gateway_mac: MacAddr,
    #[command(flatten)]
    dhcp: DhcpArgs,
    #[command(flatten)]
    external: ExternalArgs,
    #[command(flatten)]
    nat: NatArgs,
    /// External subnet that the guest has without translation; repeat for more
    #[arg(long = "subnet", value_name = "PREFIX")]
    subnets: Vec<Prefix>,
    /// PREFIX, PREFIX,in or PREFIX,out that the guest forwards for; repeat for more
    #[arg(long, value_name = "PREFIX", value_parser = text::transit)]
    transit: Vec<TransitPrefix>,
    /// Firewall rule in quotes; repeat for more
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<FwRule>,
    /// Route in quotes, "DEST TARGET CLASS"; repeat for more
    #[arg(long = "route", value_name = "ROUTE")]
    routes: Vec<RouteSpec>,
    /// Limit or timeout NAME=VALUE, named as in the setup file, as udp_s=60;
    /// repeat for more
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,
}

/// What DHCP and router advertisements tell the guest.
#[derive(Args, Debug)]
struct DhcpArgs {
    /// The guest's host name
    #[arg(long, help_heading = "DHCP")]
    hostname: Option<String>,
    /// The guest's domain
    #[arg(long, help_heading = "DHCP")]
    domain: Option<String>,
    /// Domains to search
    #[arg(
        long,
        value_name = "DOMAIN",
        value_delimiter = ',',
        help_heading = "DHCP"
    )]
    search: Vec<String>,
    /// DNS servers of both families
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        help_heading = "DHCP"
    )]
    dns: Vec<IpAddr>,
    /// NTP servers of both families
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        help_heading = "DHCP"
    )]
    ntp: Vec<IpAddr>,
    /// Seconds that an address is leased for
    #[arg(long, value_name = "SECONDS", help_heading = "DHCP")]
    lease: Option<u32>,
}

/// The addresses of each family.
fn by_family(addresses: Vec<IpAddr>) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(address),
            IpAddr::V6(address) => v6.push(address),
        }
    }
    (v4, v6)
}

impl From<DhcpArgs> for DhcpOptions {
    fn from(args: DhcpArgs) -> Self {
        let (dns4, dns6) = by_family(args.dns);
        let (ntp4, ntp6) = by_family(args.ntp);
        Self {
            hostname: args.hostname,
            domain: args.domain,
            search: args.search,
            dns4,
            dns6,
            ntp4,
            ntp6,
            lease_s: args.lease,
        }
    }
}

impl Create {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let ipv4 = self.ipv4.zip(self.ipv4_gateway);
        let ipv6 = self.ipv6.zip(self.ipv6_gateway);
        let spec = PortSpec {
            name: self.name,
            mac: self.mac,
            vni: self.vni,
            ipv4: ipv4.map(|(address, gateway)| Ipv4Config { address, gateway }),
            ipv6: ipv6.map(|(address, gateway)| Ipv6Config { address, gateway }),
            mtu: self.mtu,
            gateway_mac: self.gateway_mac,
            dhcp: self.dhcp.into(),
            options: text::port_options(&self.options).map_err(Failure::Usage)?,
            external: ExternalIps {
                nat: NatChange::from(self.nat).apply(NatOptions::default()),
                ..self.external.into()
            },
            attached_subnets: self.subnets,
            transit: self.transit,
            rules: self.rules,
            routes: self.routes,
            advertise: Advertise::default(),
        };
        // A driver that is older than this tool understands what is founding.
        session.perform(match spec.is_founding() {
            true => Command::CreatePort(spec),
            false => Command::CreatePortParts(spec.into_parts()),
        })
    }
}

/// `delete-xde`.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The port
    name: Name,
}

impl Delete {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::DeletePort(self.name))
    }
}
