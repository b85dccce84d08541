//! The keys that a setup file may have, as its reader knows them.

use anyhow::{Context, Result};
use opte_ioctl::setup_file;

/// A key that no table has.
const NOBODY: &str = "nobody";
/// A port with all that it must have.
const PORT: &str = "[[port]]\nname = \"g1\"\nmac = \"A8:40:25:F0:00:01\"\nvni = 1\n";

/// Beginnings of a file: what follows stands in a table of its own.
fn tables() -> Vec<(&'static str, String)> {
    let port = |table: &str| format!("{PORT}[port.{table}]\n");
    vec![
        ("the file", String::new()),
        ("[host]", "[host]\n".to_owned()),
        ("[[address_set]]", "[[address_set]]\n".to_owned()),
        ("[underlay]", "[underlay]\n".to_owned()),
        ("[[v2p]]", "[[v2p]]\n".to_owned()),
        ("[[v2b]]", "[[v2b]]\n".to_owned()),
        ("[multicast]", "[multicast]\n".to_owned()),
        ("[[port]]", PORT.to_owned()),
        ("[port.external]", port("external")),
        ("[port.external.nat]", port("external.nat")),
        ("[port.dhcp]", port("dhcp")),
        ("[port.advertise]", port("advertise")),
        ("[port.options]", port("options")),
    ]
}

/// What the description of the setup file lacks.
pub(super) fn missing(page: &str) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for (table, start) in tables() {
        for key in keys(&format!("{start}{NOBODY} = 1\n")).context(table)? {
            let named = [format!("`{key}`"), format!("[{key}]"), format!("[[{key}]]")];
            let is_set = page
                .lines()
                .any(|line| line.starts_with(&format!("{key} = ")));
            let is_table = page.contains(&format!(".{key}")) || page.contains(&format!("[{key}."));
            if !is_set && !is_table && !named.iter().any(|name| page.contains(name)) {
                failures.push(format!(
                    "docs/reference/setup-file.md: {table} may have `{key}`"
                ));
            }
        }
    }
    Ok(failures)
}

/// The keys that the reader names when it meets one that it doesn't know.
fn keys(text: &str) -> Result<Vec<String>> {
    let why = setup_file::parse(text).err().context("nobody is known")?;
    let (_, list) = why
        .split_once("expected ")
        .with_context(|| format!("no list of keys: {why}"))?;
    let keys: Vec<String> = list
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    anyhow::ensure!(!keys.is_empty(), "no keys: {why}");
    Ok(keys)
}
