//! Plays scenarios, each in a sandbox of its own.

use super::context::{Ctx, Unplayable};
use super::{COMMON, SCENARIOS, Scenario};
use crate::lab::sandbox::{self, Outcome as Sandbox};
use crate::lab::tun;
use crate::step::Outcome;
use crate::{install, tracer, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(420);
/// How many are played at the same time.
const AT_ONCE: usize = 2;
/// What is played while nothing else is: a dozen tracers take long to end on a
/// machine that has more to do.
const ALONE: &str = "probes";
/// Exit code of a scenario that can't be played here.
const UNPLAYABLE: u8 = 77;
/// What a scenario's sandbox prints, in the scenario's folder.
const TOLD: &str = "told.txt";

/// What `scenario` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only scenarios whose name contains this
    #[arg(default_value = "")]
    name: String,
    /// Say what there is and run nothing
    #[arg(long)]
    list: bool,
    /// Print what programs printed when all is well, too
    #[arg(long, short)]
    verbose: bool,
    /// Use xded and opteadm as they were built before
    #[arg(long)]
    no_build: bool,
    /// Run in the sandbox that is there (used by the command itself)
    #[arg(long, hide = true)]
    inside: bool,
    /// Run as its first process (used by the command itself)
    #[arg(long, hide = true)]
    first: bool,
    /// Where xded and opteadm are (used by the command itself)
    #[arg(long, hide = true, default_value = ".")]
    programs: PathBuf,
}

