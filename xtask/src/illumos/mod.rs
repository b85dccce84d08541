//! `cargo xtask userland`: builds `opteadm` for illumos and looks it over.
//!
//! Purpose   types and calls of the illumos part are checked on any machine,
//!           and packages have a program in them that was built on Linux.
//!
//! Terms     sysroot   `target/illumos/sysroot`: a start-up object of our own
//!                     and, for each library of illumos, a stub that has the
//!                     names of `libraries.toml` and no code
//!
//! Flow      toolchain: Rust's library for illumos (rustup), GNU's assembler
//!                      and linker -> sysroot -> cargo build -> inspect
//!           On illumos itself: cargo build.
//!
//! Rules     U1  a name that no library of illumos is known to export is an
//!               error when the program is linked.
//!           U2  a program that was linked here has never been started: the
//!               report says so, and `pkg/verify-on-illumos.sh` does it.
//!
//! Failure   without the toolchain this says what to install.

mod inspect;
mod sysroot;
mod toolchain;

use crate::install::Found;
use crate::step::{self, Outcome};
use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use toolchain::Toolchain;

/// What `userland` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Rust's name of illumos.
const TARGET: &str = "x86_64-unknown-illumos";

/// Builds the program and says where it is and what was found.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let program = build(&root)?;
    let failures = look_over(&program)?;
    println!("{}", program.display());
    Ok(step::end(&failures))
}

/// Builds the program and looks it over, as a step of the tests.
pub(crate) fn step(root: &Path) -> Result<Outcome> {
    let toolchain = match toolchain::find_or_install()? {
        Found::Usable(toolchain) => toolchain,
        Found::Missing(why) => return Ok(Outcome::skip(why)),
    };
    let program = compile(root, &toolchain)?;
    let kib = fs::metadata(&program)?.len() / 1024;
    let note = format!("opteadm: {kib} KiB, linked, never started");
    Ok(Outcome::of(look_over(&program)?, note))
}

/// Why the program can't be built here, if so.
pub(crate) fn missing() -> Result<Option<String>> {
    Ok(toolchain::find_or_install()?.missing())
}

/// Builds `opteadm` and says where it is.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    compile(root, &toolchain::find_or_install()?.usable()?)
}

fn look_over(program: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
    inspect::program(&bytes)
}

fn compile(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let folder = root.join("target/illumos");
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--quiet", "--locked", "--release"])
        .args(["--package=opteadm", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .current_dir(root)
        // A tool is in no hurry, and tests are.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        // Rust's own way to strip is a program that not everybody has.
        .env("CARGO_PROFILE_RELEASE_STRIP", "none");
    if let Some(binutils) = &toolchain.binutils {
        let linker = sysroot::make(&folder.join("sysroot"), binutils)?;
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_ILLUMOS_LINKER", linker);
    }
    workspace::output(&mut cargo)?;
    Ok(folder.join(TARGET).join("release/opteadm"))
}
