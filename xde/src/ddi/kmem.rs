//! The allocator.
//!
//! Terms     reserve   blocks that were set aside when the driver was attached
//!
//! Flow      alloc: kmem, without waiting -- none left --> may we sleep?
//!                    yes: kmem, waiting until there is some
//!                    no:  the reserve
//!
//! Rules     A1  an allocation sleeps only in a thread that holds no lane and
//!               serves no interrupt (rule L3 of the crate).
//!           A2  what a packet's work allocates at once fits a block of the
//!               reserve: records and indexes of flows are made with the port,
//!               and a frame that is kept whole lies in one mblk.
//!           A3  a packet is refused before the engine sees it while the
//!               reserve is low ([`is_low`]); so an allocation that may not
//!               fail finds a block.
//!
//! Failure   an allocation that finds nothing in spite of A2 and A3 is a panic
//!           of the kernel; that is the language's rule.

use super::context;
use crate::lane;
use crate::packet::GROUP;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use illumos_sys_hdrs as sys;

/// Alignment that the kernel gives every allocation.
const KMEM_ALIGN: usize = 8;

/// Sizes of the reserve's blocks and how many there are of each.
const CLASSES: [(usize, usize); 3] = [(256, 512), (2_048, 128), (16_384, 32)];

/// The kernel's memory, as the language's allocator.
#[derive(Debug)]
pub struct Kmem;

/// What the module allocates from.
#[cfg_attr(target_os = "illumos", global_allocator)]
pub static KMEM: Kmem = Kmem;

// SAFETY: what `alloc` returns is a block of `total` bytes in which the layout
// fits at the place that is returned, and `dealloc` finds its start again.
unsafe impl GlobalAlloc for Kmem {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(total) = total(layout) else {
            return ptr::null_mut();
        };
        let start = take(total);
        if start.is_null() || layout.align() <= KMEM_ALIGN {
            return start;
        }
        // Where the block starts is written in front of what is returned.
        let at = start.addr().wrapping_add(KMEM_ALIGN);
        let place = start.with_addr(at.next_multiple_of(layout.align()));
        // SAFETY: the block has room for an address and the alignment (`total`).
        unsafe { place.cast::<*mut u8>().wrapping_sub(1).write(start) };
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let Some(total) = total(layout) else { return };
        let start = if layout.align() <= KMEM_ALIGN {
            place
        } else {
            // SAFETY: `alloc` wrote it there for the same layout.
            unsafe { place.cast::<*mut u8>().wrapping_sub(1).read() }
        };
        if RESERVE.give_back(start) {
            return;
        }
        // SAFETY: `alloc` got it from kmem with the same size.
        unsafe { sys::kmem_free(start.cast(), total) }
    }
}

/// Bytes of the block for a layout.
fn total(layout: Layout) -> Option<usize> {
    if layout.align() <= KMEM_ALIGN {
        return Some(layout.size());
    }
    let more = layout.align().checked_add(KMEM_ALIGN)?;
    layout.size().checked_add(more)
}

/// A block of so many bytes, or null.
fn take(size: usize) -> *mut u8 {
    let start = kmem(size, sys::KM_NOSLEEP);
    if !start.is_null() {
        return start;
    }
    if context::is_interrupt() || lane::is_held_here() {
        RESERVE.take(size)
    } else {
        kmem(size, sys::KM_SLEEP)
    }
}

fn kmem(size: usize, flag: core::ffi::c_int) -> *mut u8 {
    // SAFETY: the size isn't zero (`GlobalAlloc`'s contract), and who asks to
    // sleep may (rule A1).
    unsafe { sys::kmem_alloc(size, flag) }.cast()
}

/// Memory for those who may not wait.
struct Reserve {
    classes: [Class; CLASSES.len()],
}

/// Blocks of one size. Those that are free are a list, the address of the next
/// one in the first word of each.
struct Class {
    /// First byte of all blocks; zero while there are none.
    start: AtomicUsize,
    free: crate::Mutex<usize>,
    /// How many are free.
    left: AtomicUsize,
}

/// Classes of which less than half is left.
static LOW: AtomicUsize = AtomicUsize::new(0);

static RESERVE: Reserve = Reserve {
    classes: [const {
        Class {
            start: AtomicUsize::new(0),
            free: crate::Mutex::new(0),
            left: AtomicUsize::new(0),
        }
    }; CLASSES.len()],
};

/// The reserve, for as long as this is kept.
pub(crate) struct Filled(());

/// Sets the reserve aside. From a thread that may sleep, once.
pub(crate) fn fill() -> Filled {
    for (class, (size, count)) in RESERVE.classes.iter().zip(CLASSES) {
        let start = kmem(size * count, sys::KM_SLEEP);
        let mut free = class.free.lock();
        for index in 0..count {
            let block = start.wrapping_add(index * size).cast::<usize>();
            // SAFETY: a block of the memory that was just allocated, aligned
            // to its size, which is a power of two of eight at least.
            unsafe { block.write(*free) };
            *free = block.expose_provenance();
        }
        class.left.store(count, Ordering::Relaxed);
        class
            .start
            .store(start.expose_provenance(), Ordering::Release);
    }
    Filled(())
}

impl Drop for Filled {
    fn drop(&mut self) {
        // The driver's own allocations are gone when its state is, which this
        // is the last part of.
        for (class, (size, count)) in RESERVE.classes.iter().zip(CLASSES) {
            *class.free.lock() = 0;
            class.left.store(0, Ordering::Relaxed);
            let start = class.start.swap(0, Ordering::AcqRel);
            let start = ptr::with_exposed_provenance_mut::<u8>(start);
            // SAFETY: allocated by `fill` with this size.
            unsafe { sys::kmem_free(start.cast(), size * count) };
        }
    }
}

/// Whether packets should be refused (rule A3).
#[inline]
pub(crate) fn is_low() -> bool {
    LOW.load(Ordering::Relaxed) != 0
}

// What a group of packets may want at once is left when it is taken in.
const _: () = {
    let [.., (_, fewest)] = CLASSES;
    assert!(fewest / 2 >= GROUP);
};

impl Reserve {
    /// A block that has room for `size` bytes, or null.
    fn take(&self, size: usize) -> *mut u8 {
        let fitting = self.classes.iter().zip(CLASSES);
        for (class, (_, count)) in fitting.filter(|(_, (block, _))| *block >= size) {
            let mut free = class.free.lock();
            let block = ptr::with_exposed_provenance_mut::<usize>(*free);
            if !block.is_null() {
                // SAFETY: a free block of ours holds the next one's address.
                *free = unsafe { block.read() };
                if class.left.fetch_sub(1, Ordering::Relaxed) == count / 2 {
                    LOW.fetch_add(1, Ordering::Relaxed);
                }
                return block.cast();
            }
        }
        ptr::null_mut()
    }

    /// Takes a block back, if it is one of ours.
    fn give_back(&self, block: *mut u8) -> bool {
        for (class, (size, count)) in self.classes.iter().zip(CLASSES) {
            let start = class.start.load(Ordering::Acquire);
            if start == 0 || !(start..start + size * count).contains(&block.addr()) {
                continue;
            }
            let mut free = class.free.lock();
            let block = block.cast::<usize>();
            // SAFETY: `take` gave it out; nobody uses it any more.
            unsafe { block.write(*free) };
            *free = block.expose_provenance();
            if class.left.fetch_add(1, Ordering::Relaxed) == count / 2 - 1 {
                LOW.fetch_sub(1, Ordering::Relaxed);
            }
            return true;
        }
        false
    }
}
