//! The module's file in memory, as krtld puts it there.
//!
//! Sections that can be written go into one mapping and all others into
//! another; a relocation *adds* to what is in the file; an undefined name that
//! begins as a probe's does becomes one, and any other is looked up.
//!
//! Rules     I1  the site of a probe is five NOPs, as krtld makes it, but while
//!               probes are watched: then it is what the file has, a call.

use crate::kernel::{Export, Kernel, exports};
use crate::low::Low;
use anyhow::{Context as _, Result, bail, ensure};
use object::Endianness::Little;
use object::elf;
use object::read::elf::{ElfFile64, FileHeader as _, Rela as _, SectionHeader as _, Sym as _};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Bytes of stubs behind the module's text.
const STUBS: usize = 64 << 10;

/// A module in memory.
pub(crate) struct Image {
    /// Where its entry points are.
    pub(crate) entries: HashMap<String, u64>,
    /// Names of its probes, by their number.
    pub(crate) probes: Vec<String>,
    /// Where its code is, without what the loader puts behind it.
    pub(crate) code: Range<u64>,
    /// The probes' sites, and the call that is at each while it is watched.
    sites: Vec<(u64, [u8; 5])>,
    text: Low,
    data: Low,
}

impl Image {
    /// Loads a file.
    pub(crate) fn load(bytes: &[u8]) -> Result<Self> {
        let file: ElfFile64 = ElfFile64::parse(bytes)?;
        let header = file.elf_header();
        ensure!(header.e_type(Little).0 == 1, "it isn't relocatable");
        let table = header.sections(Little, bytes)?;
        let (mut text, mut data) = (Low::map(bytes.len() + STUBS)?, Low::map(bytes.len())?);
        let (mut places, mut code) = (vec![0_u64; table.len()], 0..0);
        for (index, section) in table.enumerate() {
            let flags = section.sh_flags(Little).0;
            if flags & 2 == 0 {
                continue;
            }
            let memory = if flags & 1 == 0 { &mut text } else { &mut data };
            let align = usize::try_from(section.sh_addralign(Little))?;
            let place = if section.sh_type(Little) == elf::SHT_NOBITS {
                memory.take(usize::try_from(section.sh_size(Little))?, align)?
            } else {
                memory.put(section.data(Little, bytes)?, align)?
            };
            let place = place.expose_provenance() as u64;
            places[index.0] = place;
            if flags & 4 != 0 {
                code = place..place + section.sh_size(Little);
            }
        }
        let list = table.symbols(Little, bytes, elf::SHT_SYMTAB)?;
        let mut linker = Linker {
            text: &mut text,
            data: &mut data,
            probes: Vec::new(),
            stubs: HashSet::new(),
            known: exports(),
        };
        let (mut values, mut entries) = (vec![0_u64; list.len()], HashMap::new());
        for (index, symbol) in list.enumerate().skip(1) {
            let name = str::from_utf8(symbol.name(Little, list.strings())?)?;
            let section = symbol.st_shndx(Little).0;
            values[index.0] = if section == 0 {
                linker.undefined(name)?
            } else {
                let place = places.get(usize::from(section)).copied().unwrap_or(0);
                place + symbol.st_value(Little)
            };
            if section != 0 && symbol.st_bind().0 == 1 {
                entries.insert(name.to_owned(), values[index.0]);
            }
        }
        let (probes, stubs) = (linker.probes, linker.stubs);
        let sites = relocate_all(bytes, &places, &values, &stubs)?;
        let image = Self {
            entries,
            probes,
            code,
            sites,
            text,
            data,
        };
        image.watch(false)?;
        Ok(image)
    }

    /// Where the module lies.
    pub(crate) fn memory(&self) -> [Range<usize>; 2] {
        [self.text.range(), self.data.range()]
    }

    /// Makes the sites of probes calls, or nothing (rule I1). While no thread is
    /// in the module.
    pub(crate) fn watch(&self, watched: bool) -> Result<()> {
        const NOPS: [u8; 5] = [0x90; 5];
        self.text.make_data()?;
        for (at, call) in &self.sites {
            let site = std::ptr::with_exposed_provenance_mut::<[u8; 5]>(usize::try_from(*at)?);
            // SAFETY: in the module's text, which can be written now and which
            // nobody runs.
            unsafe { site.write_unaligned(if watched { *call } else { NOPS }) };
        }
        self.text.make_code()
    }
}

/// Applies every relocation of a section that is loaded; the sites of probes,
/// whose stand-ins are `stubs`, as they are then.
fn relocate_all(
    bytes: &[u8],
    places: &[u64],
    values: &[u64],
    stubs: &HashSet<u64>,
) -> Result<Vec<(u64, [u8; 5])>> {
    let mut sites = Vec::new();
    let file: ElfFile64 = ElfFile64::parse(bytes)?;
    let table = file.elf_header().sections(Little, bytes)?;
    for (_, section) in table.enumerate() {
        let Some((relocations, _)) = section.rela(Little, bytes)? else {
            continue;
        };
        let target = usize::try_from(section.sh_info(Little))?;
        let place = places.get(target).copied().unwrap_or(0);
        let size = table.section(object::SectionIndex(target))?.sh_size(Little);
        for entry in relocations.iter().filter(|_| place != 0) {
            let symbol = values.get(usize::try_from(entry.r_sym(Little, false))?);
            let offset = entry.r_offset(Little);
            let kind = entry.r_type(Little, false).0;
            ensure!(
                is_within(size, offset, kind),
                "a relocation of nothing: at {offset:#x} of {size:#x} bytes"
            );
            let symbol = *symbol.context("a relocation by no symbol")?;
            let at = place + offset;
            relocate(at, kind, symbol, entry.r_addend(Little))?;
            if stubs.contains(&symbol) {
                let site = at - 1;
                let place = std::ptr::with_exposed_provenance::<[u8; 5]>(usize::try_from(site)?);
                // SAFETY: an instruction of the image, as `--check` has seen.
                let call = unsafe { place.read_unaligned() };
                ensure!(call[0] == 0xe8, "a probe's site is no call");
                sites.push((site, call));
            }
        }
    }
    Ok(sites)
}

