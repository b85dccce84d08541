//! A level of the store: lines, and which of them a key is in.

use super::line::{Line, Slot, WORDS};
use crate::flow::position;
use alloc::boxed::Box;
use lock_api::RawMutex;

/// Numbers of a line.
pub(super) const NUMBERS: u32 = 64;

/// Where records with one hash are in a level.
#[derive(Clone, Copy)]
pub(super) struct Home {
    pub(super) line: usize,
    pub(super) word: u32,
}

#[derive(Debug)]
pub(super) struct Level<R: RawMutex> {
    pub(super) lines: Box<[Line<R>]>,
    /// Number of the first record here.
    pub(super) first: u32,
    /// Numbers here of one shard.
    pub(super) numbers: u32,
    /// An odd number that makes homes in different levels independent.
    mix: u32,
    /// The bits of a position that say the place in a shard.
    place_bits: u32,
}

/// The tag that a hash has: its lowest byte, and never zero.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    let [tag, ..] = hash.to_le_bytes();
    tag.wrapping_add(u8::from(tag == 0))
}

/// The upper half of a hash, which says the shard, and bits below it that are
/// not the tag's, which say the place in it.
#[inline(always)]
pub(super) fn parts(hash: u64) -> (u32, u32) {
    let [_, a, b, c, d, e, f, g] = hash.to_le_bytes();
    (
        u32::from_le_bytes([d, e, f, g]),
        u32::from_le_bytes([a, b, c, d]),
    )
}

/// The part of `count` that a number of 32 random bits belongs to, and what
/// is left of the number, as random.
#[inline(always)]
pub(super) fn scaled(random: u32, count: usize) -> (usize, u32) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    let [rest, part] = halves(u64::from(random).wrapping_mul(count));
    (position(part), rest)
}

/// The lower and the upper half of a number.
#[inline(always)]
fn halves(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

impl Home {
    /// The words of the line, this one first.
    #[inline(always)]
    pub(super) fn words(self) -> impl Iterator<Item = u32> {
        (self.word..WORDS).chain(0..self.word)
    }
}

impl<R: RawMutex> Level<R> {
    /// The level of the records from number `first` to before `end`.
    pub(super) fn new(first: u32, end: u32, shards: u32) -> Self {
        let numbers = end.saturating_sub(first);
        Self {
            lines: (0..numbers / NUMBERS).map(|_| Line::new()).collect(),
            first,
            numbers: numbers.checked_div(shards).unwrap_or(numbers),
            // Multiples of an odd number near the golden section spread well.
            mix: 0x9e37_79b1_u32.wrapping_mul(first | 1),
            place_bits: u32::MAX.checked_div(shards).unwrap_or(u32::MAX),
        }
    }

    /// The home of a key here.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Home {
        let (shard, place) = parts(hash);
        let at = shard ^ place.wrapping_mul(self.mix) & self.place_bits;
        let (line, rest) = scaled(at, self.lines.len());
        let [_, word] = halves(u64::from(rest).wrapping_mul(u64::from(WORDS)));
        Home { line, word }
    }

    /// The line and the place there of a record.
    #[inline(always)]
    pub(super) fn line(&self, number: u32) -> Option<(&Line<R>, u32)> {
        let at = number.wrapping_sub(self.first);
        let line = self.lines.get(position(at / NUMBERS))?;
        Some((line, at % NUMBERS))
    }

    /// Calls `each` with the numbers of records here that a hash may mean, and
    /// the records, until it has a result.
    #[inline]
    pub(super) fn find<'s, T>(
        &'s self,
        hash: u64,
        mut each: impl FnMut(u32, &'s Slot<R>) -> Option<T>,
    ) -> Option<T> {
        let home = self.home(hash);
        let first = self.number(home.line);
        let line = self.lines.get(home.line)?;
        line.find(tag(hash), |place, slot| {
            each(first.wrapping_add(place), slot)
        })
    }

    /// The first of them in the home word, where nearly all are.
    #[inline(always)]
    pub(super) fn first_meant(&self, hash: u64) -> Option<(u32, &Slot<R>)> {
        let home = self.home(hash);
        let line = self.lines.get(home.line)?;
        let (place, slot) = line.first_meant(home.word, tag(hash))?;
        Some((self.number(home.line).wrapping_add(place), slot))
    }

    /// A way in this key's home that is empty, and whose memory is there.
    pub(super) fn vacancy(&self, hash: u64) -> Option<u32> {
        let home = self.home(hash);
        let line = self.lines.get(home.line)?;
        let place = line.vacancy(home.words())?;
        line.make_chunk()?;
        Some(self.number(home.line).wrapping_add(place))
    }

    /// The record of such a way, if its memory is there.
    pub(super) fn vacant(&self, hash: u64) -> Option<&Slot<R>> {
        let home = self.home(hash);
        let line = self.lines.get(home.line)?;
        line.slot(line.vacancy(home.words())?)
    }

    /// The number of the first record of a line.
    #[inline(always)]
    pub(super) fn number(&self, line: usize) -> u32 {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.first.wrapping_add(line.wrapping_mul(NUMBERS))
    }
}
