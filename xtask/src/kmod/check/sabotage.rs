//! Checks the checks: a module that is right is spoilt in one place, and what
//! is wrong has to be found.

use super::super::elf::Module;
use anyhow::{Context, Result, ensure};

/// A way to spoil a module, and words that the finding has.
type Sabotage = (
    &'static str,
    fn(&mut Vec<u8>, &Places) -> Option<()>,
    &'static str,
);

const ALL: &[Sabotage] = &[
    (
        "another kind of file",
        |bytes, _| put(bytes, 16, &[3]),
        "relocatable",
    ),
    (
        "a relocation by a GOT",
        |bytes, places| put(bytes, places.relocation + 8, &[9]),
        "gets relocation 9",
    ),
    (
        "a relocated field that isn't zero",
        |bytes, places| put(bytes, places.field, &[1]),
        "isn't zero",
    ),
    (
        "a probe that is jumped to",
        |bytes, places| put(bytes, places.probe, &[0xe9]),
        "isn't called",
    ),
    (
        "a name that no kernel has",
        |bytes, places| put(bytes, places.name, b"mac_tz\0"),
        "isn't known to be in the kernel",
    ),
    (
        "a weak name that is called",
        |bytes, places| put(bytes, places.symbol + 4, &[0x20]),
        "is weak",
    ),
    (
        "an exported name",
        |bytes, places| put(bytes, places.local + 4, &[0x12]),
        "exported names",
    ),
    (
        "a module that isn't needed",
        |bytes, places| put(bytes, places.needed, b"misc/mad\0"),
        "isn't needed",
    ),
    (
        // pxor xmm0, xmm0 and a NOP in place of push rbp; mov rbp, rsp.
        "an instruction of SSE",
        |bytes, places| put(bytes, places.function, &[0x66, 0x0f, 0xef, 0xc0]),
        "uses the FPU",
    ),
    (
        "a function without frame pointer",
        |bytes, places| put(bytes, places.function, &[0x90; 4]),
        "has no frame pointer",
    ),
];

/// Where things are in the file.
struct Places {
    /// A relocation of code.
    relocation: usize,
    /// Its field.
    field: usize,
    /// The first byte of a probe's call.
    probe: usize,
    /// The name `mac_tx`.
    name: usize,
    /// The symbol of that name.
    symbol: usize,
    /// The symbol of a function of the module.
    local: usize,
    /// The first needed module's name.
    needed: usize,
    /// A function's first byte.
    function: usize,
}

/// Spoils the module in each way; what isn't found.
pub(super) fn missed(
    bytes: &[u8],
    check: impl Fn(&[u8]) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let places = Places::find(bytes)?;
    let mut missed = Vec::new();
    for (name, spoil, words) in ALL {
        let mut spoilt = bytes.to_vec();
        spoil(&mut spoilt, &places).context("a place beyond the module")?;
        ensure!(spoilt != bytes, "{name}: nothing is spoilt");
        let findings = check(&spoilt)?;
        if !findings.iter().any(|finding| finding.contains(words)) {
            missed.push(format!("the checks don't find {name}"));
        }
    }
    Ok(missed)
}

/// Overwrites bytes.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) -> Option<()> {
    bytes.get_mut(at..at + with.len())?.copy_from_slice(with);
    Some(())
}

impl Places {
    fn find(bytes: &[u8]) -> Result<Self> {
        let module = Module::parse(bytes)?;
        let section = |name: &str| -> Result<(usize, usize)> {
            let headers = number(bytes, 0x28, 8)?;
            let index = module.sections.iter().position(|s| s.name == name);
            let header = headers + index.with_context(|| format!("no {name}"))? * 64;
            Ok((
                number(bytes, header + 24, 8)?,
                number(bytes, header + 32, 8)?,
            ))
        };
        let (text, _) = section(".text")?;
        let (relocations, len) = section(".rela.text")?;
        let (symbols, _) = section(".symtab")?;
        let (strings, _) = section(".strtab")?;
        let (needed, _) = section(".dynstr")?;
        let index_of = |name: &str| module.symbols.iter().position(|s| s.name == name);
        let wanted = index_of("mac_tx").context("no mac_tx")?;
        let tx = module.symbols.iter().find(|s| s.name == "xde.entry.mac.tx");
        let local = index_of("xde.entry.mac.tx").context("no xde.entry.mac.tx")?;
        let entries: Vec<_> = (relocations..relocations + len).step_by(24).collect();
        let by = |want: &dyn Fn(&str) -> bool| -> Result<(usize, usize)> {
            for entry in &entries {
                let symbol = number(bytes, entry + 12, 4)?;
                let name = module.symbols.get(symbol).map_or("", |s| s.name.as_str());
                if want(name) {
                    return Ok((*entry, text + number(bytes, *entry, 8)?));
                }
            }
            anyhow::bail!("no such relocation")
        };
        let (relocation, field) = by(&|name| name == "mac_tx")?;
        let (_, probe) = by(&|name| name.starts_with(super::file::PROBE))?;
        let symbol = symbols + wanted * 24;
        Ok(Self {
            relocation,
            field,
            probe: probe - 1,
            name: strings + number(bytes, symbol, 4)?,
            symbol,
            local: symbols + local * 24,
            // Behind the empty string.
            needed: needed + 1,
            function: text + usize::try_from(tx.context("no function")?.value)?,
        })
    }
}

/// A number of so many bytes at a place.
fn number(bytes: &[u8], at: usize, len: usize) -> Result<usize> {
    let bytes = bytes.get(at..at + len).context("beyond the module")?;
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(usize::try_from(value)?)
}
