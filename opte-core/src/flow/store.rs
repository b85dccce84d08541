//! The records of flows, placed by the hash of their inside key.
//!
//! Purpose   a packet of one flow among a million reads what tells where its
//!           record is, and then the record. The record comes from memory in
//!           any case; what tells where must stay in the processor's cache,
//!           so it has one byte per flow and no number: the place says it.
//! Terms     way     room for one record
//!           bucket  16 ways whose records' hashes begin alike. It has a tag
//!                   for each way: a byte of the record's hash, zero for none.
//!           level   an array of buckets. A key has one home bucket in each.
//!           number  of a record: that of its level's first way, and its way's
//!                   there. It stays while the flow lives.
//! Shape
//! ```text
//! levels  [0]  s buckets    each level doubles what there is: memory follows
//!         [1]  s            the flows, and nothing is ever moved
//!         [2]  2s
//!         [3]  4s           <- looked at first: it has half of the flows
//!
//! level   buckets  |16 tags|16 tags|16 tags|16 tags|  one cache line
//!         chunks   |pointer to 64 records|            made at first use
//! ```
//! A record goes where its home bucket has a way left, in the newest level if
//! it can: with as many choices as levels, every other bucket may be full. One
//! key in 100,000 finds no choice in a store that is nearly full; it strays: to
//! a home bucket of its hash with some bits turned. Only who finds nothing else
//! looks for strays, and only if there ever was one.
//!
//! Rules     S1  shards divide every level in the same way, so a bucket is
//!               worked on under one shard's lock: who adds or removes a
//!               record holds it. So tags change by plain loads and stores.
//!           S2  a tag is published after the record is written. Readers hold
//!               no lock; what they find is a hint: they lock the record and
//!               compare the whole key.
//!           S3  levels and chunks come and never go, so a number that was
//!               read can be looked at however late.
//! Failure   [`Store::vacancy`] has none when all of these are full. The last
//!           level brings the ways to an eighth more than the flows that the
//!           table may hold, so that doesn't happen before it is full.

use super::position;
use super::record::Flow;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use lock_api::{Mutex, RawMutex};
use once_cell::race::OnceBox;
use prefetch::prefetch;

/// Levels that there may be.
const LEVELS_MAX: u32 = 8;
const LEVELS: usize = position(LEVELS_MAX);
/// How many times larger each level makes the store.
const GROWTH: u32 = 2;
/// Ways of a bucket.
const WAYS: u32 = 16;
/// Records that are allocated as one.
const CHUNK: u32 = 64;
const CHUNK_LEN: usize = position(CHUNK);
const CHUNK_BUCKETS: usize = position(CHUNK / WAYS);
/// Buckets beyond an eighth more than needed, for each shard: chance gives one
/// shard some more flows than others.
const SPARE: u32 = 8;

/// What makes the hash of a key whose home buckets are all full another one,
/// of the same shard and with the same tag.
const STRAY: u64 = 0xffff_ff00;

/// A byte in each of a word's eight: its lowest bit, and its highest.
const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A record in cache lines of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot<R: RawMutex>(pub(super) Mutex<R, Flow>);

type Chunk<R> = [Slot<R>; CHUNK_LEN];

/// The tags of a bucket, so aligned that they are in one cache line.
#[derive(Debug, Default)]
#[repr(align(16))]
struct Bucket([AtomicU64; 2]);

/// Ways of a bucket: way `w` is bit `8 w + 6`, of the upper eight `8 (w - 8) + 7`.
#[derive(Clone, Copy)]
struct Ways(u64);

/// Records of a bucket that a hash may mean.
struct Meant<'s, R: RawMutex> {
    chunk: &'s Chunk<R>,
    /// Number of the bucket's first record.
    first: u32,
    ways: Ways,
}

#[derive(Debug)]
struct Level<R: RawMutex> {
    buckets: Box<[Bucket]>,
    chunks: Box<[OnceBox<Chunk<R>>]>,
    /// Number of the first record here.
    first: u32,
    /// Ways here of one shard.
    ways: u32,
    /// An odd number that makes home buckets of different levels independent.
    mix: u32,
    /// The bits of a position that say the place in a shard.
    place_bits: u32,
}

