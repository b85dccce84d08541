//! The file as krtld loads it: types, sections, symbols, relocations.

use super::super::build::ENTRIES;
use super::super::elf::{Module, Relocation, Section, Symbol};
use super::Facts;
use std::collections::{BTreeMap, BTreeSet};

/// Relocations that krtld applies as they are meant, and the bytes of each. It
/// takes more of them, and gets some wrong: those of a GOT that it hasn't.
const RELOCATIONS: [(u32, &str, usize); 5] = [
    (1, "R_AMD64_64", 8),
    (2, "R_AMD64_PC32", 4),
    (4, "R_AMD64_PLT32", 4),
    (11, "R_AMD64_32S", 4),
    (24, "R_AMD64_PC64", 8),
];
/// Undefined names that krtld makes probes of.
pub(super) const PROBE: &str = "__dtrace_probe_";
/// Entries of a symbol table that krtld counts right.
const SYMBOLS_MAX: usize = 65_535;
/// Characters of a needed module's name, with its zero.
const NEEDED_MAX: usize = 31;

/// What is wrong with the file, and what is in it.
pub(super) fn check(module: &Module, facts: &Facts) -> (Vec<String>, String) {
    let mut findings = header(module);
    findings.extend(symbols(module, facts));
    let mut probes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for section in module.sections.iter().filter(|s| s.is_loaded()) {
        for (offset, relocation) in &section.relocations {
            let Some(symbol) = module.symbols.get(relocation.symbol) else {
                findings.push(format!("{}+{offset:#x}: no such symbol", section.name));
                continue;
            };
            let known = RELOCATIONS.iter().find(|known| known.0 == relocation.kind);
            let Some((_, name, width)) = known else {
                findings.push(format!(
                    "{}+{offset:#x}: krtld gets relocation {} of {} wrong",
                    section.name, relocation.kind, symbol.name
                ));
                continue;
            };
            *counts.entry(name).or_default() += 1;
            findings.extend(place(section, *offset, relocation, symbol, *width));
            if let Some(probe) = symbol.name.strip_prefix(PROBE) {
                *probes.entry(probe).or_default() += 1;
            }
        }
    }
    let mut report = String::from("sections\n");
    for section in module.sections.iter().filter(|s| s.is_loaded()) {
        let writable = if section.is_writable() {
            "data"
        } else {
            "text"
        };
        let line = format!("  {:10} {writable} {:>8}\n", section.name, section.size);
        report.push_str(&line);
    }
    report.push_str("needed modules\n");
    for name in &module.needed {
        report.push_str(&format!("  {name}\n"));
    }
    report.push_str("relocations\n");
    for (name, count) in counts {
        report.push_str(&format!("  {name:15} {count:>6}\n"));
    }
    report.push_str("probes and their sites\n");
    for (name, count) in probes {
        report.push_str(&format!("  {:25} {count:>3}\n", name.replace("__", "-")));
    }
    (findings, report)
}

/// The ELF header and the sections.
fn header(module: &Module) -> Vec<String> {
    let mut findings = Vec::new();
    if module.kind != (1, 62) {
        findings.push("it isn't a relocatable file for amd64".to_owned());
    }
    let dynamic = module.sections.iter().filter(|s| s.kind == 6).count();
    if dynamic != 1 {
        findings.push(format!("{dynamic} sections of dynamic entries"));
    }
    for section in &module.sections {
        if section.kind == 9 {
            findings.push(format!("{}: krtld refuses SHT_REL", section.name));
        }
        if section.address != 0 {
            findings.push(format!("{}: krtld refuses an address", section.name));
        }
        let executable = section.flags & 4 != 0;
        if section.is_loaded() && executable && section.is_writable() {
            findings.push(format!("{}: code that can be written", section.name));
        }
    }
    for name in &module.needed {
        if name.len() >= NEEDED_MAX {
            findings.push(format!("{name}: the name of a needed module is too long"));
        }
    }
    if module.symbols.len() > SYMBOLS_MAX {
        findings.push(format!(
            "{} symbols; krtld counts 65535",
            module.symbols.len()
        ));
    }
    findings
}

/// Names that others see, and names that others have.
fn symbols(module: &Module, facts: &Facts) -> Vec<String> {
    let mut findings = Vec::new();
    let mut exported = BTreeSet::new();
    // The first entry is nobody's.
    for symbol in module.symbols.iter().skip(1) {
        let name = &symbol.name;
        if symbol.kind == 6 || symbol.kind == 10 {
            findings.push(format!("{name}: krtld knows neither TLS nor IFUNC"));
        }
        if !symbol.is_undefined {
            if symbol.binding != 0 {
                exported.insert(name.as_str());
            }
            continue;
        }
        if name.starts_with(PROBE) {
            if symbol.binding == 0 {
                findings.push(format!("{name}: a local name is no probe"));
            }
            continue;
        }
        match facts.functions.get(name) {
            None => findings.push(format!("{name} isn't known to be in the kernel")),
            Some(function) => {
                let module_of = function.module.as_str();
                let primary = matches!(module_of, "unix" | "genunix");
                if !primary && !module.needed.iter().any(|needed| needed == module_of) {
                    findings.push(format!("{name} is in {module_of}, which isn't needed"));
                }
            }
        }
    }
    let entries: BTreeSet<&str> = ENTRIES.into_iter().collect();
    if exported != entries {
        findings.push(format!("exported names are {exported:?}, not {entries:?}"));
    }
    findings
}

/// One place that is relocated.
fn place(
    section: &Section,
    offset: u64,
    relocation: &Relocation,
    symbol: &Symbol,
    width: usize,
) -> Vec<String> {
    let mut findings = Vec::new();
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let name = &symbol.name;
    let place = format!("{}+{offset:#x}", section.name);
    let field = section.bytes.get(at..at.saturating_add(width));
    // krtld adds to what is there.
    if !field.is_some_and(|field| field.iter().all(|byte| *byte == 0)) {
        findings.push(format!("{place}: the relocated field isn't zero"));
    }
    let is_call = matches!(relocation.kind, 2 | 4);
    if name.starts_with(PROBE) {
        // krtld makes NOPs of a call and something else of anything else.
        let before = at.checked_sub(1).and_then(|at| section.bytes.get(at));
        if !is_call || before != Some(&0xe8) {
            findings.push(format!("{place}: {name} isn't called"));
        }
    }
    // What isn't found stays zero: a null pointer that can be tested, as data;
    // a call of the next instruction, as code.
    let is_data_word = relocation.kind == 1 && section.flags & 4 == 0;
    if symbol.is_undefined && symbol.binding == 2 && !is_data_word {
        findings.push(format!("{place}: {name} is weak and not in a word of data"));
    }
    findings
}
