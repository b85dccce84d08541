//! Whether what GitHub reads is what it would accept, as far as that can be
//! known here.
//!
//! Rules     W1  every file below `.github` is YAML (or a template's Markdown).
//!           W2  a workflow has a name, triggers, permissions and jobs; a job
//!               has a machine, a time limit and steps; a step runs something
//!               or uses an action of a named version, with no key that GitHub
//!               doesn't know.
//!           W3  workflows are thin: what they run is `cargo xtask` with a
//!               command that there is, `.ci/run`, or what prepares the machine.

use crate::step::Outcome;
use anyhow::{Context, Result};
use clap::CommandFactory as _;
use std::fs;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

/// Beginnings of what prepares a machine.
const PREPARING: [&str; 4] = [
    ".ci/run",
    "git config --global --add safe.directory ",
    "rustup component add ",
    "rustup target add ",
];
const STEP_KEYS: [&str; 8] = ["env", "id", "if", "name", "run", "shell", "uses", "with"];
const JOB_KEYS: [&str; 9] = [
    "container",
    "env",
    "if",
    "name",
    "needs",
    "permissions",
    "runs-on",
    "steps",
    "timeout-minutes",
];
const TOP_KEYS: [&str; 6] = ["concurrency", "env", "jobs", "name", "on", "permissions"];

/// Checks all of them.
pub(super) fn check(root: &Path) -> Result<Outcome> {
    let mut wrong = Vec::new();
    let mut files = 0;
    for folder in [".github", ".github/workflows", ".github/ISSUE_TEMPLATE"] {
        for entry in fs::read_dir(root.join(folder)).context(folder)? {
            let path = entry?.path();
            if path.extension().is_none_or(|kind| kind != "yml") {
                continue;
            }
            files += 1;
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .display()
                .to_string();
            let text = fs::read_to_string(&path)?;
            let found = match folder.ends_with("workflows") {
                true => workflow(&text),
                false => parse(&text).map_or_else(|why| vec![why], |_| Vec::new()),
            };
            wrong.extend(found.into_iter().map(|why| format!("{name}: {why}")));
        }
    }
    Ok(Outcome::of(wrong, format!("{files} files")))
}

fn parse(text: &str) -> Result<Yaml, String> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| error.to_string())?;
    match <[Yaml; 1]>::try_from(documents) {
        Ok([document]) if document.as_hash().is_some() => Ok(document),
        _ => Err("it isn't one table".to_owned()),
    }
}

/// What is wrong with a workflow.
fn workflow(text: &str) -> Vec<String> {
    let document = match parse(text) {
        Ok(document) => document,
        Err(why) => return vec![why],
    };
    let mut wrong = unknown("it", &document, &TOP_KEYS);
    for key in ["name", "on", "permissions", "jobs"] {
        if document[key].is_badvalue() {
            wrong.push(format!("it has no `{key}`"));
        }
    }
    for (name, job) in document["jobs"].as_hash().into_iter().flatten() {
        let name = name.as_str().unwrap_or("?");
        wrong.extend(unknown(name, job, &JOB_KEYS));
        if job["runs-on"].as_str().is_none() {
            wrong.push(format!("{name} has no machine"));
        }
        if job["timeout-minutes"].as_i64().is_none() {
            wrong.push(format!("{name} has no time limit"));
        }
        let steps = job["steps"].as_vec().map_or(&[][..], Vec::as_slice);
        if steps.is_empty() {
            wrong.push(format!("{name} does nothing"));
        }
        for step in steps {
            wrong.extend(unknown(name, step, &STEP_KEYS));
            wrong.extend(step_is_wrong(step).map(|why| format!("{name}: {why}")));
        }
    }
    wrong
}

/// Keys of a table that aren't among those that it may have.
fn unknown(what: &str, table: &Yaml, known: &[&str]) -> Vec<String> {
    let keys = table.as_hash().into_iter().flatten().map(|(key, _)| key);
    keys.filter_map(|key| {
        let key = key.as_str().unwrap_or("?");
        (!known.contains(&key)).then(|| format!("{what} has a key `{key}`"))
    })
    .collect()
}

fn step_is_wrong(step: &Yaml) -> Option<String> {
    match (step["uses"].as_str(), step["run"].as_str()) {
        (Some(action), None) => {
            let version = action.split_once('@').map(|(_, version)| version);
            let named = version.is_some_and(|v| v.starts_with('v') && v.len() > 1);
            (!named).then(|| format!("`{action}` is of no named version"))
        }
        (None, Some(line)) => is_not_thin(line.trim()),
        _ => Some("a step runs something or uses something".to_owned()),
    }
}

/// Rule W3.
fn is_not_thin(line: &str) -> Option<String> {
    if line.contains('\n') {
        return Some(format!("a script: {line}"));
    }
    if PREPARING.iter().any(|start| line.starts_with(start)) {
        return None;
    }
    let Some(rest) = line.strip_prefix("cargo xtask ") else {
        return Some(format!("`{line}` isn't `cargo xtask`"));
    };
    // What the shell puts in is a word.
    let words = rest
        .split_whitespace()
        .map(|word| match word.contains('$') {
            true => "word",
            false => word,
        });
    let words = std::iter::once("xtask").chain(words);
    let error = crate::Cli::command().try_get_matches_from(words).err()?;
    Some(format!("`{line}`: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name: a\non: push\npermissions: {}\njobs:\n  b:\n    runs-on: c\n    \
                        timeout-minutes: 1\n    steps:\n      - uses: d/e@v1\n      - run: cargo xtask check\n";

    #[test]
    fn a_good_workflow_is_fine_and_every_damage_is_found() {
        assert_eq!(workflow(GOOD), Vec::<String>::new());
        for (from, to, why) in [
            ("name: a", "nam: a", "has a key `nam`"),
            ("on: push\n", "", "no `on`"),
            ("timeout-minutes: 1", "timeout-minute: 1", "no time limit"),
            ("runs-on: c", "runs_on: c", "no machine"),
            ("d/e@v1", "d/e@main", "no named version"),
            ("d/e@v1", "d/e", "no named version"),
            ("cargo xtask check", "make", "isn't `cargo xtask`"),
            ("cargo xtask check", "cargo xtask chek", "unrecognized"),
            ("cargo xtask check", "cargo xtask package", "subcommand"),
            ("- run:", "- rum:", "has a key `rum`"),
            ("jobs:", "jobs", "it isn't one table"),
        ] {
            let found = workflow(&GOOD.replace(from, to)).join("\n");
            assert!(
                !found.is_empty() && (found.contains(why) || to == "jobs"),
                "{to}: {found}"
            );
        }
    }
}
