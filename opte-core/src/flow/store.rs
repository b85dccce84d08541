//! The records of flows, placed by the hash of their inside key.
//!
//! Purpose   a packet of one flow among a million reads what tells where its
//!           record is, and then the record. The record comes from memory in
//!           any case; what tells where must stay in the processor's cache,
//!           so it has one byte per flow and no number: the place says it.
//! Terms     way     room for one record, with a tag: a byte of the hash of the
//!                   record that is there, zero for none
//!           word    the tags of 8 ways
//!           line    the tags of 8 words: one cache line
//!           chunk   the records of a line
//!           level   an array of lines and one of their chunks. A key has a
//!                   home in each: a word, and the way there that it prefers.
//!                   It goes to another one of the word when that is taken, and
//!                   of the line when the word is full.
//!           number  of a record: that of its level's first way, and its way's
//!                   there. It stays while the flow lives.
//! Shape
//! ```text
//! levels  [0]   n lines   each level makes four of what there is: memory
//!         [1]  3n         follows the flows, and nothing is ever moved
//!         [2] 12n         <- looked at first: it has most of the flows
//!
//! line    |8 tags|8 tags|8 tags|8 tags|8 tags|8 tags|8 tags|8 tags|
//! chunk   64 records                                 made at first use
//! ```
//! A record goes where its line has a way left, in the newest level if it can:
//! with as many choices as levels, many lines may be full. One key in a hundred
//! finds no choice in a store that is nearly full; it strays: to a line of its
//! hash with some bits turned. Only who finds nothing else looks for strays,
//! and only if there ever was one.
//!
//! Rules     S1  shards divide every level in the same way, so a line is
//!               worked on under one shard's lock: who adds or removes a
//!               record holds it. So tags change by plain loads and stores.
//!           S2  a tag is published after the record is written. Readers hold
//!               no lock; what they find is a hint: they lock the record and
//!               compare the whole key.
//!           S3  levels and chunks come and never go, so a number that was
//!               read can be looked at however late.
//!           S4  most records are in the way that they prefer. So that one is
//!               asked for before the tags are read: both come from memory at
//!               the same time.
//! Failure   [`Store::vacancy`] has none when all of these are full. The last
//!           level brings the ways to an eighth more than the flows that the
//!           table may hold, so that doesn't happen before it is full, but for
//!           one flow in millions.

mod level;
mod line;

pub(super) use self::line::Slot;

use self::level::{Level, parts, scaled, tag};
use self::line::{LINE, WAYS};
use super::position;
use crate::fallible;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use lock_api::RawMutex;
use once_cell::race::OnceBox;
use prefetch::prefetch;

/// Levels that there may be.
const LEVELS_MAX: u32 = 3;
const LEVELS: usize = position(LEVELS_MAX);
/// How many times larger each level makes the store, as a power of two.
const GROWTH_BITS: u32 = 2;
/// Lines beyond those that flows need on average, for each shard: chance gives one
/// shard some more flows than others.
const SPARE: u32 = 3;

/// What makes the hash of a key whose homes are all full another one, of the
/// same shard and with the same tag.
const STRAY: u64 = 0xffff_ff00;

/// What there isn't for one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// A way that is empty.
    Room,
    /// The memory of one.
    Memory,
}

/// The records of one table.
#[derive(Debug)]
pub(super) struct Store<R: RawMutex> {
    levels: [OnceBox<[Level<R>; 1]>; LEVELS],
    /// Levels that there are.
    count: AtomicUsize,
    /// Numbers that there are with each level; as with the one before it when
    /// there may be no more.
    ends: [u32; LEVELS],
    /// Whether there ever was a record that isn't in a home of its hash.
    strays: AtomicBool,
    shards: u32,
}

impl<R: RawMutex> Store<R> {
    /// A store for `flows` flows, of so many shards, a power of two.
    pub(super) fn new(flows: u32, shards: u32) -> Self {
        let each = flows.div_ceil(shards);
        let lines = each.saturating_add(each / 8).div_ceil(LINE);
        let most = lines.saturating_add(SPARE);
        let steps = most.checked_ilog2().unwrap_or(0) / GROWTH_BITS;
        let levels = LEVELS_MAX.min(steps.saturating_add(1));
        let mut ends = [0; LEVELS];
        for (end, smaller) in ends.iter_mut().zip((0..levels).rev()) {
            let lines = most >> smaller.wrapping_mul(GROWTH_BITS);
            *end = lines.saturating_mul(LINE).saturating_mul(shards);
        }
        Self {
            levels: [const { OnceBox::new() }; LEVELS],
            count: AtomicUsize::new(0),
            ends,
            strays: AtomicBool::new(false),
            shards,
        }
    }

