//! `apply`.

use crate::failure::Failure;
use crate::session::Session;
use clap::Args;
use opte_core::api::{ChangeVerb, Command, Response, Setup};
use opte_ioctl::setup_file;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// `apply`.
#[derive(Args, Debug)]
pub(crate) struct Apply {
    /// The setup file; - is standard input
    #[arg(value_name = "SETUP.toml")]
    file: PathBuf,
    /// Only read the file and say what is in it; no driver is needed
    #[arg(long)]
    check: bool,
}

impl Apply {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let setup = parse(&self.file, &read_input(&self.file)?)?;
        if self.check {
            return Ok(writeln!(session.out, "{}", summary(&setup))?);
        }
        // A driver that is older than this tool understands what is founding.
        let command = match setup.is_founding() {
            true => Command::Apply(setup),
            false => Command::ApplyParts(setup.into_parts()),
        };
        let applied = session.call(command, |response| match response {
            Response::Applied(applied) => Some(applied),
            _ => None,
        })?;
        let out = &mut session.out;
        for change in &applied.changes {
            let sign = match change.verb {
                ChangeVerb::Add => '+',
                ChangeVerb::Remove => '-',
                ChangeVerb::Change => '~',
            };
            writeln!(out, "{sign} {}", change.object)?;
        }
        if applied.more > 0 {
            writeln!(out, "and {} more", applied.more)?;
        } else if applied.changes.is_empty() {
            writeln!(out, "nothing to change")?;
        }
        Ok(())
    }
}

/// The text of a file, or of standard input for `-`.
pub(crate) fn read_input(file: &Path) -> Result<String, Failure> {
    let result = match file == Path::new("-") {
        true => setup_file::read(std::io::stdin()),
        false => File::open(file).and_then(setup_file::read),
    };
    result.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

fn parse(file: &Path, text: &str) -> Result<Setup, Failure> {
    let say = |why| Failure::Usage(format!("{}: {why}", file.display()));
    setup_file::parse(text).map_err(say)
}

fn summary(setup: &Setup) -> String {
    let count = |n: usize, one: &str, more: &str| match n {
        1 => format!("1 {one}"),
        _ => format!("{n} {more}"),
    };
    let underlay = setup.underlay.as_ref().map_or_else(
        || String::from("no underlay"),
        |underlay| {
            let links = count(underlay.links.len(), "link", "links");
            let routes = count(underlay.routes.len(), "route", "routes");
            format!("an underlay with {links} and {routes}")
        },
    );
    let sets = match setup.address_sets.len() {
        0 => String::new(),
        n => format!("{}, ", count(n, "address set", "address sets")),
    };
    let groups = match setup.multicast.m2p.len() {
        0 => String::new(),
        n => format!("{}, ", count(n, "group", "groups")),
    };
    format!(
        "{}, {sets}{groups}{}, {}, {underlay}",
        count(setup.ports.len(), "port", "ports"),
        count(setup.v2p.len(), "v2p mapping", "v2p mappings"),
        count(setup.v2b.len(), "v2b prefix", "v2b prefixes"),
    )
}

#[cfg(test)]
mod tests;
