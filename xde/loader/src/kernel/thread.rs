//! Kernel threads.

use crate::context::{self, Context, Role};
use illumos_sys_hdrs as sys;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;

/// The stack that the module asked for, and room for what Linux's functions
/// take below it.
const MORE: usize = 256 << 10;

pub(super) unsafe extern "C" fn thread_create(
    _: *mut c_char,
    size: usize,
    start: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
    _: usize,
    _: *const sys::proc_t,
    state: c_int,
    _: i16,
) -> *mut sys::kthread_t {
    let kernel = context::kernel();
    kernel.sleeps("thread_create");
    if state != sys::TS_RUN {
        kernel.violated("a thread that doesn't run");
    }
    let (start, arg) = (start as *const () as u64, arg.expose_provenance() as u64);
    let sled = Arc::clone(&kernel);
    let role = Role::of_child();
    let work = move || {
        let run = || crate::call::module(start, &[arg]);
        let ended = role.play(|| context::within(&sled, Context::Thread, run));
        if let Err(panic) = ended {
            // Whoever waits for the thread waits for ever.
            eprintln!("panic in a thread of the module: {panic}");
            std::process::abort();
        }
    };
    let thread = std::thread::Builder::new().stack_size(size + MORE);
    thread.spawn(work).expect("a thread");
    std::ptr::dangling_mut()
}
