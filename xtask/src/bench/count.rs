//! Instructions per packet, counted by callgrind.
//!
//! Rules     C1  a case runs twice, for N and 2N bursts, and the difference
//!               counts: set-up and warm-up cancel.
//!           C2  only what happens inside of the function that is timed counts.
//!           C3  limits are the counts that were measured and a little, for
//!               other compilers; who makes a count smaller makes its limit
//!               smaller.

use crate::step::Outcome;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// What an instruction count may be at most.
const LIMITS: &str = include_str!("limits.toml");
/// Frames of a burst.
const BURST: f64 = 64.0;
/// Bursts of the shorter run. Longer than the flows of a case are many.
const BURSTS: u32 = 48;

/// Every case with its limit.
fn limits() -> Result<BTreeMap<String, u64>> {
    toml::from_str(LIMITS).context("limits.toml")
}

/// Tells the counts that are asked for.
pub(super) fn all(
    program: &Path,
    prefix: &str,
    quick: bool,
    tell: &mut impl FnMut(&str, f64),
) -> Result<()> {
    for name in limits()?.keys().filter(|name| name.starts_with(prefix)) {
        if quick && name.contains("0000/") {
            continue;
        }
        tell(name, count(program, name)?);
    }
    Ok(())
}

/// Holds every count to its limit.
pub(super) fn check(program: &Path) -> Result<Outcome> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Outcome::skip("valgrind isn't installed"));
    }
    let mut outcome = Outcome::default();
    for (name, limit) in limits()? {
        let count = count(program, &name)?;
        if count > limit as f64 {
            outcome
                .failures
                .push(format!("{name} is {count:.0}, above its limit of {limit}"));
        } else {
            outcome.passed += 1;
        }
    }
    outcome.note = format!("{} counts", outcome.passed + outcome.failures.len());
    Ok(outcome)
}

/// Instructions per packet of the case that a figure is about.
pub(super) fn count(program: &Path, name: &str) -> Result<f64> {
    let case = name
        .strip_suffix("/instructions")
        .with_context(|| format!("`{name}` doesn't end in /instructions"))?;
    let once = instructions(program, case, BURSTS)?;
    let twice = instructions(program, case, 2 * BURSTS)?;
    let difference = twice.checked_sub(once).context("less for more packets")?;
    Ok(difference as f64 / (BURST * f64::from(BURSTS)))
}

fn instructions(program: &Path, case: &str, bursts: u32) -> Result<u64> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*traffic::timed*")
        .arg(program)
        .args(["--count", case, &bursts.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let text = String::from_utf8_lossy(&done.stderr);
    if !done.status.success() {
        bail!("{case}: {}\n{text}", done.status);
    }
    text.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .filter(|count| *count > 0)
        .with_context(|| format!("callgrind counted nothing:\n{text}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_limit_is_about_instructions() {
        for name in super::limits().unwrap().keys() {
            assert!(name.ends_with("/instructions"), "{name}");
        }
    }
}