/// The records of one table.
#[derive(Debug)]
pub(super) struct Store<R: RawMutex> {
    levels: [OnceBox<Level<R>>; LEVELS],
    /// Levels that there are.
    count: AtomicUsize,
    /// Ways that there are with each level; as with the one before it when
    /// there may be no more.
    ends: [u32; LEVELS],
    /// Whether there ever was a record that isn't in a home bucket.
    strays: AtomicBool,
    shards: u32,
}

impl Bucket {
    /// The ways with this tag, and now and then one that has another.
    #[inline(always)]
    fn ways(&self, tag: u8) -> Ways {
        let all = u64::from(tag).wrapping_mul(LOW);
        let [lower, upper] = &self.0;
        // A byte that becomes zero is a tag that is the same. What is borrowed
        // from a byte above one of them makes that seem the same if it is one
        // off. Acquire: rule S2.
        let same = |tags: &AtomicU64| {
            let differ = tags.load(Ordering::Acquire) ^ all;
            differ.wrapping_sub(LOW) & !differ & HIGH
        };
        Ways(same(lower) >> 1 | same(upper))
    }

    /// Gives a way a tag (rules S1 and S2).
    fn set(&self, way: u32, tag: u8) {
        let Some(word) = self.0.get(position(way / 8)) else {
            return;
        };
        let shift = (way % 8).wrapping_mul(8);
        let others = word.load(Ordering::Relaxed) & !0xff_u64.wrapping_shl(shift);
        let new = others | u64::from(tag).wrapping_shl(shift);
        word.store(new, Ordering::Release);
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
        Some((bit / 8) | (bit % 2).wrapping_mul(8))
    }
}

/// The tag that a hash has: its lowest byte, and never zero.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    let [tag, ..] = hash.to_le_bytes();
    tag.wrapping_add(u8::from(tag == 0))
}

/// The upper half of a hash, which says the shard, and bits below it that are
/// not the tag's, which say the place in it.
#[inline(always)]
fn parts(hash: u64) -> (u32, u32) {
    let [_, a, b, c, d, e, f, g] = hash.to_le_bytes();
    (
        u32::from_le_bytes([d, e, f, g]),
        u32::from_le_bytes([a, b, c, d]),
    )
}

/// The part of `count` that a number of 32 random bits belongs to.
#[inline(always)]
fn scaled(random: u32, count: usize) -> usize {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let part = u64::from(random).wrapping_mul(count) >> 32;
    usize::try_from(part).unwrap_or(usize::MAX)
}

impl<R: RawMutex> Level<R> {
    /// The level of the records from `first` to before `end`.
    fn new(first: u32, end: u32, shards: u32) -> Self {
        let ways = end.saturating_sub(first);
        Self {
            buckets: (0..ways / WAYS).map(|_| Bucket::default()).collect(),
            chunks: (0..ways.div_ceil(CHUNK)).map(|_| OnceBox::new()).collect(),
            first,
            ways: ways.checked_div(shards).unwrap_or(ways),
            // Multiples of an odd number near the golden section spread well.
            mix: 0x9e37_79b1_u32.wrapping_mul(first | 1),
            place_bits: u32::MAX.checked_div(shards).unwrap_or(u32::MAX),
        }
    }

