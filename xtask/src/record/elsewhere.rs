//! Recording where there are no Linux namespaces.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// What the recording is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Says where clients are recorded.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    bail!("clients are recorded in Linux namespaces; run it on Linux")
}
