//! Functions of a few instructions, made by hand.

use super::super::made;
use super::*;

/// `push rbp; mov rbp, rsp`, and what undoes it.
const BEGIN: &[u8] = &[0x55, 0x48, 0x89, 0xe5];
const END: &[u8] = &[0x5d, 0xc3];
/// `call`, `mov rax, imm32` and `lea rax, [rip]`, whose last four bytes are
/// relocated.
const CALL: &[u8] = &[0xe8, 0, 0, 0, 0];
const MOV: &[u8] = &[0x48, 0xc7, 0xc0, 0, 0, 0, 0];
const LEA: &[u8] = &[0x48, 0x8d, 0x05, 0, 0, 0, 0];

/// A function between its begin and end.
fn framed(body: &[&[u8]]) -> Vec<u8> {
    [BEGIN, &body.concat(), END].concat()
}

/// Reads a module of one function `f`, made of `body`, and `g` behind it.
fn read_with(body: &[u8], more: impl Fn(&mut Module)) -> Code {
    let mut module = made::module(&[("f", body), ("g", &[0xc3; 16])]);
    more(&mut module);
    read(&module).unwrap()
}

fn calls(code: &Code) -> Vec<Callee> {
    code.functions[&0].calls.iter().cloned().collect()
}

#[test]
fn a_frame_is_read_off_the_instructions() {
    // push rbx; sub rsp, 0x110
    let body = framed(&[&[0x53, 0x48, 0x81, 0xec, 0x10, 1, 0, 0]]);
    let code = read_with(&body, |_| {});
    assert_eq!(code.functions[&0].frame, 8 + 8 + 8 + 0x110);
    // lea r11, [rsp-0x3000], which a loop of probes goes to.
    let body = framed(&[&[0x4c, 0x8d, 0x9c, 0x24, 0x00, 0xd0, 0xff, 0xff]]);
    let code = read_with(&body, |_| {});
    assert_eq!(code.functions[&0].frame, 0x3000);
    // Behind a return the stack is as deep as it was: sub rsp, 32; add rsp, 32;
    // ret; push rax.
    let body = [0x48, 0x83, 0xec, 32, 0x48, 0x83, 0xc4, 32, 0xc3, 0x50, 0xc3];
    let code = read_with(&body, |_| {});
    assert_eq!(code.functions[&0].frame, 8 + 32 + 8);
    // sub rsp, rax
    let code = read_with(&framed(&[&[0x48, 0x29, 0xc4]]), |_| {});
    assert!(code.findings[0].contains("can't be told"));
}

#[test]
fn calls_are_told_from_addresses_that_are_taken() {
    let g = |module: &Module| module.symbols.iter().position(|s| s.name == "g").unwrap();
    let read = |body: &[u8], kind: u32, at: u64, addend: i64| {
        read_with(&framed(&[body]), |module| {
            let symbol = g(module);
            made::relocate(module, made::TEXT, 4 + at, (kind, symbol, addend));
        })
    };
    let start = u64::try_from(framed(&[CALL]).len()).unwrap();
    let code = read(CALL, 4, 1, -4);
    assert_eq!(calls(&code), [Callee::Own(start)]);
    assert!(code.taken().is_empty() && code.findings.is_empty());
    let start = start + 2;
    for (body, kind, addend) in [(MOV, 11, 0), (LEA, 2, -4)] {
        let code = read(body, kind, 3, addend);
        assert!(calls(&code).is_empty());
        assert_eq!(code.taken(), BTreeSet::from([start]));
    }
    // mov rax, [rip]: the bytes of `g` are read.
    let code = read(&[0x48, 0x8b, 0x05, 0, 0, 0, 0], 2, 3, -4);
    assert!(code.taken().is_empty());
    // Its middle.
    for (body, kind, at, addend) in [(CALL, 4, 1, -1), (MOV, 11, 3, 1)] {
        let code = read(body, kind, at, addend);
        assert!(code.findings[0].contains("where no function starts"));
    }
}

