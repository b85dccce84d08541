//! A list of steps that all run, and what came of them.
//!
//! Terms     step      a name and something to run
//!           outcome   what it found: how many things passed, failed and were
//!                     skipped, and the sentences to repeat at the end
//!           report    all outcomes
//!           lane      steps that run one after the other; of the two lanes
//!                     the other one has what waits for no network and builds
//!                     in a folder of its own, or what the tests build anyway
//!
//! Rules     S1  a failed step never stops the steps after it.
//!           S2  a step that can't run says why, at once and again at the end.
//!           S3  with `CI=true` in the environment a skip is a failure.
//!           S4  a step that waits for others waits for steps above it only,
//!               so that the first one which hasn't run can always run.

use crate::skip::in_ci;
use anyhow::Result;
use std::io::{IsTerminal, Write};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What a step found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Things that are right.
    pub(crate) passed: usize,
    /// What is wrong, a text each.
    pub(crate) failures: Vec<String>,
    /// What could not be found out, and why.
    pub(crate) skips: Vec<String>,
    /// A few words to show beside the step's name.
    pub(crate) note: String,
}

impl Outcome {
    /// One thing that is right.
    pub(crate) fn pass(note: impl Into<String>) -> Self {
        Self {
            passed: 1,
            note: note.into(),
            ..Self::default()
        }
    }

    /// One thing that is wrong.
    pub(crate) fn fail(why: impl Into<String>) -> Self {
        Self {
            failures: vec![why.into()],
            ..Self::default()
        }
    }

    /// One thing that can't be found out here.
    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self {
            skips: vec![why.into()],
            ..Self::default()
        }
    }

    /// Right when there is nothing wrong.
    pub(crate) fn of(failures: Vec<String>, note: impl Into<String>) -> Self {
        Self {
            passed: usize::from(failures.is_empty()),
            failures,
            skips: Vec::new(),
            note: note.into(),
        }
    }
}

type Run<'a> = Box<dyn FnOnce() -> Result<Outcome> + Send + 'a>;

/// A name and something to run.
pub(crate) struct Step<'a> {
    name: &'static str,
    run: Run<'a>,
    aside: bool,
    waits_for: &'static [&'static str],
}

impl<'a> Step<'a> {
    /// A step. An error is a failure of the step.
    pub(crate) fn new(
        name: &'static str,
        run: impl FnOnce() -> Result<Outcome> + Send + 'a,
    ) -> Self {
        Self {
            name,
            run: Box::new(run),
            aside: false,
            waits_for: &[],
        }
    }

    /// The same in the other lane.
    pub(crate) fn aside(self) -> Self {
        Self {
            aside: true,
            ..self
        }
    }

    /// The same, when these steps of the other lane have run.
    pub(crate) fn after(self, waits_for: &'static [&'static str]) -> Self {
        Self { waits_for, ..self }
    }
}

