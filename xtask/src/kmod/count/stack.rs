//! Which functions a place in the module's code is of: by the line tables of
//! the file that was linked, which what ships hasn't.

use super::part::Place;
use crate::kmod::finish;
use addr2line::gimli::{DwarfSections, EndianSlice, LittleEndian};
use anyhow::{Context as _, Result, ensure};
use object::read::{ObjectSection as _, ObjectSymbol as _};
use object::{File, Object as _, RelocationTarget, Section, SymbolKind};
use std::collections::BTreeMap;

/// The sections of a file that have its line tables.
pub(super) type Sections = DwarfSections<Vec<u8>>;

/// Reads those of a relocatable file.
pub(super) fn sections(linked: &[u8]) -> Result<Sections> {
    let file = File::parse(linked)?;
    DwarfSections::load(|id| {
        let section = file.section_by_name(id.name());
        let bytes = section.map(|section| relocated(&file, &section));
        Ok(bytes.transpose()?.unwrap_or_default())
    })
}

/// The functions of a file, and what was inlined into them.
pub(super) struct Tables<'s> {
    /// By their offset into the code: where each ends, and its name.
    functions: BTreeMap<u64, (u64, String)>,
    lines: addr2line::Context<EndianSlice<'s, LittleEndian>>,
}

impl<'s> Tables<'s> {
    /// Those of a file, for the module that was made of it.
    pub(super) fn new(linked: &[u8], sections: &'s Sections, module: &[u8]) -> Result<Self> {
        let (file, module) = (File::parse(linked)?, File::parse(module)?);
        let code = file.section_by_name(".text").context("no code")?;
        let ships = module.section_by_name(".text").context("no code")?;
        ensure!(
            code.data()? == ships.data()?,
            "the line tables are another module's: build it again"
        );
        let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
        let functions = file.symbols().filter(|symbol| {
            symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(code.index())
        });
        let functions = functions.map(|symbol| {
            let start = symbol.address();
            let name = finish::name_of(symbol.name()?);
            Ok((start, (start + symbol.size(), name)))
        });
        let tables = Self {
            functions: functions.collect::<Result<_>>()?,
            lines: addr2line::Context::from_dwarf(dwarf)?,
        };
        let has_lines = tables.functions.keys().any(|start| {
            let found = tables.lines.find_location(*start);
            found.is_ok_and(|location| location.is_some())
        });
        ensure!(has_lines, "the module was linked without line tables");
        Ok(tables)
    }

    /// What is known of the place so far into the code.
    pub(super) fn place(&self, offset: u64) -> Result<Place> {
        let function = self.functions.range(..=offset).next_back();
        let (start, (_, name)) = function
            .filter(|(_, (end, _))| offset < *end)
            .with_context(|| format!("code of no function at {offset:#x}"))?;
        let mut frames = self.lines.find_frames(offset).skip_all_loads()?;
        let mut stack = Vec::new();
        while let Some(frame) = frames.next()? {
            if let Some(inlined) = frame.function {
                stack.push(finish::name_of(&inlined.raw_name()?));
            }
        }
        // The outermost is the function itself, whose own name there is short.
        stack.pop();
        stack.push(name.clone());
        stack.reverse();
        Ok(Place {
            function: *start,
            stack,
        })
    }
}

/// The bytes of a section with its relocations applied.
fn relocated(file: &File<'_>, section: &Section<'_, '_>) -> Result<Vec<u8>> {
    let mut bytes = section.data()?.to_vec();
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            continue;
        };
        let symbol = file.symbol_by_index(symbol)?;
        let value = symbol.address().wrapping_add_signed(relocation.addend());
        let size = usize::from(relocation.size() / 8);
        let place = usize::try_from(offset)
            .ok()
            .and_then(|at| bytes.get_mut(at..)?.get_mut(..size));
        let value = value.to_le_bytes();
        let value = value.get(..size).context("a relocation of that size")?;
        place
            .context("a relocation beyond its section")?
            .copy_from_slice(value);
    }
    Ok(bytes)
}
