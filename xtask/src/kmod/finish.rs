//! The last step: what neither compiler nor linker does.
//!
//! Names     functions have the compiler's mangled names; DTrace, `stack()` and
//!           the debugger show them as they are. They become short names that
//!           people can read, the same for the same function (no hash in them).
//! Needed    `.dynamic` lists the modules that krtld loads first and looks
//!           names up in. No GNU tool writes one into a relocatable file.

use anyhow::{Context, Result, ensure};
use object::build::elf::{Builder, SectionData};
use object::elf;
use rustc_demangle::demangle;
use std::collections::BTreeMap;

/// Bytes of a function's name that DTrace shows.
const NAME_MAX: usize = 127;

/// Makes the module of what was linked.
pub(super) fn module(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(bytes).context("what was linked isn't ELF")?;
    rename(&mut builder);
    add_dependencies(&mut builder, illumos_sys_hdrs::DEPENDENCIES);
    builder.set_section_sizes();
    let mut out = Vec::new();
    builder.write(&mut out).context("cannot write the module")?;
    ensure!(!out.is_empty(), "the module is empty");
    Ok(out)
}

/// Gives functions readable names. Two of one name are told apart by a number.
fn rename(builder: &mut Builder<'_>) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for symbol in &mut builder.symbols {
        let Ok(name) = str::from_utf8(&symbol.name) else {
            continue;
        };
        if !name.starts_with("_R") && !name.starts_with("_ZN") {
            continue;
        }
        let mut name = name_of(name);
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            name.push_str(&format!(".{count}"));
        }
        symbol.name = name.into_bytes().into();
    }
}

/// The readable name of a function that the compiler has named so.
pub(super) fn name_of(symbol: &str) -> String {
    readable(&format!("{:#}", demangle(symbol)))
}

/// A path as a C name with dots: `<opte_core::host::Host<R, O>>::tx` is
/// `opte_core.host.Host.tx`. Type arguments are left out, and so is the trait
/// of a method; DTrace gives `:` a meaning.
fn readable(path: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_u32;
    let text = path.replace("->", "");
    // `<T as Trait>::method` is a method of T.
    let text = match text.strip_prefix('<') {
        Some(rest) => own_type(rest),
        None => text,
    };
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                if !out.ends_with('.') && !out.is_empty() {
                    out.push('.');
                }
            }
            '{' | '}' | '#' | '&' | '*' | ' ' | '\'' | ',' | ';' | '"' => {}
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => {}
        }
    }
    let out = out.trim_matches('.').to_owned();
    let cut = out.len().saturating_sub(NAME_MAX);
    out.get(cut..).unwrap_or(&out).to_owned()
}

/// `T as Trait>::rest` and `T>::rest` as `T::rest`.
fn own_type(text: &str) -> String {
    let mut depth = 1_u32;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let (inner, rest) = text.split_at(at);
            let own = inner.split(" as ").next().unwrap_or(inner);
            return format!("{own}{}", rest.get(1..).unwrap_or_default());
        }
    }
    text.to_owned()
}

/// Adds `.dynamic` with a DT_NEEDED for each module, and its strings.
fn add_dependencies(builder: &mut Builder<'_>, modules: &[&str]) {
    let (mut strings, mut entries) = (vec![0_u8], Vec::new());
    for module in modules {
        entries.extend(u64::from(elf::DT_NEEDED.0 as u32).to_le_bytes());
        entries.extend(u64::try_from(strings.len()).unwrap_or(0).to_le_bytes());
        strings.extend(module.as_bytes());
        strings.push(0);
    }
    entries.extend([0; 16]);
    let section = builder.sections.add();
    section.name = b".dynstr".as_slice().into();
    section.sh_type = elf::SHT_STRTAB;
    section.sh_addralign = 1;
    section.data = SectionData::Data(strings.into());
    let strings = section.id();
    let section = builder.sections.add();
    section.name = b".dynamic".as_slice().into();
    section.sh_type = elf::SHT_DYNAMIC;
    section.sh_addralign = 8;
    section.sh_entsize = 16;
    section.sh_link_section = Some(strings);
    section.data = SectionData::Data(entries.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_without_signs_that_dtrace_reads() {
        for (path, name) in [
            ("opte_core::host::lane", "opte_core.host.lane"),
            (
                "<opte_core::host::Host<xde::Mutex, xde::Probes>>::tx",
                "opte_core.host.Host.tx",
            ),
            (
                "<alloc::vec::Vec<u8> as core::ops::Drop>::drop",
                "alloc.vec.Vec.drop",
            ),
            (
                "xde::control::serve::{closure#0}",
                "xde.control.serve.closure0",
            ),
            (
                "core::slice::sort::<(&str, u8), <[u8]>::a>",
                "core.slice.sort",
            ),
        ] {
            assert_eq!(readable(path), name);
        }
    }
}
