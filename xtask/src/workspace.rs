//! Where things are: the repository's root and what git tracks in it.

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
pub(crate) fn program(root: &Path, package: &str) -> Result<PathBuf> {
    let done = Command::new("cargo")
        .args(["build", "--message-format=json", "--package", package])
        .current_dir(root)
        .output()
        .context("cannot run cargo")?;
    if !done.status.success() {
        bail!(
            "{package} doesn't build:\n{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    String::from_utf8(done.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
        .context("cargo names no executable")
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
