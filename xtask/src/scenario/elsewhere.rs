//! Scenarios where there are no Linux namespaces.

use crate::step::Outcome;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::ExitCode;

const WHERE: &str = "scenarios are made of Linux namespaces; run them on Linux";

/// What `scenario` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Says where scenarios run.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    bail!(WHERE)
}

/// Says so as a step.
pub(crate) fn check(_root: &Path) -> Result<Outcome> {
    Ok(Outcome::skip(WHERE))
}

/// No programs.
pub(crate) fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::empty()
}
