//! A line of the store: the tags of 64 records, and their memory.

use crate::fallible;
use crate::flow::position;
use crate::flow::record::Flow;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use lock_api::{Mutex, RawMutex};
use once_cell::race::OnceBox;

/// Ways of a word.
pub(super) const WAYS: u32 = 8;
/// Words of a line.
pub(super) const WORDS: u32 = 8;
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

/// The tags of eight ways.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

/// Ways of a word: way `w` is bit `8 w + 7`.
#[derive(Clone, Copy)]
pub(super) struct Ways(u64);

/// The tags of a line's records.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Line([Word; WORDS_LEN]);

pub(super) type Records<R> = [Slot<R>; LINE_LEN];

/// The records of a line, once one is used.
#[derive(Debug)]
pub(super) struct Chunk<R: RawMutex>(OnceBox<Records<R>>);

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

    /// The ways that are empty.
    fn empty(&self) -> Ways {
        let tags = self.0.load(Ordering::Relaxed);
        // The highest bit of a byte whose others aren't all zero.
        let others = (tags & !HIGH).wrapping_add(!HIGH);
        Ways(!(others | tags) & HIGH)
    }

    /// Gives a way a tag (rules S1 and S2).
    pub(super) fn set(&self, way: u32, tag: u8) {
        let shift = way.wrapping_mul(8);
        let others = self.0.load(Ordering::Relaxed) & !0xff_u64.wrapping_shl(shift);
        let new = others | u64::from(tag).wrapping_shl(shift);
        self.0.store(new, Ordering::Release);
    }
}

impl Ways {
    fn has(self, way: u32) -> bool {
        self.0.wrapping_shr(way.wrapping_mul(8)) & HIGH & 0xff != 0
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

impl Line {
    /// Calls `each` with the places that a tag may mean until it has a result.
    #[inline]
    pub(super) fn find<T>(&self, tag: u8, mut each: impl FnMut(u32) -> Option<T>) -> Option<T> {
        for (word, first) in self.0.iter().zip((0..LINE).step_by(position(WAYS))) {
            for way in word.ways(tag) {
                let found = each(first.wrapping_add(way));
                if found.is_some() {
                    return found;
                }
            }
        }
        None
    }

    /// The first of them in one word: a hit's way.
    #[inline(always)]
    pub(super) fn first_meant(&self, word: u32, tag: u8) -> Option<u32> {
        let way = self.0.get(position(word))?.ways(tag).next()?;
        Some(word.wrapping_mul(WAYS).wrapping_add(way))
    }

    /// The place of an empty way: `first` when it is one, else in the first of
    /// its word's others and the words after it that has one.
    pub(super) fn vacancy(&self, first: u32) -> Option<u32> {
        let (at, way) = (first / WAYS, first % WAYS);
        let mut words = (at..WORDS).chain(0..at);
        words.find_map(|word| {
            let mut empty = self.0.get(position(word))?.empty();
            let way = if empty.has(way) { way } else { empty.next()? };
            Some(word.wrapping_mul(WAYS).wrapping_add(way))
        })
    }

    /// Gives the way at a place a tag (rules S1 and S2).
    pub(super) fn set(&self, place: u32, tag: u8) {
        if let Some(word) = self.0.get(position(place / WAYS)) {
            word.set(place % WAYS, tag);
        }
    }
}

impl<R: RawMutex> Chunk<R> {
    pub(super) const fn new() -> Self {
        Self(OnceBox::new())
    }

    /// The records, if there is memory for them.
    #[inline(always)]
    pub(super) fn records(&self) -> Option<&Records<R>> {
        self.0.get()
    }

    /// The record at a place, if there is memory for it.
    #[inline(always)]
    pub(super) fn slot(&self, place: u32) -> Option<&Slot<R>> {
        self.records()?.get(position(place))
    }

    /// Whether there is memory for the records here.
    #[cfg(test)]
    pub(super) fn is_made(&self) -> bool {
        self.0.get().is_some()
    }

    /// Makes the memory of the records here, if it can be had.
    pub(super) fn make(&self) -> Option<()> {
        if self.0.get().is_none() {
            // Made where it stays: a kernel's stack has no room for a chunk.
            let records = fallible::slice(LINE_LEN, |_| Slot(Mutex::new(Flow::VACANT)))?;
            // Another thread may have been faster, then it is there too.
            let _ = self.0.set(Box::try_from(records).ok()?);
        }
        Some(())
    }
}