#[test]
fn calls_by_pointers_are_kept() {
    let method = framed(&[&[0x48, 0x8b, 0x47, 0x18, 0xff, 0xd0]]);
    assert_eq!(calls(&read_with(&method, |_| {})), [Callee::Table(24)]);
    // The last call of a function: mov rax, [rdi+24]; jmp rax.
    let last = [0x48, 0x8b, 0x47, 0x18, 0xff, 0xe0];
    assert_eq!(calls(&read_with(&last, |_| {})), [Callee::Table(24)]);
    // call rdi; call [rdi+16]
    for body in [&[0xff, 0xd7][..], &[0xff, 0x57, 0x10]] {
        let code = read_with(&framed(&[body]), |_| {});
        assert_eq!(calls(&code), [Callee::Pointer]);
    }
    // jmp [rax*8+table], where the table has a place in the function, and where
    // it has another one.
    let jump = [0xff, 0x24, 0xc5, 0, 0, 0, 0, 0x90, 0xc3];
    for (to, expected) in [(7, vec![]), (9, vec![Callee::Pointer])] {
        let code = read_with(&jump, |module| {
            let table = made::section(module, ".rodata", 2, &[0; 8]);
            let (text, own) = (
                made::symbol_of(module, made::TEXT),
                made::symbol_of(module, table),
            );
            made::word(module, table, 0, text, to);
            made::relocate(module, made::TEXT, 3, (11, own, 0));
        });
        assert_eq!(calls(&code), expected);
    }
}

#[test]
fn addresses_in_data_are_those_of_functions() {
    for (to, wrong) in [(0, false), (1, false), (17, false), (18, true)] {
        let code = read_with(&[0x90, 0xc3], |module| {
            let table = made::section(module, ".rodata", 2, &[0; 8]);
            let text = made::symbol_of(module, made::TEXT);
            made::word(module, table, 0, text, to);
        });
        let found = code
            .findings
            .iter()
            .any(|it| it.contains("where no function is"));
        assert_eq!(found, wrong, "{to}");
    }
}

#[test]
fn who_calls_has_a_frame_pointer() {
    let kernel = |at: u64| {
        move |module: &mut Module| {
            let symbol = made::undefined(module, "mac_tx");
            made::relocate(module, made::TEXT, at, (4, symbol, -4));
        }
    };
    let what = ["f calls and has no frame pointer"];
    let bare = [&[0x50][..], CALL, &[0x58, 0xc3]].concat();
    assert_eq!(read_with(&bare, kernel(2)).findings, what);
    let framed = framed(&[CALL]);
    assert_eq!(read_with(&framed, kernel(5)).findings, [""; 0]);
    // Made too late.
    let late = [CALL, BEGIN, END].concat();
    assert_eq!(read_with(&late, kernel(1)).findings, what);
    // A pointer's call counts, a jump at the end and a probe's site don't.
    assert_eq!(read_with(&[0xff, 0xd7, 0xc3], |_| {}).findings, what);
    let jump = [0xe9, 0, 0, 0, 0];
    assert_eq!(read_with(&jump, kernel(1)).findings, [""; 0]);
    let site = |module: &mut Module| {
        let symbol = made::undefined(module, "__dtrace_probe_drop");
        made::relocate(module, made::TEXT, 1, (4, symbol, -4));
    };
    let bare = [CALL, &[0xc3]].concat();
    assert_eq!(read_with(&bare, site).findings, [""; 0]);
}

#[test]
fn what_is_written_to_is_writable() {
    // mov [rip], eax; and mov eax, [rip].
    for (opcode, flags, wrong) in [(0x89, 2, true), (0x89, 3, false), (0x8b, 2, false)] {
        let code = read_with(&[opcode, 0x05, 0, 0, 0, 0, 0xc3], |module| {
            let data = made::section(module, ".data", flags, &[0; 8]);
            let own = made::symbol_of(module, data);
            made::relocate(module, made::TEXT, 2, (2, own, -4));
        });
        let found = code.findings.iter().any(|it| it.contains("isn't writable"));
        assert_eq!(found, wrong, "{:?}", code.findings);
    }
    // mov qword [rdi], imm32 writes elsewhere, whatever the address it writes.
    let code = read_with(&[0x48, 0xc7, 0x07, 0, 0, 0, 0, 0xc3], |module| {
        let data = made::section(module, ".rodata", 2, &[0; 8]);
        let own = made::symbol_of(module, data);
        made::relocate(module, made::TEXT, 3, (11, own, 0));
    });
    assert_eq!(code.findings, [""; 0]);
}
