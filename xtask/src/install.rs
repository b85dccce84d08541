//! The programs that tests talk to, and how to get them.

mod build;
pub(crate) mod kernel;
pub(crate) mod library;

use crate::scenario;
use crate::step::{self, Outcome, Step};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::Once;

/// A program that tests run, and the Debian package that has it. What scenarios
/// run they say themselves.
const TOOLS: &[(&str, &str)] = &[
    ("bpftrace", "bpftrace"),
    ("curl", "curl"),
    ("dhclient", "isc-dhcp-client"),
    ("dig", "dnsutils"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("ping", "iputils-ping"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("valgrind", "valgrind"),
];

/// What `tools` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs the step alone.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    Ok(step::run_all(vec![Step::new("tools", check)]).finish())
}

/// Installs what is missing where that is ours to do: as root on Debian.
/// Elsewhere it names what is missing.
pub(crate) fn check() -> Result<Outcome> {
    let mut outcome = packages()?;
    // What is built needs what is installed.
    outcome.skips.extend(build::all());
    outcome.skips.extend(kernel::fetch());
    Ok(outcome)
}

fn packages() -> Result<Outcome> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(Outcome::pass("all there"));
    }
    let list = packages.join(" ");
    if !is_debian() || find("apt-get").is_none() {
        return Ok(Outcome::skip(format!("not installed: {list}")));
    }
    if !is_root() {
        return Ok(Outcome::skip(format!(
            "not installed: run `sudo apt-get install {list}`"
        )));
    }
    println!("  installing {list}");
    let why = install(&packages)?;
    let packages = missing();
    Ok(if packages.is_empty() {
        Outcome::pass(format!("installed {list}"))
    } else {
        Outcome::skip(format!(
            "cannot be installed: {}\n{why}",
            packages.join(" ")
        ))
    })
}

/// Packages whose program isn't there.
fn missing() -> Vec<&'static str> {
    let packages: BTreeSet<_> = TOOLS
        .iter()
        .copied()
        .chain(scenario::programs())
        .chain(build::TOOLS.iter().copied())
        .filter(|(program, _)| {
            find(program).is_none() && !build::makes(program) && !kernel::fetches(program)
        })
        .map(|(_, package)| package)
        .collect();
    packages.into_iter().collect()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// Where programs are looked for. The folders of root's programs count,
/// whoever asks, and the one of those that were built here.
pub(crate) fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin:");
    path.push(build::folder());
    path
}

/// Whether packages are Debian's here.
pub(crate) fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists()
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_ascii_whitespace().nth(1))
        .is_some_and(|effective| effective == "0")
}

/// Installs packages; what it returns matters only when they still miss. The
/// package lists are fetched once: with those that a machine was set up with,
/// `apt-get` would install what has been replaced since.
pub(crate) fn install(packages: &[&str]) -> Result<String> {
    static FETCH: Once = Once::new();
    // Without new lists the old ones may do.
    FETCH.call_once(|| drop(apt(&["update"], &[])));
    let done = apt(&["install"], packages)?;
    if done.status.success() {
        return Ok(String::new());
    }
    // One package that doesn't exist here must not keep the others away.
    for package in packages {
        apt(&["install"], &[package])?;
    }
    Ok(String::from_utf8_lossy(&done.stderr).trim().to_owned())
}

/// A toolchain that was looked for.
pub(crate) enum Found<T> {
    /// All of it.
    Usable(T),
    /// What to do about what isn't there.
    Missing(String),
}

impl<T> Found<T> {
    /// The toolchain, for whoever can't do without.
    pub(crate) fn usable(self) -> Result<T> {
        match self {
            Self::Usable(toolchain) => Ok(toolchain),
            Self::Missing(why) => anyhow::bail!("{why}"),
        }
    }

    /// What to do about what isn't there, if so.
    pub(crate) fn missing(self) -> Option<String> {
        match self {
            Self::Usable(_) => None,
            Self::Missing(why) => Some(why),
        }
    }
}

fn apt(command: &[&str], packages: &[&str]) -> Result<Output> {
    Command::new("apt-get")
        .args(["--yes", "--quiet", "--no-install-recommends"])
        // Another step may be installing something.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(command)
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("cannot run apt-get")
}
