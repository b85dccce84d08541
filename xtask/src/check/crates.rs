//! Holds the table of crates in `ARCHITECTURE.md` to what the workspace is:
//! each crate has its folder there, and what it needs of the others.

use super::metadata::{Metadata, Package};
use crate::step::Outcome;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const PAGE: &str = "ARCHITECTURE.md";
/// Of all tables there, this one has such lines.
const HEADER: &str = "| folder | what | needs of these";

/// Folders, without a slash at the end, and the names of crates.
type Table = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check(root: &Path) -> Result<Outcome> {
    let page = fs::read_to_string(root.join(PAGE)).context(PAGE)?;
    let told = table(&page);
    let is = workspace(&Metadata::read(root)?);
    let failures = compare(&told, &is);
    Ok(Outcome::of(failures, format!("{} crates", is.len())))
}

/// What the page says.
fn table(page: &str) -> Table {
    let lines = page.lines().skip_while(|line| !line.starts_with(HEADER));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let needs = cells.last().map(|cell| names(cell)).unwrap_or_default();
        let folders = cells.first().copied().unwrap_or_default();
        let folders = folders.split('`').skip(1).step_by(2);
        folders
            .map(|folder| (folder.trim_end_matches('/').to_owned(), needs.clone()))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The crates that a cell names: without what is said of them in parentheses,
/// or of where they are needed, and without the product's name in front.
fn names(cell: &str) -> BTreeSet<String> {
    let parts = cell.split([',', ';']).map(|part| {
        let name = part.split('(').next().unwrap_or_default().trim();
        name.split(' ').next_back().unwrap_or_default().to_owned()
    });
    parts.filter(|name| name != "–").collect()
}

/// What `cargo` says.
fn workspace(metadata: &Metadata) -> Table {
    let root = Path::new(&metadata.workspace_root);
    let ours = metadata.packages.iter().filter(|p| p.source.is_none());
    ours.filter_map(|package| {
        let folder = Path::new(&package.manifest_path).parent()?;
        let folder = folder.strip_prefix(root).ok()?.to_str()?.to_owned();
        Some((folder, needs(package)))
    })
    .collect()
}

/// What a crate needs of the workspace, but for its tests and benchmarks.
fn needs(package: &Package) -> BTreeSet<String> {
    let ours = package.dependencies.iter();
    let ours = ours.filter(|on| on.path.is_some() && on.kind.as_deref() != Some("dev"));
    ours.map(|on| on.name.trim_start_matches("opte-").to_owned())
        .collect()
}

fn compare(told: &Table, is: &Table) -> Vec<String> {
    let mut failures = Vec::new();
    for (folder, needs) in is {
        match told.get(folder) {
            None => failures.push(format!("{PAGE}: no crate `{folder}/` in the table")),
            Some(told) if told != needs => {
                failures.push(format!("{PAGE}: `{folder}/` needs {needs:?}, not {told:?}"))
            }
            Some(_) => {}
        }
    }
    let gone = told.keys().filter(|folder| !is.contains_key(*folder));
    failures.extend(gone.map(|folder| format!("{PAGE}: `{folder}/` is no crate")));
    failures
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# A\n\n| folder | what | needs of these, besides |\n| --- | --- | --- |\n\
                         | `a/`, `sys/b/` | x | – |\n| `c/` | y, z | core (data), a; on illumos b |\n\n\
                         | `d/` | x | – |\n";

    fn entry(folder: &str, needs: &[&str]) -> (String, BTreeSet<String>) {
        let needs = needs.iter().map(|name| (*name).to_owned()).collect();
        (folder.to_owned(), needs)
    }

    #[test]
    fn a_table_says_folders_and_crates() {
        let expected = Table::from([
            entry("a", &[]),
            entry("sys/b", &[]),
            entry("c", &["core", "a", "b"]),
        ]);
        assert_eq!(table(TABLE), expected);
        assert_eq!(compare(&expected, &expected), Vec::<String>::new());
    }

    #[test]
    fn what_is_missing_wrong_or_gone_is_told() {
        let is = Table::from([entry("a", &["core"]), entry("sys/b", &[]), entry("e", &[])]);
        let failures = compare(&table(TABLE), &is);
        assert_eq!(
            failures,
            [
                "ARCHITECTURE.md: `a/` needs {\"core\"}, not {}",
                "ARCHITECTURE.md: no crate `e/` in the table",
                "ARCHITECTURE.md: `c/` is no crate",
            ]
        );
    }
}
