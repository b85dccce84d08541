//! Addresses of code that lie in data: virtual tables, structures that the
//! kernel is given, and jump tables.

use super::super::elf::{Module, Section};
use super::flow::METHODS_AT;
use std::collections::{BTreeMap, BTreeSet};

/// What addresses of code are in data.
#[derive(Default)]
pub(super) struct Tables {
    /// Functions at each place of a virtual table.
    pub(super) methods: BTreeMap<u64, BTreeSet<u64>>,
    /// Functions that are elsewhere in data.
    pub(super) others: BTreeSet<u64>,
    /// Places inside of functions: where jumps through a table lead to.
    pub(super) landings: BTreeSet<u64>,
}

/// Looks for them.
pub(super) fn find(module: &Module, text: usize, starts: &BTreeSet<u64>) -> Tables {
    let mut tables = Tables::default();
    let data = module.sections.iter();
    for section in data.filter(|section| section.is_loaded() && section.flags & 4 == 0) {
        for (offset, relocation) in &section.relocations {
            let Some(symbol) = module.symbols.get(relocation.symbol) else {
                continue;
            };
            if symbol.section != Some(text) {
                continue;
            }
            let address = symbol.value.wrapping_add_signed(relocation.addend);
            if !starts.contains(&address) {
                tables.landings.insert(address);
                continue;
            }
            match table_of(section, *offset) {
                Some(table) => {
                    let place = tables.methods.entry(offset - table).or_default();
                    place.insert(address);
                }
                None => {
                    tables.others.insert(address);
                }
            }
        }
    }
    tables
}

/// Where the virtual table starts that the pointer at `offset` is in: the
/// nearest destructor (or none), size and alignment in front of pointers to
/// functions only.
fn table_of(section: &Section, offset: u64) -> Option<u64> {
    let word = |at: u64| -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let bytes = section.bytes.get(at..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let is_pointer = |at: u64| section.relocations.contains_key(&at);
    let is_head = |at: u64| {
        let numbers = !is_pointer(at + 8) && !is_pointer(at + 16);
        let size = word(at + 8).is_some_and(|size| size < 1 << 20);
        let align = word(at + 16).is_some_and(|a| a.is_power_of_two() && a <= 4_096);
        let destructor = is_pointer(at) || word(at) == Some(0);
        // What can be written is no table, whatever it looks like.
        numbers && size && align && destructor && !section.is_writable()
    };
    if is_head(offset) {
        return Some(offset);
    }
    let mut at = offset;
    while is_pointer(at) {
        let table = at.checked_sub(METHODS_AT)?;
        if is_head(table) {
            return Some(table);
        }
        at = at.checked_sub(8)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    const FUNCTIONS: &[(&str, &[u8])] = &[("a", &[0xc3; 8]), ("b", &[0xc3; 8]), ("c", &[0xc3; 8])];

    /// What is found in a section with these words, and these pointers to code.
    fn found(flags: u64, words: &[u64], pointers: &[(u64, i64)]) -> Tables {
        let mut module = made::module(FUNCTIONS);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let data = made::section(&mut module, ".rodata", flags, &bytes);
        let code = made::symbol_of(&mut module, made::TEXT);
        for (at, to) in pointers {
            made::word(&mut module, data, *at, code, *to);
        }
        find(&module, made::TEXT, &BTreeSet::from([0, 8, 16]))
    }

    #[test]
    fn a_virtual_table_is_known_by_its_head() {
        // Destructor, size 24, alignment 8, two methods.
        let tables = found(2, &[0, 24, 8, 0, 0], &[(0, 0), (24, 8), (32, 16)]);
        let places: Vec<_> = tables.methods.into_iter().collect();
        let one = |at: u64| BTreeSet::from([at]);
        assert_eq!(places, [(0, one(0)), (24, one(8)), (32, one(16))]);
        assert!(tables.others.is_empty());
        // Without destructor.
        let tables = found(2, &[0, 24, 8, 0], &[(24, 8)]);
        assert_eq!(tables.methods.into_keys().collect::<Vec<_>>(), [24]);
    }

    #[test]
    fn other_functions_in_data_are_handed_over() {
        // An alignment of 3, and a table that can be written to.
        for (flags, align) in [(2, 3), (3, 8)] {
            let tables = found(flags, &[0, 24, align, 0], &[(24, 8)]);
            assert!(tables.methods.is_empty());
            assert_eq!(tables.others, BTreeSet::from([8]));
        }
        // The middle of a function.
        let tables = found(2, &[1, 1], &[(8, 9)]);
        assert_eq!(tables.landings, BTreeSet::from([9]));
        assert!(tables.others.is_empty());
    }
}
