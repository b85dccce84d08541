//! `set-address-set`, `delete-address-set`, `list-address-sets`,
//! `dump-address-set`.

use crate::cell::Cell;
use crate::failure::{Failure, at_most};
use crate::listing::{Column, PlainFormat, print_pages};
use crate::session::Session;
use crate::setup::read_input;
use clap::Args;
use opte_core::api::dump::AddressSetEntry;
use opte_core::api::{Command, Name, Prefix, Response};
use opte_core::limits::ADDRESS_SET_PREFIXES_MAX;
use std::path::{Path, PathBuf};

/// `set-address-set`.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// The set; rules ask for it as hosts=set=NAME
    name: Name,
    /// Addresses and prefixes; all that the set will hold
    #[arg(value_name = "PREFIX")]
    prefixes: Vec<Prefix>,
    /// File with more of them, one a line; # begins a comment; - is standard
    /// input
    #[arg(short, long)]
    file: Option<PathBuf>,
}

impl Set {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let mut prefixes = self.prefixes;
        if let Some(file) = &self.file {
            let more = parse(file, &read_input(file)?).map_err(Failure::Usage)?;
            prefixes.extend(more);
        }
        at_most(ADDRESS_SET_PREFIXES_MAX, prefixes.len(), "prefixes")?;
        session.perform(Command::SetAddressSet(self.name, prefixes))
    }
}

fn parse(file: &Path, text: &str) -> Result<Vec<Prefix>, String> {
    let mut prefixes = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        if line.is_empty() {
            continue;
        }
        let place = || format!("{}:{}", file.display(), at.saturating_add(1));
        let prefix = line
            .parse()
            .map_err(|why| format!("{}: `{line}`: {why}", place()))?;
        if prefixes.len() >= ADDRESS_SET_PREFIXES_MAX {
            let most = ADDRESS_SET_PREFIXES_MAX;
            return Err(format!("{}: more than {most} prefixes", place()));
        }
        prefixes.push(prefix);
    }
    Ok(prefixes)
}

/// `delete-address-set`.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The set
    name: Name,
}

impl Delete {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::DeleteAddressSet(self.name))
    }
}

/// `list-address-sets`.
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    format: PlainFormat,
}

impl List {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        let request = Command::ListAddressSets;
        print_pages(session, &format, SETS, request, |response| match response {
            Response::AddressSets(page) => Some(page),
            _ => None,
        })
    }
}

const SETS: &[Column<AddressSetEntry>] = &[
    Column::new("name", |s| Cell::text(s.name)),
    Column::new("prefixes", |s| Cell::count(s.prefixes)),
    Column::new("rules", |s| Cell::count(s.rules)),
];

/// `dump-address-set`.
#[derive(Args, Debug)]
pub(crate) struct Dump {
    /// The set
    name: Name,
    #[command(flatten)]
    format: PlainFormat,
}

impl Dump {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let format = self.format.resolve();
        let request = |cursor| Command::DumpAddressSet(self.name, cursor);
        print_pages(
            session,
            &format,
            PREFIXES,
            request,
            |response| match response {
                Response::Prefixes(page) => Some(page),
                _ => None,
            },
        )
    }
}

const PREFIXES: &[Column<Prefix>] = &[Column::new("prefix", |p| Cell::text(p))];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_prefix_a_line() {
        let file = Path::new("web.txt");
        let prefixes = parse(file, "# all\n10.0.0.0/8 # ours\n\n fd00::1\n").unwrap();
        let expected = ["10.0.0.0/8", "fd00::1"].map(|text| text.parse().unwrap());
        assert_eq!(prefixes, expected);
        let error = parse(file, "\n10.0.0.1/8\n").unwrap_err();
        assert!(error.starts_with("web.txt:2: `10.0.0.1/8`: "), "{error}");
        let many = "10.0.0.1\n".repeat(ADDRESS_SET_PREFIXES_MAX + 1);
        let error = parse(file, &many).unwrap_err();
        assert_eq!(error, "web.txt:16385: more than 16384 prefixes");
    }
}
