//! illumos' package: `pkg/ips/driver-network-opte.p5m` with what was built.
//!
//! The module is cross-built on Linux and natively on illumos, and so is
//! `opteadm` (`illumos`). A tool that was linked on Linux has never been
//! started, and it has no probes of its own; the module's are all there.

use super::manifest::{self, Action};
use super::p5p::{self, Package};
use super::{VERSION, folder, time};
use crate::step::Outcome;
use crate::workspace::output;
use crate::{illumos, install, kmod};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const MANIFEST: &str = "pkg/ips/driver-network-opte.p5m";
/// Who reads archives back.
const READER: &str = "pkg/read_p5p.py";
/// Where scripts are installed.
const SCRIPTS: &str = "usr/lib/opte/dtrace";

/// Builds what goes in and makes the archive.
pub(super) fn make(root: &Path) -> Result<PathBuf> {
    for variant in kmod::Variant::ALL {
        println!("{}", kmod::build(root, variant)?.display());
    }
    println!("{}", illumos::build(root)?.display());
    if cfg!(not(target_os = "illumos")) {
        println!("opteadm was linked here and has never been started; it has no USDT probes");
    }
    pack(root)
}

/// Makes the archive of what is built.
fn pack(root: &Path) -> Result<PathBuf> {
    let text = source(root)?;
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("opte.p5m"), &text)?;
    let actions = manifest::parse(&text, &[])?;
    complete(root, &actions)?;
    let fmri = actions
        .iter()
        .find(|action| action.get("name") == Some("pkg.fmri"))
        .and_then(|action| action.get("value"));
    let (_, version) = fmri
        .and_then(|fmri| fmri.split_once('@'))
        .context("no pkg.fmri")?;
    let package = Package {
        publisher: "opte",
        name: "driver/network/opte",
        version: version.to_owned(),
        actions,
    };
    let archive = p5p::archive(&package, |file| {
        fs::read(root.join(file)).with_context(|| file.to_owned())
    })?;
    let path = folder.join(format!("opte-{VERSION}.p5p"));
    fs::write(&path, archive)?;
    Ok(path)
}

/// The manifest with the version, the time and a line for each script.
fn source(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join(MANIFEST)).context(MANIFEST)?;
    let scripts: Vec<String> = scripts(root)?
        .into_iter()
        .map(|(from, to)| format!("file {from} path={to} group=bin owner=root mode=0444"))
        .collect();
    Ok(text
        .replace("$(VERSION)", VERSION)
        .replace("$(TIME)", &stamp(time(root)))
        .replace("$(SCRIPTS)", &scripts.join("\n")))
}

/// Scripts of the sources, and where they are installed. Those for bpftrace
/// are for Linux.
fn scripts(root: &Path) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for folder in ["", "lib/"] {
        for entry in fs::read_dir(root.join("dtrace").join(folder))? {
            let name = entry?.file_name();
            let name = name.to_str().context("a script's name isn't UTF-8")?;
            if name.ends_with(".d") {
                all.push((
                    format!("dtrace/{folder}{name}"),
                    format!("{SCRIPTS}/{folder}{name}"),
                ));
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Whether everything that was built for illumos is installed.
fn complete(root: &Path, actions: &[Action]) -> Result<()> {
    let packed: BTreeSet<&str> = actions
        .iter()
        .filter_map(|a| a.payload.as_deref())
        .collect();
    let mut wanted: BTreeSet<String> = scripts(root)?.into_iter().map(|(from, _)| from).collect();
    // xded is for Linux.
    let pages = crate::manual::PAGES
        .iter()
        .filter(|page| **page != "xded.8");
    wanted.extend(pages.map(|page| format!("pkg/man/{page}")));
    for entry in fs::read_dir(root.join("pkg/ips"))? {
        let name = entry?.file_name();
        wanted.insert(format!("pkg/ips/{}", name.to_string_lossy()));
    }
    wanted.remove(MANIFEST);
    let missing: Vec<_> = wanted
        .iter()
        .filter(|file| !packed.contains(file.as_str()))
        .collect();
    ensure!(
        missing.is_empty(),
        "{MANIFEST} installs none of {missing:?}"
    );
    Ok(())
}

/// A time as packages have it, as `20260131T235959Z`.
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years from March on, so that a leap day is the last one of its year.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let of_cycle = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_cycle + of_cycle / 4 - of_cycle / 100);
    let shifted = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = of_cycle + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Makes the archive of what the steps before this one built, and has it read
/// back; a damaged one must be refused.
pub(super) fn step(root: &Path) -> Result<Outcome> {
    if let Some(why) = kmod::can_build()? {
        return Ok(Outcome::skip(why));
    }
    let Some(python) = install::find("python3") else {
        return Ok(Outcome::skip(
            "python3, which reads archives back, isn't installed",
        ));
    };
    for variant in kmod::Variant::ALL {
        if !kmod::built(root, variant).is_file() {
            kmod::build(root, variant)?;
        }
    }
    if let Some(why) = illumos::missing()? {
        return Ok(Outcome::skip(why));
    }
    illumos::build(root)?;
    let archive = pack(root)?;
    let read = |archive: &Path| {
        let mut reader = Command::new(&python);
        reader.arg(root.join(READER)).arg(archive);
        reader.arg(folder(root).join("opte.p5m"));
        output(reader.arg(root).arg(VERSION))
    };
    let told = read(&archive)?;
    let note = told.lines().last().unwrap_or_default().to_owned();
    let mut bytes = fs::read(&archive)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = folder(root).join("damaged.p5p");
    fs::write(&damaged, &bytes)?;
    ensure!(
        read(&damaged).is_err(),
        "a damaged archive is taken for a good one"
    );
    let kib = bytes.len() / 1024;
    Ok(Outcome::pass(format!("{kib} KiB: {note}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_packages_have_them() {
        for (seconds, text) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_795_316_486, "20261122T030126Z"),
        ] {
            assert_eq!(stamp(seconds), text);
        }
    }
}
