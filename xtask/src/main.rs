//! The project's chores as one program: `cargo xtask COMMAND`.
//!
//! Purpose   everything that CI, a contributor or a release does, so that it
//!           runs the same on a laptop as on a server: no scripts beside it.
//!
//! Flow      a command is a module with `Args` (what clap reads) and
//!           `run(Args) -> Result<ExitCode>`. Commands that run many things
//!           list them as [`step::Step`]s: every step runs, failures are
//!           summed up at the end.
//!
//! Failure   an error is printed with its causes; exit code 1. A step that
//!           can't run here is skipped loudly, and counts as a failure in CI.

mod bench;
mod book;
mod case;
mod check;
#[cfg_attr(not(target_os = "linux"), path = "demo/elsewhere.rs")]
mod demo;
mod illumos;
mod install;
#[cfg_attr(not(target_os = "linux"), path = "internet/elsewhere.rs")]
mod internet;
mod kmod;
#[cfg(target_os = "linux")]
mod lab;
mod manual;
mod package;
mod probe;
#[cfg_attr(not(target_os = "linux"), path = "record/elsewhere.rs")]
mod record;
#[cfg_attr(not(target_os = "linux"), path = "scenario/elsewhere.rs")]
mod scenario;
mod script;
mod skip;
mod step;
mod test;
mod tidy;
mod tracer;
mod tshark;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Chores of the OPTE project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Formatting, lints, tidy, documentation, licences: fast, changes nothing
    Check(check::Args),
    /// The house rules that a machine can check: lengths, words, white space
    Tidy(tidy::Args),
    /// Everything that can be tested on this machine (as root: installs tools)
    Test(test::Args),
    /// Install, build and fetch the programs that tests need (as root on Debian)
    Tools(install::Args),
    /// Run golden cases: setups, frames and every byte that must come of them
    Cases(case::Args),
    /// Take what the engine does now for what golden cases expect
    Bless(case::bless::Args),
    /// Write docs/probes.md and the types of dtrace/lib/opte.d from the declaration
    Probes(probe::Args),
    /// Run scripts of dtrace/ on golden cases, by the real DTrace (as root)
    Tracer(tracer::Args),
    /// Write the manual pages in pkg/man/ from the code
    Manual(manual::Args),
    /// Build the book of docs/ with mdBook
    Book(book::Args),
    /// Make what operators install: a Debian package, an IPS archive
    Package(package::Args),
    /// Record real clients as inputs of golden cases (no root; programs from Debian)
    Record(record::Args),
    /// Play end-to-end tests with Debian's programs as guests (no root)
    Scenario(scenario::Args),
    /// Measure the engine and say what its figures should be
    Bench(bench::Args),
    /// Build the illumos kernel module, and check it with --check
    Kmod(kmod::Args),
    /// Build opteadm for illumos, on illumos or for it, and look it over
    Userland(illumos::Args),
    /// Play the boundary and a host on the internet, in the network namespace that is here
    Internet(internet::Args),
    /// Show the engine at work between network namespaces (no root, nothing to install)
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Check(args) => check::run(args),
        Command::Tidy(args) => tidy::run(args),
        Command::Test(args) => test::run(args),
        Command::Tools(args) => install::run(args),
        Command::Cases(args) => case::run(args),
        Command::Bless(args) => case::bless::run(args),
        Command::Probes(args) => probe::run(args),
        Command::Tracer(args) => tracer::run(args),
        Command::Manual(args) => manual::run(args),
        Command::Book(args) => book::run(args),
        Command::Package(args) => package::run(args),
        Command::Record(args) => record::run(args),
        Command::Scenario(args) => scenario::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Kmod(args) => kmod::run(args),
        Command::Userland(args) => illumos::run(args),
        Command::Internet(args) => internet::run(args),
        Command::Demo(args) => demo::run(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
