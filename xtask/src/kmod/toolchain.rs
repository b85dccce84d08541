//! The compiler that builds the module.
//!
//! The module's target isn't one that compilers ship a library for, so the
//! library is built along; its source has to be there and an unstable option
//! of cargo be allowed. Debian packages both (`rustc-web`), older ones in the
//! main archive and newer ones in the security archive; elsewhere it is the
//! toolchain on the path, with the component `rust-src`.

use crate::install::{self, Found};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's packages, in its security archive as web browsers need them.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "binutils"];

/// The oldest compiler that builds this workspace.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Programs that build the module.
#[derive(Debug)]
pub(crate) struct Toolchain {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    /// GNU's linker and object copier.
    pub(crate) ld: PathBuf,
    pub(crate) objcopy: PathBuf,
}

/// Looks for the toolchain, and installs it where that is ours to do.
pub(crate) fn find_or_install() -> Result<Found<Toolchain>> {
    if let Some(toolchain) = find() {
        return Ok(Found::Usable(toolchain));
    }
    let list = PACKAGES.join(" ");
    if !install::is_debian() {
        return Ok(Found::Missing(format!(
            "the module's toolchain isn't there: Rust {OLDEST} or later with the component \
             rust-src, and GNU binutils (gld, gobjcopy on illumos)"
        )));
    }
    if !install::is_root() {
        return Ok(Found::Missing(format!(
            "the module's toolchain isn't there: run `sudo apt-get install {list}`"
        )));
    }
    println!("  installing {list}");
    let why = install::install(&PACKAGES)?;
    Ok(match find() {
        Some(toolchain) => Found::Usable(toolchain),
        None => Found::Missing(format!(
            "the module's toolchain, Rust {OLDEST} or later, can't be installed ({list} of \
             Debian's security archive): {why}"
        )),
    })
}

/// The packaged toolchain, or the one on the path.
fn find() -> Option<Toolchain> {
    let packaged = ["/usr/bin/cargo", "/usr/bin/rustc"].map(PathBuf::from);
    let on_path = || Some([install::find("cargo")?, install::find("rustc")?]);
    let [cargo, rustc] = [Some(packaged), on_path()]
        .into_iter()
        .flatten()
        .find(|[cargo, rustc]| cargo.is_file() && has_source(rustc) && is_recent(rustc))?;
    Some(Toolchain {
        cargo,
        rustc,
        ld: install::find("gld").or_else(|| install::find("ld"))?,
        objcopy: install::find("gobjcopy").or_else(|| install::find("objcopy"))?,
    })
}

/// Whether a compiler is there and has its library's source.
fn has_source(rustc: &Path) -> bool {
    let asked = Command::new(rustc).args(["--print", "sysroot"]).output();
    let Some(answer) = asked.ok().filter(|answer| answer.status.success()) else {
        return false;
    };
    let sysroot = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    Path::new(&sysroot)
        .join("lib/rustlib/src/rust/library/Cargo.lock")
        .is_file()
}

/// Whether a compiler is as recent as this workspace wants it.
fn is_recent(rustc: &Path) -> bool {
    let asked = Command::new(rustc).arg("--version").output();
    asked.is_ok_and(|answer| version(&String::from_utf8_lossy(&answer.stdout)) >= version(OLDEST))
}

/// The first two numbers of the first word that is a version.
fn version(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let (major, rest) = word.split_once('.')?;
        let minor = rest.split('.').next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    })
}

impl Toolchain {
    /// What the compiler says when asked with unstable options.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String> {
        let answer = Command::new(&self.rustc)
            .args(args)
            .env("RUSTC_BOOTSTRAP", "1")
            .output()
            .context("cannot run rustc")?;
        anyhow::ensure!(
            answer.status.success(),
            "rustc {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&answer.stderr)
        );
        Ok(String::from_utf8(answer.stdout)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_compiler_is_none() {
        assert_eq!(version("rustc 1.96.0 (abc 2026-01-02)"), Some((1, 96)));
        assert_eq!(version("1.95"), Some((1, 95)));
        assert!(version("rustc 1.85.0 (abc)") < version(OLDEST));
        assert!(version("not 1.x here") < version(OLDEST));
    }
}
