//! `cargo xtask package release TAG`: all that a release consists of.

use super::{VERSION, deb, folder, ips};
use crate::workspace::output;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes packages, checksums and what changed in a folder of their own.
pub(super) fn make(root: &Path, tag: &str) -> Result<PathBuf> {
    ensure!(
        tag == format!("v{VERSION}"),
        "the tag is {tag}, and Cargo.toml says {VERSION}: they go together"
    );
    let release = folder(root).join("release");
    if release.exists() {
        fs::remove_dir_all(&release)?;
    }
    fs::create_dir_all(&release)?;
    let mut sums = String::new();
    let programs = deb::release_programs(root)?;
    for package in [deb::make(root, &programs, VERSION)?, ips::make(root)?] {
        let name = package.file_name().context("a package without a name")?;
        let bytes = fs::read(&package)?;
        let digest = Sha256::digest(&bytes);
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(sums, "{digits}  {}", name.to_string_lossy());
        fs::write(release.join(name), bytes)?;
    }
    fs::write(release.join("SHA256SUMS"), sums)?;
    fs::write(release.join("CHANGES.md"), changes(root, tag)?)?;
    Ok(release)
}

/// The first lines of the commits since the release before.
pub(super) fn changes(root: &Path, tag: &str) -> Result<String> {
    let git = |words: &[&str]| output(Command::new("git").args(words).current_dir(root));
    let other = format!("--exclude={tag}");
    // There is none before the first.
    let before = git(&["describe", "--tags", "--abbrev=0", "--match=v*", &other]);
    let range = match &before {
        Ok(before) => format!("{}..HEAD", before.trim()),
        Err(_) => "HEAD".to_owned(),
    };
    let list = git(&["log", "--no-merges", "--format=* %s", &range])?;
    Ok(format!("# OPTE {VERSION}\n\n{list}"))
}