    /// The levels, the newest first.
    #[inline(always)]
    fn levels(&self) -> impl Iterator<Item = &Level<R>> {
        let mut count = self.count.load(Ordering::Acquire);
        core::iter::from_fn(move || {
            count = count.checked_sub(1)?;
            self.levels.get(count)?.get().map(|[level]| level)
        })
    }

    /// The shard of keys with this hash.
    pub(super) fn shard_of(&self, hash: u64) -> u32 {
        let (shard, _) = scaled(parts(hash).0, position(self.shards));
        u32::try_from(shard).unwrap_or(0)
    }

    /// The record that a hash most probably means, and its number.
    ///
    /// A hit has more to keep in registers than there are, so that only the
    /// place where most flows are is looked at in its way.
    #[inline(always)]
    pub(super) fn first_meant(&self, hash: u64) -> Option<(u32, &Slot<R>)> {
        let newest = self.count.load(Ordering::Acquire).wrapping_sub(1);
        let [level] = self.levels.get(newest)?.get()?;
        match level.first_meant(hash) {
            Some(found) => Some(found),
            None => self.first_meant_elsewhere(hash),
        }
    }

    #[inline(never)]
    fn first_meant_elsewhere(&self, hash: u64) -> Option<(u32, &Slot<R>)> {
        let at_home = self.levels().find_map(|level| level.first_meant(hash));
        let mut levels = self.levels();
        at_home.or_else(|| levels.find_map(|level| level.find(hash, |n, slot| Some((n, slot)))))
    }

    /// Calls `each` with the numbers of records that a hash may mean, and the
    /// records, until it has a result.
    #[inline]
    pub(super) fn find<'s, T>(
        &'s self,
        hash: u64,
        mut each: impl FnMut(u32, &'s Slot<R>) -> Option<T>,
    ) -> Option<T> {
        let found = self.levels().find_map(|level| level.find(hash, &mut each));
        if found.is_some() || !self.strays() {
            return found;
        }
        let mut levels = self.levels();
        levels.find_map(|level| level.find(hash ^ STRAY, &mut each))
    }

    /// Whether there may be records that aren't in a home bucket.
    pub(super) fn strays(&self) -> bool {
        self.strays.load(Ordering::Relaxed)
    }

