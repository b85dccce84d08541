//! `add-router-entry`, `del-router-entry`, `dump-router`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PortFormat, print_pages};
use crate::session::Session;
use clap::Args;
use opte_core::api::dump::RouteEntry;
use opte_core::api::{Command, Name, Page, Prefix, Response, RouteClass, RouteSpec, RouteTarget};
use std::io::Write as _;

/// `add-router-entry` and `del-router-entry`.
#[derive(Args, Debug)]
pub(crate) struct Entry {
    /// The port
    #[arg(short, long)]
    port: Name,
    /// The destination prefix
    dest: Prefix,
    /// drop, ig, ig=UUID, ip4=ADDRESS, ip6=ADDRESS, sub4=PREFIX or sub6=PREFIX
    target: RouteTarget,
    /// custom or system
    class: RouteClass,
}

impl Entry {
    const fn route(&self) -> RouteSpec {
        RouteSpec {
            dest: self.dest,
            target: self.target,
            class: self.class,
        }
    }

    pub(crate) fn add(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::AddRoute(self.port, self.route()))
    }

    pub(crate) fn delete(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::DelRoute(self.port, self.route()))
    }
}

/// `dump-router`.
#[derive(Args, Debug)]
pub(crate) struct Dump {
    #[command(flatten)]
    format: PortFormat,
    /// Print only the routes, in the form in which add-router-entry takes them
    #[arg(long, conflicts_with_all = ["json", "output", "parsable"])]
    routes: bool,
}

impl Dump {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        let request = |cursor| Command::DumpRoutes(port, cursor);
        if !self.routes {
            return print_pages(session, &format, COLUMNS, request, routes_page);
        }
        session.pages(request, routes_page, |session, entries| {
            let out = &mut session.out;
            for entry in entries {
                writeln!(out, "{}", entry.route)?;
            }
            Ok(())
        })
    }
}

fn routes_page(response: Response) -> Option<Page<RouteEntry>> {
    match response {
        Response::Routes(page) => Some(page),
        _ => None,
    }
}

const COLUMNS: &[Column<RouteEntry>] = &[
    Column::new("id", |e| Cell::count(e.id)),
    Column::new("dest", |e| Cell::text(e.route.dest)),
    Column::new("target", |e| Cell::text(e.route.target)),
    Column::new("class", |e| Cell::text(e.route.class)),
];
