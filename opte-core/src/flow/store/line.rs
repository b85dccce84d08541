//! A line of the store: the tags of 56 records, and where these are.

use crate::flow::position;
use crate::flow::record::Flow;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use lock_api::{Mutex, RawMutex};
use once_cell::race::OnceBox;

/// Ways of a word.
pub(super) const WAYS: u32 = 8;
/// Words of a line.
pub(super) const WORDS: u32 = 7;
const WORDS_LEN: usize = position(WORDS);
/// Ways of a line.
pub(super) const LINE: u32 = WORDS * WAYS;
pub(super) const LINE_LEN: usize = position(LINE);

/// A byte in each of a word's eight: its lowest bit, and its highest.
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A record in cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Slot<R: RawMutex>(pub(crate) Mutex<R, Flow>);

type Chunk<R> = [Slot<R>; LINE_LEN];

/// The tags of eight ways.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

/// Ways of a word: way `w` is bit `8 w + 7`.
#[derive(Clone, Copy)]
pub(super) struct Ways(u64);

/// Tags, and the records that they are of.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Line<R: RawMutex> {
    words: [Word; WORDS_LEN],
    chunk: OnceBox<Chunk<R>>,
}

impl Word {
    /// The ways with this tag, and now and then one that has another.
    #[inline(always)]
    pub(super) fn ways(&self, tag: u8) -> Ways {
        // Acquire: rule S2.
        let differ = self.0.load(Ordering::Acquire) ^ u64::from(tag).wrapping_mul(LOW);
        // A byte that becomes zero is a tag that is the same. What is borrowed
        // from a byte above one of them makes that seem the same if it is one
        // off.
        Ways(differ.wrapping_sub(LOW) & !differ & HIGH)
    }

    /// Gives a way a tag (rules S1 and S2).
    pub(super) fn set(&self, way: u32, tag: u8) {
        let shift = way.wrapping_mul(8);
        let others = self.0.load(Ordering::Relaxed) & !0xff_u64.wrapping_shl(shift);
        let new = others | u64::from(tag).wrapping_shl(shift);
        self.0.store(new, Ordering::Release);
    }
}

impl Iterator for Ways {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        Some(bit / 8)
    }
}

impl<R: RawMutex> Line<R> {
    pub(super) fn new() -> Self {
        Self {
            words: Default::default(),
            chunk: OnceBox::new(),
        }
    }

    /// Calls `each` with the places of records here that a tag may mean, and
    /// the records, until it has a result.
    #[inline]
    pub(super) fn find<'s, T>(
        &'s self,
        tag: u8,
        mut each: impl FnMut(u32, &'s Slot<R>) -> Option<T>,
    ) -> Option<T> {
        let chunk = self.chunk.get()?;
        for (word, first) in self.words.iter().zip((0..LINE).step_by(position(WAYS))) {
            for way in word.ways(tag) {
                let place = first.wrapping_add(way);
                let found = each(place, chunk.get(position(place))?);
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The first of them in one word: a hit's way.
    #[inline(always)]
    pub(super) fn first_meant(&self, word: u32, tag: u8) -> Option<(u32, &Slot<R>)> {
        let chunk = self.chunk.get()?;
        let way = self.words.get(position(word))?.ways(tag).next()?;
        let place = word.wrapping_mul(WAYS).wrapping_add(way);
        Some((place, chunk.get(position(place))?))
    }

    /// The record at a place, if it was ever used.
    #[inline(always)]
    pub(super) fn slot(&self, place: u32) -> Option<&Slot<R>> {
        self.chunk.get()?.get(position(place))
    }

    /// The place of an empty way in the first of these words that has one.
    pub(super) fn vacancy(&self, mut words: impl Iterator<Item = u32>) -> Option<u32> {
        words.find_map(|word| {
            let way = self.words.get(position(word))?.ways(0).next()?;
            Some(word.wrapping_mul(WAYS).wrapping_add(way))
        })
    }

    /// Gives the way at a place a tag (rules S1 and S2).
    pub(super) fn set(&self, place: u32, tag: u8) {
        if let Some(word) = self.words.get(position(place / WAYS)) {
            word.set(place % WAYS, tag);
        }
    }

    /// Whether there is memory for the records here.
    #[cfg(test)]
    pub(super) fn has_chunk(&self) -> bool {
        self.chunk.get().is_some()
    }

    /// Makes the memory of the records here.
    pub(super) fn make_chunk(&self) -> Option<()> {
        if self.chunk.get().is_none() {
            // Made where it stays: a kernel's stack has no room for a chunk.
            let records: Box<[_]> = (0..LINE).map(|_| Slot(Mutex::new(Flow::VACANT))).collect();
            // Another thread may have been faster, then it is there too.
            let _ = self.chunk.set(Box::try_from(records).ok()?);
        }
        Some(())
    }
}
