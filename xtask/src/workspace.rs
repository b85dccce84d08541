//! Where things are: the repository's root and what git tracks in it; and how
//! programs are run there.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
///
/// Cargo tells it at run time; the path compiled in is for a binary that is
/// started by hand.
pub(crate) fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Builds the program of a package and says where it is.
///
/// With the whole workspace's features, as the tests are built: then cargo
/// takes what is there. With the package's own it would put another program in
/// its place, while the other lane runs it.
pub(crate) fn program(root: &Path, package: &str) -> Result<PathBuf> {
    one(root, &["build", "--workspace", "--bin", package])
}

/// Has cargo build one program, and says where it is.
pub(crate) fn one(root: &Path, words: &[&str]) -> Result<PathBuf> {
    let last = build(root, words)?.into_iter().next_back();
    Ok(last.context("cargo names no executable")?.1)
}

/// Builds all tests and says where the program with the tests `name` is.
pub(crate) fn tests(root: &Path, name: &str) -> Result<PathBuf> {
    let built = build(root, &["test", "--workspace", "--no-run"])?;
    let found = built.into_iter().find(|(target, _)| target == name);
    Ok(found
        .with_context(|| format!("there are no tests {name}"))?
        .1)
}

/// What cargo builds: targets with their programs.
fn build(root: &Path, words: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let done = Command::new("cargo")
        .args(words)
        .arg("--message-format=json")
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    if !done.status.success() {
        bail!(
            "cargo {} fails:\n{}",
            words.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    let messages = String::from_utf8(done.stdout)?;
    let messages = messages.lines();
    let messages = messages.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = |message: serde_json::Value| {
        let name = message.pointer("/target/name")?.as_str()?.to_owned();
        Some((name, message.get("executable")?.as_str()?.into()))
    };
    Ok(messages.filter_map(program).collect())
}

/// Every file that git tracks or would track, relative to the root, sorted.
///
/// New files count before they are added, so a check says before the commit
/// what it would say after it.
pub(crate) fn files(root: &Path) -> Result<Vec<String>> {
    let list = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !list.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&list.stderr));
    }
    let text = String::from_utf8(list.stdout).context("a file name isn't UTF-8")?;
    let mut files: Vec<String> = text
        .split_terminator('\0')
        // A file deleted in the work tree but not in the index yet.
        .filter(|file| root.join(file).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// Runs a program and returns what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let done = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let words: Vec<_> = command.get_args().map(|w| w.to_string_lossy()).collect();
    anyhow::ensure!(
        done.status.success(),
        "{program} {}: {}\n{}{}",
        words.join(" "),
        done.status,
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
