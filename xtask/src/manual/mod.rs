//! `cargo xtask manual`: the manual pages in `pkg/man/`, and the book's reference.
//!
//! Flow      opteadm(8), xded(8)   from their command lines, by a test of each
//!                                 (`pkg/man/page.rs`)
//!           opte-setup(5)         from `docs/reference/setup-file.md`
//!           opte-trace(8)         from the heads of `dtrace/opte-trace` and of
//!                                 the scripts
//!           xde(4D)               from `pkg/man/xde.md`, and from what the engine
//!                                 and the contract declare
//!           docs/reference/       the same declarations; the pages of
//!                                 opteadm and xded by their tests
//!
//! Rules     M1  what the code declares is never written by hand.
//!           M2  `check` fails when a page isn't what would be written, or when
//!               opte-setup(5) lacks a key that setup files may have.

mod key;
mod limit;
mod markdown;
mod reference;
#[cfg(test)]
mod tests;

use crate::step::Outcome;
use crate::workspace;
use anyhow::{Context, Result, ensure};
use opte_core::DropReason;
use opte_core::event::Probe;
use opte_ioctl::hello::CAPABILITIES;
use opte_ioctl::{VERSION_MAX, VERSION_MIN, command};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// What `manual` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// The version that every page, program and package has.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Pages by their files below `pkg/man/`, with what packages call them.
pub(crate) const PAGES: [&str; 5] = [
    "opteadm.8",
    "xded.8",
    "opte-trace.8",
    "opte-setup.5",
    "xde.4d",
];

/// Writes all pages.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    for (file, text) in pages(&root)? {
        fs::write(root.join("pkg/man").join(file), text)?;
    }
    for (file, text) in reference::pages(&root)? {
        fs::write(root.join(file), text)?;
    }
    let done = Command::new("cargo")
        .args(["test", "--quiet", "--package=opteadm", "--package=xded"])
        .args(["--bins", "--", "the_manual_page"])
        .env("BLESS", "1")
        .current_dir(&root)
        .status()
        .context("cannot run cargo")?;
    ensure!(done.success(), "the pages of programs can't be written");
    Ok(ExitCode::SUCCESS)
}

/// Whether the pages are what would be written; those of programs are held to
/// that by the programs' own tests.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let mut failures = key::missing(&fs::read_to_string(root.join(SETUP))?)?;
    for (file, text) in pages(root)? {
        let there = fs::read_to_string(root.join("pkg/man").join(file)).unwrap_or_default();
        if there != text {
            failures.push(format!(
                "pkg/man/{file} isn't of today: run `cargo xtask manual`"
            ));
        }
    }
    let reference = reference::pages(root)?;
    for (file, text) in &reference {
        if fs::read_to_string(root.join(file)).unwrap_or_default() != *text {
            failures.push(format!("{file} isn't of today: run `cargo xtask manual`"));
        }
    }
    let count = PAGES.len() + reference.len();
    Ok(Outcome::of(failures, format!("{count} pages")))
}

const SETUP: &str = "docs/reference/setup-file.md";

/// The pages that aren't of command lines.
fn pages(root: &Path) -> Result<[(&'static str, String); 3]> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let render = |name, section, text: &str| markdown::page(name, section, VERSION, text);
    Ok([
        (
            "opte-setup.5",
            render("opte-setup", "5", &setup(&read(SETUP)?)),
        ),
        ("opte-trace.8", render("opte-trace", "8", &trace(root)?)),
        (
            "xde.4d",
            render("xde", "4D", &device(&read("pkg/man/xde.md")?)),
        ),
    ])
}

/// The setup file's description, with a page's first sections.
fn setup(text: &str) -> String {
    let (_, text) = text.split_once("\n\n").unwrap_or_default();
    format!(
        "## NAME\n\nopte-setup - the file that describes a host of OPTE\n\n## SYNOPSIS\n\n\
         `/etc/opte/setup.toml`\n\n## DESCRIPTION\n\n{text}\n## SEE ALSO\n\nopteadm(8), xded(8), xde(4D)\n"
    )
}

/// Scripts with the questions that they answer, and how they are started.
fn trace(root: &Path) -> Result<String> {
    let folder = root.join("dtrace");
    let runner = fs::read_to_string(folder.join("opte-trace"))?;
    let usage: Vec<&str> = runner
        .lines()
        .skip(4)
        .map_while(|line| line.strip_prefix('#'))
        .map(|line| line.trim_start_matches('\t'))
        .collect();
    let mut text = format!(
        "## NAME\n\nopte-trace - run a script about OPTE\n\n## SYNOPSIS\n\n```\n{}\n```\n\n",
        usage.join("\n").trim()
    );
    text += "## DESCRIPTION\n\nScripts answer one question each, on the kernel module as on xded. A star marks those \
             that bpftrace can run too.\n\n## SCRIPTS\n\n| name | question |\n| --- | --- |\n";
    let mut scripts: Vec<_> = fs::read_dir(&folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| name.strip_suffix(".d").map(str::to_owned))
        .collect();
    scripts.sort();
    for name in scripts {
        let script = fs::read_to_string(folder.join(format!("{name}.d")))?;
        let question = script
            .lines()
            .nth(1)
            .and_then(|line| line.strip_prefix(" * "));
        let question = question.with_context(|| format!("{name} asks nothing"))?;
        let star = if folder.join(format!("{name}.bt")).exists() {
            "*"
        } else {
            ""
        };
        let _ = writeln!(text, "| `{name}`{star} | {question} |");
    }
    text += "\n## SEE ALSO\n\nopteadm(8), xded(8), xde(4D), dtrace(8)\n";
    Ok(text)
}

/// What `pkg/man/xde.md` says, and what the code declares.
fn device(text: &str) -> String {
    let mut text = format!("{text}\n| reason | what |\n| --- | --- |\n");
    for reason in DropReason::ALL {
        let _ = writeln!(text, "| `{}` | {} |", reason.name(), reason.explanation());
    }
    text += "\n## PROBES\n\nSDT probes of the module `xde`, whose arguments `docs/probes.md` of the sources has.\n\n\
             | name | when |\n| --- | --- |\n";
    for probe in Probe::ALL {
        let _ = writeln!(text, "| `{}` | {} |", probe.name(), probe.when());
    }
    let _ = write!(
        text,
        "\n## CONTRACT\n\nVersions {VERSION_MIN} to {VERSION_MAX} of the contract with `opteadm`. Requests:\n\n\
         | number | name |\n| --- | --- |\n| 0 | hello |\n"
    );
    for (number, name) in command::ALL {
        let _ = writeln!(text, "| {number} | {name} |");
    }
    text += "\nCapabilities:\n\n| number | name |\n| --- | --- |\n";
    for (number, name) in CAPABILITIES {
        let _ = writeln!(text, "| {number} | {name} |");
    }
    text += "\n## FILES\n\n| file | what |\n| --- | --- |\n\
             | `/kernel/drv/amd64/xde` | the module |\n\
             | `/kernel/drv/xde.conf` | its instance |\n\
             | `/dev/xde` | its device |\n\
             | `/etc/opte/setup.toml` | what the service `network/opte` applies at boot |\n\
             \n## SEE ALSO\n\nopteadm(8), opte-trace(8), opte-setup(5), dladm(8)\n";
    text
}
