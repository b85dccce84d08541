//! The module's code: what each function does to the stack, and whom it calls.
//!
//! Rules     C1  how much stack a function takes is read off its instructions
//!               in their order: pushes, subtractions, probes of large frames.
//!               Behind a jump or a return the deepest state so far counts, so
//!               the result is never too small.
//!           C2  a call by a pointer is followed back to where the pointer comes
//!               from (`flow`): a place of a virtual table, a function, or
//!               anywhere ([`Callee`]).
//!           C3  code is in functions: there is no call or jump to the middle of
//!               another one, nothing takes such an address, and those in data
//!               are places that a function jumps to.

use super::super::elf::{Module, Section};
use super::file::PROBE;
use super::flow::{Flow, Source};
use super::instruction::{depth_behind, ends_way, is_foreign, is_frame_pointer, probe_of};
use super::reference::{References, Target};
use super::table::{self, Tables};
use anyhow::{Context, Result};
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};
use std::collections::{BTreeMap, BTreeSet};

/// All functions.
#[derive(Default)]
pub(super) struct Code {
    /// By where they start.
    pub(super) functions: BTreeMap<u64, Function>,
    /// Addresses of functions in data.
    pub(super) tables: Tables,
    /// What is wrong with the instructions.
    pub(super) findings: Vec<String>,
}

/// A function.
#[derive(Default)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) end: u64,
    /// Bytes of stack, the return address included.
    pub(super) frame: u64,
    pub(super) calls: BTreeSet<Callee>,
    /// Functions whose address it takes.
    pub(super) takes: BTreeSet<u64>,
}

/// Who is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    /// A function of the module.
    Own(u64),
    /// The kernel's.
    Kernel(String),
    /// Whoever is at this place of a virtual table.
    Table(u64),
    /// Whoever's address was taken.
    Pointer,
}

impl Code {
    /// Functions whose address code takes, or that lie in data outside of
    /// virtual tables.
    pub(super) fn taken(&self) -> BTreeSet<u64> {
        let by_code = self.functions.values().flat_map(|f| &f.takes);
        by_code.chain(&self.tables.others).copied().collect()
    }
}

/// Reads the code.
pub(super) fn read(module: &Module) -> Result<Code> {
    let (index, text) = module
        .sections
        .iter()
        .enumerate()
        .find(|(_, section)| section.name == ".text")
        .context("no .text")?;
    let mut functions = functions(module, index);
    let starts: BTreeSet<u64> = functions.keys().copied().collect();
    let tables = table::find(module, index, &starts);
    let mut findings = Vec::new();
    for landing in &tables.landings {
        let before = functions.range(..=landing).next_back();
        if before.is_none_or(|(_, function)| function.end <= *landing) {
            findings.push(format!(
                "an address of code in data, {landing:#x}, where no function is"
            ));
        }
    }
    for (start, function) in &mut functions {
        let mut reader = Reader {
            module,
            text,
            index,
            starts: &starts,
            tables: &tables,
            findings: &mut findings,
        };
        reader.function(*start, function)?;
    }
    Ok(Code {
        functions,
        tables,
        findings,
    })
}

/// Functions by their symbols.
fn functions(module: &Module, text: usize) -> BTreeMap<u64, Function> {
    let symbols = module.symbols.iter();
    symbols
        .filter(|symbol| symbol.kind == 2 && symbol.section == Some(text))
        .map(|symbol| {
            let function = Function {
                name: symbol.name.clone(),
                end: symbol.value.saturating_add(symbol.size),
                ..Function::default()
            };
            (symbol.value, function)
        })
        .collect()
}

/// Reads one function after the other.
struct Reader<'m> {
    module: &'m Module,
    text: &'m Section,
    index: usize,
    starts: &'m BTreeSet<u64>,
    tables: &'m Tables,
    findings: &'m mut Vec<String>,
}

