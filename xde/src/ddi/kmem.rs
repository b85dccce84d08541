//! The allocator.
//!
//! Terms     reserve   blocks that were set aside when the driver was attached
//!           class     those of one size
//!           slab      memory that blocks of a class are cut from. Each tick adds
//!                     one to a class that is low, if there is memory again, for
//!                     a block may be kept as long as what is in it.
//!
//! Flow      alloc: kmem, without waiting -- none left --> may we sleep?
//!                    yes: kmem, waiting until there is some
//!                    no:  the reserve
//!
//! Rules     A1  an allocation sleeps only in a thread that holds no lane and
//!               serves no interrupt (rule L3 of the crate).
//!           A2  what a packet's work takes without asking whether it is there
//!               fits a block of the reserve. What grows with what packets
//!               bring is asked for (rules M1 and M2 of `opte_core::fallible`),
//!               and refused: it has no use for the reserve. Of that are all
//!               blocks that begin with a cache line.
//!           A3  a packet is refused before the engine sees it while a class is
//!               low ([`is_low`]): it has no more than what a group of packets
//!               on every lane at once may want ([`CLASSES`]), so an allocation
//!               that may not fail finds a block.
//!
//! Failure   an allocation that finds nothing in spite of A2 and A3 is a panic
//!           of the kernel; that is the language's rule. What one packet may
//!           want is estimated: nothing proves it.

use super::context;
use crate::lane;
use crate::packet::GROUP;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use illumos_sys_hdrs as sys;

/// Alignment that the kernel gives every allocation.
const KMEM_ALIGN: usize = 8;

/// Sizes of the reserve's blocks, and how many of each a group of packets may
/// want: a few small ones for each packet, or many for a report.
const CLASSES: [(usize, usize); 3] = [(256, 512), (2_048, 2 * GROUP), (16_384, 2)];
/// Slabs that a class may have.
const SLABS: usize = 8;

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
        let start = take(total, layout.align());
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

