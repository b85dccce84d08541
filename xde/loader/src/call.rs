//! Calls into the module that a panic of it ends (rule V3).
//!
//! The kernel's `panic` doesn't return. Here it goes back to the call that
//! entered the module: everything between is the module's, whose frames have
//! nothing to clean up.

use std::cell::{Cell, RefCell};

std::arch::global_asm!(
    ".globl xde_loader_enter",
    "xde_loader_enter:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "mov [rdi], rsp",
    "mov rax, rsi",
    "mov r10, rdx",
    "mov rdi, [r10]",
    "mov rsi, [r10 + 8]",
    "mov rdx, [r10 + 16]",
    "mov rcx, [r10 + 24]",
    "mov r8, [r10 + 32]",
    "mov r9, [r10 + 40]",
    "call rax",
    "2:",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbx",
    "pop rbp",
    "ret",
    ".globl xde_loader_leave",
    "xde_loader_leave:",
    "mov rsp, rdi",
    "xor eax, eax",
    "jmp 2b",
);

unsafe extern "C" {
    fn xde_loader_enter(place: *mut usize, function: usize, arguments: *const [u64; 6]) -> u64;
    fn xde_loader_leave(stack: usize) -> !;
}

thread_local! {
    /// Stack of the innermost call into the module; zero outside.
    static STACK: Cell<usize> = const { Cell::new(0) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Calls a function of the module.
///
/// # Errors
///
/// What the module's panic said.
pub(crate) fn module(function: u64, arguments: &[u64]) -> Result<u64, String> {
    let mut all = [0; 6];
    for (place, value) in all.iter_mut().zip(arguments) {
        *place = *value;
    }
    let outer = STACK.get();
    // Written before the module runs.
    let place = STACK.with(Cell::as_ptr);
    // SAFETY: a function of the module with its arguments; the place is this
    // thread's.
    let result = unsafe { xde_loader_enter(place, function as usize, &raw const all) };
    STACK.set(outer);
    match PANIC.take() {
        Some(text) => Err(text),
        None => Ok(result),
    }
}

/// Ends the call into the module that this thread is in.
pub(crate) fn leave(text: String) -> ! {
    let stack = STACK.get();
    if stack == 0 {
        eprintln!("panic outside of the module: {text}");
        std::process::abort();
    }
    PANIC.set(Some(text));
    // SAFETY: the innermost call is still under way; what is above it on the
    // stack is the module's and the kernel function's that called this, which
    // holds nothing.
    unsafe { xde_loader_leave(stack) }
}
