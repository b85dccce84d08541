//! Ports with names as long as names can be.
//!
//! Purpose   every script prints a name whole and apart from its neighbours.
//! Flow      check: a golden case with longer names -> all scripts at once
//! Failure   the first line with a word that only has a piece of a name.

use super::{compile, losses, text};
use crate::case;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The case, and what its ports are called instead: one has the longest name
/// that there is, one the longest that Linux has for a device.
const CASE: &str = "multicast";
const NAMES: [(&str, &str); 2] = [
    ("g1", "longest_name_that_a_port_can_be"),
    ("g2", "port_of_15_char"),
];
/// Words of what is printed that are one of the names, for each.
const WORDS_MIN: usize = 100;

/// Runs all scripts on the case.
pub(super) fn check(root: &Path, tracer: &Path, driver: &Path) -> Result<()> {
    let work = root.join("target/tracer/names");
    let replay = case::replay(root, driver, CASE, &work)?;
    let words: Option<Vec<&str>> = replay.words.iter().map(|word| word.to_str()).collect();
    let mut words = words.context("a path isn't UTF-8")?;
    let setup = words.iter().position(|word| *word == "--setup");
    let setup = setup.and_then(|at| words.get_mut(at + 1));
    let setup = setup.context("a replay without a setup")?;
    let mut renamed = fs::read_to_string(*setup)?;
    for (short, long) in NAMES {
        renamed = renamed.replace(&format!("\"{short}\""), &format!("\"{long}\""));
    }
    let file = work.join("setup.toml");
    fs::write(&file, renamed)?;
    *setup = file.to_str().context("a path isn't UTF-8")?;
    let mut command = words.join(" ");
    for (short, long) in NAMES {
        command = command.replace(&format!("tx:{short}="), &format!("tx:{long}="));
    }
    let mut tracer = Command::new(tracer);
    compile::options(&mut tracer, root, &command, &compile::scripts(root)?);
    let done = tracer.output().context("can't run the tracer")?;
    let lost = losses(&String::from_utf8_lossy(&done.stderr));
    ensure!(done.status.success() && lost.is_empty(), "{}", text(&done));
    whole(&String::from_utf8_lossy(&done.stdout))
}

/// Whether each word that begins as a name does is that name.
fn whole(printed: &str) -> Result<()> {
    let mut lines = [0; NAMES.len()];
    for line in printed.lines() {
        for word in line.split_whitespace() {
            // A distribution's title goes on with a comma or a colon.
            let word = word.trim_end_matches([',', ':']);
            for ((_, name), lines) in NAMES.iter().zip(&mut lines) {
                let begin = name.get(..6).unwrap_or(name);
                ensure!(!word.contains(begin) || word == *name, "{line}");
                *lines += usize::from(word == *name);
            }
        }
    }
    ensure!(
        lines.iter().all(|lines| *lines >= WORDS_MIN),
        "{lines:?} times the names were printed:\n{printed}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_cut_or_runs_into_its_neighbour_is_seen() {
        let [(_, long), (_, fifteen)] = NAMES;
        assert_eq!((long.len(), fifteen.len()), (31, 15));
        let good = format!("{long} {fifteen} in, {long}:\n").repeat(WORDS_MIN);
        whole(&good).unwrap();
        for bad in [&format!("{long}in"), &long[..30], &format!("x{fifteen}")] {
            assert!(whole(&format!("{good}{bad} 1\n")).is_err(), "{bad}");
        }
        assert!(whole("").is_err(), "nothing is printed");
    }
}
