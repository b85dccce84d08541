//! What instructions refer to: their relocations.

use super::super::elf::Module;
use iced_x86::{ConstantOffsets, FlowControl, Instruction, Mnemonic};
use std::collections::BTreeMap;

/// What a function's instructions refer to, by where they are.
#[derive(Default)]
pub(super) struct References(BTreeMap<u64, Vec<Reference>>);

/// What a relocation inside of an instruction refers to.
pub(super) struct Reference {
    pub(super) target: Target,
    /// The address itself is used, and not what is there.
    pub(super) is_value: bool,
}

pub(super) enum Target {
    /// An address of code.
    Code(u64),
    /// A section, and where in it.
    Data(usize, u64),
    Kernel(String),
}

impl References {
    /// Those of an instruction in the section `text`.
    pub(super) fn of(&self, instruction: &Instruction) -> impl Iterator<Item = &Reference> {
        self.0.get(&instruction.ip()).into_iter().flatten()
    }

    /// Which code an instruction takes the address of, if it doesn't go there.
    pub(super) fn taken(&self, instruction: &Instruction) -> Option<u64> {
        let goes_on = instruction.flow_control() == FlowControl::Next;
        self.of(instruction).find_map(|it| match it.target {
            Target::Code(to) if goes_on && it.is_value => Some(to),
            _ => None,
        })
    }

    /// Notes what an instruction refers to, whose fields are at `places`.
    pub(super) fn add(
        &mut self,
        module: &Module,
        text: usize,
        instruction: &Instruction,
        places: &ConstantOffsets,
    ) {
        let Some(section) = module.sections.get(text) else {
            return;
        };
        let range = instruction.ip()..instruction.next_ip();
        for (offset, relocation) in section.relocations.range(range) {
            let Some(symbol) = module.symbols.get(relocation.symbol) else {
                continue;
            };
            // Relative to the next instruction, unless it is an absolute address.
            let behind = match relocation.kind {
                2 | 4 => instruction.next_ip() - offset,
                _ => 0,
            };
            let address = symbol
                .value
                .wrapping_add_signed(relocation.addend)
                .wrapping_add(behind);
            let target = match symbol.section {
                _ if symbol.is_undefined => Target::Kernel(symbol.name.clone()),
                Some(section) if section == text => Target::Code(address),
                Some(section) => Target::Data(section, address),
                None => continue,
            };
            let at = usize::try_from(offset - instruction.ip()).ok();
            let in_memory = places.has_displacement() && at == Some(places.displacement_offset());
            let reference = Reference {
                target,
                is_value: !in_memory || instruction.mnemonic() == Mnemonic::Lea,
            };
            self.0.entry(instruction.ip()).or_default().push(reference);
        }
    }
}
