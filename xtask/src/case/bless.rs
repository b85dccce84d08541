//! `cargo xtask bless`: takes what the engine does now for what it should do.

use super::{Case, list, replay};
use crate::workspace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::ExitCode;

/// What `bless` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name contains this
    name: Option<String>,
}

/// Replays cases and keeps their outputs as the expected ones.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let driver = workspace::program(&root, "xded")?;
    for case in list(&root, args.name.as_deref())? {
        let what = bless(&case, &driver).with_context(|| case.name.clone())?;
        println!("{}: {what}", case.name);
    }
    println!("review the changes as you would review code: `git diff` shows them");
    Ok(ExitCode::SUCCESS)
}

fn bless(case: &Case, driver: &std::path::Path) -> Result<String> {
    let replayed = replay::run(driver, case)?;
    if !replayed.success {
        // Whether a setup is refused isn't a detail that may change by itself.
        ensure!(
            case.refused().is_file(),
            "the setup is refused; if it should be, make an empty refused.txt first: {}",
            replayed.error.trim()
        );
        let sentence = sentence(&replayed.error);
        fs::write(case.refused(), format!("{sentence}\n"))?;
        return Ok(format!("refused: {sentence}"));
    }
    ensure!(
        !case.refused().is_file(),
        "the setup is accepted; if it should be, remove refused.txt first"
    );
    let expected = case.expected();
    if expected.is_dir() {
        fs::remove_dir_all(&expected)?;
    }
    fs::create_dir(&expected)?;
    let names = super::compare::files(&case.out())?;
    for name in &names {
        fs::copy(case.out().join(name), expected.join(name))?;
    }
    Ok(format!("{} files", names.len()))
}

/// The driver's last line without the program and the file, which stand in
/// front of every such sentence.
pub(super) fn sentence(error: &str) -> &str {
    let line = error.trim().lines().last().unwrap_or_default();
    let line = line.trim_start_matches("xded: ");
    line.split_once("setup.toml: ").map_or(line, |(_, why)| why)
}
