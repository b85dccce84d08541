//! `cargo xtask check`: what has to hold before a commit.

use crate::step::{self, Outcome, Step};
use crate::workspace;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, ExitCode};

/// What `check` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs every check.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    Ok(step::run_all(steps(&root)).finish())
}

/// The checks, in order of cost.
pub(crate) fn steps(root: &Path) -> Vec<Step<'_>> {
    vec![Step::new("fmt", || {
        cargo(root, &["fmt", "--all", "--check"])
    })]
}

/// Runs cargo; what it prints is shown only when it fails.
fn cargo(root: &Path, args: &[&str]) -> Result<Outcome> {
    let done = Command::new("cargo")
        .args(args)
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    if done.status.success() {
        return Ok(Outcome::pass(""));
    }
    let mut text = format!("cargo {}\n", args.join(" "));
    text.push_str(&String::from_utf8_lossy(&done.stdout));
    text.push_str(&String::from_utf8_lossy(&done.stderr));
    Ok(Outcome::fail(text))
}
