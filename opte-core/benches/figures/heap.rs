//! The heap: the allocator that `xded` has, and a count of what is asked of it.

use huge_pages::{Counted, HugePages, Seen};

#[global_allocator]
static HEAP: Counted<HugePages> = Counted::new(HugePages::new());

/// What `work` does to the heap, while no other thread works.
pub(crate) fn measure(work: impl FnOnce()) -> Seen {
    HEAP.measure(work)
}
