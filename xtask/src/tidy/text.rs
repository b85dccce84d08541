//! Rules about any file: size, binaries, white space, paths of a machine.

use super::{Finding, Source};

/// Bytes that a tracked file may have.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// Bytes that a tracked capture may have.
const CAPTURE_BYTES_MAX: usize = 64 * 1024;

/// Words that name a place on somebody's machine. They are put together here
/// so that this file doesn't break its own rule.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("sha", "red/"),
];

/// Files whose text isn't ours to change.
const VERBATIM: &[&str] = &["Cargo.lock", "LICENSE"];

/// No file is large.
pub(super) fn size(source: &Source<'_>) -> Vec<Finding> {
    let len = source.bytes.len();
    if len <= FILE_BYTES_MAX {
        return Vec::new();
    }
    vec![source.finding(0, format!("has {len} bytes; {FILE_BYTES_MAX} is the limit"))]
}

/// A binary file is a small capture of a test, or isn't tracked.
pub(super) fn binary(source: &Source<'_>) -> Option<Finding> {
    let capture = matches!(source.extension(), "pcap" | "pcapng");
    let in_tests = source.path.split('/').any(|part| part == "tests");
    if !(capture && in_tests) {
        return Some(source.finding(0, "is binary: only captures below a `tests` folder may be"));
    }
    let len = source.bytes.len();
    (len > CAPTURE_BYTES_MAX).then(|| {
        source.finding(
            0,
            format!("has {len} bytes; a capture may have {CAPTURE_BYTES_MAX}"),
        )
    })
}

/// White space and paths.
pub(super) fn inspect(source: &Source<'_>, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if VERBATIM.contains(&source.path) {
        return findings;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(source.finding(0, "doesn't end with a newline"));
    }
    let no_tabs = matches!(source.extension(), "md" | "toml" | "txt" | "yml" | "yaml");
    for (number, line) in (1..).zip(text.split('\n')) {
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(source.finding(number, "white space at the end of the line"));
        }
        if no_tabs && line.contains('\t') {
            findings.push(source.finding(number, "a tab; this kind of file is indented by spaces"));
        }
        for path in MACHINE_PATHS {
            if names(line, path) {
                findings.push(source.finding(
                    number,
                    format!("`{path}` names a place that others don't have"),
                ));
            }
        }
    }
    findings
}

/// Whether `line` has `path` where a path begins, not as the tail of another.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line.get(..at).and_then(|s| s.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}'))
    })
}
