//! The module's code: what each function does to the stack, and whom it calls.
//!
//! Rules     C1  how much stack a function takes is read off its instructions
//!               in their order: pushes, subtractions, probes of large frames.
//!               Behind a jump or a return the deepest state so far counts, so
//!               the result is never too small.
//!           C2  a call by a pointer may reach every function that is at this
//!               place of a virtual table, or whose address is taken if it is
//!               no table's entry ([`Callee`]).

use super::super::elf::{Module, Section};
use super::file::PROBE;
use anyhow::{Context, Result};
use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use std::collections::{BTreeMap, BTreeSet};

/// All functions.
pub(super) struct Code {
    /// By where they start.
    pub(super) functions: BTreeMap<u64, Function>,
    /// Addresses of functions at each place of a virtual table.
    pub(super) tables: BTreeMap<u64, BTreeSet<u64>>,
    /// Functions whose address is taken.
    pub(super) taken: BTreeSet<u64>,
    /// What is wrong with the instructions.
    pub(super) findings: Vec<String>,
}

/// A function.
#[derive(Default)]
pub(super) struct Function {
    pub(super) name: String,
    end: u64,
    /// Bytes of stack, the return address included.
    pub(super) frame: u64,
    pub(super) calls: BTreeSet<Callee>,
    /// Functions whose address it takes.
    pub(super) takes: BTreeSet<u64>,
    has_frame_pointer: bool,
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

/// Bytes of a virtual table in front of the first method: destructor, size,
/// alignment.
const METHODS_AT: u64 = 24;

/// Reads the code.
pub(super) fn read(module: &Module) -> Result<Code> {
    let (index, text) = module
        .sections
        .iter()
        .enumerate()
        .find(|(_, section)| section.name == ".text")
        .context("no .text")?;
    let mut code = Code {
        functions: functions(module, index),
        tables: BTreeMap::new(),
        taken: BTreeSet::new(),
        findings: Vec::new(),
    };
    pointers(module, index, &mut code);
    let starts: BTreeSet<u64> = code.functions.keys().copied().collect();
    let mut functions = std::mem::take(&mut code.functions);
    for (start, function) in &mut functions {
        let mut reader = Reader {
            module,
            text,
            index,
            starts: &starts,
            findings: &mut code.findings,
        };
        reader.function(*start, function)?;
        code.taken.extend(&function.takes);
        if function
            .calls
            .iter()
            .any(|call| matches!(call, Callee::Own(_)))
            && !function.has_frame_pointer
        {
            let name = &function.name;
            code.findings.push(format!("{name} has no frame pointer"));
        }
    }
    code.functions = functions;
    Ok(code)
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

/// Functions whose addresses are in data: virtual tables, and others.
fn pointers(module: &Module, text: usize, code: &mut Code) {
    let data = module.sections.iter();
    for section in data.filter(|s| s.is_loaded() && s.flags & 4 == 0) {
        let functions: BTreeMap<u64, u64> = section
            .relocations
            .iter()
            .filter_map(|(offset, relocation)| {
                let symbol = module.symbols.get(relocation.symbol)?;
                let address = symbol.value.wrapping_add_signed(relocation.addend);
                let is_function =
                    symbol.section == Some(text) && code.functions.contains_key(&address);
                is_function.then_some((*offset, address))
            })
            .collect();
        for (offset, function) in &functions {
            match table_of(section, *offset) {
                Some(table) => {
                    let place = code.tables.entry(offset - table).or_default();
                    place.insert(*function);
                }
                None => {
                    code.taken.insert(*function);
                }
            }
        }
    }
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
        numbers && size && align && destructor
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

/// Reads one function after the other.
struct Reader<'m> {
    module: &'m Module,
    text: &'m Section,
    index: usize,
    starts: &'m BTreeSet<u64>,
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
        let (mut depth, mut deepest) = (8_u64, 8_u64);
        let mut probed = 0;
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                let at = instruction.ip();
                self.findings
                    .push(format!("{}+{at:#x}: no instruction", function.name));
                break;
            }
            if is_float(&instruction) {
                let at = instruction.ip() - start;
                self.findings.push(format!(
                    "{}+{at:#x}: {instruction} uses the FPU",
                    function.name
                ));
            }
            if instruction.mnemonic() == Mnemonic::Mov
                && instruction.op0_register() == Register::RBP
                && instruction.op1_register() == Register::RSP
            {
                function.has_frame_pointer = true;
            }
            depth = depth.saturating_add_signed(stack_change(&instruction));
            probed = probed.max(probe_of(&instruction));
            deepest = deepest.max(depth);
            if matches!(
                instruction.flow_control(),
                FlowControl::Return | FlowControl::UnconditionalBranch
            ) {
                depth = deepest;
            }
            self.calls(&instruction, start, function);
        }
        function.frame = deepest.max(probed);
        Ok(())
    }

    /// Whom an instruction calls, and whose address it takes.
    fn calls(&self, instruction: &Instruction, start: u64, function: &mut Function) {
        let target = self.target(instruction);
        match instruction.flow_control() {
            FlowControl::Call
            | FlowControl::UnconditionalBranch
            | FlowControl::ConditionalBranch => {
                let direct = target.or_else(|| {
                    let near = instruction.near_branch_target();
                    (near != 0).then_some(Target::Own(near))
                });
                match direct {
                    Some(Target::Kernel(name)) if !name.starts_with(PROBE) => {
                        function.calls.insert(Callee::Kernel(name));
                    }
                    // A jump inside of the function isn't a call.
                    Some(Target::Own(to)) if to != start && self.starts.contains(&to) => {
                        function.calls.insert(Callee::Own(to));
                    }
                    Some(Target::Own(to)) if to == start => {
                        let is_call = instruction.flow_control() == FlowControl::Call;
                        if is_call {
                            function.calls.insert(Callee::Own(to));
                        }
                    }
                    _ => {}
                }
            }
            FlowControl::IndirectCall => {
                function.calls.insert(by_pointer(instruction));
            }
            FlowControl::IndirectBranch if instruction.op0_kind() == OpKind::Memory => {
                // A jump through a table of the function's own, or the last
                // call of a function.
                if instruction.memory_index() == Register::None {
                    function.calls.insert(by_pointer(instruction));
                }
            }
            _ => {
                if let Some(Target::Own(to)) = target
                    && self.starts.contains(&to)
                {
                    function.takes.insert(to);
                }
            }
        }
    }

    /// What the relocation inside of an instruction refers to.
    fn target(&self, instruction: &Instruction) -> Option<Target> {
        let range = instruction.ip()..instruction.next_ip();
        let (offset, relocation) = self.text.relocations.range(range).next()?;
        let symbol = self.module.symbols.get(relocation.symbol)?;
        if symbol.is_undefined {
            return Some(Target::Kernel(symbol.name.clone()));
        }
        if symbol.section != Some(self.index) {
            return None;
        }
        // Relative to the next instruction, unless it is an absolute address.
        let behind = match relocation.kind {
            2 | 4 => i64::try_from(instruction.next_ip() - offset).ok()?,
            _ => 0,
        };
        let addend = relocation.addend.checked_add(behind)?;
        Some(Target::Own(symbol.value.wrapping_add_signed(addend)))
    }
}

