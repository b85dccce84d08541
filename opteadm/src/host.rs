//! `stats`, `version`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PlainFormat, PortFormat, Printer, print_rows};
use crate::session::Session;
use clap::Args;
use opte_core::api::dump::Counter;
use opte_core::api::{ConfigError, ErrorCode, ObjectKind};
use opte_ioctl::client::ClientError;
use opte_ioctl::hello::{Hello, capability_name};
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
            let (generation, stats) = session.stats(port)?;
            let state = |name: &str, value| Stat {
                kind: "state",
                name: name.into(),
                value,
            };
            let counted = |kind| move |Counter { name, value }| Stat { kind, name, value };
            let generation = generation.map(|number| state("generation", number));
            let mut rows: Vec<_> = generation.into_iter().collect();
            rows.push(state("flows", stats.flows.into()));
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
        let common = common((VERSION_MIN, VERSION_MAX), &hello);
        if let Ok((min, max)) = common {
            rows.push(part("contract", "both", range(min, max)));
        }
        let capabilities = hello.capabilities.iter().map(|number| {
            let known = capability_name(*number).map(String::from);
            // A newer driver can do things that have no name here yet.
            let word = known.unwrap_or_else(|| format!("unknown-{number}"));
            part("capability", &word, number.to_string())
        });
        rows.extend(capabilities);
        printer.rows(out, &rows)?;
        printer.finish(out)?;
        session.finish()?;
        common.map(drop).map_err(|why| {
            let error = ConfigError::new(ErrorCode::UnsupportedVersion, ObjectKind::Request, "");
            let ours = format!("{VERSION_MIN} to {VERSION_MAX}");
            ClientError::Refused(error.field("version", ours).hint(why)).into()
        })
    }
}

/// The versions of the contract that the tool and a driver both speak;
/// otherwise what to say.
fn common((min, max): (u16, u16), driver: &Hello) -> Result<(u16, u16), String> {
    let both = (min.max(driver.version_min), max.min(driver.version_max));
    if both.0 <= both.1 {
        return Ok(both);
    }
    let remedy = match driver.version_min > max {
        true => "this opteadm is too old for the driver",
        false => "the driver is too old for this opteadm",
    };
    Err(format!(
        "{} {} speaks {} to {}: {remedy}; an opteadm of its own version always works",
        driver.driver, driver.driver_version, driver.version_min, driver.version_max,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn driver(version_min: u16, version_max: u16) -> Hello {
        Hello {
            driver: "xde".into(),
            driver_version: "3.2.1".into(),
            version_min,
            version_max,
            capabilities: Vec::new(),
        }
    }

    #[test]
    fn the_versions_that_both_speak_are_told_and_who_is_too_old() {
        assert_eq!(common((1, 3), &driver(2, 5)), Ok((2, 3)));
        assert_eq!(common((2, 2), &driver(1, 2)), Ok((2, 2)));
        let why = common((1, 1), &driver(2, 5)).unwrap_err();
        assert!(why.contains("xde 3.2.1 speaks 2 to 5"), "{why}");
        assert!(why.contains("this opteadm is too old"), "{why}");
        let why = common((4, 6), &driver(2, 3)).unwrap_err();
        assert!(why.contains("the driver is too old"), "{why}");
    }
}
