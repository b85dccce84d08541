//! `cargo xtask test`: everything that can be tested on this machine.
//!
//! The last line is `N passed, N failed, N skipped`. Tests of cargo count one
//! each, golden cases and captures too; any other step counts as one.

use crate::script::Scene;
use crate::step::{self, Outcome, Step};
use crate::{
    bench, case, check, illumos, install, kmod, package, scenario, skip, tracer, tshark, workspace,
};
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What `test` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Runs every step and sums up.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let root = workspace::root();
    let report = step::run_all(steps(&root));
    let code = report.finish();
    let (passed, failed, skipped) = report.totals();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(code)
}

/// The steps. A new one is one line here. What guests and tracers take part in
/// has the machine to itself: by then the other lane has ended.
fn steps(root: &Path) -> Vec<Step<'_>> {
    let mut steps = vec![Step::new("tools", install::check)];
    steps.extend([
        Step::new("kernel module", || kmod::step(root, kmod::Variant::Release))
            .aside()
            .after(&["tools"]),
        Step::new("opteadm for illumos", || illumos::step(root)).aside(),
        Step::new("kernel module, debug", || {
            kmod::step(root, kmod::Variant::Debug)
        })
        .aside(),
    ]);
    steps.extend(check::steps(root));
    steps.extend([
        Step::new("tests", || cargo_test(root)),
        Step::new("instruction counts", || bench::check(root)),
        Step::new("golden cases", || case::check(root)),
        Step::new("kernel module's instructions", || kmod::count_hits(root))
            .after(&["kernel module"]),
        Step::new("Debian's package", || package::deb_step(root)),
        Step::new("illumos' package", || package::ips_step(root)).after(&["kernel module, debug"]),
        Step::new("tracer", || tracer::check(root)),
        Step::new("demo", || demo(root, "xded")),
        Step::new("demo on the module", || module_demo(root)),
        Step::new("scenarios", || scenario::check(root)),
        Step::new("tshark's judgement", || judge(root)),
    ]);
    steps
}

/// Judges what the golden cases and the demo sent when they last ran.
fn judge(root: &Path) -> Result<Outcome> {
    let mut captures = case::emitted(root, None)?;
    for folder in ["target/demo", "target/demo/kmod"] {
        let recorded = root.join(folder).join("underlay.pcapng");
        if recorded.is_file() {
            let setup = std::fs::read_to_string(root.join("xtask/src/demo/sled_a.toml"))?;
            captures.push((recorded, Scene::parse(&setup)?));
        }
    }
    tshark::check(
        captures
            .iter()
            .map(|(path, scene): &(PathBuf, _)| (path.as_path(), scene)),
    )
}

/// The demo as a test of everything together: every item has to be true.
fn demo(root: &Path, driver: &str) -> Result<Outcome> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let done = Command::new(program)
        .args(["demo", "--json", "--driver", driver])
        .current_dir(root)
        .output()
        .context("cannot run the demo")?;
    let told = String::from_utf8_lossy(&done.stderr);
    let mut outcome = match serde_json::from_slice(&done.stdout) {
        Ok(items) => items_of(&items),
        Err(_) => Outcome::fail("no summary"),
    };
    if !done.status.success() && outcome.failures.is_empty() {
        outcome.failures.push(done.status.to_string());
    }
    if let Some(first) = outcome.failures.first_mut() {
        first.push('\n');
        first.push_str(&told);
    }
    Ok(outcome)
}

/// The same on the illumos module, where that can be built.
fn module_demo(root: &Path) -> Result<Outcome> {
    match kmod::can_build()? {
        Some(why) => Ok(Outcome::skip(why)),
        None => demo(root, "kmod"),
    }
}

/// Reads the demo's summary: an item is a truth, or a number that isn't zero.
fn items_of(items: &Map<String, Value>) -> Outcome {
    let mut outcome = Outcome::default();
    for (name, value) in items {
        let good = match value {
            Value::Bool(truth) => *truth,
            Value::Number(number) => number.as_f64().is_some_and(|number| number > 0.0),
            _ => false,
        };
        if good {
            outcome.passed += 1;
        } else {
            outcome.failures.push(format!("{name} is {value}"));
        }
    }
    if items.is_empty() {
        outcome.failures.push("the summary is empty".to_owned());
    }
    outcome.note = format!("{} of {} items", outcome.passed, items.len());
    outcome
}

