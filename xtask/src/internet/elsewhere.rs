//! The internet where there are no TUN devices.

use anyhow::{Result, bail};
use std::process::ExitCode;

/// What the internet is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Says where it can be played.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    bail!("this is made of Linux devices; run it on Linux")
}
