//! Runs `xded replay` on a case.

use super::{Case, capture};
use crate::script;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keys every random choice of a case.
const SEED: &str = "1";

/// How a replay ended.
pub(super) struct Replayed {
    pub(super) success: bool,
    /// What it printed as errors.
    pub(super) error: String,
}

/// Compiles the case's frames and replays them.
pub(super) fn run(driver: &Path, case: &Case) -> Result<Replayed> {
    let words = words(driver, case)?;
    let (program, arguments) = words.split_first().context("no program")?;
    let done = Command::new(program)
        .args(arguments)
        .output()
        .context("cannot run xded")?;
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(
        done.status.code().is_some_and(|code| code != 101),
        "xded crashed: {}\n{error}",
        done.status
    );
    Ok(Replayed {
        success: done.status.success(),
        error,
    })
}

/// The command that replays a case, whose frames are compiled now.
pub(super) fn words(driver: &Path, case: &Case) -> Result<Vec<OsString>> {
    if case.work.exists() {
        fs::remove_dir_all(&case.work).context("cannot clear the case's outputs")?;
    }
    fs::create_dir_all(case.out())?;
    let mut words = vec![driver.as_os_str().to_owned(), "replay".into()];
    words.extend(["--setup".into(), case.setup().into_os_string()]);
    words.extend(["--out".into(), case.out().into_os_string()]);
    words.extend(["--seed".into(), SEED.into()]);
    words.extend(arguments(case)?.into_iter().map(OsString::from));
    words.extend(inputs(case)?);
    Ok(words)
}

/// More arguments of the replay, if the case has any: the words of
/// `arguments.txt`.
fn arguments(case: &Case) -> Result<Vec<String>> {
    let path = case.dir.join("arguments.txt");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).context("arguments.txt")?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The arguments `tx:PORT=FILE` and `rx:LINK=FILE`: captures that are in the
/// case, and those that its script is compiled to.
fn inputs(case: &Case) -> Result<Vec<OsString>> {
    let mut inputs: BTreeMap<(String, String), PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(&case.dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let is_capture = path.extension().is_some_and(|e| e == "pcap");
        if let Some((way, name)) = stem.filter(|_| is_capture).and_then(|s| s.split_once('-')) {
            inputs.insert((way.to_owned(), name.to_owned()), path);
        }
    }
    let script = case.dir.join("frames.txt");
    if script.is_file() {
        let text = fs::read_to_string(&script)?;
        let frames = script::compile(&text, &case.scene()?).context("frames.txt")?;
        for (place, path) in capture::write_inputs(&frames, &case.work.join("in"))? {
            let (way, name) = place.parts();
            let old = inputs.insert((way.to_owned(), name.to_owned()), path);
            ensure!(
                old.is_none(),
                "{way}-{name}.pcap and frames.txt both feed {name}"
            );
        }
    }
    if inputs.is_empty() {
        // A setup that is refused needs no frames; `xded replay` needs a file.
        let path = case.work.join("none.pcap");
        fs::write(&path, capture::pcap(&[])?)?;
        inputs.insert(("tx".to_owned(), "none".to_owned()), path);
    }
    Ok(inputs
        .into_iter()
        .map(|((way, name), path)| {
            let mut argument = OsString::from(format!("{way}:{name}="));
            argument.push(path);
            argument
        })
        .collect())
}
