//! Where the pointer of a call comes from.
//!
//! Flow      a call by a register or by a word of the stack is followed back,
//!           over every way that leads to it, to what put the pointer there.
//!
//! Rules     F1  a word at a fixed place behind a register, at the start or
//!               behind the head of a virtual table ([`METHODS_AT`]), is a
//!               method; the register is a table's address.
//!           F2  words of a function's own frame that it stores and loads at
//!               the same place are the compiler's spilt registers: nothing else
//!               writes to them.
//!           F3  what comes of anything else, such as an argument, a field or an
//!               array, is any pointer.

use super::instruction::ends_way;
use iced_x86::{
    CpuidFeature, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a virtual table in front of the first method: destructor, size,
/// alignment.
pub(super) const METHODS_AT: u64 = 24;

/// What a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// What is at this place of some virtual table.
    Table(u64),
    /// This address of code.
    Code(u64),
    /// Nobody knows (rule F3).
    Any,
}

/// Where a pointer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Register(Register),
    /// A word of the frame: base and displacement.
    Slot(Register, u64),
}

/// A function's instructions, and which comes before which.
pub(super) struct Flow<'f> {
    body: &'f [Instruction],
    before: Vec<Vec<usize>>,
    /// Which code an instruction takes the address of.
    taken: &'f dyn Fn(&Instruction) -> Option<u64>,
}

impl<'f> Flow<'f> {
    /// `landings` are the places inside of the function that a jump through a
    /// table may lead to.
    pub(super) fn new(
        body: &'f [Instruction],
        landings: &[u64],
        taken: &'f dyn Fn(&Instruction) -> Option<u64>,
    ) -> Self {
        let at: BTreeMap<u64, usize> = (body.iter().enumerate())
            .map(|(index, instruction)| (instruction.ip(), index))
            .collect();
        let mut before = vec![Vec::new(); body.len()];
        for (index, instruction) in body.iter().enumerate() {
            let mut behind: Vec<u64> = match instruction.flow_control() {
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    vec![instruction.near_branch_target()]
                }
                FlowControl::IndirectBranch => landings.to_vec(),
                _ => Vec::new(),
            };
            if !ends_way(instruction) {
                behind.push(instruction.next_ip());
            }
            for ip in behind {
                if let Some(list) = at.get(&ip).and_then(|next| before.get_mut(*next)) {
                    list.push(index);
                }
            }
        }
        Self {
            body,
            before,
            taken,
        }
    }

    /// What the call or jump at an index may lead to.
    pub(super) fn sources(&self, index: usize) -> BTreeSet<Source> {
        let mut found = BTreeSet::new();
        let Some(call) = self.body.get(index) else {
            return found;
        };
        let start = match call.op0_kind() {
            OpKind::Register => Ok(Place::Register(call.op0_register())),
            _ => loaded(call),
        };
        let (mut seen, mut rest) = (BTreeSet::new(), Vec::new());
        match start {
            Ok(place) => rest.push((index, place)),
            Err(source) => {
                found.insert(source);
            }
        }
        while let Some((index, place)) = rest.pop() {
            if !seen.insert((index, place)) {
                continue;
            }
            let before = self.before.get(index).map_or(&[][..], Vec::as_slice);
            // The function's caller put it there. Where nothing leads to, such
            // as to padding, nothing comes from.
            if index == 0 {
                found.insert(Source::Any);
            }
            for index in before {
                for step in self.step(*index, place) {
                    match step {
                        Step::From(place) => rest.push((*index, place)),
                        Step::Is(source) => {
                            found.insert(source);
                        }
                        Step::Null => {}
                    }
                }
            }
        }
        found
    }

    /// What is at a place behind an instruction.
    fn step(&self, index: usize, place: Place) -> Vec<Step> {
        let Some(instruction) = self.body.get(index) else {
            return Vec::new();
        };
        let kept = Step::From(place);
        let Some(conditional) = writes(instruction, place) else {
            return vec![kept];
        };
        let mut steps = vec![self.written(instruction)];
        if conditional {
            steps.push(kept);
        }
        steps
    }

    /// What an instruction writes.
    fn written(&self, instruction: &Instruction) -> Step {
        if let Some(code) = (self.taken)(instruction) {
            return Step::Is(Source::Code(code));
        }
        let moves = instruction.mnemonic() == Mnemonic::Mov || is_conditional(instruction);
        let same = instruction.op0_register() == instruction.try_op_register(1).unwrap_or_default();
        match instruction.try_op_kind(1) {
            Ok(OpKind::Register) if moves => {
                Step::From(Place::Register(instruction.op1_register().full_register()))
            }
            Ok(OpKind::Memory) if moves => loaded(instruction).map_or_else(Step::Is, Step::From),
            // Calling a number isn't what a compiler makes.
            Ok(OpKind::Immediate32to64 | OpKind::Immediate32 | OpKind::Immediate64) if moves => {
                Step::Null
            }
            Ok(OpKind::Register) if instruction.mnemonic() == Mnemonic::Xor && same => Step::Null,
            _ => Step::Is(Source::Any),
        }
    }
}

