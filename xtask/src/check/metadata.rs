//! What `cargo metadata` says, as far as it matters to checks.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// All packages that are built, ours and others.
#[derive(Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    /// A folder.
    pub(super) workspace_root: String,
}

#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) license: Option<String>,
    /// None for a path.
    pub(super) source: Option<String>,
    pub(super) manifest_path: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// What a package needs.
#[derive(Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// None unless it is a path.
    pub(super) path: Option<String>,
    /// `dev`, `build`, or none.
    pub(super) kind: Option<String>,
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    ///
    /// When cargo has any, such as a lock file that would have to change.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let done = Command::new("cargo")
            .args(["metadata", "--format-version=1", "--locked"])
            .current_dir(root)
            .output()
            .context("cannot run cargo")?;
        if !done.status.success() {
            bail!("{}", String::from_utf8_lossy(&done.stderr));
        }
        Ok(serde_json::from_slice(&done.stdout)?)
    }
}
