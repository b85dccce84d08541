//! `cargo xtask bench`: what the engine costs, beside what it should.
//!
//! Purpose   measures times, instructions, allocations and memory of the
//!           engine, writes them to `target/bench.json` (one object, name to
//!           number) and prints each beside its goal.
//! Terms     figure   a name, whose last word is its unit, and a number
//!           goal     what a figure has to reach ([`goal`])
//!           limit    what an instruction count may not exceed ([`count`])
//! Flow      build the program `figures` of opte-core's benches -> run it
//!           -> the same under callgrind, case by case -> table, file
//! Failure   a missed goal is shown and fails nothing: times drift from
//!           machine to machine. Instruction counts don't, so `cargo xtask
//!           test` holds them to their limits.

mod count;
mod goal;
mod watched;

use crate::step::Outcome;
use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// What `bench` is told.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only figures whose name begins so, as `hit/udp4/out`
    prefix: Option<String>,
    /// Less of it, in under a minute
    #[arg(long)]
    quick: bool,
}

/// Measures, prints and writes.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let prefix = args.prefix.unwrap_or_default();
    if prefix.starts_with(watched::NAME) {
        return watched::run(&root, args.quick);
    }
    let program = build(&root)?;
    println!("{}", goal::HEAD);
    let mut figures = Map::new();
    let mut tell = |name: &str, value: f64| {
        println!("{}", goal::line(name, value));
        figures.insert(name.to_owned(), number(value));
    };
    measure(&program, &prefix, args.quick, &mut tell)?;
    count::all(&program, &prefix, args.quick, &mut tell)?;
    if figures.is_empty() {
        bail!("no figure's name begins with `{prefix}`");
    }
    let file = root.join("target/bench.json");
    std::fs::write(&file, serde_json::to_string_pretty(&figures)? + "\n")
        .with_context(|| file.display().to_string())?;
    println!("{} figures in target/bench.json", figures.len());
    Ok(ExitCode::SUCCESS)
}

/// Holds instruction counts to their limits, for `cargo xtask test`.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    count::check(&build(root)?)
}

/// Instructions per packet of one UDP flow's hits, `out` or `in`.
pub(crate) fn hit(root: &Path, way: &str) -> Result<f64> {
    let name = format!("hit/udp4/{way}/64B/flows_1/instructions");
    count::count(&build(root)?, &name)
}

/// Builds the program that measures, and says where it is.
fn build(root: &Path) -> Result<PathBuf> {
    let figures = ["--package", "opte-core", "--bench", "figures", "--no-run"];
    workspace::one(root, &[&["bench"], &figures[..]].concat())
}

/// Runs the program and hands on each figure as it comes.
fn measure(
    program: &Path,
    prefix: &str,
    quick: bool,
    tell: &mut impl FnMut(&str, f64),
) -> Result<()> {
    let mut child = Command::new(program)
        .arg(prefix)
        .args(quick.then_some("--quick"))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the program that measures")?;
    let out = child.stdout.take().context("no output")?;
    for line in BufReader::new(out).lines() {
        let line = line?;
        let (name, value) = line.split_once(' ').context("not a figure")?;
        tell(name, value.parse().context("not a number")?);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the program that measures: {status}");
    }
    Ok(())
}

/// A number for people and programs: more digits than can be trusted hide
/// what changed.
fn number(value: f64) -> Value {
    let rounded = (value * 1_000.0).round() / 1_000.0;
    // Whole numbers are written as such.
    let whole = format!("{rounded:.0}").parse::<i64>();
    match whole {
        Ok(whole) if rounded.fract() == 0.0 => whole.into(),
        _ => rounded.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded() {
        let text = |value| number(value).to_string();
        assert_eq!(text(12.0), "12");
        assert_eq!(text(0.12345), "0.123");
        assert_eq!(text(1e12), "1000000000000");
    }
}
