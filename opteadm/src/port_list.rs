//! `list-ports`.
//!
//! A port's entry in the listing is as old as the contract and can't grow.
//! What is newer is asked for port by port, when it is to be shown.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PlainFormat, Printer};
use crate::session::Session;
use crate::text;
use clap::Args;
use opte_core::api::dump::PortEntry;
use opte_core::api::{
    Advertise, AdvertisedPrefix, Command, ErrorCode, NatEntry, Page, Response, Setting,
};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

/// `list-ports`.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    format: PlainFormat,
    /// Show all that is known of each port but its rules and routes
    #[arg(short, long, conflicts_with_all = ["json", "output", "parsable"])]
    verbose: bool,
}

impl List {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        let mut printer = match self.verbose {
            true => Printer::records(COLUMNS),
            false => Printer::new(&format, COLUMNS)?,
        };
        let asks = self.verbose || format.shows(is_beside);
        session.pages(Command::ListPorts, ports_page, |session, page| {
            let mut rows = Vec::with_capacity(page.len());
            for entry in page {
                let row = Row::from(entry.clone());
                if !asks {
                    rows.push(row);
                    continue;
                }
                match row.complete(session) {
                    Ok(row) => rows.push(row),
                    // It is gone since.
                    Err(failure) if failure.is_refusal(ErrorCode::NotFound) => {}
                    Err(failure) => return Err(failure),
                }
            }
            printer.rows(&mut session.out, &rows)
        })?;
        printer.finish(&mut session.out)
    }
}

/// A port with what isn't in its entry.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    entry: PortEntry,
    /// None when the driver can't tell.
    advertise: Option<Advertise>,
}

impl From<PortEntry> for Row {
    fn from(entry: PortEntry) -> Self {
        Self {
            entry,
            advertise: None,
        }
    }
}

impl Deref for Row {
    type Target = PortEntry;

    fn deref(&self) -> &PortEntry {
        &self.entry
    }
}

impl Row {
    /// The port with all that the driver knows of it.
    fn complete(mut self, session: &mut Session) -> Result<Self, Failure> {
        let name = self.name;
        if let Some(settings) = ask(session, Command::ShowPortOptions(name), settings)? {
            self.entry.learn(&settings);
        }
        if let Some(nat) = ask(session, Command::ShowNat(name), nat)? {
            self.entry.external.nat = nat.options;
        }
        self.advertise = ask(session, Command::ShowAdvertise(name), advertise)?;
        Ok(self)
    }

    fn advertised(&self) -> Option<AdvertisedPrefix> {
        self.advertise?.prefix
    }
}

/// Asks about a port. A driver that is older than the command knows nothing.
fn ask<T>(
    session: &mut Session,
    command: Command,
    expect: fn(Response) -> Option<T>,
) -> Result<Option<T>, Failure> {
    match session.call(command, expect) {
        Err(failure) if failure.is_refusal(ErrorCode::UnknownCommand) => Ok(None),
        answer => answer.map(Some),
    }
}

fn settings(response: Response) -> Option<Vec<Setting>> {
    match response {
        Response::Settings(settings) => Some(settings),
        _ => None,
    }
}

fn nat(response: Response) -> Option<NatEntry> {
    match response {
        Response::Nat(nat) => Some(nat),
        _ => None,
    }
}

fn advertise(response: Response) -> Option<Advertise> {
    match response {
        Response::Advertise(advertise) => Some(advertise),
        _ => None,
    }
}

fn ports_page(response: Response) -> Option<Page<PortEntry>> {
    match response {
        Response::Ports(page) => Some(page),
        _ => None,
    }
}

/// Columns of what a port's entry can't tell.
fn is_beside(column: &str) -> bool {
    const NAMES: [&str; 7] = [
        "decrement_ttl",
        "mss_max",
        "fragment_s",
        "fragments_max",
        "mapping",
        "filtering",
        "pooling",
    ];
    column.starts_with("advertise_") || NAMES.contains(&column)
}

/// The addresses of both families.
fn both(v4: &[Ipv4Addr], v6: &[Ipv6Addr]) -> impl Iterator<Item = IpAddr> {
    let v4 = v4.iter().copied().map(IpAddr::V4);
    v4.chain(v6.iter().copied().map(IpAddr::V6))
}

const COLUMNS: &[Column<Row>] = &[
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
    Column::extra("mapping", |p| Cell::text(p.external.nat.mapping)),
    Column::extra("filtering", |p| Cell::text(p.external.nat.filtering)),
    Column::extra("pooling", |p| Cell::text(p.external.nat.pooling)),
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
    Column::extra("advertise_managed", |p| {
        Cell::maybe(p.advertise.map(|a| a.managed))
    }),
    Column::extra("advertise_other", |p| {
        Cell::maybe(p.advertise.map(|a| a.other))
    }),
    Column::extra("advertise_interval_s", |p| {
        Cell::maybe(p.advertise.map(|a| a.interval_s))
    }),
    Column::extra("advertise_lifetime_s", |p| {
        Cell::maybe(p.advertise.map(|a| a.lifetime_s()))
    }),
    Column::extra("advertise_prefix", |p| {
        Cell::maybe(p.advertised().map(|a| a.prefix))
    }),
    Column::extra("advertise_on_link", |p| {
        Cell::maybe(p.advertised().map(|a| a.on_link))
    }),
    Column::extra("advertise_autonomous", |p| {
        Cell::maybe(p.advertised().map(|a| a.autonomous))
    }),
    Column::extra("advertise_valid_s", |p| {
        Cell::maybe(p.advertised().map(|a| a.valid_s))
    }),
    Column::extra("advertise_preferred_s", |p| {
        Cell::maybe(p.advertised().map(|a| a.preferred_s))
    }),
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
