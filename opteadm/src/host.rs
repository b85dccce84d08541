//! `stats`, `version`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PlainFormat, PortFormat, Printer, print_rows};
use crate::session::Session;
use clap::Args;
use opte_core::api::dump::Counter;
use opte_core::api::{Command, Response};
use opte_ioctl::hello::capability_name;
use opte_ioctl::{VERSION_MAX, VERSION_MIN};
use serde::Serialize;

/// `stats`.
#[derive(Args, Debug)]
pub(crate) struct Stats {
    #[command(flatten)]
    format: PortFormat,
}

impl Stats {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve_optional()?;
        print_rows(session, &format, STATS, |session| {
            let stats = session.call(Command::Stats(port), |response| match response {
                Response::Stats(stats) => Some(stats),
                _ => None,
            })?;
            let state = |name: &str, value| Stat {
                kind: "state",
                name: name.into(),
                value,
            };
            let counted = |kind| move |Counter { name, value }| Stat { kind, name, value };
            let mut rows = vec![
                state("generation", stats.generation),
                state("flows", stats.flows.into()),
            ];
            rows.extend(stats.counters.into_iter().map(counted("count")));
            rows.extend(stats.drops.into_iter().map(counted("drop")));
            Ok(rows)
        })
    }
}

/// One number.
#[derive(Serialize)]
struct Stat {
    /// `state` for what is now, `count` and `drop` for what only grows.
    kind: &'static str,
    name: String,
    value: u64,
}

const STATS: &[Column<Stat>] = &[
    Column::new("kind", |s| Cell::text(s.kind)),
    Column::new("name", |s| Cell::text(&s.name)),
    Column::new("value", |s| Cell::Count(s.value)),
];

/// `version`.
#[derive(Args, Debug)]
pub(crate) struct Version {
    #[command(flatten)]
    format: PlainFormat,
}

/// One thing that has a version.
#[derive(Serialize)]
struct Part {
    part: &'static str,
    name: String,
    version: String,
}

const PARTS: &[Column<Part>] = &[
    Column::new("part", |p| Cell::text(p.part)),
    Column::new("name", |p| Cell::text(&p.name)),
    Column::new("version", |p| Cell::text(&p.version)),
];

impl Version {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        let part = |part, name: &str, version: String| Part {
            part,
            name: name.into(),
            version,
        };
        let range = |min: u16, max: u16| match min == max {
            true => min.to_string(),
            false => format!("{min}-{max}"),
        };
        let mut printer = Printer::new(&format, PARTS)?;
        let tool = [
            part("tool", "opteadm", env!("CARGO_PKG_VERSION").into()),
            part("contract", "opteadm", range(VERSION_MIN, VERSION_MAX)),
        ];
        // The tool's own version is worth having without a driver, too.
        let hello = session.hello();
        let out = &mut session.out;
        let hello = match hello {
            Ok(hello) => hello,
            Err(failure) => {
                printer.rows(out, &tool)?;
                printer.finish(out)?;
                session.finish()?;
                return Err(failure);
            }
        };
        let name = &*hello.driver;
        let mut rows = Vec::from(tool);
        rows.push(part("driver", name, hello.driver_version.clone()));
        let versions = range(hello.version_min, hello.version_max);
        rows.push(part("contract", name, versions));
        let capabilities = hello.capabilities.iter().map(|number| {
            let known = capability_name(*number).map(String::from);
            // A newer driver can do things that have no name here yet.
            let word = known.unwrap_or_else(|| format!("unknown-{number}"));
            part("capability", &word, number.to_string())
        });
        rows.extend(capabilities);
        printer.rows(out, &rows)?;
        printer.finish(out)
    }
}
