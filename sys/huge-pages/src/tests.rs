//! Blocks of the allocator, and where the kernel says that they lie.

#[path = "../../../xtask/src/skip.rs"]
mod skip;

use super::*;
use crate::region::{HUGE_PAGE, LEN};
use std::collections::BTreeMap;

const SIZE: usize = 12 << 10;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

/// A block that was written.
fn made(heap: &impl GlobalAlloc, layout: Layout, byte: u8) -> *mut u8 {
    // SAFETY: no layout here is empty.
    let block = unsafe { heap.alloc(layout) };
    assert!(!block.is_null() && block.addr().is_multiple_of(layout.align()));
    // SAFETY: a new block of so many bytes.
    unsafe { block.write_bytes(byte, layout.size()) };
    block
}

fn freed(heap: &impl GlobalAlloc, block: *mut u8, layout: Layout) {
    // SAFETY: callers free each block once, as what it was made.
    unsafe { heap.dealloc(block, layout) };
}

fn bytes<'b>(block: *mut u8, len: usize) -> &'b [u8] {
    // SAFETY: callers look at blocks that they hold, which are written.
    unsafe { std::slice::from_raw_parts(block, len) }
}

/// What the kernel says of the mapping that an address is in, by field; none
/// if nothing is mapped there.
fn mapping(at: *mut u8) -> Option<BTreeMap<String, String>> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut lines = smaps.lines().skip_while(|line| {
        let range = line
            .split(' ')
            .next()
            .and_then(|range| range.split_once('-'));
        let ends = range.map(|(from, to)| [from, to].map(|end| usize::from_str_radix(end, 16)));
        !matches!(ends, Some([Ok(from), Ok(to)]) if (from..to).contains(&at.addr()))
    });
    lines.next()?;
    let fields = lines.map_while(|line| line.split_once(':'));
    // The next mapping's first line has a colon too, behind a space.
    let fields = fields.take_while(|(name, _)| !name.contains(' '));
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.trim().to_owned());
    Some(fields.map(own).collect())
}

/// Whether the kernel gives huge pages to who asks.
fn there_are_huge_pages() -> bool {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    enabled.is_ok_and(|text| !text.contains("[never]"))
}

#[test]
fn large_blocks_lie_in_huge_pages() {
    let heap = HugePages::new();
    let layout = layout(SIZE, 64);
    let blocks: Vec<_> = (0..LEN / 2 / SIZE)
        .map(|_| made(&heap, layout, 1))
        .collect();
    let of = mapping(blocks[0]).unwrap();
    assert!(of["VmFlags"].split(' ').any(|flag| flag == "hg"), "{of:?}");
    if there_are_huge_pages() {
        let kib: usize = of["AnonHugePages"].trim_end_matches(" kB").parse().unwrap();
        // Other tests may have regions beside this one.
        assert!(kib >= (LEN / 2 - HUGE_PAGE) >> 10, "{of:?}");
    } else {
        let test = "large_blocks_lie_in_huge_pages, in part";
        skip::skip(test, "this kernel gives nobody huge pages");
    }
    for block in blocks {
        freed(&heap, block, layout);
    }
}

#[test]
fn regions_that_nobody_uses_are_given_back() {
    let heap = HugePages::new();
    let layout = layout(SIZE, 64);
    let blocks: Vec<_> = (0..4 * LEN / SIZE)
        .map(|_| made(&heap, layout, 1))
        .collect();
    assert!(heap.heap().0.allocator().mapped() >= 4 * LEN);
    for block in blocks {
        freed(&heap, block, layout);
    }
    // Two may be left: the one that blocks are cut from, and the last.
    let mapped = heap.heap().0.allocator().mapped();
    assert!(mapped <= 2 * LEN, "{mapped}");
}