/// A step back.
enum Step {
    From(Place),
    Is(Source),
    /// No function.
    Null,
}

/// Whether an instruction writes to a place, and if so whether it may as well
/// not.
fn writes(instruction: &Instruction, place: Place) -> Option<bool> {
    match place {
        Place::Slot(base, displacement) => {
            let stores = instruction.op_count() > 0
                && instruction.op0_kind() == OpKind::Memory
                && instruction.mnemonic() == Mnemonic::Mov
                && instruction.memory_index() == Register::None
                && instruction.memory_base() == base
                && instruction.memory_displacement64() == displacement;
            stores.then_some(false)
        }
        Place::Register(register) => {
            let is_call = matches!(
                instruction.flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            );
            if is_call && !SAVED.contains(&register) {
                return Some(false);
            }
            let mut factory = InstructionInfoFactory::new();
            let used = factory.info(instruction).used_registers();
            used.iter()
                .filter(|used| used.register().full_register() == register)
                .find_map(|used| match used.access() {
                    OpAccess::Write | OpAccess::ReadWrite => Some(is_conditional(instruction)),
                    OpAccess::CondWrite | OpAccess::ReadCondWrite => Some(true),
                    _ => None,
                })
        }
    }
}

/// A move that may as well not be made.
fn is_conditional(instruction: &Instruction) -> bool {
    instruction.cpuid_features().contains(&CpuidFeature::CMOV)
}

