//! A copy of the module that is spoilt, and where things are in it.

use super::super::super::elf::Module;
use anyhow::{Context, Result, bail};

/// Bytes of a relocation and of a symbol.
const ENTRY: usize = 24;

/// A copy of the module.
pub(super) struct Copy<'m> {
    module: &'m Module,
    pub(super) bytes: Vec<u8>,
}

/// A section in the file.
pub(super) struct Place {
    /// Its header.
    header: usize,
    pub(super) offset: usize,
    len: usize,
}

/// A relocation in the file.
#[derive(Clone, Copy)]
pub(super) struct Relocation {
    pub(super) entry: usize,
    /// What is relocated.
    pub(super) field: usize,
    /// The same, as an offset in its section.
    at: u64,
}

impl<'m> Copy<'m> {
    pub(super) fn new(module: &'m Module, bytes: &[u8]) -> Self {
        Self {
            module,
            bytes: bytes.to_vec(),
        }
    }

    /// Overwrites bytes.
    pub(super) fn put(&mut self, at: usize, with: &[u8]) -> Result<()> {
        let place = self.bytes.get_mut(at..at + with.len());
        place.context("beyond the module")?.copy_from_slice(with);
        Ok(())
    }

    pub(super) fn section(&self, name: &str) -> Result<Place> {
        let headers = self.number(0x28, 8)?;
        let index = self.module.sections.iter().position(|s| s.name == name);
        let header = headers + index.with_context(|| format!("no {name}"))? * 64;
        Ok(Place {
            header,
            offset: self.number(header + 24, 8)?,
            len: self.number(header + 32, 8)?,
        })
    }

    /// Gives a section other flags.
    pub(super) fn set_flags(&mut self, section: &str, flags: u8) -> Result<()> {
        let at = self.section(section)?.header + 8;
        self.put(at, &[flags])
    }

    /// Where a symbol is.
    pub(super) fn symbol(&self, name: &str) -> Result<usize> {
        let index = self.module.symbols.iter().position(|s| s.name == name);
        let index = index.with_context(|| format!("no {name}"))?;
        Ok(self.section(".symtab")?.offset + index * ENTRY)
    }

    /// Where a symbol's name is.
    pub(super) fn name(&self, name: &str) -> Result<usize> {
        let at = self.number(self.symbol(name)?, 4)?;
        Ok(self.section(".strtab")?.offset + at)
    }

    /// Where a function is in the file, where in the code, and its bytes.
    pub(super) fn function(&self, name: &str) -> Result<(usize, u64, usize)> {
        let symbols = &self.module.symbols;
        let symbol = symbols.iter().find(|s| s.name == name && s.kind == 2);
        let symbol = symbol.with_context(|| format!("no function {name}"))?;
        let at = self.section(".text")?.offset + usize::try_from(symbol.value)?;
        Ok((at, symbol.value, usize::try_from(symbol.size)?))
    }

    /// The first call of something that the kernel has, of a name that begins so.
    pub(super) fn call(&self, name: &str) -> Result<Relocation> {
        self.relocation(".rela.text", |symbol, _, _| {
            let symbol = self.module.symbols.get(symbol);
            symbol.is_some_and(|s| s.is_undefined && s.name.starts_with(name))
        })
    }

    /// The first direct call in a function of another one of the module.
    pub(super) fn call_in(&self, name: &str) -> Result<Relocation> {
        let (_, start, len) = self.function(name)?;
        let range = start..start + u64::try_from(len)?;
        let (text, start) = (self.section(".text")?.offset, range.start);
        self.relocation(".rela.text", |symbol, at, addend| {
            let is_call = usize::try_from(at)
                .is_ok_and(|at| at > 0 && self.bytes.get(text + at - 1) == Some(&0xe8));
            let to = addend.wrapping_add(4).cast_unsigned();
            let own = self.is_code(symbol) && to != start && self.starts(to);
            range.contains(&at) && is_call && own
        })
    }

    /// The first place in a section of relocations that has a function's address.
    pub(super) fn pointer(&self, section: &str, name: &str) -> Result<Relocation> {
        let (_, start, _) = self.function(name)?;
        self.relocation(section, |symbol, _, addend| {
            self.is_code(symbol) && addend.cast_unsigned() == start
        })
    }

    /// Has a call or a pointer lead to another function.
    pub(super) fn set_target(&mut self, at: Relocation, name: &str) -> Result<()> {
        let (_, start, _) = self.function(name)?;
        let kind = self.number(at.entry + 8, 4)?;
        // Calls are relative to the next instruction.
        let behind = if matches!(kind, 2 | 4) { 4 } else { 0 };
        let addend = start.cast_signed() - behind;
        self.put(at.entry + 16, &addend.to_le_bytes())
    }

    pub(super) fn addend(&self, at: Relocation) -> Result<i64> {
        let addend = u64::try_from(self.number(at.entry + 16, 8)?)?;
        Ok(addend.cast_signed())
    }

    /// The number of `sub rsp, N` at the start of the first function called by
    /// another that has one.
    pub(super) fn frame_below(&self, name: &str) -> Result<usize> {
        let call = self.call_in(name)?;
        let to = self.addend(call)?.wrapping_add(4).cast_unsigned();
        let start = self.section(".text")?.offset + usize::try_from(to)?;
        let head = self.bytes.get(start..start + 32).context("no function")?;
        let sub = head.windows(3).position(|it| it == [0x48, 0x81, 0xec]);
        Ok(start + sub.context("no frame")? + 3)
    }

    /// The first relocation of a section for which symbol, offset and addend are
    /// what is wanted.
    fn relocation(
        &self,
        section: &str,
        want: impl Fn(usize, u64, i64) -> bool,
    ) -> Result<Relocation> {
        let target = section.strip_prefix(".rela").context("no relocations")?;
        let base = self.section(target)?.offset;
        let place = self.section(section)?;
        for entry in (place.offset..place.offset + place.len).step_by(ENTRY) {
            let at = self.number(entry, 8)?;
            let relocation = Relocation {
                entry,
                field: base + at,
                at: u64::try_from(at)?,
            };
            let symbol = self.number(entry + 12, 4)?;
            if want(symbol, relocation.at, self.addend(relocation)?) {
                return Ok(relocation);
            }
        }
        bail!("no such relocation")
    }

    /// Whether a symbol is that of the code's section.
    fn is_code(&self, symbol: usize) -> bool {
        let of = self.module.symbols.get(symbol).and_then(|s| s.section);
        let section = of.and_then(|index| self.module.sections.get(index));
        section.is_some_and(|section| section.name == ".text")
    }

    fn starts(&self, at: u64) -> bool {
        let mut symbols = self.module.symbols.iter();
        symbols.any(|s| s.kind == 2 && !s.is_undefined && s.value == at)
    }

    /// A number of so many bytes at a place.
    fn number(&self, at: usize, len: usize) -> Result<usize> {
        let bytes = self.bytes.get(at..at + len).context("beyond the module")?;
        let value = bytes
            .iter()
            .rev()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        Ok(usize::try_from(value)?)
    }
}
