//! The demo where there are no Linux namespaces.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// What the demo is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Says where the demo runs.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    bail!("the demo is made of Linux namespaces; run it on Linux")
}
