//! `set-nat`, `show-nat`.

use crate::cell::Cell;
use crate::failure::Failure;
use crate::listing::{Column, PortFormat, Printer};
use crate::session::Session;
use clap::{ArgGroup, Args};
use opte_core::api::nat::PoolEntry;
use opte_core::api::{Behaviour, Command, Name, NatChange, NatEntry, Pooling, Response};
use std::io::Write as _;

/// How external addresses are used, on a command line.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct NatArgs {
    /// On what of the far end a port of a shared address depends:
    /// endpoint-independent, address-dependent or address-and-port-dependent
    /// (which lets a range carry more flows than it has ports)
    #[arg(long, value_name = "BEHAVIOUR", help_heading = "Translation")]
    mapping: Option<Behaviour>,
    /// What of the far end the guest must have sent to before it may call by a
    /// port of a shared address; the same words
    #[arg(long, value_name = "BEHAVIOUR", help_heading = "Translation")]
    filtering: Option<Behaviour>,
    /// Floating addresses: paired (one for all of the guest) or arbitrary (one
    /// for each socket)
    #[arg(long, value_name = "POOLING", help_heading = "Translation")]
    pooling: Option<Pooling>,
}

impl From<NatArgs> for NatChange {
    fn from(args: NatArgs) -> Self {
        Self {
            mapping: args.mapping,
            filtering: args.filtering,
            pooling: args.pooling,
        }
    }
}

/// `set-nat`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what")
    .args(["mapping", "filtering", "pooling"]).multiple(true).required(true))]
pub(crate) struct Set {
    /// The port
    #[arg(short, long)]
    port: Name,
    #[command(flatten)]
    nat: NatArgs,
}

impl Set {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        session.perform(Command::SetNat(self.port, self.nat.into()))
    }
}

/// `show-nat`.
#[derive(Args, Debug)]
pub(crate) struct Show {
    #[command(flatten)]
    format: PortFormat,
}

impl Show {
    pub(crate) fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (port, format) = self.format.resolve()?;
        let nat: NatEntry = session.call(Command::ShowNat(port), |response| match response {
            Response::Nat(nat) => Some(nat),
            _ => None,
        })?;
        let out = &mut session.out;
        if format.json {
            let json = serde_json::to_string(&nat).map_err(std::io::Error::from)?;
            return Ok(writeln!(out, "{json}")?);
        }
        if format.is_default() {
            let options = nat.options;
            writeln!(out, "mapping {}", options.mapping)?;
            writeln!(out, "filtering {}", options.filtering)?;
            writeln!(out, "pooling {}", options.pooling)?;
            if nat.pools.is_empty() {
                return Ok(());
            }
            writeln!(out)?;
        }
        Printer::new(&format, POOLS)?.rows(out, &nat.pools)
    }
}

const POOLS: &[Column<PoolEntry>] = &[
    Column::new("address", |p| Cell::text(p.address)),
    Column::new("transport", |p| Cell::text(p.transport.name())),
    Column::new("mappings", |p| Cell::count(p.mappings)),
    Column::new("resting", |p| Cell::count(p.resting)),
    Column::new("ports", |p| Cell::count(p.ports)),
];