#[test]
fn blocks_keep_what_is_in_them_whatever_their_size_becomes() {
    let heap = HugePages::new();
    let sizes = [1, LARGE - 1, LARGE, SIZE, 100, 3 * LEN, LARGE, 7, LARGE + 1];
    for align in [1, 8, 64, 4096] {
        let mut before = layout(16, align);
        let mut block = made(&heap, before, 7);
        for size in sizes {
            // SAFETY: the block is ours, and its new size isn't zero.
            block = unsafe { heap.realloc(block, before, size) };
            assert!(!block.is_null() && block.addr().is_multiple_of(align));
            let both = before.size().min(size);
            assert!(bytes(block, both).iter().all(|byte| *byte == 7), "{size}");
            // SAFETY: it has so many bytes.
            unsafe { block.write_bytes(7, size) };
            before = layout(size, align);
        }
        freed(&heap, block, before);
    }
}

#[test]
fn zeroed_blocks_are_zero_also_where_something_was() {
    let heap = HugePages::new();
    for size in [100, LARGE, SIZE, LEN] {
        let layout = layout(size, 64);
        let first = made(&heap, layout, 0xff);
        freed(&heap, first, layout);
        // SAFETY: its size isn't zero.
        let block = unsafe { heap.alloc_zeroed(layout) };
        assert!(bytes(block, size).iter().all(|byte| *byte == 0));
        freed(&heap, block, layout);
    }
}

#[test]
fn threads_have_blocks_of_their_own() {
    let heap = HugePages::new();
    std::thread::scope(|scope| {
        for byte in 1..=4_u8 {
            let heap = &heap;
            scope.spawn(move || {
                let sizes = (0..100).map(|n| LARGE + n * 97 % SIZE);
                let layouts = sizes.map(|size| layout(size, 64)).collect::<Vec<_>>();
                for _ in 0..4 {
                    let make = |layout: &Layout| (made(heap, *layout, byte), *layout);
                    let blocks: Vec<_> = layouts.iter().map(make).collect();
                    for (block, layout) in blocks {
                        let all = bytes(block, layout.size());
                        assert!(all.iter().all(|here| *here == byte));
                        freed(heap, block, layout);
                    }
                }
            });
        }
    });
}

#[test]
fn what_is_too_large_is_refused() {
    let heap = HugePages::new();
    let half = usize::MAX / 2;
    for size in [half, half - LEN, 1 << 50] {
        // SAFETY: its size isn't zero.
        let block = unsafe { heap.alloc(layout(size / 64 * 64, 64)) };
        assert!(block.is_null());
    }
}

#[test]
fn what_work_allocates_is_counted() {
    let heap = Counted::new(HugePages::new());
    let seen = heap.measure(|| {
        let (small, large) = (layout(10, 1), layout(SIZE, 64));
        // SAFETY: its size isn't zero.
        let first = unsafe { heap.alloc(small) };
        // SAFETY: the block is ours, and its new size isn't zero.
        let first = unsafe { heap.realloc(first, small, 20) };
        // SAFETY: its size isn't zero.
        let kept = unsafe { heap.alloc_zeroed(large) };
        // SAFETY: it was made as this.
        unsafe { heap.dealloc(first, layout(20, 1)) };
        assert!(!kept.is_null());
    });
    let (blocks, bytes) = (3, SIZE);
    assert_eq!(seen, Seen { blocks, bytes });
}

#[test]
fn scarce_memory_is_scarce_for_who_asked_for_it() {
    let heap = Scarce::new(HugePages::new());
    let (small, large) = (layout(LARGE - 1, 8), layout(LARGE, 8));
    let held = made(&heap, small, 1);
    heap.without(LARGE, || {
        // SAFETY: its size isn't zero.
        assert!(unsafe { heap.alloc(large) }.is_null());
        // SAFETY: its size isn't zero.
        assert!(unsafe { heap.alloc_zeroed(large) }.is_null());
        // SAFETY: the block is ours, and its new size isn't zero.
        let none = unsafe { heap.realloc(held, small, LARGE) };
        assert!(none.is_null());
        let block = made(&heap, small, 1);
        freed(&heap, block, small);
        let other = || freed(&heap, made(&heap, large, 1), large);
        std::thread::scope(|scope| scope.spawn(other).join()).unwrap();
    });
    freed(&heap, made(&heap, large, 1), large);
    freed(&heap, held, small);
}
