//! The structures by which the kernel knows the driver.
//!
//! `modldrv` is the one that names `mod_driverops`; it leads to `dev_ops` and
//! that to `cb_ops`, and `modlinkage` leads to it. The kernel writes to them
//! (`devo_refcnt`, `devo_getinfo`, `cb_str`), so they lie where it can: Rust
//! puts a static that nothing in the language writes to among what can only be
//! read, which krtld maps with the code.

use super::super::elf::Module;

/// Bytes from a structure's start to the pointer to the next one.
const LINKAGE_AT: u64 = 8;
const DEV_OPS_AT: u64 = 16;
const CB_OPS_AT: u64 = 56;

/// A place in a section.
type Place = (usize, u64);

/// What is wrong with the structures.
pub(super) fn check(module: &Module) -> Vec<String> {
    let mut findings = Vec::new();
    let drivers: Vec<Place> = words(module)
        .filter(|(_, symbol, _)| symbol.name == "mod_driverops")
        .map(|(place, _, _)| place)
        .collect();
    if drivers.is_empty() {
        findings.push("there is no modldrv".to_owned());
    }
    for driver in drivers {
        let linkage = words(module)
            .find(|word| target(word) == Some(driver))
            .and_then(|((section, at), _, _)| Some((section, at.checked_sub(LINKAGE_AT)?)));
        let dev_ops = follow(module, driver, DEV_OPS_AT);
        let cb_ops = dev_ops.and_then(|place| follow(module, place, CB_OPS_AT));
        for (name, place) in [
            ("modlinkage", linkage),
            ("modldrv", Some(driver)),
            ("dev_ops", dev_ops),
            ("cb_ops", cb_ops),
        ] {
            let section = place.and_then(|(section, _)| module.sections.get(section));
            match section {
                None => findings.push(format!("there is no {name} that belongs to modldrv")),
                Some(section) if !section.is_writable() => findings.push(format!(
                    "{name} is in {}, where the kernel can't write",
                    section.name
                )),
                Some(_) => {}
            }
        }
    }
    findings
}

/// Where the pointer leads to that is so many bytes behind a place.
fn follow(module: &Module, (section, at): Place, offset: u64) -> Option<Place> {
    let at = at.checked_add(offset)?;
    let mut words = words(module);
    words
        .find(|(place, _, _)| *place == (section, at))
        .and_then(|word| target(&word))
}

/// A word of data that is relocated: place, symbol and addend.
type Word<'m> = (Place, &'m super::super::elf::Symbol, i64);

/// Every word of data that is relocated.
fn words(module: &Module) -> impl Iterator<Item = Word<'_>> {
    let sections = module.sections.iter().enumerate();
    let data = sections.filter(|(_, section)| section.is_loaded() && section.flags & 4 == 0);
    data.flat_map(move |(index, section)| {
        section.relocations.iter().filter_map(move |(at, it)| {
            let symbol = module.symbols.get(it.symbol)?;
            Some(((index, *at), symbol, it.addend))
        })
    })
}

/// Where a word leads to, in the module.
fn target((_, symbol, addend): &Word<'_>) -> Option<Place> {
    Some((symbol.section?, symbol.value.wrapping_add_signed(*addend)))
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;

    /// A module with its four structures in `.data`, which is writable or not.
    /// `linked` says whether modlinkage leads to modldrv.
    fn module(data_flags: u64, linked: bool) -> Module {
        let mut module = made::module(&[("_init", &[0xc3])]);
        let operations = made::undefined(&mut module, "mod_driverops");
        let data = made::section(&mut module, ".data", data_flags, &[0; 400]);
        let own = made::symbol_of(&mut module, data);
        // cb_ops at 0, dev_ops at 136, modldrv at 224, modlinkage at 248.
        made::word(&mut module, data, 136 + 56, own, 0);
        made::word(&mut module, data, 224, operations, 0);
        made::word(&mut module, data, 224 + 16, own, 136);
        if linked {
            made::word(&mut module, data, 248 + 8, own, 224);
        }
        module
    }

    #[test]
    fn structures_lie_where_the_kernel_can_write() {
        assert_eq!(check(&module(3, true)), [""; 0]);
        let found = check(&module(2, true));
        let of = |name: &str| format!("{name} is in .data, where the kernel can't write");
        assert_eq!(
            found,
            ["modlinkage", "modldrv", "dev_ops", "cb_ops"].map(of)
        );
        assert_eq!(
            check(&module(3, false)),
            ["there is no modlinkage that belongs to modldrv"]
        );
        let none = made::module(&[("_init", &[0xc3])]);
        assert_eq!(check(&none), ["there is no modldrv"]);
    }
}