/// What came of every step.
#[derive(Debug, Default)]
pub(crate) struct Report {
    outcomes: Vec<(&'static str, Outcome, Duration)>,
    ci: bool,
}

/// Names what is wrong, if anything, for a command that isn't a step.
pub(crate) fn end(failures: &[String]) -> ExitCode {
    for failure in failures {
        println!("error: {failure}");
    }
    match failures {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Runs every step, each lane in order, and prints a line for each.
pub(crate) fn run_all(steps: Vec<Step<'_>>) -> Report {
    let report = Report {
        outcomes: Vec::new(),
        ci: in_ci(),
    };
    let (so_far, one_more) = (Mutex::new(report), Condvar::new());
    let (other, main): (Vec<_>, Vec<_>) = steps.into_iter().partition(|step| step.aside);
    thread::scope(|scope| {
        scope.spawn(|| run_lane(other, &so_far, &one_more));
        run_lane(main, &so_far, &one_more);
    });
    so_far.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_lane(steps: Vec<Step<'_>>, so_far: &Mutex<Report>, one_more: &Condvar) {
    // What may panic runs while this isn't held.
    let held = || so_far.lock().unwrap_or_else(PoisonError::into_inner);
    for step in steps {
        let waiting = |report: &mut Report| !step.waits_for.iter().all(|it| report.has(it));
        drop(one_more.wait_while(held(), waiting));
        announce(step.name);
        let start = Instant::now();
        // Rule S1, and the other lane may wait for this step.
        let outcome = panic::catch_unwind(AssertUnwindSafe(step.run))
            .unwrap_or_else(|_| Ok(Outcome::fail("it panicked")))
            .unwrap_or_else(|error| Outcome::fail(format!("{error:#}")));
        let took = start.elapsed();
        let mut report = held();
        report.print_line(step.name, &outcome, took);
        report.outcomes.push((step.name, outcome, took));
        one_more.notify_all();
    }
}

/// Says what runs now, on a terminal: the step's line takes its place.
fn announce(name: &str) {
    if std::io::stdout().is_terminal() {
        print!("· {name}\r");
        // Nothing depends on whether this is seen.
        drop(std::io::stdout().flush());
    }
}

impl Report {
    fn has(&self, step: &str) -> bool {
        self.outcomes.iter().any(|(name, _, _)| *name == step)
    }

    fn print_line(&self, name: &str, outcome: &Outcome, took: Duration) {
        let mark = if !outcome.failures.is_empty() {
            '✗'
        } else if !outcome.skips.is_empty() {
            if self.ci { '✗' } else { '!' }
        } else {
            '✓'
        };
        let seconds = took.as_secs_f64();
        println!("{mark} {name:<24} {seconds:>6.1} s  {}", outcome.note);
        for failure in &outcome.failures {
            println!("{}", indented(failure));
        }
        for skip in &outcome.skips {
            println!("    SKIPPED: {skip}");
        }
    }

    /// Things that passed, failed and were skipped, by rule S3.
    pub(crate) fn totals(&self) -> (usize, usize, usize) {
        let sum = |count: fn(&Outcome) -> usize| -> usize {
            self.outcomes
                .iter()
                .map(|(_, outcome, _)| count(outcome))
                .sum()
        };
        let (passed, failed, skipped) = (
            sum(|o| o.passed),
            sum(|o| o.failures.len()),
            sum(|o| o.skips.len()),
        );
        if self.ci {
            (passed, failed + skipped, 0)
        } else {
            (passed, failed, skipped)
        }
    }

    /// Repeats what went wrong and what was skipped, and makes the exit code.
    pub(crate) fn finish(&self) -> ExitCode {
        let all = |of: fn(&Outcome) -> &[String]| {
            self.outcomes.iter().flat_map(move |(name, outcome, _)| {
                of(outcome).iter().map(move |text| (name, text))
            })
        };
        for (name, why) in all(|o| &o.skips) {
            println!("SKIPPED {name}: {why}");
        }
        for (name, why) in all(|o| &o.failures) {
            println!("FAILED {name}: {}", why.lines().next().unwrap_or_default());
        }
        let (_, failed, _) = self.totals();
        if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

fn indented(text: &str) -> String {
    let mut out = String::new();
    for line in text.trim_end().lines() {
        out.push_str("    ");
        out.push_str(line);
        out.push('\n');
    }
    out.trim_end_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ci: bool, outcomes: Vec<Outcome>) -> Report {
        Report {
            outcomes: outcomes
                .into_iter()
                .map(|outcome| ("step", outcome, Duration::ZERO))
                .collect(),
            ci,
        }
    }

    #[test]
    fn every_step_runs_and_an_error_or_panic_is_a_failure() {
        let report = run_all(vec![
            Step::new("one", || anyhow::bail!("broken")),
            Step::new("two", || panic!("worse")),
            Step::new("three", || Ok(Outcome::pass(""))),
        ]);
        let (passed, failed, _) = report.totals();
        assert_eq!((passed, failed), (1, 2));
    }

    #[test]
    fn a_step_waits_for_the_other_lane() {
        let done = Mutex::new(Vec::new());
        let step = |name| {
            let done = &done;
            Step::new(name, move || {
                done.lock().unwrap().push(name);
                Ok(Outcome::pass(""))
            })
        };
        run_all(vec![
            step("tools"),
            step("module").aside().after(&["tools"]),
            step("package").aside(),
            step("demo").after(&["package"]),
        ]);
        let done = done.into_inner().unwrap();
        assert_eq!(done, ["tools", "module", "package", "demo"]);
    }

    #[test]
    fn a_skip_is_a_failure_in_ci_only() {
        let outcomes = || vec![Outcome::skip("no tshark"), Outcome::pass("")];
        assert_eq!(report(false, outcomes()).totals(), (1, 0, 1));
        assert_eq!(report(false, outcomes()).finish(), ExitCode::SUCCESS);
        assert_eq!(report(true, outcomes()).totals(), (1, 1, 0));
        assert_eq!(report(true, outcomes()).finish(), ExitCode::FAILURE);
    }
}
