//! Regions: where the heap gets its address space.

use dlmalloc::Allocator;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Bytes of a huge page on the processors that we know.
pub(super) const HUGE_PAGE: usize = 2 << 20;
/// Regions are multiples of it. Small beside what a driver with many flows
/// takes, and large beside what one without needs to begin with.
pub(super) const LEN: usize = 16 << 20;

/// The kernel, as the heap sees it.
#[derive(Debug)]
pub(super) struct Regions {
    /// How many there have been.
    made: AtomicU32,
    /// Bytes that they have now.
    mapped: AtomicUsize,
}

impl Regions {
    pub(super) const fn new() -> Self {
        Self {
            made: AtomicU32::new(0),
            mapped: AtomicUsize::new(0),
        }
    }

    /// Bytes of all regions.
    #[cfg(test)]
    pub(super) fn mapped(&self) -> usize {
        self.mapped.load(Ordering::Relaxed)
    }

    /// Gives a part of a region back.
    fn give_back(&self, start: *mut u8, len: usize) -> bool {
        let done = unmap(start, len);
        if done {
            self.mapped.fetch_sub(len, Ordering::Relaxed);
        }
        done
    }

    /// Flags of one more region, other than those of its neighbours, so that
    /// the heap doesn't make one of them: it gives back whole ones only.
    fn flags(&self) -> u32 {
        self.made.fetch_add(1, Ordering::Relaxed) << 1
    }
}

/// Maps so many bytes, a multiple of a huge page, from a huge page's first
/// address on.
fn map(len: usize) -> Option<*mut u8> {
    let mapped_len = len.checked_add(HUGE_PAGE)?;
    let (may, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: a new mapping, wherever the kernel likes.
    let mapped = unsafe { mmap_anonymous(null_mut(), mapped_len, may, flags) };
    let mapped = mapped.ok()?.cast::<u8>();
    let before = HUGE_PAGE - mapped.addr() % HUGE_PAGE;
    let start = mapped.wrapping_add(before);
    unmap(mapped, before);
    unmap(start.wrapping_add(len), HUGE_PAGE - before);
    // SAFETY: it is about pages of the mapping, and changes no contents.
    let _ = unsafe { madvise(start.cast(), len, Advice::LinuxHugepage) };
    Some(start)
}

/// Gives a part of what was mapped back, if it isn't empty.
fn unmap(start: *mut u8, len: usize) -> bool {
    // SAFETY: nobody has a reference to anything there: either it was never
    // handed out, or the heap says so.
    len == 0 || unsafe { munmap(start.cast(), len) }.is_ok()
}

// SAFETY: a region is mapped memory that nobody else uses, until the heap gives
// it back.
unsafe impl Allocator for Regions {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        let region = size.checked_next_multiple_of(LEN);
        let Some((start, len)) = region.and_then(|len| Some((map(len)?, len))) else {
            return (null_mut(), 0, 0);
        };
        self.mapped.fetch_add(len, Ordering::Relaxed);
        (start, len, self.flags())
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        null_mut()
    }

    fn free_part(&self, start: *mut u8, old_len: usize, new_len: usize) -> bool {
        self.give_back(start.wrapping_add(new_len), old_len.saturating_sub(new_len))
    }

    fn free(&self, start: *mut u8, len: usize) -> bool {
        self.give_back(start, len)
    }

    fn can_release_part(&self, _: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        // Parts that are given back end with a huge page.
        HUGE_PAGE
    }
}
