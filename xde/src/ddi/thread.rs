//! Work that wants more stack than the kernel gives a system call.
//!
//! A kernel thread has 20 KiB for everything below it as well as for us.
//! Packets and ticks need a fraction of that. Commands don't: they hold whole
//! setups by value, sort, and compile rules. So they run in a thread of their
//! own with a stack that `cargo xtask kmod --check` holds them to.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;
use illumos_sys_hdrs as sys;

/// Bytes of stack. The kernel puts a red zone below it, so running over it is
/// a panic and not somebody else's memory.
const STACK: usize = 160 << 10;
/// The lowest priority of kernel threads (`minclsyspri`).
const PRIORITY: i16 = 60;

/// A call that is under way in another thread.
#[repr(C)]
struct Call<F, T> {
    /// Signalled by the thread's last step (`xde_thread`).
    done: sys::ksema_t,
    /// [`run`] of the right types.
    run: unsafe extern "C" fn(*mut c_void),
    work: Option<F>,
    result: Option<T>,
}

// `xde_thread` knows where these are.
const _: () = {
    assert!(offset_of!(Call<(), ()>, done) == 0);
    assert!(offset_of!(Call<(), ()>, run) == 16);
};

/// Runs `work` on a large stack and waits for it. From a thread that may sleep.
pub(crate) fn on_large_stack<T: Send, F: FnOnce() -> T + Send>(work: F) -> Option<T> {
    let mut call = Call {
        done: sys::ksema_t { _opaque: [0; 2] },
        run: run::<F, T>,
        work: Some(work),
        result: None,
    };
    let at = &raw mut call;
    let done = at.cast::<sys::ksema_t>();
    // SAFETY: the first field of `call`, which nobody else sees yet.
    unsafe { sys::sema_init(done, 0, ptr::null_mut(), sys::SEMA_DRIVER, ptr::null_mut()) };
    let (stack, start, process) = (ptr::null_mut(), xde_thread, &raw const sys::p0);
    // SAFETY: `call` is what `start` expects, and it stays until the semaphore
    // is signalled, which we wait for.
    unsafe {
        sys::thread_create(
            stack,
            STACK,
            start,
            at.cast(),
            0,
            process,
            sys::TS_RUN,
            PRIORITY,
        )
    };
    // SAFETY: initialised above.
    unsafe { sys::sema_p(done) };
    // SAFETY: signalled, after which the thread doesn't touch it.
    unsafe { sys::sema_destroy(done) };
    call.result
}

/// The thread's work.
///
/// # Safety
///
/// `argument` is the `Call<F, T>` of a thread that waits.
unsafe extern "C" fn run<F: FnOnce() -> T, T>(argument: *mut c_void) {
    let call = argument.cast::<Call<F, T>>();
    // SAFETY: the one that waits touches only the semaphore.
    let work = unsafe { &mut (*call).work };
    if let Some(work) = work.take() {
        let result = work();
        // SAFETY: as above.
        unsafe { (*call).result = Some(result) };
    }
}

unsafe extern "C" {
    /// Calls `run` of the [`Call`] that it is given, and leaves the module for
    /// good with the signal: the thread returns from `sema_v` into the kernel,
    /// so the module may be unloaded as soon as nobody waits.
    fn xde_thread(argument: *mut c_void);
}

#[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
core::arch::global_asm!(
    ".pushsection .text.xde_thread, \"ax\", @progbits",
    ".globl xde_thread",
    ".type xde_thread, @function",
    "xde_thread:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "sub rsp, 8",
    "mov rbx, rdi",
    "call qword ptr [rdi + 16]",
    "mov rdi, rbx",
    "add rsp, 8",
    "pop rbx",
    "pop rbp",
    "jmp sema_v",
    ".size xde_thread, . - xde_thread",
    ".popsection",
);
