//! `cargo xtask kmod`: builds the illumos kernel module and looks it over.
//!
//! Terms     module    `target/xde/xde`: one relocatable ELF file, as krtld
//!                     loads it
//!           report    `target/xde/report.txt`: what the checks measured
//!
//! Flow      toolchain: a compiler with the library's source, and binutils
//!           build:     cargo, for a target that is made from the compiler's
//!                      own -> static library -> ld -r -> objcopy
//!           finish:    function names, dependency section -> module
//!           check:     rules about the file and about the code (`check`)
//!           play:      the module in the loader (`play`)
//!           count:     what a packet costs there, and where (`count`)
//!
//! Rules     K1  the module is built from what `Cargo.lock` says, on Linux as
//!               on illumos, with a packaged toolchain; nothing of this
//!               machine's own toolchain is changed.
//!           K2  what an illumos kernel would refuse, or take and get wrong, is
//!               an error here.
//!
//! Failure   without the toolchain this says which packages have it.

mod build;
mod check;
mod count;
mod elf;
mod finish;
#[cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    path = "play/elsewhere.rs"
)]
mod play;
mod toolchain;

pub(crate) use count::count_hits;

use crate::install::Found;
use crate::step::{self, Outcome};
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What `kmod` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check the module against everything that is known of illumos kernels
    #[arg(long)]
    check: bool,
    /// Load the module into a process and play it: see `xde/loader`
    #[arg(long)]
    run: bool,
    /// Load the module and have it answer `opteadm --socket PATH`
    #[arg(long, value_name = "PATH")]
    serve: Option<PathBuf>,
    /// With --serve: apply this setup, with devices of this network namespace
    /// as its links and guests; the module as it was built before
    #[arg(long, value_name = "SETUP", requires = "serve", hide = true)]
    drive: Option<PathBuf>,
    /// Count the module's instructions per packet of the cached path, and say
    /// which are the engine's, beside those of the engine's benchmark
    #[arg(long)]
    count: bool,
    /// What is counted: `out` or `in`, and chains of packets
    #[arg(long, hide = true)]
    work: Option<String>,
    #[arg(long, hide = true, default_value_t = 1)]
    chains: u32,
    /// The debug variant: with assertions and checks of overflow, also those
    /// of Rust's library. Slower, and it panics where it finds a mistake
    #[arg(long, conflicts_with = "count")]
    debug: bool,
}

/// What the module is built for: IPS has both, as `variant.debug.illumos`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    Release,
    /// With every check that the compiler can put in, and more stack for them
    /// (rule L2 of `check`). It has the same names and probes.
    Debug,
}

impl Variant {
    pub(crate) const ALL: [Self; 2] = [Self::Release, Self::Debug];

    /// Cargo's profile, which is a folder's name as well.
    fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "kmod-debug",
        }
    }
}

/// Builds the module, and checks and plays it if asked to.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let variant = match args.debug {
        true => Variant::Debug,
        false => Variant::Release,
    };
    if let (Some(setup), Some(socket)) = (&args.drive, &args.serve) {
        play::drive(&built(&root, variant), setup, socket)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(way) = &args.work {
        play::work(&built(&root, variant), way, args.chains)?;
        return Ok(ExitCode::SUCCESS);
    }
    let module = build(&root, variant)?;
    println!("{}", module.display());
    let mut failures = Vec::new();
    if args.check {
        failures.extend(look_over(&root, variant)?);
        println!("report: {}", report(&root, variant).display());
    }
    if args.run {
        let played = play::all(&root, &module)?;
        println!("{}", played.note);
        failures.extend(played.failures);
    }
    if args.count {
        let counted = count::every_way(&root)?;
        let told = std::iter::once(&counted.note).chain(&counted.skips);
        told.for_each(|line| println!("{line}"));
        failures.extend(counted.failures);
    }
    if let Some(socket) = &args.serve {
        play::serve(&module, socket)?;
    }
    Ok(step::end(&failures))
}

/// Builds the module.
pub(crate) fn build(root: &Path, variant: Variant) -> Result<PathBuf> {
    build::module(root, &toolchain::find_or_install()?.usable()?, variant)
}

/// Where the module is when it was built.
pub(crate) fn built(root: &Path, variant: Variant) -> PathBuf {
    folder(root, variant).join("xde")
}

/// Whether the module can be built here; otherwise why not.
pub(crate) fn can_build() -> Result<Option<String>> {
    Ok(toolchain::find_or_install()?.missing())
}

/// Builds, checks and plays the module as a step of the tests.
pub(crate) fn step(root: &Path, variant: Variant) -> Result<Outcome> {
    let toolchain = match toolchain::find_or_install()? {
        Found::Usable(toolchain) => toolchain,
        Found::Missing(why) => return Ok(Outcome::skip(why)),
    };
    let module = build::module(root, &toolchain, variant)?;
    let findings = look_over(root, variant)?;
    let kib = std::fs::metadata(&module)?.len() / 1024;
    let mut outcome = play::all(root, &module)?;
    outcome.passed += usize::from(findings.is_empty());
    outcome.failures.extend(findings);
    outcome.note = format!("{kib} KiB, {}", outcome.note);
    Ok(outcome)
}

/// `limits.toml`.
fn limits(root: &Path) -> Result<String> {
    let path = root.join("xtask/src/kmod/limits.toml");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Checks the module, which was built, and writes the report.
fn look_over(root: &Path, variant: Variant) -> Result<Vec<String>> {
    let module = built(root, variant);
    let bytes = std::fs::read(&module).with_context(|| module.display().to_string())?;
    let facts = std::fs::read_to_string(root.join("sys/illumos-sys-hdrs/facts.json"))?;
    let done = check::module(&bytes, &facts, &limits(root)?, variant)?;
    std::fs::write(report(root, variant), done.report)?;
    Ok(done.findings)
}

/// Where the module and what belongs to it is.
fn folder(root: &Path, variant: Variant) -> PathBuf {
    root.join(match variant {
        Variant::Release => "target/xde",
        Variant::Debug => "target/xde/debug",
    })
}

/// The module as it was linked, with line tables that what ships hasn't.
fn linked(root: &Path, variant: Variant) -> PathBuf {
    folder(root, variant).join("linked.o")
}

fn report(root: &Path, variant: Variant) -> PathBuf {
    folder(root, variant).join("report.txt")
}
