//! The demo: the product's main job, shown.
//!
//! Purpose   two sleds that each run `xded` (or the illumos module in its
//!           loader), three guests with real Linux
//!           network stacks, a boundary and an internet, all in namespaces
//!           that come and go with this command. It needs no root and no tool
//!           but Rust's.
//!
//! Terms     rack    the whole arrangement (see `lab::rack` for a picture)
//!           tour    what is shown, in chapters
//!           report  what was found out: an item each, true, false or a number
//!
//! Flow      run: build -> sandbox -> run again, inside:
//!           lab::rack::Rack -> tour::run -> report::Report
//!
//! Failure   a chapter that fails leaves its items false and the tour goes
//!           on; exit status 1 at the end. Whatever happens, Ctrl-C included,
//!           processes and namespaces are gone afterwards.

pub(crate) mod rack;
mod report;
mod tour;

use crate::lab::rack::Driver;
use crate::lab::sandbox::{self, Outcome};
use crate::lab::tun;
use crate::{kmod, workspace};
use anyhow::{Context, Result, bail, ensure};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// How long everything but the build may take.
const LIMIT: Duration = Duration::from_secs(180);

/// What the demo is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print the summary as one JSON object; the rest goes to standard error
    #[arg(long)]
    json: bool,
    /// Use the programs as they were built before
    #[arg(long)]
    no_build: bool,
    /// What carries the packets of the sleds
    #[arg(long, value_enum, default_value_t = Kind::Xded)]
    driver: Kind,
    /// Run in the network namespace that is there (used by the demo itself)
    #[arg(long, hide = true)]
    inside: bool,
}

/// What can carry the packets of the sleds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// The driver in user space.
    Xded,
    /// The illumos module, in the loader that plays the kernel for it.
    Kmod,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Xded => "xded",
            Self::Kmod => "kmod",
        }
    }
}

/// The demo's files.
struct Paths {
    driver: Driver,
    opteadm: PathBuf,
    /// Setup files, sockets, logs and the capture.
    folder: PathBuf,
}

impl Paths {
    const fn new(driver: Driver, opteadm: PathBuf, folder: PathBuf) -> Self {
        Self {
            driver,
            opteadm,
            folder,
        }
    }

    /// The recording of the underlay.
    fn capture(&self) -> PathBuf {
        self.folder.join("underlay.pcapng")
    }
}

/// Runs the demo.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let program = std::env::current_exe().context("can't find this program")?;
    // target/debug/xtask
    let target = program
        .ancestors()
        .nth(2)
        .context("this program isn't in a target folder")?;
    let (release, folder) = (target.join("release"), target.join("demo"));
    let (xded, opteadm) = (release.join("xded"), release.join("opteadm"));
    let module = kmod::built(&workspace::root(), kmod::Variant::Release);
    let (carrier, paths) = match args.driver {
        Kind::Xded => (
            &xded,
            Paths::new(Driver::Xded(xded.clone()), opteadm, folder),
        ),
        Kind::Kmod => {
            let folder = folder.join("kmod");
            (
                &module,
                Paths::new(Driver::Module(program.clone()), opteadm, folder),
            )
        }
    };
    if args.inside {
        return show(&paths, args.json);
    }
    if !args.no_build {
        build(target, args.driver)?;
    }
    for built in [carrier, &paths.opteadm] {
        ensure!(
            built.is_file(),
            "{} isn't there; leave out --no-build",
            built.display()
        );
    }
    std::fs::create_dir_all(&paths.folder)?;
    tun::check(&with_sudo(&program, args.driver))?;
    enter(&program, &args)
}

/// Builds the programs that are shown.
fn build(target: &Path, driver: Kind) -> Result<()> {
    let packages: &[&str] = match driver {
        Kind::Xded => &["-p", "xded", "-p", "opteadm"],
        Kind::Kmod => &["-p", "opteadm"],
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    eprintln!("$ cargo build --release {}", packages.join(" "));
    let start = Instant::now();
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked"])
        .args(packages)
        .arg("--target-dir")
        .arg(target)
        .current_dir(workspace::root())
        .status()
        .context("can't run cargo")?;
    ensure!(status.success(), "the build failed");
    if driver == Kind::Kmod {
        eprintln!("$ cargo xtask kmod");
        kmod::build(&workspace::root(), kmod::Variant::Release)?;
    }
    eprintln!("built in {:.0?}", start.elapsed());
    Ok(())
}

/// Runs this program again, in a sandbox.
fn enter(program: &Path, args: &Args) -> Result<ExitCode> {
    let again = || {
        let mut command = Command::new(program);
        command.args(["demo", "--inside", "--driver", args.driver.name()]);
        if args.json {
            command.arg("--json");
        }
        command
    };
    match sandbox::run(again, LIMIT).context("can't run this program again")? {
        Outcome::Ended(status) if status.success() => Ok(ExitCode::SUCCESS),
        Outcome::Ended(status) if status.code() == Some(1) => Ok(ExitCode::FAILURE),
        Outcome::Ended(status) => bail!("the demo ended with {status}"),
        Outcome::TimedOut => bail!("the demo took longer than {LIMIT:?} and was stopped"),
        Outcome::Refused(errno) => {
            let as_root = with_sudo(program, args.driver);
            bail!("{}", sandbox::advice(errno, &as_root))
        }
    }
}

/// The command that does without what only root may do here.
fn with_sudo(program: &Path, driver: Kind) -> String {
    let (program, driver) = (program.display(), driver.name());
    format!("sudo {program} demo --no-build --driver {driver}")
}

/// Builds the rack and gives the tour.
fn show(paths: &Paths, json: bool) -> Result<ExitCode> {
    let mut report = Report::new(json);
    let start = Instant::now();
    if let Err(error) = tour::run(paths, &mut report) {
        report.say(&format!("\nThe demo stopped: {error:#}"));
    }
    report.number("seconds", start.elapsed().as_secs_f64());
    report.finish(&paths.folder)?;
    Ok(match report.good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