/// Every test of every crate, in code, in `tests/` and in documents.
fn cargo_test(root: &Path) -> Result<Outcome> {
    let list = root.join("target/skipped-tests");
    if list.is_file() {
        std::fs::remove_file(&list).context("the list of an earlier run")?;
    }
    let done = Command::new("cargo")
        .args(["test", "--workspace", "--no-fail-fast"])
        .env(skip::LIST, &list)
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    let out = String::from_utf8_lossy(&done.stdout);
    let mut outcome = without_skips(
        summed(&out),
        &std::fs::read_to_string(&list).unwrap_or_default(),
    );
    if !done.status.success() && outcome.failures.is_empty() {
        let error = String::from_utf8_lossy(&done.stderr);
        outcome
            .failures
            .push(format!("cargo test: {}\n{error}", done.status));
    }
    outcome.note = format!("{} tests", outcome.passed + outcome.failures.len());
    Ok(outcome)
}

/// Reads what the test programs printed. A test may run its program again for
/// itself alone, inside of a namespace; what that prints counts once.
fn summed(out: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let mut failed = BTreeSet::new();
    for line in out.lines() {
        let Some(line) = line.strip_prefix("test ") else {
            continue;
        };
        if let Some(result) = line.strip_prefix("result: ") {
            // We leave no test out, so who does is such a test.
            if count(result, "filtered out") == 0 {
                outcome.passed += count(result, "passed");
            }
        } else if let Some(name) = line.strip_suffix(" ... FAILED") {
            if failed.insert(name) {
                let output = output_of(name, out);
                outcome.failures.push(format!("{name}\n{output}"));
            }
        } else if let Some((name, why)) = line.split_once(" ... ignored") {
            let why = why.trim_start_matches(", ");
            outcome
                .skips
                .push(format!("{name} is marked as ignored {why}"));
        }
    }
    outcome
}

/// The same without the tests that passed because they couldn't run, which told
/// so in a list.
fn without_skips(mut outcome: Outcome, list: &str) -> Outcome {
    let skips: BTreeSet<&str> = list.lines().collect();
    outcome.passed = outcome.passed.saturating_sub(skips.len());
    outcome.skips.extend(skips.into_iter().map(String::from));
    outcome
}

/// The number in front of `what`, as `passed` in `ok. 3 passed; 0 failed; ..`.
fn count(result: &str, what: &str) -> usize {
    result
        .split(['.', ';'])
        .find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok())
        .unwrap_or(0)
}

/// What a failed test printed.
fn output_of<'a>(name: &str, out: &'a str) -> &'a str {
    let head = format!("---- {name} stdout ----\n");
    let text = out.split_once(&head).map_or("", |(_, text)| text);
    let end = text.find("\n---- ").or_else(|| text.find("\nfailures:"));
    text.get(..end.unwrap_or(text.len()))
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 3 tests
test a::b ... ok
test a::bad ... FAILED
test a::slow ... ignored, needs an hour

failures:

---- a::bad stdout ----
thread panicked
left: 1

failures:
    a::bad

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 2 tests
running 1 test
test c::inside ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.10s
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s
";

    #[test]
    fn totals_are_summed_over_programs() {
        let outcome = summed(OUTPUT);
        assert_eq!(outcome.passed, 3);
        assert_eq!(outcome.failures, ["a::bad\nthread panicked\nleft: 1"]);
        assert_eq!(
            outcome.skips,
            ["a::slow is marked as ignored needs an hour"]
        );
    }

    #[test]
    fn a_test_that_could_not_run_has_not_passed() {
        let list = std::env::temp_dir().join(format!("xtask-skips-{}", std::process::id()));
        for (test, why) in [
            ("a::b", "no\nTAPs"),
            ("c::inside", "no"),
            ("a::b", "no\nTAPs"),
        ] {
            skip::note(&list, test, why).unwrap();
        }
        let told = std::fs::read_to_string(&list).unwrap();
        std::fs::remove_file(&list).unwrap();
        let outcome = without_skips(summed(OUTPUT), &told);
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.skips[1..], ["a::b: no TAPs", "c::inside: no"]);
        assert_eq!(without_skips(summed(OUTPUT), ""), summed(OUTPUT));
    }

    #[test]
    fn every_item_of_the_demo_has_to_be_true() {
        let items = |text: &str| items_of(&serde_json::from_str(text).unwrap());
        assert_eq!(items(r#"{"a": true, "b": 0.5}"#).passed, 2);
        for bad in [r#"{"a": false}"#, r#"{"b": 0}"#, r#"{"c": "true"}"#, "{}"] {
            let outcome = items(bad);
            assert_eq!((outcome.passed, outcome.failures.len()), (0, 1), "{bad}");
        }
    }
}