/// A block of so many bytes, for something of this alignment, or null.
fn take(size: usize, align: usize) -> *mut u8 {
    let start = kmem(size, sys::KM_NOSLEEP);
    if !start.is_null() {
        return start;
    }
    let may_sleep = !context::is_interrupt() && !lane::is_held_here();
    match may_sleep {
        true => kmem(size, sys::KM_SLEEP),
        false if align > KMEM_ALIGN => ptr::null_mut(), // A2
        false => RESERVE.take(size),
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

struct Class {
    /// Where slabs begin; zero for one that isn't there.
    slabs: [AtomicUsize; SLABS],
    free: crate::Mutex<Free>,
}

/// The blocks that are free.
struct Free {
    /// Address of the first, in the first word of which is that of the next.
    first: usize,
    count: usize,
    /// Whether packets may want more (rule A3).
    is_low: bool,
}

/// Classes that are low.
static LOW: AtomicUsize = AtomicUsize::new(0);

static RESERVE: Reserve = Reserve {
    classes: [const { Class::new() }; CLASSES.len()],
};

/// The reserve, for as long as this is kept.
pub(crate) struct Filled(());

/// Sets the reserve aside. From a thread that may sleep, once.
pub(crate) fn fill() -> Filled {
    for (class, size) in RESERVE.sized() {
        class.add(kmem(size.slab_len(), sys::KM_SLEEP), size);
    }
    Filled(())
}

/// Adds to what is low, if there is memory again. From one thread at a time,
/// while the reserve is there.
pub(crate) fn refill() {
    if !is_low() {
        return;
    }
    for (class, size) in RESERVE.sized().filter(|(class, _)| class.may_grow()) {
        let start = kmem(size.slab_len(), sys::KM_NOSLEEP);
        if !start.is_null() {
            class.add(start, size);
        }
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // The driver's own allocations are gone when its state is, which this
        // is the last part of.
        for (class, size) in RESERVE.sized() {
            *class.free.lock() = Free::NONE;
            for slab in &class.slabs {
                let start = slab.swap(0, Ordering::AcqRel);
                if start != 0 {
                    let start = ptr::with_exposed_provenance_mut::<u8>(start);
                    // SAFETY: allocated by `fill` or `refill` with this size.
                    unsafe { sys::kmem_free(start.cast(), size.slab_len()) };
                }
            }
        }
        LOW.store(0, Ordering::Relaxed);
    }
}

/// Whether packets should be refused (rule A3).
#[inline]
pub(crate) fn is_low() -> bool {
    LOW.load(Ordering::Relaxed) != 0
}

/// What is said of a class.
#[derive(Clone, Copy)]
struct Size {
    /// Bytes of a block.
    block: usize,
    /// Blocks that groups of packets on all lanes may want.
    want: usize,
}

impl Size {
    /// Blocks of a slab: so many that a new reserve is far from low.
    const fn slab_count(self) -> usize {
        self.want.saturating_mul(2)
    }

    const fn slab_len(self) -> usize {
        self.block.saturating_mul(self.slab_count())
    }
}

impl Reserve {
    /// The classes, smallest blocks first.
    fn sized(&self) -> impl Iterator<Item = (&Class, Size)> {
        // Those for packets, and the one of ticks.
        let lanes = lane::wanted().saturating_add(1);
        let size = move |(block, each): (usize, usize)| Size {
            block,
            want: each.saturating_mul(lanes),
        };
        self.classes.iter().zip(CLASSES.map(size))
    }

    /// A block that has room for `size` bytes, or null.
    fn take(&self, size: usize) -> *mut u8 {
        let mut fitting = self.sized().filter(|(_, class)| class.block >= size);
        let block = fitting.find_map(|(class, size)| class.take(size));
        block.unwrap_or(ptr::null_mut())
    }

    /// Takes a block back, if it is one of ours.
    fn give_back(&self, block: *mut u8) -> bool {
        let mut all = self.sized();
        let owner = all.find(|(class, size)| class.owns(block.addr(), *size));
        owner.is_some_and(|(class, size)| {
            let mut free = class.free.lock();
            // SAFETY: `take` gave it out; nobody uses it any more.
            unsafe { free.put(block) };
            free.note(size);
            true
        })
    }
}

impl Class {
    const fn new() -> Self {
        Self {
            slabs: [const { AtomicUsize::new(0) }; SLABS],
            free: crate::Mutex::new(Free::NONE),
        }
    }

    /// Whether it is low and may have one more slab.
    fn may_grow(&self) -> bool {
        let [.., last] = &self.slabs;
        last.load(Ordering::Relaxed) == 0 && self.free.lock().is_low
    }

    /// Cuts a slab into blocks.
    fn add(&self, start: *mut u8, size: Size) {
        let mut vacant = self
            .slabs
            .iter()
            .filter(|slab| slab.load(Ordering::Relaxed) == 0);
        let Some(slab) = vacant.next() else { return };
        slab.store(start.expose_provenance(), Ordering::Release);
        let mut free = self.free.lock();
        for index in 0..size.slab_count() {
            // SAFETY: a block of the slab, which nobody else knows yet.
            unsafe { free.put(start.wrapping_add(index.wrapping_mul(size.block))) };
        }
        free.note(size);
    }

    /// A block, if one is free.
    fn take(&self, size: Size) -> Option<*mut u8> {
        let mut free = self.free.lock();
        let block = ptr::with_exposed_provenance_mut::<usize>(free.first);
        if block.is_null() {
            return None;
        }
        // SAFETY: a free block of ours holds the next one's address.
        free.first = unsafe { block.read() };
        free.count = free.count.wrapping_sub(1);
        free.note(size);
        Some(block.cast())
    }

    /// Whether a block of this address is of this class.
    fn owns(&self, block: usize, size: Size) -> bool {
        self.slabs.iter().any(|slab| {
            let start = slab.load(Ordering::Acquire);
            start != 0 && block.wrapping_sub(start) < size.slab_len()
        })
    }
}

impl Free {
    const NONE: Self = Self {
        first: 0,
        count: 0,
        is_low: false,
    };

    /// Adds a block.
    ///
    /// # Safety
    ///
    /// It is one of a slab's, and nobody uses it: they lie at multiples of
    /// their size, which is one of a word.
    unsafe fn put(&mut self, block: *mut u8) {
        let block = block.cast::<usize>();
        // SAFETY: it is memory of ours, and as the caller says.
        unsafe { block.write(self.first) };
        self.first = block.expose_provenance();
        self.count = self.count.wrapping_add(1);
    }

    /// Sees whether it is low now.
    fn note(&mut self, size: Size) {
        let is_low = self.count < size.want;
        if is_low && !self.is_low {
            LOW.fetch_add(1, Ordering::Relaxed);
        }
        if !is_low && self.is_low {
            LOW.fetch_sub(1, Ordering::Relaxed);
        }
        self.is_low = is_low;
    }
}
