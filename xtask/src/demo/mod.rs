//! The demo: a place for it.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// What the demo is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the demo.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    bail!("there is no demo yet")
}
