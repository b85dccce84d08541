//! An allocator whose large blocks lie in huge pages.
//!
//! Purpose   a driver with many flows reads records that are spread over
//!           hundreds of megabytes. With pages of 4 KiB nearly every packet of
//!           another flow waits for the page tables too; huge pages are few
//!           enough for the processor to know.
//! Terms     huge page   2 MiB that one entry of the page tables stands for
//!           region      address space that the kernel is asked for, which
//!                       begins and ends with a huge page (`region`)
//!           large       a block of [`LARGE`] bytes or more
//! Shape     small blocks are the system's allocator's, as ever: there are many
//!           of them, in all threads, and few are near each other on purpose.
//!           Large ones are cut from regions by one heap behind a lock. Address
//!           space takes no memory before it is written, a huge page at a time.
//! Rules     R1  what is a large block is told by its layout alone, so that who
//!               frees it asks the same heap that it came from.
//!           R2  the heap's lock is the standard library's: it allocates
//!               nothing, so an allocation never waits for itself.
//! Failure   where the kernel has no huge pages (none at all, none free, or the
//!           administrator said never), pages are small and nothing else
//!           changes. Without memory there is no block, as of any allocator.

mod counted;
mod region;
mod scarce;

pub use counted::{Counted, Seen};
pub use scarce::Scarce;

use dlmalloc::Dlmalloc;
use region::Regions;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes from which on a block is large. The records of flows come in blocks of
/// 12 KiB.
pub const LARGE: usize = 4096;

/// After how many blocks that are freed the heap looks for regions to give back.
const RELEASE_RATE: usize = 64;

/// The allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct HugePages {
    heap: Mutex<Heap>,
}

struct Heap(Dlmalloc<Regions>);

impl std::fmt::Debug for Heap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Heap").field(self.0.allocator()).finish()
    }
}

impl HugePages {
    /// An allocator that has no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        let mut heap = Dlmalloc::new_with_allocator(Regions::new());
        assert!(heap.set_granularity(region::LEN), "a power of two");
        heap.set_max_release_check_rate(RELEASE_RATE);
        Self {
            heap: Mutex::new(Heap(heap)),
        }
    }

    fn heap(&self) -> MutexGuard<'_, Heap> {
        // Nothing panics in there, and nobody who allocates could be told.
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for HugePages {
    fn default() -> Self {
        Self::new()
    }
}

const fn is_large(size: usize) -> bool {
    size >= LARGE
}

// SAFETY: blocks are those of two allocators that keep the contract; by rule R1
// each gets back what it gave.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_large(size) {
            // SAFETY: any size and alignment may be asked for.
            unsafe { self.heap().0.malloc(size, align) }
        } else {
            // SAFETY: the caller's contract is the same.
            unsafe { System.alloc(layout) }
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_large(size) {
            // SAFETY: any size and alignment may be asked for.
            unsafe { self.heap().0.calloc(size, align) }
        } else {
            // SAFETY: the caller's contract is the same.
            unsafe { System.alloc_zeroed(layout) }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (size, align) = (layout.size(), layout.align());
        if is_large(size) {
            // SAFETY: the block is of this heap (rule R1), and of this layout.
            unsafe { self.heap().0.free(block, size, align) }
        } else {
            // SAFETY: the block is the system's (rule R1), and of this layout.
            unsafe { System.dealloc(block, layout) }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        match (is_large(size), is_large(new_size)) {
            // SAFETY: the block is of this heap (rule R1), and of this layout.
            (true, true) => unsafe { self.heap().0.realloc(block, size, align, new_size) },
            // SAFETY: the caller's contract is the same.
            (false, false) => unsafe { System.realloc(block, layout, new_size) },
            // SAFETY: the caller's contract is the same.
            _ => unsafe { self.move_to_other_heap(block, layout, new_size) },
        }
    }
}

impl HugePages {
    /// Reallocates a block that becomes large, or is no longer.
    ///
    /// # Safety
    ///
    /// As for [`GlobalAlloc::realloc`].
    unsafe fn move_to_other_heap(
        &self,
        block: *mut u8,
        layout: Layout,
        new_size: usize,
    ) -> *mut u8 {
        // Who reallocates has made sure that this is a layout.
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else {
            return std::ptr::null_mut();
        };
        // SAFETY: its size isn't zero, by the caller's contract.
        let new = unsafe { self.alloc(new_layout) };
        if !new.is_null() {
            let both = layout.size().min(new_size);
            // SAFETY: both blocks have so many bytes, and one is new.
            unsafe { std::ptr::copy_nonoverlapping(block, new, both) };
            // SAFETY: it is a block of this layout, which nobody uses any more.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests;
