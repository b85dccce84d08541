//! `set-xde-underlay`, `clear-xde-underlay`, `show-underlay`,
//! `add-underlay-route`, `del-underlay-route`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, Format, PlainFormat, Printer, print_pages, print_rows};
use crate::session::Session;
use crate::text;
use clap::{Args, ValueEnum};
use opte_core::api::dump::{LinkEntry, NeighbourEntry, UnderlayEntry};
use opte_core::api::{Command, LinkSpec, Page, Prefix, Response, UnderlayRoute, UnderlaySpec};
use std::io::Write as _;
use std::net::Ipv6Addr;

/// `set-xde-underlay`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The links, NAME or NAME,MTU (9000 when absent)
    #[arg(required = true, value_name = "LINK", value_parser = text::link)]
    links: Vec<LinkSpec>,
    /// The host's tunnel address: where other hosts send Geneve to
    #[arg(long)]
    address: Ipv6Addr,
    /// Route, DEST,LINK or DEST,LINK,VIA; repeat for more
    #[arg(long = "route", value_name = "ROUTE", value_parser = text::underlay_route)]
    routes: Vec<UnderlayRoute>,
}

impl Set {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let Self {
            links,
            address,
            routes,
        } = self;
        session.perform(Command::SetUnderlay(UnderlaySpec {
            address,
            links,
            routes,
        }))
    }
}

/// `clear-xde-underlay`.
#[derive(Args, Debug)]
pub(crate) struct Clear {}

impl Clear {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::ClearUnderlay)
    }
}

/// `add-underlay-route` and `del-underlay-route`.
#[derive(Args, Debug)]
pub(crate) struct Route {
    /// The destination prefix
    dest: Prefix,
    /// Name of the link
    link: String,
    /// The neighbour that forwards; without it the destination is on the link
    via: Option<Ipv6Addr>,
}

impl Route {
    fn route(self) -> UnderlayRoute {
        let Self { dest, link, via } = self;
        UnderlayRoute { dest, via, link }
    }

    pub(crate) fn add(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::AddUnderlayRoute(self.route()))
    }

    pub(crate) fn delete(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::DelUnderlayRoute(self.route()))
    }
}

/// A part of the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Links with their counters
    Links,
    /// Routes
    Routes,
    /// Neighbours
    Neighbours,
}

/// `show-underlay`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// The part to show; all of it when absent
    #[arg(value_enum)]
    part: Option<Part>,
    #[command(flatten)]
    format: PlainFormat,
}

impl Show {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        match self.part {
            Some(Part::Links) => print_rows(session, &format, LINKS, |s| Ok(show(s)?.links)),
            Some(Part::Neighbours) => {
                print_rows(session, &format, NEIGHBOURS, |s| Ok(show(s)?.neighbours))
            }
            Some(Part::Routes) => print_routes(session, &format),
            None if format.json => all_as_json(session, &format),
            None if format.is_default() => all(session, &format),
            None => Err(Failure::Usage(
                "fields of what? Name links, routes or neighbours before -o".into(),
            )),
        }
    }
}

fn show(session: &mut Session) -> Result<UnderlayEntry, Failure> {
    session.call(Command::ShowUnderlay, |response| match response {
        Response::Underlay(underlay) => Some(underlay),
        _ => None,
    })
}

fn routes_page(response: Response) -> Option<Page<UnderlayRoute>> {
    match response {
        Response::UnderlayRoutes(page) => Some(page),
        _ => None,
    }
}

fn print_routes(session: &mut Session, format: &Format) -> Result<(), Failure> {
    print_pages(
        session,
        format,
        ROUTES,
        Command::DumpUnderlayRoutes,
        routes_page,
    )
}

/// For people: address, links, neighbours, routes.
fn all(session: &mut Session, format: &Format) -> Result<(), Failure> {
    let underlay = show(session)?;
    let out = &mut session.out;
    match underlay.address {
        Some(address) => {
            writeln!(out, "address {address}, generation {}", underlay.generation)?;
        }
        None => writeln!(out, "no underlay")?,
    }
    if !underlay.links.is_empty() {
        writeln!(out)?;
        Printer::new(format, LINKS)?.rows(out, &underlay.links)?;
    }
    if !underlay.neighbours.is_empty() {
        writeln!(out)?;
        Printer::new(format, NEIGHBOURS)?.rows(out, &underlay.neighbours)?;
    }
    let mut routes = Printer::new(format, ROUTES)?;
    let mut begun = false;
    session.pages(Command::DumpUnderlayRoutes, routes_page, |session, rows| {
        let out = &mut session.out;
        if !begun && !rows.is_empty() {
            begun = true;
            writeln!(out)?;
        }
        routes.rows(out, rows)
    })
}

/// One object; the routes are its last member, so that they needn't be held.
fn all_as_json(session: &mut Session, format: &Format) -> Result<(), Failure> {
    let UnderlayEntry {
        generation,
        address,
        links,
        neighbours,
    } = show(session)?;
    let json = |value| serde_json::to_string(&value).map_err(std::io::Error::from);
    let (links, neighbours) = (serde_json::json!(links), serde_json::json!(neighbours));
    let out = &mut session.out;
    writeln!(out, "{{\"generation\": {generation},")?;
    writeln!(out, "\"address\": {},", json(serde_json::json!(address))?)?;
    writeln!(out, "\"links\": {},", json(links)?)?;
    writeln!(out, "\"neighbours\": {},", json(neighbours)?)?;
    write!(out, "\"routes\": ")?;
    print_routes(session, format)?;
    Ok(writeln!(session.out, "}}")?)
}

const LINKS: &[Column<LinkEntry>] = &[
    Column::new("link", |l| Cell::text(&l.name)),
    Column::new("mac", |l| Cell::text(l.mac)),
    Column::new("link_local", |l| Cell::text(l.link_local)),
    Column::new("mtu", |l| Cell::count(l.mtu)),
    Column::new("rx_packets", |l| Cell::Count(l.rx_packets)),
    Column::new("rx_bytes", |l| Cell::Bytes(l.rx_bytes)),
    Column::new("tx_packets", |l| Cell::Count(l.tx_packets)),
    Column::new("tx_bytes", |l| Cell::Bytes(l.tx_bytes)),
];

const NEIGHBOURS: &[Column<NeighbourEntry>] = &[
    Column::new("neighbour", |n| Cell::text(n.address)),
    Column::new("link", |n| Cell::text(&n.link)),
    Column::new("mac", |n| Cell::maybe(n.mac)),
    Column::new("state", |n| Cell::text(&n.state)),
    Column::new("queued", |n| Cell::count(n.queued)),
];

const ROUTES: &[Column<UnderlayRoute>] = &[
    Column::new("dest", |r| Cell::text(r.dest)),
    Column::new("link", |r| Cell::text(&r.link)),
    Column::new("via", |r| Cell::maybe(r.via)),
];
