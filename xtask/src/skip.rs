//! Tests that can't run on this machine, and where that is a failure.
//!
//! Test programs of other crates have this file as a module, too: there is one
//! rule, and `cargo xtask test` is told of every skip, which cargo takes for a
//! test that has passed.

#[cfg(test)]
use std::path::Path;

/// Names the file to which a skip adds a line, if somebody wants to know.
pub(crate) const LIST: &str = "OPTE_TEST_SKIPS";

/// Whether this run is a gate, where what can't be checked counts as wrong.
pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| is_gate(&ci))
}

fn is_gate(ci: &str) -> bool {
    ci == "true" || ci == "1"
}

/// Says that a test can't run here, which is a failure where it must.
#[cfg(test)]
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    assert!(!in_ci(), "a skip is a failure in CI");
    if let Some(list) = std::env::var_os(LIST) {
        note(Path::new(&list), test, why).unwrap();
    }
}

/// Adds a line in one piece: other tests add theirs at the same time.
#[cfg(test)]
pub(crate) fn note(list: &Path, test: &str, why: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(list)?;
    file.write_all(format!("{test}: {}\n", why.replace('\n', " ")).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_is_a_failure_in_ci_only() {
        for (ci, must_run) in [("true", true), ("1", true), ("false", false), ("", false)] {
            assert_eq!(is_gate(ci), must_run, "{ci}");
        }
    }
}
