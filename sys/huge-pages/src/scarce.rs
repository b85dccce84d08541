//! Memory that is short for a while.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

/// An allocator that refuses a thread's larger blocks when it is told to,
/// around another one. It is for tests.
#[derive(Debug)]
pub struct Scarce<A> {
    inner: A,
}

thread_local! {
    /// Bytes from which on a block is refused to this thread.
    static REFUSED: Cell<usize> = const { Cell::new(usize::MAX) };
}

impl<A> Scarce<A> {
    /// Refuses nothing of what `inner` has, yet.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self { inner }
    }

    /// Does `work`, with no blocks of `refused` bytes or more for this thread.
    pub fn without<T>(&self, refused: usize, work: impl FnOnce() -> T) -> T {
        let before = REFUSED.replace(refused);
        let done = work();
        REFUSED.set(before);
        done
    }
}

fn is_refused(size: usize) -> bool {
    size >= REFUSED.get()
}

// SAFETY: all blocks are those of an allocator that keeps the contract.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Scarce<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_refused(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() && is_refused(new_size) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.realloc(block, layout, new_size) }
    }
}