/// Finds what a module refers to.
struct Linker<'l> {
    text: &'l mut Low,
    data: &'l mut Low,
    probes: Vec<String>,
    /// Where the stand-ins for probes are.
    stubs: HashSet<u64>,
    known: HashMap<&'static str, Export>,
}

impl Linker<'_> {
    /// The address of a name that the module doesn't define.
    fn undefined(&mut self, name: &str) -> Result<u64> {
        if let Some(probe) = name.strip_prefix("__dtrace_probe_") {
            // push number; mov rax, fire; call rax; add rsp, 8; ret. With the
            // registers of the site as they are, and its number on the stack.
            let mut code = vec![0x68];
            code.extend(u32::try_from(self.probes.len())?.to_le_bytes());
            code.extend([0x48, 0xb8]);
            code.extend((Kernel::fire as *const () as u64).to_le_bytes());
            code.extend([0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3]);
            self.probes.push(probe.replace("__", "-"));
            let stub = self.saving(&code)?;
            self.stubs.insert(stub);
            return Ok(stub);
        }
        let known = self.known.get(name);
        match known.with_context(|| format!("undefined symbol {name}"))? {
            Export::Function(address) => {
                // jmp *[rip]
                let mut code = vec![0xff, 0x25, 0, 0, 0, 0];
                code.extend(address.to_le_bytes());
                Ok(self.text.put(&code, 16)?.expose_provenance() as u64)
            }
            Export::Data(bytes) => Ok(self.data.put(bytes, 16)?.expose_provenance() as u64),
        }
    }

    /// A probe changes no register at all (rule T2 of the module's `probe`), so
    /// all that a call may change is put back.
    fn saving(&mut self, fire: &[u8]) -> Result<u64> {
        // pushfq; push rax, rcx, rdx, rsi, rdi, r8..r11; mov rbp-like frame:
        // push rbx; mov rbx, rsp; and rsp, -16; call over; ..
        let mut code = vec![0x9c, 0x50, 0x51, 0x52, 0x56, 0x57];
        code.extend([0x41, 0x50, 0x41, 0x51, 0x41, 0x52, 0x41, 0x53]);
        code.extend([0x53, 0x48, 0x89, 0xe3, 0x48, 0x83, 0xe4, 0xf0]);
        // sub rsp, 8: `fire` pushes one word before its call.
        code.extend([0x48, 0x83, 0xec, 0x08]);
        // `fire` without its last instruction.
        code.extend(fire.get(..fire.len() - 1).unwrap_or_default());
        code.extend([0x48, 0x89, 0xdc, 0x5b]);
        code.extend([0x41, 0x5b, 0x41, 0x5a, 0x41, 0x59, 0x41, 0x58]);
        code.extend([0x5f, 0x5e, 0x5a, 0x59, 0x58, 0x9d, 0xc3]);
        Ok(self.text.put(&code, 16)?.expose_provenance() as u64)
    }
}

/// Whether a section of `size` bytes has all that a relocation changes: eight of
/// them or four. What a call refers to may be the last four of its section.
fn is_within(size: u64, offset: u64, kind: u32) -> bool {
    let width = match kind {
        1 => 8,
        _ => 4,
    };
    offset.checked_add(width).is_some_and(|end| end <= size)
}

/// Applies one relocation as krtld does.
fn relocate(at: u64, kind: u32, symbol: u64, addend: i64) -> Result<()> {
    let value = symbol.wrapping_add_signed(addend);
    let place = std::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(at)?);
    match kind {
        1 => {
            let place = place.cast::<u64>();
            // SAFETY: a field of the image (checked by the caller).
            let old = unsafe { place.read_unaligned() };
            // SAFETY: as above.
            unsafe { place.write_unaligned(old.wrapping_add(value)) };
        }
        2 | 4 | 11 => {
            let value = if kind == 11 {
                value
            } else {
                value.wrapping_sub(at)
            };
            let short = value.cast_signed();
            let fits = i32::try_from(short).with_context(|| format!("{value:#x} doesn't fit"))?;
            let place = place.cast::<i32>();
            // SAFETY: a field of the image (checked by the caller).
            let old = unsafe { place.read_unaligned() };
            // SAFETY: as above.
            unsafe { place.write_unaligned(old.wrapping_add(fits)) };
        }
        other => bail!("relocation {other}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_within;

    #[test]
    fn a_relocation_may_be_the_end_of_its_section_and_not_beyond() {
        let (address, call) = (1, 4);
        assert!(is_within(8, 0, address) && is_within(8, 4, call));
        assert!(!is_within(7, 0, address) && !is_within(8, 5, call));
        assert!(!is_within(u64::MAX, u64::MAX, call));
    }
}
