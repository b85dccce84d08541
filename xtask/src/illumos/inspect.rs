//! Whether a program is one that illumos' loader can start.

use super::sysroot;
use anyhow::{Context, Result};
use object::elf;
use object::read::elf::{Dyn as _, ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};
use std::collections::BTreeSet;

/// Where illumos has its loader.
const LOADER: &[u8] = b"/lib/amd64/ld.so.1\0";

/// What is wrong with a program.
pub(super) fn program(bytes: &[u8]) -> Result<Vec<String>> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes).context("not an ELF program")?;
    let little = Endianness::Little;
    let header = file.elf_header();
    let mut wrong = Vec::new();
    if header.e_machine(little) != elf::EM_X86_64 {
        wrong.push("it isn't for amd64".to_owned());
    }
    let segments = header.program_headers(little, bytes)?;
    let loader = segments.iter().find(|s| s.p_type(little) == elf::PT_INTERP);
    if loader.and_then(|s| s.data(little, bytes).ok()) != Some(LOADER) {
        wrong.push("it doesn't ask for illumos' loader".to_owned());
    }
    // Programs find their thread's variables by calls there.
    if segments.iter().any(|s| s.p_type(little) == elf::PT_TLS) {
        wrong.push("it has a segment of thread-local variables".to_owned());
    }
    let known = sysroot::libraries()?;
    let needed = needed(&file, bytes)?;
    for library in &needed {
        if !known.contains_key(library) {
            wrong.push(format!(
                "it needs {library}, which isn't known to be on illumos"
            ));
        }
    }
    for library in ["libc.so.1", "libdladm.so.1", "libkstat.so.1"] {
        if !needed.contains(library) {
            wrong.push(format!(
                "it doesn't need {library}: is the illumos part left out?"
            ));
        }
    }
    let exported: BTreeSet<&str> = known
        .values()
        .flat_map(|l| l.functions.iter().chain(l.data.keys()))
        .map(String::as_str)
        .collect();
    for symbol in file.dynamic_symbols().filter(|s| s.is_undefined()) {
        let name = symbol.name()?;
        if !name.is_empty() && !exported.contains(name) {
            wrong.push(format!(
                "it wants {name}, which no library is known to have"
            ));
        }
    }
    Ok(wrong)
}

/// Libraries that the loader brings along.
fn needed(file: &ElfFile64<'_>, bytes: &[u8]) -> Result<BTreeSet<String>> {
    let little = Endianness::Little;
    let sections = file.elf_section_table();
    let (entries, link) = sections
        .dynamic(little, bytes)?
        .context("it has no libraries")?;
    let strings = sections.strings(little, bytes, link)?;
    let mut names = BTreeSet::new();
    for entry in entries {
        if entry.d_tag(little) == elf::DT_NEEDED {
            let at = u32::try_from(entry.d_val(little))?;
            let name = strings.get(at).ok().context("a name is out of bounds")?;
            names.insert(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_for_another_system_is_told_apart() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let wrong = program(&own).unwrap().join("\n");
        assert!(wrong.contains("illumos' loader"), "{wrong}");
        assert!(wrong.contains("libdladm.so.1"), "{wrong}");
    }
}
