//! `cargo xtask package deb|ips`: what operators install.
//!
//! Terms     item     a file, folder or link with mode and owner
//!           deb      Debian's package of `xded` and the tools (`pkg/deb`)
//!           ips      illumos' package of the module and the tools (`pkg/ips`)
//!
//! Rules     P1  packages are made without privilege, by what they say of
//!               owners, and the same programs make the same bytes: times are
//!               those of the last commit.
//!           P2  the version is the workspace's, in programs, pages and
//!               packages.
//!           P3  a package is tested by tools that aren't ours: dpkg in a tree
//!               of its own, Python's tarfile and hashlib.

mod deb;
mod elf;
mod install;
mod ips;
mod manifest;
mod p5p;
mod release;
#[cfg(test)]
mod tests;
mod trial;

use crate::step::{self, Outcome, Step};
use crate::workspace;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What `package` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// Debian's, of xded and the tools, as built for release
    Deb {
        /// Instead, with programs as built for tests: install, use, upgrade and
        /// purge it in a tree, as the tests do
        #[arg(long = "try")]
        trial: bool,
    },
    /// illumos', of the kernel module and the tools
    Ips {
        /// Read it back and compare it with what was built, as the tests do
        #[arg(long)]
        check: bool,
    },
    /// Both, with checksums and what changed, for the release that TAG marks
    Release {
        /// As `v0.1.0`: the version of Cargo.toml
        tag: String,
    },
    /// Install, use, upgrade and purge Debian's in a tree (as root, in
    /// namespaces of its own)
    #[command(hide = true)]
    Trial {
        tree: PathBuf,
        packages: Vec<PathBuf>,
    },
}

/// The workspace's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes a package and says where it is.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let steps = |name, run: fn(&Path) -> Result<Outcome>| {
        let root = root.clone();
        step::run_all(vec![Step::new(name, move || run(&root))]).finish()
    };
    let made = match args.kind {
        Kind::Deb { trial: true } => return Ok(steps("Debian's package", deb_step)),
        Kind::Ips { check: true } => return Ok(steps("illumos' package", ips_step)),
        Kind::Deb { .. } => deb::make(&root, &deb::release_programs(&root)?, VERSION)?,
        Kind::Ips { .. } => ips::make(&root)?,
        Kind::Release { tag } => release::make(&root, &tag)?,
        Kind::Trial { tree, packages } => {
            return Ok(match trial::inside(&tree, &packages) {
                Ok(()) => ExitCode::SUCCESS,
                Err(why) => {
                    println!("error: {why:#}");
                    ExitCode::FAILURE
                }
            });
        }
    };
    println!("{}", made.display());
    Ok(ExitCode::SUCCESS)
}

/// Debian's package, made and tried.
pub(crate) fn deb_step(root: &Path) -> Result<Outcome> {
    trial::step(root)
}

/// illumos' package, made and read back.
pub(crate) fn ips_step(root: &Path) -> Result<Outcome> {
    ips::step(root)
}

/// What a package has in it.
#[derive(Debug)]
pub(crate) struct Item {
    /// Without a slash in front.
    pub(crate) path: String,
    pub(crate) mode: u32,
    pub(crate) content: Content,
}

/// What an item is.
#[derive(Debug)]
pub(crate) enum Content {
    Folder,
    File(Vec<u8>),
}

/// Seconds since 1970 of the last commit, or zero where there is no git.
fn time(root: &Path) -> u64 {
    if let Ok(told) = std::env::var("SOURCE_DATE_EPOCH") {
        return told.parse().unwrap_or(0);
    }
    let asked = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root)
        .output();
    let answer = asked
        .ok()
        .map(|done| String::from_utf8_lossy(&done.stdout).into_owned());
    answer
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Compresses, with nothing in it that another run would make different.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut encoder = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Where packages and what they are made of is.
fn folder(root: &Path) -> PathBuf {
    root.join("target/package")
}
