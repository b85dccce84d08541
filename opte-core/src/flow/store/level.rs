//! A level of the store: lines, and which of them a key is in.

use super::Lack;
use super::line::{Chunk, LINE, Line, Slot, WAYS};
use crate::fallible;
use crate::flow::position;
use alloc::boxed::Box;
use lock_api::RawMutex;
use prefetch::prefetch;

/// Where records with one hash are in a level.
#[derive(Clone, Copy)]
pub(super) struct Home {
    pub(super) line: usize,
    /// The place of the preferred way (rule S4).
    pub(super) place: u32,
}

#[derive(Debug)]
pub(super) struct Level<R: RawMutex> {
    pub(super) lines: Box<[Line]>,
    /// The records of each line. The addresses of chunks are few enough to
    /// stay in the processor's cache.
    pub(super) chunks: Box<[Chunk<R>]>,
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

impl<R: RawMutex> Level<R> {
    /// The level of the records from number `first` to before `end`, if there
    /// is memory for it.
    pub(super) fn new(first: u32, end: u32, shards: u32) -> Option<Self> {
        let numbers = end.saturating_sub(first);
        let lines = position(numbers / LINE);
        Some(Self {
            lines: fallible::slice(lines, |_| Line::default())?,
            chunks: fallible::slice(lines, |_| Chunk::new())?,
            first,
            numbers: numbers.checked_div(shards).unwrap_or(numbers),
            // Multiples of an odd number near the golden section spread well.
            mix: 0x9e37_79b1_u32.wrapping_mul(first | 1),
            place_bits: u32::MAX.checked_div(shards).unwrap_or(u32::MAX),
        })
    }

    /// The home of a key here.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Home {
        let (shard, place) = parts(hash);
        let at = shard ^ place.wrapping_mul(self.mix) & self.place_bits;
        let (line, rest) = scaled(at, self.lines.len());
        Home {
            line,
            place: rest / (u32::MAX / LINE + 1),
        }
    }

    /// The line and the place there of a number.
    #[inline(always)]
    pub(super) fn at(&self, number: u32) -> (usize, u32) {
        let at = number.wrapping_sub(self.first);
        (position(at / LINE), at % LINE)
    }

    /// The record of a number, if there is memory for it.
    #[inline(always)]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot<R>> {
        let (line, place) = self.at(number);
        self.chunks.get(line)?.slot(place)
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
        let records = self.chunks.get(home.line)?.records()?;
        let line = self.lines.get(home.line)?;
        line.find(tag(hash), |place| {
            each(first.wrapping_add(place), records.get(position(place))?)
        })
    }

    /// The first of them in the home word, where nearly all are. It is asked
    /// for before its tag is read (rule S4).
    #[inline(always)]
    pub(super) fn first_meant(&self, hash: u64) -> Option<(u32, &Slot<R>)> {
        let home = self.home(hash);
        let records = self.chunks.get(home.line)?.records()?;
        prefetch(records.get(position(home.place))?);
        let line = self.lines.get(home.line)?;
        let place = line.first_meant(home.place / WAYS, tag(hash))?;
        let slot = records.get(position(place))?;
        Some((self.number(home.line).wrapping_add(place), slot))
    }

    /// Asks for the tags of this key's home.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        let home = self.home(hash);
        if let Some(line) = self.lines.get(home.line) {
            prefetch(line);
        }
    }

    /// A way in this key's home that is empty, and whose memory is there; else
    /// which of both is missing.
    pub(super) fn vacancy(&self, hash: u64) -> Result<u32, Lack> {
        let home = self.home(hash);
        let (line, chunk) = (self.lines.get(home.line), self.chunks.get(home.line));
        let place = line.and_then(|line| line.vacancy(home.place));
        let (Some(place), Some(chunk)) = (place, chunk) else {
            return Err(Lack::Room);
        };
        chunk.make().ok_or(Lack::Memory)?;
        Ok(self.number(home.line).wrapping_add(place))
    }

    /// The record of such a way, if its memory is there.
    pub(super) fn vacant(&self, hash: u64) -> Option<&Slot<R>> {
        let home = self.home(hash);
        let place = self.lines.get(home.line)?.vacancy(home.place)?;
        self.chunks.get(home.line)?.slot(place)
    }

    /// The number of the first record of a line.
    #[inline(always)]
    pub(super) fn number(&self, line: usize) -> u32 {
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        self.first.wrapping_add(line.wrapping_mul(LINE))
    }
}