/// Plays scenarios and prints a line for each.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    if args.inside {
        return inside(&args);
    }
    let chosen: Vec<_> = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&args.name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        "no scenario has a name with `{}`; --list lists them",
        args.name
    );
    if args.list {
        for scenario in chosen {
            println!("{:<20} {}", scenario.name, scenario.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let stage = Stage::new()?;
    if !args.no_build {
        stage.build(&workspace::root())?;
    }
    let (mut failed, mut skipped) = (0, 0);
    stage.play_all(&chosen, |scenario, ended, took| {
        let (name, took) = (scenario.name, took.as_secs_f64());
        match &ended {
            End::Passed => println!("✓ {name:<20} {took:>5.1} s  {}", scenario.about),
            End::Skipped(why) => {
                skipped += 1;
                println!("! {name:<20} SKIPPED: {why}");
            }
            End::Failed(_) => {
                failed += 1;
                println!("✗ {name:<20} {took:>5.1} s");
            }
        }
        match ended {
            End::Failed(told) => println!("{told}"),
            _ if args.verbose => println!("{}", stage.told(scenario)),
            _ => {}
        }
    })?;
    println!("{failed} failed, {skipped} skipped");
    let bad = failed > 0 || (skipped > 0 && crate::skip::in_ci());
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Plays all of them as a step.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let stage = Stage::new()?;
    stage.build(root)?;
    let mut outcome = Outcome {
        note: format!("{} scenarios", SCENARIOS.len()),
        ..Outcome::default()
    };
    let all: Vec<_> = SCENARIOS.iter().collect();
    stage.play_all(&all, |Scenario { name, .. }, ended, _| match ended {
        End::Passed => outcome.passed += 1,
        End::Skipped(why) => outcome.skips.push(format!("{name}: {why}")),
        End::Failed(told) => outcome.failures.push(format!("{name}: {told}")),
    })?;
    Ok(outcome)
}

/// How a scenario ended.
enum End {
    Passed,
    /// Why it can't be played here.
    Skipped(String),
    /// Why, and what was printed.
    Failed(String),
}

/// Where scenarios are played.
struct Stage {
    /// This program.
    program: PathBuf,
    /// Folder of xded and opteadm.
    programs: PathBuf,
    /// Folder of all scenarios' folders.
    folder: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let program = std::env::current_exe().context("can't find this program")?;
        // target/debug/xtask
        let target = program.ancestors().nth(2);
        let target = target.context("this program isn't in a target folder")?;
        Ok(Self {
            programs: target.join("debug"),
            folder: target.join("scenario"),
            program,
        })
    }

    /// Builds xded and opteadm.
    fn build(&self, root: &Path) -> Result<()> {
        let done = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["build", "--quiet", "-p", "xded", "-p", "opteadm"])
            .arg("--target-dir")
            .arg(self.programs.parent().context("no target folder")?)
            .current_dir(root)
            .output()
            .context("can't run cargo")?;
        let errors = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "xded and opteadm don't build:\n{errors}"
        );
        Ok(())
    }

    fn folder(&self, scenario: &Scenario) -> PathBuf {
        self.folder.join(scenario.name)
    }

    fn told(&self, scenario: &Scenario) -> String {
        let told = fs::read(self.folder(scenario).join(TOLD)).unwrap_or_default();
        String::from_utf8_lossy(&told).into_owned()
    }

    /// Plays some, several at a time: a scenario mostly waits for timers of the
    /// programs in it. Tells how each ended and how long it took, in the order
    /// in which they end.
    fn play_all(
        &self,
        scenarios: &[&'static Scenario],
        mut tell: impl FnMut(&'static Scenario, End, Duration),
    ) -> Result<()> {
        let (alone, scenarios): (Vec<_>, Vec<_>) = scenarios
            .iter()
            .copied()
            .partition(|scenario| scenario.name == ALONE);
        let play = |scenario| {
            let start = Instant::now();
            (scenario, self.play(scenario), start.elapsed())
        };
        for scenario in alone {
            let (scenario, end, took) = play(scenario);
            tell(scenario, end?, took);
        }
        let (scenarios, next) = (&scenarios, AtomicUsize::new(0));
        let (ended, ends) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(scenarios.len()) {
                let (play, next, ended) = (&play, &next, ended.clone());
                scope.spawn(move || {
                    while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        // Who doesn't listen any more has an error to tell.
                        drop(ended.send(play(scenario)));
                    }
                });
            }
            drop(ended);
            for (scenario, end, took) in ends {
                tell(scenario, end?, took);
            }
            Ok(())
        })
    }

    /// Plays one.
    fn play(&self, scenario: &Scenario) -> Result<End> {
        let needed = COMMON.iter().chain(scenario.programs);
        let missing: Vec<_> = needed
            .filter(|(program, _)| install::find(program).is_none())
            .map(|(program, package)| format!("{program} (package {package})"))
            .collect();
        if !missing.is_empty() {
            return Ok(End::Skipped(format!(
                "not installed: {}",
                missing.join(", ")
            )));
        }
        let with_sudo = format!("sudo {} scenario --no-build", self.program.display());
        if let Err(error) = tun::check(&with_sudo) {
            return Ok(End::Skipped(format!("{error:#}")));
        }
        let folder = self.folder(scenario);
        if folder.exists() {
            fs::remove_dir_all(&folder).context("can't clear the scenario's folder")?;
        }
        fs::create_dir_all(&folder)?;
        let told = File::create(folder.join(TOLD))?;
        let (out, errors) = (told.try_clone()?, told);
        let again = || {
            let mut command = self.again(scenario);
            let pipes = (out.try_clone(), errors.try_clone());
            if let (Ok(out), Ok(errors)) = pipes {
                command.stdout(out).stderr(errors);
            }
            command
        };
        let over = AtomicBool::new(false);
        let ended = thread::scope(|scope| {
            scope.spawn(|| tracer::serve(&folder, &over));
            let ended = sandbox::run(again, LIMIT).context("can't run this program again");
            over.store(true, Ordering::Relaxed);
            ended
        })?;
        Ok(match ended {
            Sandbox::Ended(status) => self.end(scenario, status),
            Sandbox::TimedOut => {
                let told = self.told(scenario);
                End::Failed(format!(
                    "it took longer than {LIMIT:?} and was stopped\n{told}"
                ))
            }
            Sandbox::Refused(errno) => End::Skipped(sandbox::advice(errno, &with_sudo)),
        })
    }

    /// The command that plays a scenario in a sandbox.
    fn again(&self, scenario: &Scenario) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["scenario", "--inside", "--programs"]);
        command.arg(&self.programs).arg(scenario.name);
        command.stdin(Stdio::null());
        command
    }

    fn end(&self, scenario: &Scenario, status: ExitStatus) -> End {
        let told = self.told(scenario);
        if status.success() {
            return End::Passed;
        }
        if status.code() == Some(i32::from(UNPLAYABLE)) {
            return End::Skipped(told.lines().last().unwrap_or_default().to_owned());
        }
        End::Failed(format!("{status}\n{told}"))
    }
}

/// The part in the sandbox: first to contain it, then to play.
fn inside(args: &Args) -> Result<ExitCode> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == args.name);
    let scenario = scenario.context("no such scenario")?;
    let program = std::env::current_exe().context("can't find this program")?;
    if !args.first {
        let mut command = Command::new(&program);
        command.args(["scenario", "--inside", "--first", "--programs"]);
        command.arg(&args.programs).arg(scenario.name);
        let status = sandbox::contain(command).context("can't contain the scenario")?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
    }
    let mut ctx = Ctx::new(&args.programs, Stage::new()?.folder(scenario));
    let played = (scenario.run)(&mut ctx).and_then(|()| ctx.judge());
    let Err(error) = played else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(why) = error.downcast_ref::<Unplayable>() {
        println!("{why}");
        return Ok(ExitCode::from(UNPLAYABLE));
    }
    ctx.tell_logs();
    bail!("{}: {error:#}", scenario.name)
}
