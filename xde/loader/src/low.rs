//! Memory in the lowest 2 GiB: a module is compiled for the highest 2 GiB, and
//! the same relocations reach either.

use anyhow::{Result, ensure};
use std::ops::Range;

/// A piece of low memory that is given out from its start.
pub(crate) struct Low {
    base: *mut u8,
    len: usize,
    used: usize,
}

// SAFETY: a mapping of our own; who has the value has the memory.
unsafe impl Send for Low {}
// SAFETY: shared, it can only be looked at.
unsafe impl Sync for Low {}

impl Low {
    /// Maps so many bytes.
    pub(crate) fn map(len: usize) -> Result<Self> {
        let len = len.next_multiple_of(4_096);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, wherever the kernel finds room.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        ensure!(base != libc::MAP_FAILED, "no memory below 2 GiB");
        let base = base.cast::<u8>();
        Ok(Self { base, len, used: 0 })
    }

    /// Where it is.
    pub(crate) fn range(&self) -> Range<usize> {
        let start = self.base.addr();
        start..start + self.len
    }

    /// Room for `size` bytes at this alignment, filled with zeroes.
    pub(crate) fn take(&mut self, size: usize, align: usize) -> Result<*mut u8> {
        let start = self.used.next_multiple_of(align.max(1));
        ensure!(start + size <= self.len, "the mapping is too small");
        self.used = start + size;
        Ok(self.base.wrapping_add(start))
    }

    /// Puts bytes into new room.
    pub(crate) fn put(&mut self, bytes: &[u8], align: usize) -> Result<*mut u8> {
        let place = self.take(bytes.len(), align)?;
        // SAFETY: room of that size, which nobody else has.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        Ok(place)
    }

    /// Makes it code, which can't be written any more.
    pub(crate) fn make_code(&self) -> Result<()> {
        self.protect(libc::PROT_READ | libc::PROT_EXEC)
    }

    /// Makes it data again, which can be written and not run.
    pub(crate) fn make_data(&self) -> Result<()> {
        self.protect(libc::PROT_READ | libc::PROT_WRITE)
    }

    fn protect(&self, protection: libc::c_int) -> Result<()> {
        // SAFETY: a mapping of ours.
        let done = unsafe { libc::mprotect(self.base.cast(), self.len, protection) };
        ensure!(done == 0, "cannot change what it is");
        Ok(())
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`; whoever refers to it is gone with the sled.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