impl Reader<'_> {
    fn function(&mut self, start: u64, function: &mut Function) -> Result<()> {
        let range = usize::try_from(start)?..usize::try_from(function.end)?;
        let bytes = self
            .text
            .bytes
            .get(range)
            .context("a function beyond .text")?;
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let (mut body, mut references) = (Vec::new(), References::default());
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                let at = instruction.ip() - start;
                self.found(function, at, "no instruction");
                break;
            }
            let places = decoder.get_constant_offsets(&instruction);
            references.add(self.module, self.index, &instruction, &places);
            body.push(instruction);
        }
        self.stack(start, function, &body);
        self.use_of_processor(start, function, &body, &references);
        self.calls(start, function, &body, &references);
        self.frame_pointer(function, &body, &references);
        Ok(())
    }

    fn found(&mut self, function: &Function, at: u64, what: &str) {
        self.findings
            .push(format!("{}+{at:#x}: {what}", function.name));
    }

    /// How deep the stack becomes (rule C1).
    fn stack(&mut self, start: u64, function: &mut Function, body: &[Instruction]) {
        let (mut depth, mut deepest, mut probed) = (8_u64, 8_u64, 0);
        for instruction in body {
            match depth_behind(instruction, depth) {
                Some(behind) => depth = behind,
                None => self.found(
                    function,
                    instruction.ip() - start,
                    &format!("{instruction}: how deep the stack is can't be told"),
                ),
            }
            probed = probed.max(probe_of(instruction));
            deepest = deepest.max(depth);
            if ends_way(instruction) {
                depth = deepest;
            }
        }
        function.frame = deepest.max(probed);
    }

    /// Classes of instructions, and what is written to.
    fn use_of_processor(
        &mut self,
        start: u64,
        function: &Function,
        body: &[Instruction],
        references: &References,
    ) {
        for instruction in body {
            let at = instruction.ip() - start;
            if is_foreign(instruction) {
                self.found(
                    function,
                    at,
                    &format!("{instruction} uses the FPU or isn't of every processor"),
                );
            }
            for reference in references.of(instruction).filter(|it| !it.is_value) {
                let section = match reference.target {
                    Target::Data(section, _) => self.module.sections.get(section),
                    Target::Code(_) => Some(self.text),
                    Target::Kernel(_) => None,
                };
                if let Some(section) = section.filter(|section| !section.is_writable())
                    && writes_memory(instruction)
                {
                    let name = &section.name;
                    let what = format!("{instruction} writes to {name}, which isn't writable");
                    self.found(function, at, &what);
                }
            }
        }
    }

    /// Whom a function calls, and whose address it takes.
    fn calls(
        &mut self,
        start: u64,
        function: &mut Function,
        body: &[Instruction],
        references: &References,
    ) {
        let taken = |instruction: &Instruction| references.taken(instruction);
        let landings: Vec<u64> = (self.tables.landings)
            .range(start..function.end)
            .copied()
            .collect();
        let flow = std::cell::OnceCell::new();
        for (index, instruction) in body.iter().enumerate() {
            match taken(instruction) {
                Some(to) if self.starts.contains(&to) => {
                    function.takes.insert(to);
                }
                Some(to) => {
                    let what = format!("{instruction} takes {to:#x}, where no function starts");
                    self.found(function, instruction.ip() - start, &what);
                }
                None => {}
            }
            match instruction.flow_control() {
                FlowControl::Call
                | FlowControl::UnconditionalBranch
                | FlowControl::ConditionalBranch => {
                    self.direct(start, function, instruction, references);
                }
                FlowControl::IndirectBranch
                    if is_jump_table(self.module, instruction, references, &landings) => {}
                FlowControl::IndirectCall | FlowControl::IndirectBranch => {
                    let flow = flow.get_or_init(|| Flow::new(body, &landings, &taken));
                    for source in flow.sources(index) {
                        function.calls.insert(match source {
                            Source::Table(place) => Callee::Table(place),
                            Source::Code(to) => Callee::Own(to),
                            Source::Any => Callee::Pointer,
                        });
                    }
                }
                _ => {}
            }
        }
    }

    /// A call or a jump to a place that is in the instruction.
    fn direct(
        &mut self,
        start: u64,
        function: &mut Function,
        instruction: &Instruction,
        references: &References,
    ) {
        let is_call = instruction.flow_control() == FlowControl::Call;
        let to = match references.of(instruction).next().map(|it| &it.target) {
            Some(Target::Kernel(name)) => {
                if !name.starts_with(PROBE) {
                    function.calls.insert(Callee::Kernel(name.clone()));
                }
                return;
            }
            Some(Target::Code(to)) => *to,
            Some(Target::Data(..)) => u64::MAX,
            None => instruction.near_branch_target(),
        };
        // A jump inside of the function isn't a call.
        if !is_call && (start..function.end).contains(&to) {
            return;
        }
        if self.starts.contains(&to) {
            function.calls.insert(Callee::Own(to));
        } else {
            // Rule C3.
            let what = format!("{instruction} leads to {to:#x}, where no function starts");
            self.found(function, instruction.ip() - start, &what);
        }
    }

    /// Who calls has a frame pointer by then: `stack()`, fbt and the debugger
    /// follow them. A jump at a function's end leaves nothing behind.
    fn frame_pointer(
        &mut self,
        function: &Function,
        body: &[Instruction],
        references: &References,
    ) {
        let is_probe = |instruction: &Instruction| {
            let mut of = references.of(instruction);
            of.any(|it| matches!(&it.target, Target::Kernel(name) if name.starts_with(PROBE)))
        };
        let made = body.iter().position(is_frame_pointer);
        let calls = body.iter().position(|instruction| {
            let is_call = matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            );
            // A probe's site is no call when it runs.
            is_call && !is_probe(instruction)
        });
        if let Some(call) = calls
            && made.is_none_or(|made| made > call)
        {
            let name = &function.name;
            self.findings
                .push(format!("{name} calls and has no frame pointer"));
        }
    }
}

/// A jump by an index into a table of the function's own places.
fn is_jump_table(
    module: &Module,
    instruction: &Instruction,
    references: &References,
    landings: &[u64],
) -> bool {
    let by_index = instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() != Register::None
        && instruction.memory_base() == Register::None;
    let table = references.of(instruction).find_map(|it| match it.target {
        Target::Data(section, at) => Some((section, at)),
        _ => None,
    });
    let first = table.and_then(|(section, at)| {
        let relocation = module.sections.get(section)?.relocations.get(&at)?;
        let symbol = module.symbols.get(relocation.symbol)?;
        Some(symbol.value.wrapping_add_signed(relocation.addend))
    });
    by_index && first.is_some_and(|first| landings.contains(&first))
}

fn writes_memory(instruction: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let used = factory.info(instruction).used_memory();
    used.iter().any(|memory| {
        matches!(
            memory.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
    })
}

#[cfg(test)]
mod tests;
