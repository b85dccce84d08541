//! `cargo xtask record`: inputs of golden cases from real programs.
//!
//! Purpose   a script says what we think that clients send. Debian's `ping`,
//!           `curl`, `dig`, `dhclient` and `iperf3` on Linux's own stack send
//!           what they send.
//!
//! Terms     scene     a golden case whose inputs are recorded, and the
//!                     program that is run for it
//!           recorder  keeps what passes one device, by the kernel's time
//!
//! Flow      sandbox -> rack::Rack from the case's setup.toml (and far.toml)
//!           -> recorder -> scene -> tx-PORT.pcap, rx-LINK.pcap
//!
//! Rules     R1  what is recorded is what enters a host: frames that a guest
//!               sends, frames that come in by a link. A replay makes the rest.
//!           R2  times count from the first frame, so that a file doesn't
//!               depend on the day.
//!           R3  a scene depends on no choice of the recording engine, whose
//!               seed a replay doesn't know: a pool of external ports has one.
//!
//! Failure   a program that fails ends the scene, and its files stay as they
//!           were.

mod rack;
mod recorder;
mod scene;
mod serve;

use crate::lab::sandbox::{self, Outcome};
use crate::{case, workspace};
use anyhow::{Context, Result, bail, ensure};
use rack::Rack;
use scene::{SCENES, Scene};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(180);

/// What `record` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenes whose name contains this
    #[arg(default_value = "")]
    name: String,
    /// Run in the sandbox that is there (used by the command itself)
    #[arg(long, hide = true)]
    inside: bool,
}

/// Records the inputs of cases anew.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let driver = case::driver(&root)?;
    if args.inside {
        let scenes = SCENES
            .iter()
            .filter(|scene| scene.name.contains(&args.name));
        for scene in scenes {
            let told = record(&root, &driver, scene).with_context(|| scene.name.to_owned())?;
            println!("{}: {told}", scene.name);
        }
        println!("now run `cargo xtask bless real-` and review what changed");
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(
        SCENES.iter().any(|scene| scene.name.contains(&args.name)),
        "no scene has a name with `{}`",
        args.name
    );
    let program = std::env::current_exe().context("can't find this program")?;
    let again = || {
        let mut command = Command::new(&program);
        command.args(["record", "--inside", &args.name]);
        command
    };
    match sandbox::run(again, LIMIT).context("can't run this program again")? {
        Outcome::Ended(status) if status.success() => Ok(ExitCode::SUCCESS),
        Outcome::Ended(_) => Ok(ExitCode::FAILURE),
        Outcome::TimedOut => bail!("recording took longer than {LIMIT:?} and was stopped"),
        Outcome::Refused(errno) => {
            let with_sudo = format!("sudo {} record", program.display());
            bail!("{}", sandbox::advice(errno, &with_sudo))
        }
    }
}

/// Records one scene into its case's folder.
fn record(root: &Path, driver: &Path, scene: &Scene) -> Result<String> {
    let case = root.join(case::FOLDER).join(scene.name);
    let work = root.join("target/record").join(scene.name);
    std::fs::create_dir_all(&work)?;
    let mut rack = Rack::build(&case, driver, &work, scene.addresses)?;
    let run = (scene.run)(&rack);
    let frames = rack.finish();
    run?;
    recorder::write(frames?, &case)
}
