//! One instruction: what it does to the stack, and what it takes of the
//! processor.

use iced_x86::{CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// What every amd64 processor has and the kernel keeps for each thread: general
/// registers. What isn't of these is refused, whatever its operands are: there
/// is more of it than could be listed, and `fxsave` or `cvttsd2si rax, [rax]`
/// name no vector register.
const GENERAL: [CpuidFeature; 15] = [
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::X64,
    CpuidFeature::CET_IBT,
    CpuidFeature::CMOV,
    CpuidFeature::CMPXCHG16B,
    CpuidFeature::CPUID,
    CpuidFeature::CX8,
    CpuidFeature::MULTIBYTENOP,
    CpuidFeature::PAUSE,
    CpuidFeature::PREFETCHW,
    CpuidFeature::TSC,
];
/// Instructions of later processors that touch general registers only: those
/// that came with SSE, and one that older ones take for `bsf`, which is what the
/// compiler wants of them.
const HARMLESS: [Mnemonic; 9] = [
    Mnemonic::Tzcnt,
    Mnemonic::Prefetchnta,
    Mnemonic::Prefetcht0,
    Mnemonic::Prefetcht1,
    Mnemonic::Prefetcht2,
    Mnemonic::Lfence,
    Mnemonic::Mfence,
    Mnemonic::Sfence,
    Mnemonic::Movnti,
];

/// Whether an instruction is of a class that the kernel doesn't save registers
/// for, or that not every processor has.
pub(super) fn is_foreign(instruction: &Instruction) -> bool {
    let registers = (0..instruction.op_count()).map(|op| instruction.op_register(op));
    let named = registers
        .into_iter()
        .any(|r| r.is_vector_register() || r.is_st() || r.is_mm() || r.is_k());
    let of = instruction.cpuid_features().iter();
    let foreign = of.into_iter().any(|feature| !GENERAL.contains(feature));
    // `wait` asks the FPU, and is as old as the general registers.
    let asks = instruction.mnemonic() == Mnemonic::Wait;
    named || asks || (foreign && !HARMLESS.contains(&instruction.mnemonic()))
}

/// Whether an instruction makes the frame pointer.
pub(super) fn is_frame_pointer(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_register() == Register::RBP
        && instruction.op1_register() == Register::RSP
}

/// How deep the stack is behind an instruction, in front of which it is so deep;
/// `None` when that can't be told.
pub(super) fn depth_behind(instruction: &Instruction, depth: u64) -> Option<u64> {
    let on_stack = instruction.op_count() > 0
        && instruction.op0_kind() == OpKind::Register
        && instruction.op0_register() == Register::RSP;
    let fixed = matches!(
        instruction.try_op_kind(1),
        Ok(OpKind::Immediate8to64 | OpKind::Immediate32to64)
    );
    let number = || instruction.immediate(1).cast_signed();
    let change = match instruction.mnemonic() {
        Mnemonic::Push | Mnemonic::Pushfq => 8,
        // What is put into rsp has been there: the epilogue's.
        Mnemonic::Pop | Mnemonic::Popfq => -8,
        Mnemonic::Cmp | Mnemonic::Test => 0,
        Mnemonic::Enter => return None,
        _ if !on_stack => 0,
        Mnemonic::Sub if fixed => number(),
        Mnemonic::Add if fixed => number().checked_neg()?,
        // `and rsp, -N` aligns.
        Mnemonic::And if fixed => number().checked_neg()?,
        Mnemonic::Mov if instruction.op1_register() == Register::RBP => 0,
        Mnemonic::Lea if instruction.memory_index() == Register::None => {
            let displacement = instruction.memory_displacement64().cast_signed();
            match instruction.memory_base() {
                Register::RSP => displacement.checked_neg()?,
                // Below the return address and the caller's frame pointer.
                Register::RBP => return u64::try_from(displacement.checked_neg()? + 16).ok(),
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(depth.saturating_add_signed(change))
}

/// Bytes that a loop of stack probes is about to reach.
pub(super) fn probe_of(instruction: &Instruction) -> u64 {
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

/// Whether what follows in the file doesn't follow in time.
pub(super) fn ends_way(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::Return
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Exception
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn decode(bytes: &[u8]) -> Instruction {
        let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        assert!(!instruction.is_invalid(), "{bytes:x?}");
        assert_eq!(instruction.len(), bytes.len(), "{instruction}");
        instruction
    }

    #[test]
    fn an_instruction_is_judged_by_its_class() {
        for (name, bytes) in [
            ("pxor xmm0, xmm0", &[0x66, 0x0f, 0xef, 0xc0][..]),
            ("cvttsd2si rax, [rax]", &[0xf2, 0x48, 0x0f, 0x2c, 0x00]),
            ("ldmxcsr [rax]", &[0x0f, 0xae, 0x10]),
            ("stmxcsr [rax]", &[0x0f, 0xae, 0x18]),
            ("fxsave [rax]", &[0x0f, 0xae, 0x00]),
            ("xsave [rax]", &[0x0f, 0xae, 0x20]),
            ("vzeroupper", &[0xc5, 0xf8, 0x77]),
            ("emms", &[0x0f, 0x77]),
            ("fld qword [rax]", &[0xdd, 0x00]),
            ("fldcw [rax]", &[0xd9, 0x28]),
            ("fwait", &[0x9b]),
            ("andn eax, eax, eax", &[0xc4, 0xe2, 0x78, 0xf2, 0xc0]),
        ] {
            assert!(is_foreign(&decode(bytes)), "{name}");
        }
        for (name, bytes) in [
            ("prefetcht0 [rax]", &[0x0f, 0x18, 0x08][..]),
            ("mfence", &[0x0f, 0xae, 0xf0]),
            ("pause", &[0xf3, 0x90]),
            ("nop [rax]", &[0x0f, 0x1f, 0x00]),
            ("lock cmpxchg16b [rdi]", &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]),
            ("cmove eax, eax", &[0x0f, 0x44, 0xc0]),
            ("imul rax, rax", &[0x48, 0x0f, 0xaf, 0xc0]),
            ("ud2", &[0x0f, 0x0b]),
        ] {
            assert!(!is_foreign(&decode(bytes)), "{name}");
        }
    }

    #[test]
    fn the_stack_is_followed_or_given_up() {
        for (name, bytes, from, to) in [
            ("push rbp", &[0x55][..], 8, Some(16)),
            ("pop rbp", &[0x5d], 16, Some(8)),
            (
                "sub rsp, 0x110",
                &[0x48, 0x81, 0xec, 0x10, 1, 0, 0],
                16,
                Some(288),
            ),
            ("add rsp, 8", &[0x48, 0x83, 0xc4, 8], 24, Some(16)),
            ("sub rsp, -128", &[0x48, 0x83, 0xec, 0x80], 200, Some(72)),
            ("and rsp, -64", &[0x48, 0x83, 0xe4, 0xc0], 16, Some(80)),
            (
                "lea rsp, [rsp-32]",
                &[0x48, 0x8d, 0x64, 0x24, 0xe0],
                16,
                Some(48),
            ),
            (
                "lea rsp, [rbp-40]",
                &[0x48, 0x8d, 0x65, 0xd8],
                999,
                Some(56),
            ),
            ("mov rsp, rbp", &[0x48, 0x89, 0xec], 99, Some(99)),
            ("cmp rsp, r11", &[0x4c, 0x39, 0xdc], 16, Some(16)),
            ("sub rsp, rax", &[0x48, 0x29, 0xc4], 16, None),
            ("mov rsp, rax", &[0x48, 0x89, 0xc4], 16, None),
            ("lea rsp, [rax]", &[0x48, 0x8d, 0x20], 16, None),
        ] {
            assert_eq!(depth_behind(&decode(bytes), from), to, "{name}");
        }
    }
}
