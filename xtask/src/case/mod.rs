//! Golden cases: a setup, frames, and every byte that must come of them.
//!
//! Purpose   shows what the engine does with frames, as data: bytes out, a
//!           verdict per frame, how far each counter moved. Refused setups
//!           are cases too.
//!
//! Terms     case      a folder below [`FOLDER`], described in its README
//!           input     a capture of frames that enter at one place
//!           expected  what `cargo xtask bless` wrote and somebody reviewed
//!
//! Flow      frames.txt -> script::compile -> input captures
//!           -> `xded replay` -> compare::folders -> differences
//!
//! Rules     G1  outputs are compared byte for byte.
//!           G2  a case is `expect/` or `refused.txt`, never both.
//!           G3  running cases writes below `target/` only; blessing alone
//!               writes into the repository.

pub(crate) mod bless;
pub(crate) mod capture;
mod compare;
mod replay;
#[cfg(test)]
mod tests;

use crate::script::Scene;
use crate::step::Outcome;
use crate::{tshark, workspace};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the cases are.
pub(crate) const FOLDER: &str = "opte-core/tests/cases";

/// What `cases` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only cases whose name contains this
    name: Option<String>,
    /// Have tshark judge every frame that came out
    #[arg(long)]
    judge: bool,
}

/// Runs cases and prints a line for each.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let driver = workspace::program(&root, "xded")?;
    let mut failed = 0;
    for case in list(&root, args.name.as_deref())? {
        match case.check(&driver) {
            Ok(()) => println!("✓ {}", case.name),
            Err(error) => {
                failed += 1;
                println!("✗ {}\n{error:#}", case.name);
            }
        }
    }
    if args.judge {
        let captures = emitted(&root, args.name.as_deref())?;
        let files = captures.iter().map(|(path, scene)| (path.as_path(), scene));
        let outcome = tshark::check(files)?;
        failed += outcome.failures.len();
        for problem in outcome.failures.iter().chain(&outcome.skips) {
            println!("{problem}");
        }
        println!("tshark judged {}", outcome.note);
    }
    println!("{failed} cases failed");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Builds the driver and says where it is.
pub(crate) fn driver(root: &Path) -> Result<PathBuf> {
    workspace::program(root, "xded")
}

/// Runs every case, each of which counts by itself.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let driver = workspace::program(root, "xded")?;
    let cases = list(root, None)?;
    let mut outcome = Outcome {
        note: format!("{} cases", cases.len()),
        ..Outcome::default()
    };
    for case in cases {
        match case.check(&driver) {
            Ok(()) => outcome.passed += 1,
            Err(error) => outcome.failures.push(format!("{}: {error:#}", case.name)),
        }
    }
    Ok(outcome)
}

/// Every capture that the last run of the cases wrote whose name contains `part`, and what its setup says.
pub(crate) fn emitted(root: &Path, part: Option<&str>) -> Result<Vec<(PathBuf, Scene)>> {
    let mut captures = Vec::new();
    for case in list(root, part)? {
        let out = case.out();
        if !out.is_dir() {
            continue;
        }
        for file in compare::files(&out)? {
            if file.ends_with(".pcapng") {
                captures.push((out.join(file), case.scene()?));
            }
        }
    }
    Ok(captures)
}

/// The replay of a case, for who runs it otherwise.
pub(crate) struct Replay {
    /// The command.
    pub(crate) words: Vec<OsString>,
    /// Where its results will be.
    pub(crate) out: PathBuf,
    /// What they have to be.
    expected: PathBuf,
}

impl Replay {
    /// Whether the results are those of the golden case.
    pub(crate) fn compare(&self) -> Result<()> {
        compare::folders(&self.expected, &self.out)
    }
}

/// Prepares a replay of the case `name` in the folder `work`.
pub(crate) fn replay(root: &Path, driver: &Path, name: &str, work: &Path) -> Result<Replay> {
    let mut cases = list(root, Some(name))?.into_iter();
    let case = cases.find(|case| case.name == name);
    let case = Case {
        work: work.to_owned(),
        ..case.with_context(|| format!("there is no case {name}"))?
    };
    Ok(Replay {
        words: replay::words(driver, &case)?,
        out: case.out(),
        expected: case.expected(),
    })
}

/// A golden case.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Where its inputs and outputs are written.
    work: PathBuf,
}

/// The cases whose name contains `part`, by name.
pub(crate) fn list(root: &Path, part: Option<&str>) -> Result<Vec<Case>> {
    let folder = root.join(FOLDER);
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let dir = entry?.path();
        let name = dir.file_name().and_then(|name| name.to_str());
        let name = name.context("a case's name isn't UTF-8")?.to_owned();
        if dir.is_dir() && part.is_none_or(|part| name.contains(part)) {
            let work = root.join("target/cases").join(&name);
            cases.push(Case { name, dir, work });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(!cases.is_empty(), "there is no such case in {FOLDER}");
    Ok(cases)
}

impl Case {
    pub(crate) fn setup(&self) -> PathBuf {
        self.dir.join("setup.toml")
    }

    pub(crate) fn expected(&self) -> PathBuf {
        self.dir.join("expect")
    }

    fn refused(&self) -> PathBuf {
        self.dir.join("refused.txt")
    }

    fn out(&self) -> PathBuf {
        self.work.join("out")
    }

    pub(crate) fn scene(&self) -> Result<Scene> {
        let setup = fs::read_to_string(self.setup()).context("setup.toml")?;
        Scene::parse(&setup).or_else(|error| {
            // A setup that isn't TOML can be a case: one that is refused.
            if self.refused().is_file() {
                Ok(Scene::default())
            } else {
                Err(error)
            }
        })
    }

    /// Replays the case and compares.
    fn check(&self, driver: &Path) -> Result<()> {
        let (expected, refused) = (self.expected(), self.refused());
        ensure!(
            expected.is_dir() || refused.is_file(),
            "has neither expect/ nor refused.txt: run `cargo xtask bless {}` and review what it writes",
            self.name
        );
        ensure!(
            !(expected.is_dir() && refused.is_file()),
            "has both expect/ and refused.txt"
        );
        let replayed = replay::run(driver, self)?;
        if refused.is_file() {
            let sentence = fs::read_to_string(&refused)?;
            return compare::refusal(sentence.trim(), &replayed);
        }
        ensure!(
            replayed.success,
            "the setup is refused: {}",
            replayed.error.trim()
        );
        compare::folders(&expected, &self.out())
    }
}
