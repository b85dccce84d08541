//! `cargo xtask tidy`: the house rules that a machine can check.
//!
//! Terms     source     a tracked file: its path and its bytes
//!           finding    a place where a rule is broken
//!           exception  a file or function in `xtask/tidy.toml` that may be
//!                      longer than the rule says, and how long exactly
//!
//! Flow      workspace::files -> Source -> every rule of `text` and `rust`
//!           -> exception::settle -> what is printed
//!
//! Rules     T1  a rule looks at one file and has no state.
//!           T2  the list of exceptions only shrinks: one that allows more
//!               than is needed is itself a finding.

mod exception;
mod rust;
#[cfg(test)]
mod tests;
mod text;

use crate::step::Outcome;
use crate::workspace;
use anyhow::{Context, Result};
use exception::Exceptions;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// What `tidy` is told.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// Checks every tracked file and prints what it finds.
pub(crate) fn run(Args {}: Args) -> Result<ExitCode> {
    let outcome = check(&workspace::root())?;
    for finding in &outcome.failures {
        println!("{finding}");
    }
    println!("{}: {} findings", outcome.note, outcome.failures.len());
    Ok(if outcome.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Checks every tracked file.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let files = workspace::files(root)?;
    let mut findings = Vec::new();
    for path in &files {
        let bytes = std::fs::read(root.join(path)).with_context(|| path.clone())?;
        findings.extend(inspect(&Source {
            path,
            bytes: &bytes,
        }));
    }
    // Without a list there are no exceptions.
    let list = std::fs::read_to_string(root.join(exception::FILE)).unwrap_or_default();
    let exceptions: Exceptions = toml::from_str(&list).context(exception::FILE)?;
    let findings = exception::settle(findings, &exceptions);
    Ok(Outcome::of(
        findings.iter().map(Finding::to_string).collect(),
        format!("{} files", files.len()),
    ))
}

/// A tracked file.
struct Source<'a> {
    /// Relative to the repository's root, with `/`.
    path: &'a str,
    bytes: &'a [u8],
}

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// From one; zero for the file as a whole.
    line: usize,
    what: Broken,
}

/// Which rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Broken {
    /// A file or function is longer than it may be: only these have exceptions.
    TooLong {
        /// Path, or `path::function`.
        object: String,
        lines: usize,
        cap: usize,
    },
    /// Any other rule, as a sentence.
    Rule(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path)?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        match &self.what {
            Broken::TooLong { object, lines, cap } => {
                write!(f, " {object} has {lines} lines; {cap} is the limit")
            }
            Broken::Rule(text) => write!(f, " {text}"),
        }
    }
}

impl Source<'_> {
    fn finding(&self, line: usize, rule: impl Into<String>) -> Finding {
        Finding {
            path: self.path.to_owned(),
            line,
            what: Broken::Rule(rule.into()),
        }
    }

    fn extension(&self) -> &str {
        Path::new(self.path)
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
    }
}

/// Everything that is wrong with one file.
fn inspect(source: &Source<'_>) -> Vec<Finding> {
    let mut findings = text::size(source);
    match str::from_utf8(source.bytes) {
        Ok(text) if !source.bytes.contains(&0) => {
            findings.extend(text::inspect(source, text));
            if source.extension() == "rs" {
                findings.extend(rust::inspect(source, text));
            }
        }
        _ => findings.extend(text::binary(source)),
    }
    findings
}
