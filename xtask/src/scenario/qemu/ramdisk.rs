//! The virtual machine's initial ramdisk: an archive of the kind that the
//! kernel unpacks (its `Documentation/driver-api/early-userspace/buffer-format`),
//! with all that the machine has.

use crate::install;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The machine's scripts and programs, and where they are there.
const SCRIPTS: [(&str, &str); 2] = [
    ("init", include_str!("init.sh")),
    ("told", include_str!("told.sh")),
];
const PROGRAMS: [&str; 2] = ["busybox", "udhcpc6"];

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;

/// Writes it.
///
/// # Errors
///
/// When a program or module isn't there.
pub(super) fn write(to: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for (name, text) in SCRIPTS {
        archive.file(name, text.as_bytes());
    }
    let mut libraries = BTreeSet::new();
    for name in PROGRAMS {
        let program = install::find(name).with_context(|| format!("no {name}"))?;
        archive.file(&format!("bin/{name}"), &fs::read(&program)?);
        libraries.extend(libraries_of(&program)?);
    }
    for library in libraries {
        let name = library.strip_prefix("/")?.display().to_string();
        archive.file(&name, &fs::read(&library)?);
    }
    let mut order = String::new();
    for module in install::kernel::modules()? {
        let name = module.file_name().and_then(|name| name.to_str());
        let name = name.context("a module without a name")?;
        archive.file(&format!("modules/{name}"), &fs::read(&module)?);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes());
    Ok(fs::write(to, archive.finish())?)
}

/// What a program is linked with, its loader included.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let done = Command::new("ldd").arg(program).output();
    let done = done.context("can't run ldd")?;
    let told = String::from_utf8(done.stdout)?;
    let words = told.split_whitespace().filter(|word| word.starts_with('/'));
    let found: Vec<PathBuf> = words.map(PathBuf::from).collect();
    let is_static = told.contains("not a dynamic") || told.contains("statically linked");
    ensure!(!found.is_empty() || is_static, "ldd says: {told}");
    Ok(found)
}

/// An archive in the making: for each entry a header of ASCII, its name and
/// what is in it, each to a multiple of four bytes.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: BTreeSet<String>,
}

impl Archive {
    /// Adds a file, and the folders that it is in.
    fn file(&mut self, name: &str, contents: &[u8]) {
        for (at, _) in name.match_indices('/') {
            let folder = name.get(..at).unwrap_or_default();
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, &[]);
            }
        }
        self.entry(name, FILE, contents);
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries += 1;
        let (len, name_len) = (contents.len(), name.len() + 1);
        let number = self.entries;
        // Number, mode, owner, group, links, time, length, devices, length of
        // the name, and a checksum that nobody looks at.
        let header = format!(
            "070701{number:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{len:08x}\
             {0:08x}{0:08x}{0:08x}{0:08x}{name_len:08x}{0:08x}",
            0, 1
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(contents);
        self.align();
    }

    fn align(&mut self) {
        let len = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(len, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_begins_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.file("a/b/one", b"12345");
        archive.file("a/b/two", b"");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let starts: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(starts.len(), 5, "two folders, two files and the end");
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert!(text.contains("0000000500000000"), "the length of the first");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text:?}");
    }
}
