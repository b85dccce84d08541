//! What builds programs for illumos: Rust's library for it, and on another
//! system GNU's assembler and linker.

use super::TARGET;
use crate::install::{self, Found};
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs beside cargo.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// None on illumos, which has what programs are linked with.
    pub(crate) binutils: Option<Binutils>,
}

/// GNU's assembler and linker.
#[derive(Debug)]
pub(crate) struct Binutils {
    pub(crate) assembler: PathBuf,
    pub(crate) ld: PathBuf,
}

/// Looks for the toolchain, and installs it where that is ours to do.
pub(crate) fn find_or_install() -> Result<Found<Toolchain>> {
    if cfg!(target_os = "illumos") {
        return Ok(Found::Usable(Toolchain { binutils: None }));
    }
    if install::is_root() {
        install_what_is_missing()?;
    }
    let mut missing = Vec::new();
    if !has_library() {
        missing.push(format!("`rustup target add {TARGET}`"));
    }
    let binutils = binutils();
    if binutils.is_none() {
        missing.push("`sudo apt-get install binutils`, or what has `as` and `ld`".to_owned());
    }
    Ok(match binutils {
        Some(found) if missing.is_empty() => Found::Usable(Toolchain {
            binutils: Some(found),
        }),
        _ => Found::Missing(format!(
            "the toolchain for illumos isn't there: run {}",
            missing.join(" and ")
        )),
    })
}

fn install_what_is_missing() -> Result<()> {
    if binutils().is_none() && Path::new("/etc/debian_version").exists() {
        println!("  installing binutils");
        install::install(&["binutils"])?;
    }
    if !has_library() && install::find("rustup").is_some() {
        println!("  installing Rust's library for {TARGET}");
        // What it says is said again by the compiler, if it matters.
        Command::new("rustup")
            .args(["target", "add", TARGET])
            .output()?;
    }
    Ok(())
}

fn binutils() -> Option<Binutils> {
    Some(Binutils {
        assembler: install::find("as")?,
        ld: install::find("ld")?,
    })
}

/// Whether the compiler on the path has its library for illumos.
fn has_library() -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    asked
        .ok()
        .filter(|answer| answer.status.success())
        .and_then(|answer| String::from_utf8(answer.stdout).ok())
        .is_some_and(|folder| Path::new(folder.trim()).is_dir())
}
