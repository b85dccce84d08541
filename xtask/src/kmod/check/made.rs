//! Modules that are made by hand, for tests.

use super::super::elf::{Module, Relocation, Section, Symbol};
use std::collections::BTreeMap;

/// The index of the code's section.
pub(super) const TEXT: usize = 1;

/// A module of functions, one behind the other, with their instructions.
pub(super) fn module(functions: &[(&str, &[u8])]) -> Module {
    let mut module = Module {
        kind: (1, 62),
        sections: Vec::new(),
        symbols: Vec::new(),
        needed: Vec::new(),
    };
    section(&mut module, "", 0, &[]);
    let bytes: Vec<u8> = functions.iter().flat_map(|it| it.1).copied().collect();
    section(&mut module, ".text", 6, &bytes);
    let mut at = 0;
    for (name, code) in functions {
        let size = u64::try_from(code.len()).unwrap();
        symbol(&mut module, name, 2, Some(TEXT), at, size);
        at += size;
    }
    module
}

/// Adds a section, and says which it is.
pub(super) fn section(module: &mut Module, name: &str, flags: u64, bytes: &[u8]) -> usize {
    module.sections.push(Section {
        name: name.to_owned(),
        kind: 1,
        flags,
        address: 0,
        bytes: bytes.to_vec(),
        size: u64::try_from(bytes.len()).unwrap(),
        relocations: BTreeMap::new(),
    });
    module.sections.len() - 1
}

/// Adds what the kernel has, and says which symbol it is.
pub(super) fn undefined(module: &mut Module, name: &str) -> usize {
    symbol(module, name, 0, None, 0, 0)
}

/// Adds a section's symbol.
pub(super) fn symbol_of(module: &mut Module, section: usize) -> usize {
    symbol(module, "", 3, Some(section), 0, 0)
}

fn symbol(
    module: &mut Module,
    name: &str,
    kind: u8,
    section: Option<usize>,
    value: u64,
    size: u64,
) -> usize {
    module.symbols.push(Symbol {
        name: name.to_owned(),
        kind,
        binding: u8::from(section.is_none()),
        section,
        is_undefined: section.is_none(),
        value,
        size,
    });
    module.symbols.len() - 1
}

/// Has a word of a section be a symbol's address and so many bytes behind it.
pub(super) fn word(module: &mut Module, section: usize, at: u64, symbol: usize, addend: i64) {
    relocate(module, section, at, (1, symbol, addend));
}

/// Adds a relocation: kind, symbol and addend.
pub(super) fn relocate(
    module: &mut Module,
    section: usize,
    at: u64,
    (kind, symbol, addend): (u32, usize, i64),
) {
    let relocation = Relocation {
        kind,
        symbol,
        addend,
    };
    module.sections[section].relocations.insert(at, relocation);
}
