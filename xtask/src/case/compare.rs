//! Compares what a replay wrote with what was expected, and says where the
//! first difference is in words that help.

use super::capture;
use super::replay::Replayed;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Differences of one file that are shown.
const SHOWN_MAX: usize = 12;
/// Bytes of a frame on one line.
const ROW: usize = 16;

/// Names of the files in a folder, sorted.
pub(super) fn files(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let name = entry?.file_name();
        names.insert(name.to_str().context("a name isn't UTF-8")?.to_owned());
    }
    Ok(names)
}

/// Rule G1: every file of both folders is in both, byte for byte.
pub(super) fn folders(expected: &Path, found: &Path) -> Result<()> {
    let (want, have) = (files(expected)?, files(found)?);
    let mut differences = Vec::new();
    for name in want.difference(&have) {
        differences.push(format!("{name}: was expected and isn't there"));
    }
    for name in have.difference(&want) {
        differences.push(format!("{name}: isn't expected"));
    }
    for name in want.intersection(&have) {
        let (want, have) = (fs::read(expected.join(name))?, fs::read(found.join(name))?);
        differences.extend(file(name, &want, &have));
    }
    ensure!(
        differences.is_empty(),
        "{}\noutputs are in {}; if they are right, run `cargo xtask bless` and review",
        differences.join("\n"),
        found.display()
    );
    Ok(())
}

/// A refused setup: the driver fails and its last words are `sentence`.
pub(super) fn refusal(sentence: &str, replayed: &Replayed) -> Result<()> {
    if replayed.success {
        bail!("the setup is accepted, not refused with `{sentence}`");
    }
    let error = replayed.error.trim();
    ensure!(
        !sentence.is_empty(),
        "refused.txt is empty: run `cargo xtask bless` and review what it writes"
    );
    ensure!(
        error.ends_with(sentence),
        "refused with other words\n- {sentence}\n+ {error}"
    );
    Ok(())
}

/// What differs in one file, if anything does.
pub(super) fn file(name: &str, want: &[u8], have: &[u8]) -> Option<String> {
    if want == have {
        return None;
    }
    let detail = match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some("pcapng") => captures(want, have),
        Some("json") => counters(want, have),
        _ => Ok(lines(want, have)),
    };
    let detail = detail.unwrap_or_else(|error| format!("cannot be compared: {error:#}"));
    Some(format!("{name}: {}", detail.trim_end()))
}

/// The first block that differs, a frame as rows of bytes.
fn captures(want: &[u8], have: &[u8]) -> Result<String> {
    let (want, have) = (capture::blocks(want)?, capture::blocks(have)?);
    let frames = |blocks: &[(String, Vec<u8>)]| blocks.iter().filter(|b| !b.1.is_empty()).count();
    let mut out = format!("{} frames, {} expected\n", frames(&have), frames(&want));
    let at = (0..).find(|at| want.get(*at) != have.get(*at)).unwrap_or(0);
    let number = frames(want.get(..at).unwrap_or(&want)) + 1;
    out.push_str(&format!("first difference at frame {number}\n"));
    let nothing = (String::from("nothing"), Vec::new());
    let (want, have) = (
        want.get(at).unwrap_or(&nothing),
        have.get(at).unwrap_or(&nothing),
    );
    if want.0 != have.0 {
        out.push_str(&format!("- {}\n+ {}\n", want.0, have.0));
    }
    out.push_str(&bytes(&want.1, &have.1));
    Ok(out)
}

/// Rows of two frames: one where they agree, two where they don't.
fn bytes(want: &[u8], have: &[u8]) -> String {
    let row = |bytes: &[u8], at: usize| -> String {
        let rest = bytes.get(at..).unwrap_or_default();
        let row = rest.get(..ROW).unwrap_or(rest);
        row.iter().map(|b| format!(" {b:02x}")).collect()
    };
    let mut out = String::new();
    for at in (0..want.len().max(have.len())).step_by(ROW) {
        let (want, have) = (row(want, at), row(have, at));
        if want == have {
            out.push_str(&format!("  {at:04x}{want}\n"));
        } else {
            out.push_str(&format!("- {at:04x}{want}\n+ {at:04x}{have}\n"));
        }
    }
    out
}

/// Every counter that moved otherwise, by its path.
fn counters(want: &[u8], have: &[u8]) -> Result<String> {
    let (mut want_flat, mut have_flat) = (BTreeMap::new(), BTreeMap::new());
    flatten("", &serde_json::from_slice(want)?, &mut want_flat);
    flatten("", &serde_json::from_slice(have)?, &mut have_flat);
    let keys: BTreeSet<&String> = want_flat.keys().chain(have_flat.keys()).collect();
    let text = |value: Option<&String>| value.map_or("nothing", String::as_str).to_owned();
    let changes: Vec<String> = keys
        .into_iter()
        .filter(|key| want_flat.get(*key) != have_flat.get(*key))
        .map(|key| {
            let (want, have) = (text(want_flat.get(key)), text(have_flat.get(key)));
            format!("{key}: {have}, expected {want}")
        })
        .collect();
    Ok(if changes.is_empty() {
        format!("differs in layout only\n{}", lines(want, have))
    } else {
        shown(&changes)
    })
}

fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, out);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path}[{index}]"), value, out);
            }
        }
        leaf => {
            out.insert(path.to_owned(), leaf.to_string());
        }
    }
}

/// Lines that differ, by their number.
fn lines(want: &[u8], have: &[u8]) -> String {
    let (want, have) = (String::from_utf8_lossy(want), String::from_utf8_lossy(have));
    let (want, have): (Vec<_>, Vec<_>) = (want.lines().collect(), have.lines().collect());
    let mut changes = Vec::new();
    for at in 0..want.len().max(have.len()) {
        let (want, have) = (want.get(at), have.get(at));
        if want != have {
            let line = |line: Option<&&str>| line.map_or("nothing", |line| *line).to_owned();
            changes.push(format!(
                "line {}\n- {}\n+ {}",
                at + 1,
                line(want),
                line(have)
            ));
        }
    }
    if changes.is_empty() {
        return "differs in line ends only".to_owned();
    }
    shown(&changes)
}

fn shown(changes: &[String]) -> String {
    let mut out = format!("{} differences\n", changes.len());
    for change in changes.iter().take(SHOWN_MAX) {
        out.push_str(change);
        out.push('\n');
    }
    if changes.len() > SHOWN_MAX {
        out.push_str("and more\n");
    }
    out
}
