//! A few words that many read and one writes, without a lock.
//!
//! Purpose   a packet must read a path's header, or our own address, without
//!           writing shared memory and without ever waiting for a writer that
//!           was interrupted half-way.
//! Terms     head   sequence number (24 bits, odd while the words are being
//!                  written) and a tag of 40 bits that belongs to the words
//! Rules     S1  there is one writer at a time: it holds the underlay's lock.
//!           S2  the writer stores an odd head, a release fence, the words,
//!               and last the new even head with release order. A reader
//!               loads an even head with acquire order, the words, an acquire
//!               fence, and the head again: if a word is one of a later
//!               store, then by the fences the second head is too, and
//!               differs. Words are atomic, so a torn read is only ever a
//!               wrong value that is then thrown away.
//!           S3  a reader never waits: one that interrupted the writer on
//!               its own CPU would wait for ever. It says that it has no
//!               answer, and the caller takes the slow way, which goes
//!               through the writer's lock.
//! Failure   a reader that sleeps between its two loads of the head while
//!           there are exactly 2^23 updates, or a multiple, can take a mix
//!           for whole. Each update costs a neighbour discovery message and
//!           the lock.

use core::sync::atomic::{AtomicU64, Ordering, fence};

/// Bits of the sequence number.
const SEQUENCE_BITS: u32 = 24;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
/// How often a patient reader tries.
const TRIES: usize = 100;

/// `N` words and a tag of 40 bits, read and written as one.
#[derive(Debug)]
pub(super) struct Seq<const N: usize> {
    head: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Seq<N> {
    /// All zero.
    pub(super) const fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; N],
        }
    }

    /// The tag and the words of one and the same store; `None` when a writer
    /// is at it (S3).
    #[inline]
    pub(super) fn load(&self) -> Option<(u64, [u64; N])> {
        let before = self.head.load(Ordering::Acquire);
        if before & 1 != 0 {
            return None;
        }
        let words = self.words.each_ref().map(|w| w.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        let whole = self.head.load(Ordering::Relaxed) == before;
        whole.then_some((before >> SEQUENCE_BITS, words))
    }

    /// As [`Self::load`], with the words as bytes in memory order at the start
    /// of `out`, and the tag as result. What `out` holds after a `None` means
    /// nothing.
    #[inline(always)]
    pub(super) fn copy_to(&self, out: &mut [[u8; 8]]) -> Option<u64> {
        let before = self.head.load(Ordering::Acquire);
        if before & 1 != 0 {
            return None;
        }
        for (out, word) in out.iter_mut().zip(&self.words) {
            *out = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        fence(Ordering::Acquire);
        let whole = self.head.load(Ordering::Relaxed) == before;
        whole.then_some(before >> SEQUENCE_BITS)
    }

    /// As [`Self::load`], [`TRIES`] times.
    #[inline]
    pub(super) fn load_patiently(&self) -> Option<(u64, [u64; N])> {
        (0..TRIES).find_map(|_| self.load())
    }

    /// The tag alone. It is the latest one, or the one before while it is
    /// being replaced.
    #[inline]
    pub(super) fn tag(&self) -> u64 {
        self.head.load(Ordering::Acquire) >> SEQUENCE_BITS
    }

    /// Replaces tag (its low 40 bits) and words. Rule S1: the caller holds
    /// the underlay's lock.
    pub(super) fn store(&self, tag: u64, words: [u64; N]) {
        let head = self.head.load(Ordering::Relaxed);
        let next = |steps: u64| head.wrapping_add(steps) & SEQUENCE_MASK;
        let busy = (head & !SEQUENCE_MASK) | next(1);
        self.head.store(busy, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        let done = tag.wrapping_shl(SEQUENCE_BITS) | next(2);
        self.head.store(done, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn what_was_stored_is_read() {
        let seq = Seq::<3>::new();
        assert_eq!(seq.load(), Some((0, [0; 3])));
        seq.store(0xff_ffff_ffff, [1, 2, 3]);
        assert_eq!(seq.load(), Some((0xff_ffff_ffff, [1, 2, 3])));
        assert_eq!(seq.tag(), 0xff_ffff_ffff);
    }

    #[test]
    fn the_sequence_wraps_to_an_even_number_and_leaves_the_tag_alone() {
        let seq = Seq::<1>::new();
        seq.head.store(
            (7 << SEQUENCE_BITS) | (SEQUENCE_MASK - 1),
            Ordering::Relaxed,
        );
        assert_eq!(seq.load(), Some((7, [0])));
        seq.store(8, [9]);
        assert_eq!(seq.load(), Some((8, [9])));
    }

    #[test]
    fn a_reader_in_the_middle_of_a_store_gives_up() {
        let seq = Seq::<1>::new();
        seq.head.store(1, Ordering::Relaxed);
        assert_eq!(seq.load(), None);
        assert_eq!(seq.load_patiently(), None);
    }

    #[test]
    fn readers_never_see_a_mix() {
        let stores = if cfg!(miri) { 200 } else { 200_000 };
        let seq = Seq::<7>::new();
        let done = AtomicBool::new(false);
        let ready = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = 0;
                ready.wait();
                while !done.load(Ordering::Relaxed) {
                    let Some((tag, words)) = seq.load() else {
                        continue;
                    };
                    assert!(words.iter().all(|w| *w == tag), "{tag}: {words:?}");
                    assert!(tag >= last, "time went backwards");
                    last = tag;
                }
            });
            ready.wait();
            for i in 1..=stores {
                seq.store(i, [i; 7]);
                // Leaves readers a moment in which they can succeed.
                (0..i % 32).for_each(|_| core::hint::spin_loop());
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
