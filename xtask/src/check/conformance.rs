//! Whether `docs/nat-conformance.md` is whole and true.
//!
//! Rules     C1  every requirement that the RFCs have and no other is there
//!               once, in their order.
//!           C2  what stands in backquotes in the last column and looks like a
//!               test, a golden case or a scenario exists.
//!           C3  a row has a test, or says why not.

use crate::step::Outcome;
use crate::workspace;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::Path;

const PAGE: &str = "docs/nat-conformance.md";

/// The requirements of each RFC, as the page calls them.
const REQUIRED: &[(&str, &str)] = &[
    (
        "RFC 4787",
        "1 2 3 3a 4 5 5a 5b 5c 6 6a 7 8 8a 9 9a 10 10a 11 12 12a 12b 13 13a 14 14a",
    ),
    ("RFC 5382", "1 2 2a 3 3a 3b 4 4a 5 5a 6 7 8 8a 9 10"),
    (
        "RFC 5508",
        "1 1a 2 2a 3 3a 3b 3c 3d 4 4a 4b 4c 5 5a 5b 5c 6 7 7a 8 9 10a 10b 10c 10d 10e 10f 11",
    ),
    ("RFC 7857", "2 2.1 2.1 2.2 2.2 3 4 4 5 6 7 7.1 8 9 10 11 12"),
];

/// Checks the page.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let page = std::fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let files = workspace::files(root)?;
    let tests = tests(root, &files)?;
    let exists = |name: &str| match name.split_once(['/', ' ']) {
        Some(("cases", case)) => {
            let setup = format!("opte-core/tests/cases/{case}/setup.toml");
            files.contains(&setup)
        }
        Some(("scenario", _)) => tests.iter().any(|(_, test)| test == name),
        _ => is_there(&tests, name),
    };
    let rows = rows(&page);
    let mut failures = missing(&rows);
    failures.extend(rows.iter().flat_map(|row| untrue(row, &exists)));
    Ok(Outcome::of(
        failures,
        format!("{} requirements", rows.len()),
    ))
}

/// A row of the page.
struct Row<'p> {
    line: usize,
    rfc: &'p str,
    /// As `REQ-1a MUST`.
    requirement: &'p str,
    shown: &'p str,
}

impl Row<'_> {
    /// As `1a`.
    fn number(&self) -> &str {
        let word = self.requirement.split(' ').next().unwrap_or_default();
        word.trim_start_matches("REQ-")
    }

    /// What stands in backquotes in the last column.
    fn quoted(&self) -> impl Iterator<Item = &str> {
        self.shown.split('`').skip(1).step_by(2)
    }
}

/// The rows of every table of the page.
fn rows(page: &str) -> Vec<Row<'_>> {
    let mut rfc = "";
    let mut rows = Vec::new();
    for (at, text) in page.lines().enumerate() {
        if let Some(title) = text.strip_prefix("## ") {
            rfc = title.split(':').next().unwrap_or_default();
        }
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        if let ["", requirement, _, shown, ""] = cells[..]
            && !matches!(requirement, "requirement" | "---")
        {
            rows.push(Row {
                line: at + 1,
                rfc,
                requirement,
                shown,
            });
        }
    }
    rows
}

/// Where the page's requirements aren't those of the RFCs (rule C1).
fn missing(rows: &[Row<'_>]) -> Vec<String> {
    let compare = |(rfc, required): &(&str, &str)| {
        let there: Vec<_> = rows.iter().filter(|row| row.rfc == *rfc).collect();
        let there: Vec<_> = there.iter().map(|row| row.number()).collect();
        let there = there.join(" ");
        (there != *required)
            .then(|| format!("{PAGE}: {rfc} has the requirements {required}, the page has {there}"))
    };
    REQUIRED.iter().filter_map(compare).collect()
}

/// What is wrong with a row (rules C2 and C3).
fn untrue(row: &Row<'_>, exists: &impl Fn(&str) -> bool) -> Vec<String> {
    let at = format!("{PAGE}:{}: {} {}", row.line, row.rfc, row.requirement);
    let (names, other): (Vec<_>, Vec<_>) = row.quoted().partition(|text| is_name(text));
    let mut failures: Vec<_> = names
        .iter()
        .filter(|name| !exists(name))
        .map(|name| format!("{at}: there is no `{name}`"))
        .collect();
    let words = row.shown.split('`').step_by(2).collect::<String>();
    let reason = words.chars().filter(|c| c.is_alphabetic()).count() >= 10;
    if names.is_empty() && !reason && other.is_empty() {
        failures.push(format!("{at}: neither a test nor a reason"));
    }
    failures
}

/// Whether a text in backquotes names a test, a case or a scenario.
fn is_name(text: &str) -> bool {
    let is_option = text.ends_with("_s");
    let test = text.contains("::") || text.matches('_').count() >= 3 && !is_option;
    test || text.starts_with("cases/") || text.starts_with("scenario ")
}

/// Whether there is a test of this name in a file that has its modules' names.
fn is_there(tests: &BTreeSet<(String, String)>, name: &str) -> bool {
    let (modules, test) = name.rsplit_once("::").unwrap_or(("", name));
    tests.iter().any(|(file, other)| {
        let parts: BTreeSet<&str> = file.split(['/', '.']).collect();
        other == test
            && modules
                .split("::")
                .all(|m| m.is_empty() || parts.contains(m))
    })
}

/// File and function of every test, and the scenarios as `scenario NAME`.
fn tests(root: &Path, files: &[String]) -> Result<BTreeSet<(String, String)>> {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.clone())?;
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if line != "#[test]" {
                continue;
            }
            let signature = lines.find(|line| line.starts_with("fn "));
            let name = signature.and_then(|line| line["fn ".len()..].split('(').next());
            tests.extend(name.map(|name| (file.clone(), name.to_owned())));
        }
        let scenario = file.strip_prefix("xtask/src/scenario/");
        if let Some(name) = scenario.and_then(|name| name.strip_suffix(".rs")) {
            tests.insert((file.clone(), format!("scenario {name}")));
        }
    }
    Ok(tests)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "## RFC 1: a\n\
        | requirement | what | shown by |\n\
        | --- | --- | --- |\n\
        | REQ-1 MUST | a | `a::b::it_is_so_and_so`, `cases/c` |\n\
        | REQ-2a MAY | b | there are none of it |\n\
        | REQ-3 MUST | c | |\n";

    #[test]
    fn a_row_is_a_test_or_a_reason() {
        let rows = rows(PAGE);
        let numbers: Vec<_> = rows.iter().map(Row::number).collect();
        assert_eq!(numbers, ["1", "2a", "3"]);
        let tests = BTreeSet::from([("x/a/b.rs".into(), "it_is_so_and_so".into())]);
        let exists = |name: &str| is_there(&tests, name);
        let wrong: Vec<_> = rows.iter().flat_map(|row| untrue(row, &exists)).collect();
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("there is no `cases/c`"));
        assert!(wrong[1].contains("neither a test nor a reason"));
    }

    #[test]
    fn a_test_is_found_by_its_modules() {
        let tests = BTreeSet::from([("opte-core/tests/nat/tcp.rs".into(), "it_is".into())]);
        assert!(is_there(&tests, "it_is") && is_there(&tests, "nat::tcp::it_is"));
        assert!(!is_there(&tests, "nat::udp::it_is") && !is_there(&tests, "nat::tcp::it"));
    }

    #[test]
    fn a_requirement_that_is_left_out_is_missed() {
        let wrong = missing(&rows(PAGE));
        assert_eq!(wrong.len(), REQUIRED.len());
    }
}