/// What an instruction refers to.
enum Target {
    Own(u64),
    Kernel(String),
}

/// A call through memory at a fixed place behind a register is one through a
/// virtual table; others are by a pointer.
fn by_pointer(instruction: &Instruction) -> Callee {
    let through_table = instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
        && instruction.memory_base() != Register::RSP
        && instruction.memory_base() != Register::RBP;
    if through_table {
        Callee::Table(instruction.memory_displacement64())
    } else {
        Callee::Pointer
    }
}

/// Bytes by which an instruction makes the stack deeper.
fn stack_change(instruction: &Instruction) -> i64 {
    let on_stack = instruction.op0_register() == Register::RSP;
    let immediate = || i64::try_from(instruction.immediate(1)).unwrap_or(0);
    match instruction.mnemonic() {
        Mnemonic::Push => 8,
        Mnemonic::Pop => -8,
        Mnemonic::Sub if on_stack && instruction.op1_kind() != OpKind::Register => immediate(),
        Mnemonic::Add if on_stack && instruction.op1_kind() != OpKind::Register => {
            -(instruction.immediate(1).cast_signed())
        }
        // `and rsp, -N` aligns.
        Mnemonic::And if on_stack => instruction.immediate(1).cast_signed().saturating_neg(),
        _ => 0,
    }
}

/// Bytes that a loop of stack probes is about to reach.
fn probe_of(instruction: &Instruction) -> u64 {
    let is_probe = instruction.mnemonic() == Mnemonic::Lea
        && instruction.op0_register() == Register::R11
        && instruction.memory_base() == Register::RSP;
    let displacement = instruction.memory_displacement64().cast_signed();
    if is_probe && displacement < 0 {
        displacement.unsigned_abs()
    } else {
        0
    }
}

/// Whether an instruction touches what the kernel doesn't save for us. Asking
/// for memory ahead belongs to SSE and doesn't.
fn is_float(instruction: &Instruction) -> bool {
    let registers = (0..instruction.op_count()).map(|op| instruction.op_register(op));
    let vector = registers
        .into_iter()
        .any(|r| r.is_vector_register() || r.is_st() || r.is_mm() || r.is_k());
    let unit = instruction.cpuid_features().iter().any(|feature| {
        matches!(
            feature,
            CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387
        )
    });
    vector || unit
}
