//! `create-xde`, `delete-xde`, `list-ports`.

use crate::cell::Cell;
use crate::external::ExternalArgs;
use crate::failure::Failure;
use crate::listing::{Column, PlainFormat, Printer, print_pages};
use crate::nat::NatArgs;
use crate::session::Session;
use crate::text;
use clap::{ArgGroup, Args};
use opte_core::api::dump::PortEntry;
use opte_core::api::{
    Advertise, Command, DhcpOptions, FwRule, Ipv4Config, Ipv6Config, Name, Page, PortSpec, Prefix,
    Response, RouteSpec, Setting, TransitPrefix,
};
use opte_core::wire::{MacAddr, Vni};
use opte_ioctl::client::ClientError;
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
            external: self.external.into(),
            attached_subnets: self.subnets,
            transit: self.transit,
            rules: self.rules,
            routes: self.routes,
            advertise: Advertise::default(),
        };
        let beside = spec.settings_beside();
        session.perform(Command::CreatePort(spec))?;
        if !beside.is_empty() {
            session.perform(Command::SetPortOptions(self.name, beside))?;
        }
        self.nat.follow(session, self.name)
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

/// `list-ports`.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    format: PlainFormat,
    /// Show all that is known of each port, timeouts and limits included
    #[arg(short, long, conflicts_with_all = ["json", "output", "parsable"])]
    verbose: bool,
}

impl List {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        if !self.verbose {
            return print_pages(session, &format, COLUMNS, Command::ListPorts, ports_page);
        }
        let mut ports = Vec::new();
        session.pages(Command::ListPorts, ports_page, |_, page| {
            ports.extend_from_slice(page);
            Ok(())
        })?;
        for port in &mut ports {
            let ask = Command::ShowPortOptions(port.name);
            match session.call(ask, settings) {
                Ok(settings) => port.learn(&settings),
                // It is gone since, or the driver is older than the command:
                // what newer settings there are it doesn't have.
                Err(Failure::Client(ClientError::Refused(_))) => {}
                Err(failure) => return Err(failure),
            }
        }
        Printer::records(COLUMNS).rows(&mut session.out, &ports)
    }
}

fn settings(response: Response) -> Option<Vec<Setting>> {
    match response {
        Response::Settings(settings) => Some(settings),
        _ => None,
    }
}

fn ports_page(response: Response) -> Option<Page<PortEntry>> {
    match response {
        Response::Ports(page) => Some(page),
        _ => None,
    }
}

/// The addresses of both families.
fn both(v4: &[Ipv4Addr], v6: &[Ipv6Addr]) -> impl Iterator<Item = IpAddr> {
    let v4 = v4.iter().copied().map(IpAddr::V4);
    v4.chain(v6.iter().copied().map(IpAddr::V6))
}

const COLUMNS: &[Column<PortEntry>] = &[
    Column::extra("id", |p| Cell::count(p.id.0)),
    Column::new("name", |p| Cell::text(p.name)),
    Column::new("mac", |p| Cell::text(p.mac)),
    Column::new("vni", |p| Cell::count(p.vni.get())),
    Column::new("ipv4", |p| Cell::maybe(p.ipv4.map(|side| side.address))),
    Column::new("ipv6", |p| Cell::maybe(p.ipv6.map(|side| side.address))),
    Column::new("mtu", |p| Cell::count(p.mtu)),
    Column::new("flows", |p| Cell::count(p.flows)),
    Column::extra("flows_max", |p| Cell::count(p.options.flows_max)),
    Column::new("generation", |p| Cell::Count(p.generation)),
    Column::extra("ipv4_gateway", |p| {
        Cell::maybe(p.ipv4.map(|side| side.gateway))
    }),
    Column::extra("ipv6_gateway", |p| {
        Cell::maybe(p.ipv6.map(|side| side.gateway))
    }),
    Column::extra("gateway_mac", |p| Cell::text(p.gateway_mac)),
    Column::extra("snat", |p| {
        Cell::list(p.external.snat.iter().map(text::snat_text))
    }),
    Column::extra("ephemeral", |p| Cell::list(&p.external.ephemeral)),
    Column::extra("floating", |p| {
        Cell::list(p.external.floating.iter().map(text::floating_text))
    }),
    Column::extra("subnets", |p| Cell::list(&p.attached_subnets)),
    Column::extra("transit", |p| {
        Cell::list(p.transit.iter().map(text::transit_text))
    }),
    Column::extra("hostname", |p| Cell::maybe(p.dhcp.hostname.as_ref())),
    Column::extra("domain", |p| Cell::maybe(p.dhcp.domain.as_ref())),
    Column::extra("search", |p| Cell::list(&p.dhcp.search)),
    Column::extra("dns", |p| Cell::list(both(&p.dhcp.dns4, &p.dhcp.dns6))),
    Column::extra("ntp", |p| Cell::list(both(&p.dhcp.ntp4, &p.dhcp.ntp6))),
    Column::extra("lease_s", |p| Cell::maybe(p.dhcp.lease_s)),
    Column::extra("udp_one_way_s", |p| Cell::count(p.options.udp_one_way_s)),
    Column::extra("udp_s", |p| Cell::count(p.options.udp_s)),
    Column::extra("icmp_s", |p| Cell::count(p.options.icmp_s)),
    Column::extra("other_s", |p| Cell::count(p.options.other_s)),
    Column::extra("tcp_opening_s", |p| Cell::count(p.options.tcp_opening_s)),
    Column::extra("tcp_established_s", |p| {
        Cell::count(p.options.tcp_established_s)
    }),
    Column::extra("tcp_closing_s", |p| Cell::count(p.options.tcp_closing_s)),
    Column::extra("tcp_time_wait_s", |p| {
        Cell::count(p.options.tcp_time_wait_s)
    }),
    Column::extra("tcp_reset_s", |p| Cell::count(p.options.tcp_reset_s)),
    Column::extra("uft_s", |p| Cell::count(p.options.uft_s)),
    Column::extra("tcp_mid_stream", |p| Cell::text(p.options.tcp_mid_stream)),
    Column::extra("decrement_ttl", |p| Cell::text(p.options.decrement_ttl)),
    Column::extra("mss_max", |p| Cell::count(p.options.mss_max)),
    Column::extra("fragment_s", |p| Cell::count(p.options.fragment_s)),
    Column::extra("fragments_max", |p| Cell::count(p.options.fragments_max)),
    Column::extra("in_packets", |p| Cell::Count(p.stats.inbound.packets)),
    Column::extra("in_bytes", |p| Cell::Bytes(p.stats.inbound.bytes)),
    Column::extra("in_hits", |p| Cell::Count(p.stats.inbound.hits)),
    Column::extra("in_misses", |p| Cell::Count(p.stats.inbound.misses)),
    Column::extra("in_hairpins", |p| Cell::Count(p.stats.inbound.hairpins)),
    Column::extra("in_drops", |p| Cell::Count(p.stats.inbound.drops)),
    Column::extra("out_packets", |p| Cell::Count(p.stats.outbound.packets)),
    Column::extra("out_bytes", |p| Cell::Bytes(p.stats.outbound.bytes)),
    Column::extra("out_hits", |p| Cell::Count(p.stats.outbound.hits)),
    Column::extra("out_misses", |p| Cell::Count(p.stats.outbound.misses)),
    Column::extra("out_hairpins", |p| Cell::Count(p.stats.outbound.hairpins)),
    Column::extra("out_drops", |p| Cell::Count(p.stats.outbound.drops)),
];
