//! `cargo xtask bench watched`: what a script takes of a driver at full speed.
//!
//! Purpose   `probe/port_latency/ns` is what a frame costs more. This is what is
//!           left of it end to end: TCP between two guests of one `xded`, with
//!           and without `opte-perf-port` under the real DTrace.
//! Flow      xded of a release build -> by turns: off, on (`watched.sh`) ->
//!           of each pair the ratio -> the median
//! Failure   it is for root on Linux, and for a machine that does nothing else:
//!           asked for by name only, and never a test.

use super::goal;
use crate::{tracer, workspace};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// What its figures' names begin with.
pub(super) const NAME: &str = "watched";
const PLAY: &str = include_str!("watched.sh");
const SCRIPT: &str = "opte-perf-port";

/// Measures and prints.
pub(super) fn run(root: &Path, quick: bool) -> Result<ExitCode> {
    let dtrace = tracer::tracer(root)?.map_err(anyhow::Error::msg)?;
    let driver = workspace::one(root, &["build", "--release", "--package", "xded"])?;
    let rounds = if quick { "3" } else { "15" };
    let done = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", PLAY, "watched"])
        .arg(driver)
        .arg(root.join("dtrace/opte-trace"))
        .args([SCRIPT, rounds])
        .env("DTRACE", dtrace)
        .stderr(Stdio::inherit())
        .output()
        .context("can't run unshare")?;
    let told = String::from_utf8(done.stdout)?;
    ensure!(done.status.success(), "the run failed:\n{told}");
    let speeds = |which| -> Result<Vec<f64>> {
        let lines = told.lines().filter_map(|line| line.strip_prefix(which));
        lines.map(|speed| Ok(speed.trim().parse()?)).collect()
    };
    let (off, on) = (speeds("off ")?, speeds("on ")?);
    let ratios = on.iter().zip(&off).map(|(on, off)| on / off).collect();
    println!("{}", goal::HEAD);
    for (name, value) in [
        ("watched/none/mbit_per_s", median(off)?),
        ("watched/perf_port/mbit_per_s", median(on)?),
        ("watched/perf_port/ratio", median(ratios)?),
    ] {
        println!("{}", goal::line(name, value));
    }
    Ok(ExitCode::SUCCESS)
}

fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.get(values.len() / 2);
    middle.copied().context("nothing was measured")
}
