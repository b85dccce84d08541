//! `cargo xtask check`: what has to hold before a commit.

mod conformance;
mod crates;
mod license;
mod metadata;
mod no_std;
mod workflow;

use crate::step::{self, Outcome, Step};
use crate::{book, manual, probe, tidy, workspace};
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

/// The checks, the quick ones first.
pub(crate) fn steps(root: &Path) -> Vec<Step<'_>> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"];
    let doc = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ];
    vec![
        Step::new("format", || cargo(root, &["fmt", "--all", "--check"], &[])),
        Step::new("tidy", || tidy::check(root)),
        Step::new("licences", || license::check(root)),
        Step::new("crates", || crates::check(root)),
        Step::new("conformance", || conformance::check(root)),
        Step::new("probes", || probe::check(root)),
        Step::new("workflows", || workflow::check(root)),
        Step::new("manual pages", || manual::check(root)),
        Step::new("links", || book::check(root)),
        Step::new("clippy", move || cargo(root, &clippy, &[])),
        Step::new("documentation", move || {
            cargo(root, &doc, &[("RUSTDOCFLAGS", "-Dwarnings")])
        }),
        Step::new("no std in the core", || no_std::check(root)),
    ]
}

/// Runs cargo; what it prints is shown only when it fails.
pub(crate) fn cargo(root: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Outcome> {
    let done = Command::new("cargo")
        .args(args)
        .envs(env.iter().copied())
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    if done.status.success() {
        return Ok(Outcome::pass(""));
    }
    let text = format!(
        "cargo {}\n{}{}",
        args.join(" "),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(Outcome::fail(text))
}
