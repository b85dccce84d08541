//! What is asked of an allocator, counted.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// An allocator that counts, around another one. It is for benchmarks, which
/// are to have the allocator that the product has.
#[derive(Debug)]
pub struct Counted<A> {
    inner: A,
    /// Blocks that were ever allocated.
    blocks: AtomicUsize,
    /// Bytes that are now.
    bytes: AtomicUsize,
}

/// What some work did to the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Blocks that it allocated, freed ones included.
    pub blocks: usize,
    /// Bytes that there are more than before.
    pub bytes: usize,
}

impl<A> Counted<A> {
    /// Counts what is asked of `inner`.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            blocks: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    /// What `work` does to the heap, while no other thread uses it.
    pub fn measure(&self, work: impl FnOnce()) -> Seen {
        let now = || [&self.blocks, &self.bytes].map(|number| number.load(Relaxed));
        let [blocks, bytes] = now();
        work();
        let [more_blocks, more_bytes] = now();
        Seen {
            blocks: more_blocks.wrapping_sub(blocks),
            bytes: more_bytes.saturating_sub(bytes),
        }
    }

    fn count(&self, bytes: usize) {
        self.blocks.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}

// SAFETY: all blocks are those of an allocator that keeps the contract.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counted<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.bytes.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.count(new_size);
        self.bytes.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.realloc(block, layout, new_size) }
    }
}
