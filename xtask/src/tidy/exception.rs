//! The files and functions that may be longer than the rules say, for now.

use super::{Broken, Finding};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where the list is.
pub(super) const FILE: &str = "xtask/tidy.toml";

/// The list: an object and the lines that it has today.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exceptions {
    /// Path to lines.
    pub(super) files: BTreeMap<String, usize>,
    /// `path::function` to lines.
    pub(super) functions: BTreeMap<String, usize>,
}

impl Exceptions {
    fn get(&self, object: &str) -> Option<usize> {
        self.files
            .get(object)
            .or_else(|| self.functions.get(object))
            .copied()
    }

    fn objects(&self) -> impl Iterator<Item = &String> {
        self.files.keys().chain(self.functions.keys())
    }
}

/// Takes away the findings that an exception covers, and adds one for each
/// exception that covers nothing or more than is there.
pub(super) fn settle(findings: Vec<Finding>, exceptions: &Exceptions) -> Vec<Finding> {
    let mut used = Vec::new();
    let mut left = Vec::new();
    let about_list = |text: String| Finding {
        path: FILE.to_owned(),
        line: 0,
        what: Broken::Rule(text),
    };
    for finding in findings {
        let Broken::TooLong { object, lines, .. } = &finding.what else {
            left.push(finding);
            continue;
        };
        used.push(object.clone());
        match exceptions.get(object) {
            Some(allowed) if allowed == *lines => {}
            Some(allowed) if allowed > *lines => left.push(about_list(format!(
                "`{object}` is down to {lines} lines: shrink its entry from {allowed}"
            ))),
            _ => left.push(finding),
        }
    }
    for object in exceptions.objects() {
        if !used.contains(object) {
            left.push(about_list(format!(
                "`{object}` is no longer too long: remove its entry"
            )));
        }
    }
    left
}
