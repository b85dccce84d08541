//! What builds programs for illumos: Rust's library for it, and on another
//! system GNU's assembler and linker.

use super::TARGET;
use crate::install::{self, Found, library};
use anyhow::Result;
use std::path::PathBuf;

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
    if install::is_root() && binutils().is_none() && install::is_debian() {
        println!("  installing binutils");
        install::install(&["binutils"])?;
    }
    let mut missing = Vec::new();
    if !library::find_or_install(TARGET) {
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

fn binutils() -> Option<Binutils> {
    Some(Binutils {
        assembler: install::find("as")?,
        ld: install::find("ld")?,
    })
}
