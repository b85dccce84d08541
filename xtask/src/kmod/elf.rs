//! The module's file, taken apart as krtld reads it.

use anyhow::{Context, Result, bail};
use object::Endianness::{self, Little};
use object::elf::{self, FileHeader64};
use object::read::elf::{
    Dyn as _, ElfFile64, FileHeader as _, Rela as _, SectionHeader as _, SectionTable, Sym as _,
};
use std::collections::BTreeMap;

/// A module's file.
pub(super) struct Module {
    /// `e_type` and `e_machine`.
    pub(super) kind: (u16, u16),
    pub(super) sections: Vec<Section>,
    pub(super) symbols: Vec<Symbol>,
    /// Modules that it needs, in their order.
    pub(super) needed: Vec<String>,
}

/// A section.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) address: u64,
    pub(super) bytes: Vec<u8>,
    /// Bytes in memory.
    pub(super) size: u64,
    /// By offset.
    pub(super) relocations: BTreeMap<u64, Relocation>,
}

impl Section {
    /// Whether krtld loads it.
    pub(super) fn is_loaded(&self) -> bool {
        self.flags & 2 != 0
    }

    /// Whether it goes where the module can write.
    pub(super) fn is_writable(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// A relocation.
#[derive(Clone, Copy)]
pub(super) struct Relocation {
    pub(super) kind: u32,
    /// Index into the symbols.
    pub(super) symbol: usize,
    pub(super) addend: i64,
}

/// A symbol.
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) kind: u8,
    pub(super) binding: u8,
    /// Index of its section; `None` when it is undefined or absolute.
    pub(super) section: Option<usize>,
    pub(super) is_undefined: bool,
    pub(super) value: u64,
    pub(super) size: u64,
}

impl Module {
    /// Takes a file apart.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let file: ElfFile64 = ElfFile64::parse(bytes).context("the module isn't ELF")?;
        let header = file.elf_header();
        let table = header.sections(Little, bytes)?;
        let list = table.symbols(Little, bytes, elf::SHT_SYMTAB)?;
        let mut sections = Vec::new();
        for (_, section) in table.enumerate() {
            sections.push(Section {
                name: String::from_utf8_lossy(table.section_name(Little, section)?).into_owned(),
                kind: section.sh_type(Little).0,
                flags: section.sh_flags(Little).0,
                address: section.sh_addr(Little),
                size: section.sh_size(Little),
                bytes: section.data(Little, bytes)?.to_vec(),
                relocations: BTreeMap::new(),
            });
        }
        for (_, section) in table.enumerate() {
            let Some((entries, _)) = section.rela(Little, bytes)? else {
                continue;
            };
            let target = usize::try_from(section.sh_info(Little))?;
            let target = sections
                .get_mut(target)
                .context("a relocation of nothing")?;
            for entry in entries {
                let relocation = Relocation {
                    kind: entry.r_type(Little, false).0,
                    symbol: usize::try_from(entry.r_sym(Little, false))?,
                    addend: entry.r_addend(Little),
                };
                if target
                    .relocations
                    .insert(entry.r_offset(Little), relocation)
                    .is_some()
                {
                    bail!("{}: two relocations of one place", target.name);
                }
            }
        }
        let mut symbols = Vec::new();
        for (_, symbol) in list.enumerate() {
            let section = symbol.st_shndx(Little).0;
            let defined = section != 0 && section < 0xff00;
            symbols.push(Symbol {
                name: String::from_utf8_lossy(symbol.name(Little, list.strings())?).into_owned(),
                kind: symbol.st_type().0,
                binding: symbol.st_bind().0,
                section: defined.then_some(section.into()),
                is_undefined: section == 0,
                value: symbol.st_value(Little),
                size: symbol.st_size(Little),
            });
        }
        Ok(Self {
            kind: (header.e_type(Little).0, header.e_machine(Little).0),
            sections,
            symbols,
            needed: needed(&table, bytes)?,
        })
    }
}

/// The names of DT_NEEDED.
fn needed(table: &SectionTable<'_, FileHeader64<Endianness>>, bytes: &[u8]) -> Result<Vec<String>> {
    let mut needed = Vec::new();
    if let Some((entries, link)) = table.dynamic(Little, bytes)? {
        let strings = table.strings(Little, bytes, link)?;
        for entry in entries.iter().filter(|entry| entry.d_tag(Little).0 == 1) {
            let name = strings.get(u32::try_from(entry.d_val(Little))?);
            let name = name.ok().context("a needed module without a name")?;
            needed.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(needed)
}
