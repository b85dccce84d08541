//! Checks the checks: a module that is right is spoilt in one place, and what
//! is wrong has to be found.

mod copy;

use super::super::Variant;
use super::super::elf::Module;
use super::Part;
use anyhow::{Context, Result, ensure};
use copy::Copy;

/// A way to spoil a module, and words that the finding has.
type Sabotage = (&'static str, fn(&mut Copy<'_>) -> Result<()>, &'static str);

/// Of the file.
const FILE: &[Sabotage] = &[
    (
        "another kind of file",
        |copy| copy.put(16, &[3]),
        "relocatable",
    ),
    (
        "a relocation by a GOT",
        |copy| copy.put(copy.call("mac_tx")?.entry + 8, &[9]),
        "gets relocation 9",
    ),
    (
        "a relocated field that isn't zero",
        |copy| copy.put(copy.call("mac_tx")?.field, &[1]),
        "isn't zero",
    ),
    (
        "a probe that is jumped to",
        |copy| copy.put(copy.call(super::file::PROBE)?.field - 1, &[0xe9]),
        "isn't called",
    ),
    (
        "a name that no kernel has",
        |copy| copy.put(copy.name("mac_tx")?, b"mac_tz\0"),
        "isn't known to be in the kernel",
    ),
    (
        "a weak name that is called",
        |copy| copy.put(copy.symbol("mac_tx")? + 4, &[0x20]),
        "is weak",
    ),
    (
        "an exported name",
        |copy| copy.put(copy.symbol(TX)? + 4, &[0x12]),
        "exported names",
    ),
    (
        // Behind the empty string.
        "a module that isn't needed",
        |copy| copy.put(copy.section(".dynstr")?.offset + 1, b"misc/mad\0"),
        "isn't needed",
    ),
    (
        "structures where the kernel can't write",
        |copy| copy.set_flags(".data", 2),
        "where the kernel can't write",
    ),
    (
        "code that can be written to",
        |copy| copy.set_flags(".text", 7),
        "code that can be written",
    ),
];

/// Of instructions, in place of `push rbp; mov rbp, rsp` at a function's start
/// and of the `push r15` behind it.
const CODE: &[Sabotage] = &[
    (
        "an instruction of SSE",
        |copy| copy.put(copy.function(TX)?.0, &[0x66, 0x0f, 0xef, 0xc0]),
        "uses the FPU",
    ),
    (
        "an instruction of SSE that names no such register: ldmxcsr",
        |copy| copy.put(copy.function(TX)?.0, &[0x0f, 0xae, 0x10, 0x90]),
        "uses the FPU",
    ),
    (
        "an instruction that saves such registers: fxsave",
        |copy| copy.put(copy.function(TX)?.0, &[0x0f, 0xae, 0x00, 0x90]),
        "uses the FPU",
    ),
    (
        "an instruction of AVX without operands: vzeroupper",
        |copy| copy.put(copy.function(TX)?.0, &[0xc5, 0xf8, 0x77, 0x90]),
        "uses the FPU",
    ),
    (
        "an instruction of the x87: fld",
        |copy| copy.put(copy.function(TX)?.0, &[0xdd, 0x00, 0x90, 0x90]),
        "uses the FPU",
    ),
    (
        "a function without frame pointer",
        |copy| copy.put(copy.function(TX)?.0, &[0x90; 4]),
        "has no frame pointer",
    ),
    (
        "a function without frame pointer that calls the kernel alone",
        |copy| copy.put(copy.function("_fini")?.0, &[0x90; 4]),
        "_fini calls and has no frame pointer",
    ),
    (
        // sub rsp, rax
        "a stack of any depth",
        |copy| copy.put(copy.function(TX)?.0 + 1, &[0x48, 0x29, 0xc4]),
        "can't be told",
    ),
    (
        "variables that can't be written to",
        |copy| copy.set_flags(".bss", 2),
        "writes to .bss",
    ),
];

/// Of what calls what.
const CALLS: &[Sabotage] = &[
    (
        "a large frame",
        |copy| copy.put(copy.frame_below(TX)?, &3_500_u32.to_le_bytes()),
        "a frame of",
    ),
    (
        "a deep stack",
        |copy| copy.put(copy.frame_below(TX)?, &0x10_0000_u32.to_le_bytes()),
        "xde.entry.mac.tx takes",
    ),
    (
        "a deep stack behind a virtual table",
        |copy| {
            let method = copy.pointer(".rela.rodata", "xde.stat.PortStats.tell")?;
            copy.set_target(method, "xde_thread")
        },
        "xde.ddi.kstat.update takes",
    ),
    (
        // call rdi
        "a call by a pointer of which nothing is known",
        |copy| copy.put(copy.function(TX)?.0 + 4, &[0xff, 0xd7]),
        "calls by a pointer",
    ),
    (
        "a circle",
        |copy| copy.set_target(copy.call_in(TX)?, TX),
        "functions call each other: xde.entry.mac.tx",
    ),
    (
        "an entry point that isn't known",
        |copy| {
            let method = copy.pointer(".rela.data", "xde.entry.device.open")?;
            copy.set_target(method, FINISH)
        },
        "opte_core.host.Host.finish is handed to the kernel",
    ),
    (
        "an entry point that isn't known, given as an argument",
        |copy| {
            let argument = copy.pointer(".rela.text", "xde.entry.mac.receive")?;
            copy.set_target(argument, FINISH)
        },
        "opte_core.host.Host.finish is handed to the kernel",
    ),
    (
        "an entry point that is none",
        |copy| {
            let method = copy.pointer(".rela.data", "xde.entry.device.open")?;
            copy.set_target(method, "xde.entry.device.close")
        },
        "xde.entry.device.open isn't handed to the kernel",
    ),
    (
        "a jump into a function",
        |copy| {
            let call = copy.call_in(TX)?;
            copy.put(
                call.entry + 16,
                &copy.addend(call)?.wrapping_add(1).to_le_bytes(),
            )
        },
        "where no function starts",
    ),
];

/// Of what the debug variant isn't asked for.
const RELEASE: &[Sabotage] = &[(
    "a panic",
    |copy| copy.set_target(copy.call_in(TX)?, "core.panicking.panic"),
    "xde.entry.mac.tx can panic",
)];

/// The entry point of packets that a guest sends.
const TX: &str = "xde.entry.mac.tx";
/// A function of the engine.
const FINISH: &str = "opte_core.host.Host.finish";

/// Spoils the module in each way; what isn't found.
pub(super) fn missed(
    bytes: &[u8],
    variant: Variant,
    check: impl Fn(&[u8], Part) -> Result<Vec<String>>,
) -> Result<Vec<String>> {
    let module = Module::parse(bytes)?;
    let release = match variant {
        Variant::Release => RELEASE,
        Variant::Debug => &[],
    };
    let mut missed = Vec::new();
    for (part, list) in [
        (Part::File, FILE),
        (Part::Code, CODE),
        (Part::Calls, CALLS),
        (Part::Calls, release),
    ] {
        for (name, spoil, words) in list {
            let mut copy = Copy::new(&module, bytes);
            spoil(&mut copy).with_context(|| format!("cannot make {name}"))?;
            ensure!(copy.bytes != bytes, "{name}: nothing is spoilt");
            let findings = check(&copy.bytes, part)?;
            if !findings.iter().any(|finding| finding.contains(words)) {
                missed.push(format!("the checks don't find {name}"));
            }
        }
    }
    Ok(missed)
}
