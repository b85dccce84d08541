//! Memory: counted, filled with rubbish, and missing when a test says so.

use crate::context::{self, Context};
use illumos_sys_hdrs as sys;
use std::alloc::{Layout, alloc, dealloc};
use std::ffi::{c_int, c_void};

/// What new and freed memory is filled with, as a debug kernel does.
const NEW: u8 = 0xba;
const FREED: u8 = 0xde;

/// Alignment that is promised, and no more.
fn layout(size: usize) -> Layout {
    Layout::from_size_align(size + 8, 8).expect("a size that fits the address space")
}

pub(super) unsafe extern "C" fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void {
    let kernel = context::kernel();
    if size == 0 {
        kernel.violated("kmem_alloc of no bytes");
    }
    if flag == sys::KM_SLEEP {
        kernel.sleeps("kmem_alloc(KM_SLEEP)");
    } else if kernel.memory_fails() {
        return std::ptr::null_mut();
    }
    // SAFETY: not of no bytes.
    let place = unsafe { alloc(layout(size)) };
    assert!(!place.is_null(), "the process is out of memory");
    // SAFETY: memory of that size.
    unsafe { place.write_bytes(NEW, size + 8) };
    // Eight bytes further, so that nothing is aligned better than promised.
    let place = if place.addr() & 8 == 0 {
        place.wrapping_add(8)
    } else {
        place
    };
    kernel.state().memory.insert(place.addr(), size);
    place.expose_provenance();
    place.cast()
}

pub(super) unsafe extern "C" fn kmem_free(buf: *mut c_void, size: usize) {
    let kernel = context::kernel();
    let mut state = kernel.state();
    let known = state.memory.remove(&buf.addr());
    drop(state);
    // Another lock may lie there one day.
    kernel.forget_locks(buf.addr()..buf.addr() + size);
    if known != Some(size) {
        kernel.violated(format!("kmem_free of {size} bytes that were {known:?}"));
        return;
    }
    if context::current() == Context::Interrupt && size > 1 << 20 {
        kernel.violated("a large kmem_free in an interrupt thread");
    }
    let place = buf.cast::<u8>();
    // SAFETY: the module's until now.
    unsafe { place.write_bytes(FREED, size) };
    let start = if place.addr() & 15 == 8 {
        place.wrapping_sub(8)
    } else {
        place
    };
    // SAFETY: what `kmem_alloc` allocated for this size; glibc's blocks are
    // aligned to 16 bytes, so it started eight bytes before.
    unsafe { dealloc(start, layout(size)) };
}
