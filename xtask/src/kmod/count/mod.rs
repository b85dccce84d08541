//! Instructions of the module per packet of the cached path, and where they go.
//!
//! Terms     run      this program under callgrind, which sends packets through
//!                    the module (`play::work`)
//!           engine   the part of the module that the engine's benchmark times:
//!                    its calls for a packet, with all that they call or inline
//!           taking   what takes packets over from MAC: mblk, marks, a head of
//!                    their own, a missing checksum
//!           sending  what is done with a verdict: packets sorted by where they
//!                    go, their devices found, MAC called
//!           rest     what is left: entry points, lane, clock, loops
//!
//! Flow      [`profile`]: what was executed, by address
//!           [`stack`]:   the functions that an address is of
//!           [`part`]:    the part that those are of (rules P)
//!
//! Rules     N3  there is a run for N chains of frames and one for 2N; the
//!               difference counts, so that what isn't packets cancels.
//!           N4  what counts is the module's own code. The kernel's functions
//!               are doubles, whose cost says nothing, and so are the jumps to
//!               them that the loader puts behind that code.
//!           N5  the engine's part is held to a ratio of what its benchmark
//!               counts; all of it to what was measured (`limits.toml`).

mod part;
mod profile;
mod stack;

use super::{Variant, built, check, folder, limits, linked, play};
use crate::bench;
use crate::step::Outcome;
use anyhow::{Context as _, Result, bail, ensure};
use part::{Part, Shares};
use profile::Profile;
use stack::Tables;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// Chains of the shorter run.
const CHAINS: u32 = 24;

/// Counts, as a step of the tests.
pub(crate) fn count_hits(root: &Path) -> Result<Outcome> {
    let mut outcome = every_way(root)?;
    outcome.note = outcome.note.replace('\n', "; ");
    Ok(outcome)
}

/// Counts the instructions of the module, which was built, per packet of the
/// cached path beside the engine's benchmark; a line for each way.
pub(super) fn every_way(root: &Path) -> Result<Outcome> {
    let module = built(root, Variant::Release);
    if !module.is_file() {
        return Ok(Outcome::skip("the module isn't built"));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Ok(Outcome::skip("valgrind isn't installed"));
    }
    let limits = check::instructions(&limits(root)?)?;
    let linked = std::fs::read(linked(root, Variant::Release))?;
    let sections = stack::sections(&linked)?;
    let tables = Tables::new(&linked, &sections, &std::fs::read(module)?)?;
    let mut outcome = Outcome::default();
    let mut notes = Vec::new();
    for (way, of_engine) in play::WAYS {
        let counted = count(&folder(root, Variant::Release), way, &tables)?;
        let benchmark = bench::hit(root, of_engine)?;
        let most = limits.ways.get(way).copied().unwrap_or_default();
        let note = format!("{way} {}", counted.told(benchmark));
        let failures = counted.beyond(benchmark, limits.engine, most);
        outcome.passed += usize::from(failures.is_empty());
        let failures = failures.iter().map(|why| format!("{note}: {why}"));
        outcome.failures.extend(failures);
        notes.push(note);
    }
    outcome.note = notes.join("\n");
    Ok(outcome)
}

/// Instructions of some packets.
struct Counted {
    packets: f64,
    shares: Shares,
}

impl Counted {
    /// Per packet, of one part.
    fn of(&self, part: Part) -> f64 {
        self.shares.get(&part).copied().unwrap_or_default() / self.packets
    }

    /// Per packet.
    fn all(&self) -> f64 {
        self.shares.values().sum::<f64>() / self.packets
    }

    /// For people, beside what the engine's benchmark counts.
    fn told(&self, benchmark: f64) -> String {
        let engine = self.of(Part::Engine);
        format!(
            "{:.0}: engine {engine:.0} ({:.2} times the benchmark's {benchmark:.0}), \
             taking over {:.0}, sending {:.0}, rest {:.0}",
            self.all(),
            engine / benchmark,
            self.of(Part::Taking),
            self.of(Part::Sending),
            self.of(Part::Rest),
        )
    }

    /// What is too much: the engine's part of `ratio` times its benchmark, or
    /// all of `most`.
    fn beyond(&self, benchmark: f64, ratio: f64, most: u32) -> Vec<String> {
        let mut failures = Vec::new();
        if self.of(Part::Engine) > ratio * benchmark {
            failures.push(format!("{ratio} times is the engine's limit"));
        }
        if self.all() > f64::from(most) {
            failures.push(format!("{most} is the limit"));
        }
        failures
    }
}

/// Counts one way (rule N3).
fn count(folder: &Path, way: &str, tables: &Tables<'_>) -> Result<Counted> {
    let once = executed(folder, way, CHAINS)?;
    let profile = executed(folder, way, 2 * CHAINS)?.minus(&once);
    ensure!(!profile.costs.is_empty(), "callgrind saw nothing");
    let callers = profile.calls.keys().map(|(site, _)| site);
    let places = profile.costs.keys().chain(callers);
    let places = places.map(|at| Ok((*at, tables.place(*at)?)));
    let shares = part::share(&profile, &places.collect::<Result<_>>()?);
    Ok(Counted {
        packets: f64::from(CHAINS) * f64::from(u16::try_from(play::CHAIN)?),
        shares,
    })
}

/// What a run executes of the module.
fn executed(folder: &Path, way: &str, chains: u32) -> Result<Profile> {
    let report = folder.join("callgrind.out");
    let done = Command::new("valgrind")
        .args(profile::OPTIONS)
        .arg(format!("--callgrind-out-file={}", report.display()))
        .arg(std::env::current_exe()?)
        .args(["kmod", "--work", way, "--chains", &chains.to_string()])
        .output()
        .context("cannot run valgrind")?;
    let told = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        let error = String::from_utf8_lossy(&done.stderr);
        bail!("{way}: {}\n{told}{error}", done.status);
    }
    let places: Vec<_> = told.lines().filter_map(place).collect();
    ensure!(
        !places.is_empty(),
        "a run that doesn't say where the code is"
    );
    Profile::parse(&std::fs::read_to_string(&report)?, &places)
}

/// Where a line of a run says that the module's code is.
fn place(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.strip_prefix(play::CODE)?.split_once(' ')?;
    let [start, end] = [start, end].map(|number| {
        let digits = number.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    });
    Some(start?..end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Counted {
        let shares = [
            (Part::Engine, 1_150.0),
            (Part::Taking, 200.0),
            (Part::Sending, 100.0),
            (Part::Rest, 60.0),
        ];
        Counted {
            packets: 2.0,
            shares: shares.into(),
        }
    }

    #[test]
    fn parts_are_told_beside_the_benchmark() {
        let told = counted().told(500.0);
        assert_eq!(
            told,
            "755: engine 575 (1.15 times the benchmark's 500), taking over 100, sending 50, rest 30"
        );
    }

    #[test]
    fn the_engine_and_all_of_it_have_a_limit_each() {
        let beyond = |benchmark, most| counted().beyond(benchmark, 1.15, most).len();
        assert_eq!(beyond(500.1, 755), 0);
        assert_eq!(beyond(499.0, 755), 1);
        assert_eq!(beyond(500.1, 754), 1);
        assert_eq!(beyond(499.0, 754), 2);
    }

    #[test]
    fn a_run_says_where_the_code_is() {
        let line = format!("{}0x41000000 0x411f933f", play::CODE);
        assert_eq!(place(&line), Some(0x4100_0000..0x411f_933f));
        assert_eq!(place("coded 1 2"), None);
        assert_eq!(place("something else"), None);
    }
}
