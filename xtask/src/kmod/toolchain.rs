//! The compiler that builds the module.
//!
//! The module's target isn't one that compilers ship a library for, so the
//! library is built along; its source has to be there and an unstable option
//! of cargo be allowed. Debian packages both (`rustc-web`); elsewhere it is the
//! toolchain on the path, with the component `rust-src`.

use crate::install::{self, Found};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's packages, in its security archive as web browsers need them.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "binutils"];

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
    let is_debian = Path::new("/etc/debian_version").exists();
    if !is_debian {
        return Ok(Found::Missing(
            "the module's toolchain isn't there: Rust with the component rust-src, and GNU \
             binutils (gld, gobjcopy on illumos)"
                .to_owned(),
        ));
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
        None => Found::Missing(format!("the module's toolchain can't be installed: {why}")),
    })
}

/// The packaged toolchain, or the one on the path.
fn find() -> Option<Toolchain> {
    let packaged = ["/usr/bin/cargo", "/usr/bin/rustc"].map(PathBuf::from);
    let on_path = || Some([install::find("cargo")?, install::find("rustc")?]);
    let [cargo, rustc] = [Some(packaged), on_path()]
        .into_iter()
        .flatten()
        .find(|[cargo, rustc]| cargo.is_file() && has_source(rustc))?;
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
