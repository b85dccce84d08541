//! What both packages have: scripts, examples.

use super::{Content, Item};
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Every file of a folder that fits, by name, as items of a package's folder.
pub(super) fn files(
    from: &Path,
    to: &str,
    mode: u32,
    fits: impl Fn(&str) -> bool,
) -> Result<Vec<Item>> {
    let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| fits(name) && from.join(name).is_file())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| file(&from.join(&name), format!("{to}/{name}"), mode))
        .collect()
}

/// A file as an item.
pub(super) fn file(from: &Path, path: String, mode: u32) -> Result<Item> {
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    Ok(Item {
        path,
        mode,
        content: Content::File(bytes),
    })
}

/// Scripts and what they need, below `to`.
pub(super) fn scripts(root: &Path, to: &str) -> Result<Vec<Item>> {
    let folder = root.join("dtrace");
    let mut items = files(&folder, to, 0o644, |name| {
        name.ends_with(".d") || name.ends_with(".bt")
    })?;
    let lib = format!("{to}/lib");
    items.extend(files(&folder.join("lib"), &lib, 0o644, |_| true)?);
    items.extend(files(&folder, to, 0o755, |name| name.ends_with(".sh"))?);
    Ok(items)
}