    /// The home bucket of a key here.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        let (shard, place) = parts(hash);
        let at = shard ^ place.wrapping_mul(self.mix) & self.place_bits;
        scaled(at, self.buckets.len())
    }

    /// The bucket and way of a record.
    fn bucket(&self, number: u32) -> Option<(&Bucket, u32)> {
        let at = number.wrapping_sub(self.first);
        let bucket = self.buckets.get(position(at / WAYS))?;
        Some((bucket, at % WAYS))
    }

    /// The cell of the chunk that the records of a bucket are in.
    #[inline(always)]
    fn chunk(&self, bucket: usize) -> Option<&OnceBox<Chunk<R>>> {
        self.chunks.get(bucket / CHUNK_BUCKETS)
    }

    /// The records here that a hash may mean, and their numbers.
    #[inline(always)]
    fn meant(&self, hash: u64) -> Option<Meant<'_, R>> {
        let home = self.home(hash);
        Some(Meant {
            // Before the tags are known, for it takes as long to get.
            chunk: self.chunk(home)?.get()?,
            first: self.number(home),
            ways: self.buckets.get(home)?.ways(tag(hash)),
        })
    }

    /// A way in this key's bucket that is empty, and whose memory is there.
    fn vacancy(&self, hash: u64) -> Option<u32> {
        let home = self.home(hash);
        let way = self.buckets.get(home)?.ways(0).next()?;
        let chunk = self.chunk(home)?;
        if chunk.get().is_none() {
            // Made where it stays: a kernel's stack has no room for a chunk.
            let records: Box<[_]> = (0..CHUNK).map(|_| Slot(Mutex::new(Flow::VACANT))).collect();
            // Another shard may have been faster, then it is there too.
            let _ = chunk.set(Box::try_from(records).ok()?);
        }
        Some(self.number(home).wrapping_add(way))
    }

    /// The number of the first record of a bucket.
    #[inline(always)]
    fn number(&self, bucket: usize) -> u32 {
        let bucket = u32::try_from(bucket).unwrap_or(u32::MAX);
        self.first.wrapping_add(bucket.wrapping_mul(WAYS))
    }
}

impl<'s, R: RawMutex> Iterator for Meant<'s, R> {
    type Item = (u32, &'s Slot<R>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        let number = self.first.wrapping_add(self.ways.next()?);
        Some((number, self.chunk.get(position(number % CHUNK))?))
    }
}