    /// Asks for what tells where a key with this hash is.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        for level in self.levels().take(2) {
            level.prefetch(hash);
        }
    }

    /// Asks for the record that one more flow with this hash most probably gets.
    pub(super) fn prefetch_vacancy(&self, hash: u64) {
        if let Some(slot) = self.levels().next().and_then(|newest| newest.vacant(hash)) {
            prefetch(slot);
        }
    }

    /// Asks for a record of a shard.
    pub(super) fn prefetch_record(&self, shard: u32, local: u32) {
        if let Some(slot) = self.slot(self.number(shard, local)) {
            prefetch(slot);
        }
    }

    /// The record of this number, if it was ever used.
    #[inline(always)]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot<R>> {
        self.level(number)?.slot(number)
    }

    /// Numbers that there are: all are below it.
    pub(super) fn capacity(&self) -> u32 {
        self.end(self.count.load(Ordering::Acquire))
    }

    /// Numbers of so many levels.
    fn end(&self, levels: usize) -> u32 {
        let last = levels.checked_sub(1).and_then(|last| self.ends.get(last));
        last.copied().unwrap_or(0)
    }

    /// The records whose memory is there, from number `next` on.
    pub(super) fn slots(&self, mut next: u32) -> impl Iterator<Item = (u32, &Slot<R>)> {
        core::iter::from_fn(move || {
            while next < self.capacity() {
                let number = next;
                if let Some(slot) = self.slot(number) {
                    next = number.saturating_add(1);
                    return Some((number, slot));
                }
                // The rest of a line isn't there either.
                next = (number / LINE).saturating_add(1).saturating_mul(LINE);
            }
            None
        })
    }

    /// A way for one more record, with this hash, beside `flows`. Its memory is
    /// there, and it stays empty while the shard's lock is held.
    pub(super) fn vacancy(&self, hash: u64, flows: u32) -> Result<u32, Lack> {
        // Three in four ways.
        let fill = |numbers: u32| flows >= numbers.saturating_sub(numbers / 4);
        loop {
            let count = self.count.load(Ordering::Acquire);
            // Without memory for more, what there is may do.
            if fill(self.end(count)) && self.grow(count) == Ok(()) {
                continue;
            }
            // A level that was added early, for a full bucket's sake, stays
            // aside until it is needed, so that it takes no memory.
            let early = !fill(self.end(count.saturating_sub(1)));
            let aside = usize::from(early);
            let levels = self.levels().skip(aside).chain(self.levels().take(aside));
            match first_vacancy(levels, hash) {
                Err(Lack::Room) => {}
                found => return found,
            }
            match self.grow(count) {
                Ok(()) => {}
                Err(Lack::Room) => break,
                Err(Lack::Memory) => return Err(Lack::Memory),
            }
        }
        self.strays.store(true, Ordering::Relaxed);
        first_vacancy(self.levels(), hash ^ STRAY)
    }

    /// The numbers of all records where one with this hash may be.
    pub(super) fn around(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.levels().flat_map(move |level| {
            let home = level.home(hash);
            let first = level.number(home.line);
            // The home word first.
            let word = home.place.wrapping_sub(home.place % WAYS);
            (word..LINE)
                .chain(0..word)
                .map(move |place| first.wrapping_add(place))
        })
    }

    /// Makes a record findable that was written to a vacancy of this hash
    /// (rule S2).
    pub(super) fn publish(&self, number: u32, hash: u64) {
        self.set(number, tag(hash));
    }

    /// Makes a record's way a vacancy.
    pub(super) fn vacate(&self, number: u32) {
        self.set(number, 0);
    }

    fn set(&self, number: u32, tag: u8) {
        let Some(level) = self.level(number) else {
            return;
        };
        let (line, place) = level.at(number);
        if let Some(line) = level.lines.get(line) {
            line.set(place, tag);
        }
    }

    #[inline(always)]
    fn level(&self, number: u32) -> Option<&Level<R>> {
        self.levels().find(|level| level.first <= number)
    }

    /// Shard of a record, and its number among those of the shard.
    pub(super) fn place(&self, number: u32) -> (u32, u32) {
        let Some(level) = self.level(number) else {
            return (0, 0);
        };
        let at = number.wrapping_sub(level.first);
        let shard = at.checked_div(level.numbers).unwrap_or(0);
        let local = at.checked_rem(level.numbers).unwrap_or(0);
        (shard, self.part(level.first).wrapping_add(local))
    }

    /// The reverse of [`Store::place`].
    pub(super) fn number(&self, shard: u32, local: u32) -> u32 {
        let mut levels = self.levels();
        let Some(level) = levels.find(|level| self.part(level.first) <= local) else {
            return 0;
        };
        let local = local.wrapping_sub(self.part(level.first));
        let before = shard.wrapping_mul(level.numbers);
        level.first.wrapping_add(before).wrapping_add(local)
    }

    /// What one shard has of so many numbers.
    pub(super) fn part(&self, numbers: u32) -> u32 {
        numbers.checked_div(self.shards).unwrap_or(numbers)
    }

    /// Adds a level to so many, if there may be one more.
    #[cold]
    fn grow(&self, count: usize) -> Result<(), Lack> {
        let more = count.saturating_add(1);
        let (first, end) = (self.end(count), self.end(more));
        let cell = self.levels.get(count).filter(|_| end > first);
        let cell = cell.ok_or(Lack::Room)?;
        if cell.get().is_none() {
            let level = Level::new(first, end, self.shards);
            let level = level.and_then(fallible::boxed).ok_or(Lack::Memory)?;
            // Several may do this at once, and make the same.
            let _ = cell.set(level);
        }
        self.count.fetch_max(more, Ordering::Release);
        Ok(())
    }
}

/// The first vacancy for this hash in some levels. Memory is what lacks if it
/// does in any.
fn first_vacancy<'l, R: RawMutex + 'l>(
    levels: impl Iterator<Item = &'l Level<R>>,
    hash: u64,
) -> Result<u32, Lack> {
    let mut lack = Lack::Room;
    for level in levels {
        match level.vacancy(hash) {
            Err(Lack::Room) => {}
            Err(Lack::Memory) => lack = Lack::Memory,
            found => return found,
        }
    }
    Err(lack)
}

#[cfg(test)]
mod tests;