/// Registers that a call leaves alone.
const SAVED: [Register; 7] = [
    Register::RBX,
    Register::RBP,
    Register::RSP,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// What an instruction that loads or calls a word of memory finds there.
fn loaded(instruction: &Instruction) -> Result<Place, Source> {
    let displacement = instruction.memory_displacement64();
    if instruction.memory_index() != Register::None {
        return Err(Source::Any);
    }
    match instruction.memory_base() {
        base @ (Register::RSP | Register::RBP) => Ok(Place::Slot(base, displacement)),
        Register::None | Register::RIP => Err(Source::Any),
        // Rule F1.
        _ if displacement == 0 || displacement >= METHODS_AT => Err(Source::Table(displacement)),
        _ => Err(Source::Any),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    /// What the last instruction's pointer is; `mov r32, imm32` of 7 and more
    /// takes the address of a function there.
    fn last(code: &[&[u8]], landings: &[u64]) -> Vec<Source> {
        let bytes = code.concat();
        let body: Vec<_> = Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE)
            .iter()
            .collect();
        assert_eq!(body.len(), code.len());
        let taken = |instruction: &Instruction| {
            let number = instruction.op_count() == 2
                && instruction.op1_kind() == OpKind::Immediate32
                && instruction.immediate32() >= 7;
            number.then(|| instruction.immediate(1))
        };
        let flow = Flow::new(&body, landings, &taken);
        flow.sources(body.len() - 1).into_iter().collect()
    }

    const CALL_RAX: &[u8] = &[0xff, 0xd0];
    const CALL_RBX: &[u8] = &[0xff, 0xd3];

    #[test]
    fn a_pointer_in_a_register_is_followed_to_where_it_was_loaded() {
        let nop = &[0x90][..];
        let method = &[0x48, 0x8b, 0x43, 0x18][..]; // mov rax, [rbx+24]
        assert_eq!(last(&[nop, method, CALL_RAX], &[]), [Source::Table(24)]);
        let drop = &[0x48, 0x8b, 0x03][..]; // mov rax, [rbx]
        assert_eq!(last(&[nop, drop, CALL_RAX], &[]), [Source::Table(0)]);
        // By a spilt word: mov [rbp-8], rax; xor eax, eax; call [rbp-8].
        let spill = &[0x48, 0x89, 0x45, 0xf8][..];
        let zero = &[0x31, 0xc0][..];
        let call = &[0xff, 0x55, 0xf8][..];
        assert_eq!(
            last(&[nop, method, spill, zero, call], &[]),
            [Source::Table(24)]
        );
        // By another register that a call leaves alone: mov rbx, rax.
        let keep = &[0x48, 0x89, 0xc3][..];
        let other = &[0xe8, 0, 1, 0, 0][..];
        assert_eq!(
            last(&[nop, method, keep, other, CALL_RBX], &[]),
            [Source::Table(24)]
        );
        // And by one that it doesn't.
        assert_eq!(last(&[nop, method, other, CALL_RAX], &[]), [Source::Any]);
    }

    #[test]
    fn every_way_to_a_call_counts() {
        // test edi, edi; mov eax, 7; je +4; mov rax, [rbx+32]; call rax
        let code = [
            &[0x85, 0xff][..],
            &[0xb8, 7, 0, 0, 0],
            &[0x74, 4],
            &[0x48, 0x8b, 0x43, 0x20],
            CALL_RAX,
        ];
        assert_eq!(last(&code, &[]), [Source::Table(32), Source::Code(7)]);
        // cmove rax, [rbx+32]: both, too.
        let code = [
            &[0x90][..],
            &[0xb8, 7, 0, 0, 0],
            &[0x48, 0x0f, 0x44, 0x43, 0x20],
            CALL_RAX,
        ];
        assert_eq!(last(&code, &[]), [Source::Table(32), Source::Code(7)]);
        // mov eax, 7; jmp [rcx*8]; mov eax, 8; call rax: the jump may land at
        // the call, behind 17 bytes.
        let code = [
            &[0xb8, 7, 0, 0, 0][..],
            &[0xff, 0x24, 0xcd, 0, 0, 0, 0],
            &[0xb8, 8, 0, 0, 0],
            CALL_RAX,
        ];
        assert_eq!(last(&code, &[17]), [Source::Code(7), Source::Code(8)]);
    }

    #[test]
    fn what_cannot_be_followed_is_any_pointer() {
        for code in [
            // An argument.
            &[&[0x90][..], &[0xff, 0xd7]][..],
            // mov rax, [rbx+rcx*8+24]
            &[&[0x90], &[0x48, 0x8b, 0x44, 0xcb, 0x18], CALL_RAX],
            // mov rax, [rbx+8]: the size, if it were a table.
            &[&[0x90], &[0x48, 0x8b, 0x43, 8], CALL_RAX],
            // mov rax, [rbx+24]; add rax, rcx
            &[
                &[0x90],
                &[0x48, 0x8b, 0x43, 0x18],
                &[0x48, 0x01, 0xc8],
                CALL_RAX,
            ],
            // call [rip+0]
            &[&[0x90], &[0xff, 0x15, 0, 0, 0, 0]],
        ] {
            assert_eq!(last(code, &[]), [Source::Any], "{code:x?}");
        }
    }
}