impl<R: RawMutex> Store<R> {
    /// A store for `flows` flows, of so many shards, a power of two.
    pub(super) fn new(flows: u32, shards: u32) -> Self {
        let each = flows.div_ceil(shards);
        let buckets = each.saturating_add(each / 8).div_ceil(WAYS);
        // Chunks begin with levels.
        let least = (CHUNK / WAYS).div_ceil(shards);
        let most = buckets.saturating_add(SPARE).max(least);
        let parts = most.checked_div(least);
        let steps = parts.and_then(|parts| parts.checked_ilog(GROWTH));
        let steps = steps.unwrap_or(0);
        let levels = LEVELS_MAX.min(steps.saturating_add(1));
        let mut ends = [0; LEVELS];
        for (end, smaller) in ends.iter_mut().zip((0..levels).rev()) {
            let parts = GROWTH.saturating_pow(smaller);
            let buckets = most.checked_div(parts).unwrap_or(least);
            let ways = buckets.next_multiple_of(least).saturating_mul(WAYS);
            *end = ways.saturating_mul(shards);
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
        let count = self.count.load(Ordering::Acquire);
        let levels = self.levels.get(..count).unwrap_or_default();
        levels.iter().rev().filter_map(OnceBox::get)
    }

    /// The shard of keys with this hash.
    pub(super) fn shard_of(&self, hash: u64) -> u32 {
        let shard = scaled(parts(hash).0, position(self.shards));
        u32::try_from(shard).unwrap_or(0)
    }

    /// The record that a hash most probably means, and its number.
    #[inline(always)]
    pub(super) fn first_meant(&self, hash: u64) -> Option<(u32, &Slot<R>)> {
        let mut levels = self.levels();
        levels.find_map(|level| level.meant(hash)?.next())
    }

    /// The records that a hash may mean, the most probable first.
    pub(super) fn meant(&self, hash: u64) -> impl Iterator<Item = (u32, &Slot<R>)> {
        let stray = self.strays().then_some(hash ^ STRAY);
        let hashes = core::iter::once(hash).chain(stray);
        let buckets = hashes.flat_map(|hash| self.levels().map(move |level| level.meant(hash)));
        buckets.flatten().flatten()
    }

    /// Whether there may be records that aren't in a home bucket.
    pub(super) fn strays(&self) -> bool {
        self.strays.load(Ordering::Relaxed)
    }

    /// Asks for what tells where a key with this hash is.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        for level in self.levels().take(2) {
            let home = level.home(hash);
            if let (Some(bucket), Some(chunk)) = (level.buckets.get(home), level.chunk(home)) {
                prefetch(bucket);
                prefetch(chunk);
            }
        }
    }

    /// The record of this number, if it was ever used.
    #[inline(always)]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot<R>> {
        let level = self.level(number)?;
        let at = number.wrapping_sub(level.first);
        let chunk = level.chunks.get(position(at / CHUNK))?.get()?;
        chunk.get(position(at % CHUNK))
    }

    /// Ways that there are: numbers are below it.
    pub(super) fn capacity(&self) -> u32 {
        self.end(self.count.load(Ordering::Acquire))
    }

    /// Ways of so many levels.
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
                // The rest of a chunk that isn't there isn't there either.
                next = (number / CHUNK).saturating_add(1).saturating_mul(CHUNK);
            }
            None
        })
    }

    /// A way for one more record, with this hash, beside `flows`. Its memory is
    /// there, and it stays empty while the shard's lock is held.
    pub(super) fn vacancy(&self, hash: u64, flows: u32) -> Option<u32> {
        let fill = |ways: u32| flows >= (ways / 4).saturating_mul(3);
        loop {
            let count = self.count.load(Ordering::Acquire);
            if fill(self.end(count)) && self.grow(count) {
                continue;
            }
            // A level that was added early, for a full bucket's sake, stays
            // aside until it is needed, so that it takes no memory.
            let early = !fill(self.end(count.saturating_sub(1)));
            let aside = usize::from(early);
            let mut levels = self.levels().skip(aside).chain(self.levels().take(aside));
            let vacant = levels.find_map(|level| level.vacancy(hash));
            if vacant.is_some() {
                return vacant;
            }
            if !self.grow(count) {
                break;
            }
        }
        self.strays.store(true, Ordering::Relaxed);
        let mut levels = self.levels();
        levels.find_map(|level| level.vacancy(hash ^ STRAY))
    }

    /// The numbers of all records where one with this hash may be.
    pub(super) fn around(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.levels().flat_map(move |level| {
            let first = level.number(level.home(hash));
            (0..WAYS).map(move |way| first.wrapping_add(way))
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
        if let Some((bucket, way)) = self.level(number).and_then(|level| level.bucket(number)) {
            bucket.set(way, tag);
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
        let shard = at.checked_div(level.ways).unwrap_or(0);
        let local = at.checked_rem(level.ways).unwrap_or(0);
        (shard, self.part(level.first).wrapping_add(local))
    }

    /// The reverse of [`Store::place`].
    pub(super) fn number(&self, shard: u32, local: u32) -> u32 {
        let mut levels = self.levels();
        let Some(level) = levels.find(|level| self.part(level.first) <= local) else {
            return 0;
        };
        let local = local.wrapping_sub(self.part(level.first));
        let before = shard.wrapping_mul(level.ways);
        level.first.wrapping_add(before).wrapping_add(local)
    }

    /// What one shard has of so many ways.
    pub(super) fn part(&self, ways: u32) -> u32 {
        ways.checked_div(self.shards).unwrap_or(ways)
    }

    /// Adds a level to so many, if there may be one more.
    #[cold]
    fn grow(&self, count: usize) -> bool {
        let more = count.saturating_add(1);
        let (first, end) = (self.end(count), self.end(more));
        let Some(cell) = self.levels.get(count).filter(|_| end > first) else {
            return false;
        };
        // Several may do this at once, and make the same.
        cell.get_or_init(|| Box::new(Level::new(first, end, self.shards)));
        self.count.fetch_max(more, Ordering::Release);
        true
    }
}

#[cfg(test)]
mod tests;
