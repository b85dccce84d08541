//! Proof that the crates of the kernel module do without the standard library.
//!
//! A crate that defines `#[panic_handler]` clashes with the one in `std` as
//! soon as anything below it links `std`. So a small crate of our own, outside
//! of the workspace (which would unify features), depends on the crates in
//! question and defines one: it compiles only when the whole tree of
//! dependencies is free of `std`. When a target without an operating system
//! is installed it is compiled for that, which also finds what only an
//! operating system has.

use super::cargo;
use crate::install::library;
use crate::step::Outcome;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that go into the kernel.
const CRATES: [&str; 2] = ["opte-core", "opte-ioctl"];

const BARE: &str = "x86_64-unknown-none";

/// Compiles the crates without `std`.
pub(super) fn check(root: &Path) -> Result<Outcome> {
    let manifest = write_proof(root, &CRATES.map(|name| (name, root.join(name))))?;
    let manifest = manifest.to_str().context("the path isn't UTF-8")?;
    let target_dir = root.join("target/no_std");
    let target_dir = target_dir.to_str().context("the path isn't UTF-8")?;
    let mut args = vec![
        "check",
        "--manifest-path",
        manifest,
        "--target-dir",
        target_dir,
    ];
    let bare = library::find_or_install(BARE);
    if bare {
        args.extend(["--target", BARE]);
    }
    let mut outcome = cargo(root, &args, &[])?;
    outcome.note = if bare {
        format!("compiled for {BARE}")
    } else {
        format!("no std linked; what {BARE} lacks besides isn't checked: it isn't installed")
    };
    Ok(outcome)
}

/// Writes the crate that fails to compile with `std`.
fn write_proof(root: &Path, crates: &[(&str, PathBuf)]) -> Result<PathBuf> {
    let dir = root.join("target/no_std/proof");
    fs::create_dir_all(dir.join("src")).context("cannot make target/no_std")?;
    let mut manifest =
        "[package]\nname = \"proof\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n"
            .to_owned();
    let mut source = "//! Compiles only without std.\n#![no_std]\n".to_owned();
    for (name, path) in crates {
        manifest.push_str(&format!("{name} = {{ path = {path:?} }}\n"));
        source.push_str(&format!("pub use {} as _;\n", name.replace('-', "_")));
    }
    source.push_str(
        "#[panic_handler]\nfn panic(_: &core::panic::PanicInfo<'_>) -> ! {\n    loop {}\n}\n",
    );
    // The versions of the workspace, not newer ones.
    fs::copy(root.join("Cargo.lock"), dir.join("Cargo.lock")).context("Cargo.lock")?;
    fs::write(dir.join("src/lib.rs"), source)?;
    let path = dir.join("Cargo.toml");
    fs::write(&path, manifest)?;
    Ok(path)
}
