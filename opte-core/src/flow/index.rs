//! From the hash of a flow key to flow numbers, without a lock.
//!
//! Shape     an array of buckets of eight words; a word holds 32 bits of hash
//!           and a flow number. A key may be in the bucket that its hash names
//!           or in the three beside it, so a look-up reads one cache line
//!           nearly always and four at most.
//! Rules     I1  words change by compare-and-swap only, so any number of
//!               threads may look up, insert and remove at once.
//!           I2  a number that is found is a hint: the reader locks the flow
//!               and compares the whole key. A removed flow's number may still
//!               be read by a reader that was late.
//!           I3  who inserts holds the lock that makes a key's insertion
//!               unique (the table's shard); the index doesn't look for twins.
//! Failure   [`Index::insert`] says no when the four buckets are full. The
//!           array has room for twice the flows that the table may hold under
//!           translation (two keys each), so that does not happen before the
//!           table is full, but for a chance below one in ten thousand.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};

const SLOTS: usize = 8;
/// Buckets that a key may be in: its own and its neighbours within the group.
const GROUP: u64 = 4;

#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Bucket([AtomicU64; SLOTS]);

#[derive(Debug)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
    groups: u64,
}

/// A word of the index: the hash's upper half, and the flow number plus one,
/// so that zero is an empty slot.
fn word(hash: u64, flow: u32) -> u64 {
    (hash & 0xffff_ffff_0000_0000) | u64::from(flow).wrapping_add(1)
}

impl Bucket {
    /// The flow numbers here that the hash may mean. Slots fill from the first
    /// one on, so the first is nearly always the one.
    #[inline(always)]
    pub(super) fn meant(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(move |slot| {
            // Acquire pairs with the release in `insert`: what was written to
            // the flow before it was published is seen.
            let found = slot.load(Ordering::Acquire);
            let [_, _, _, _, a, b, c, d] = found.to_be_bytes();
            // An empty slot becomes a number that no flow has.
            let number = u32::from_be_bytes([a, b, c, d]).wrapping_sub(1);
            ((found ^ hash) >> 32 == 0).then_some(number)
        })
    }

    /// Whether a slot is empty.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.0.iter().any(|slot| slot.load(Ordering::Relaxed) == 0)
    }
}

impl Index {
    /// An index for `flows` flows of two keys each.
    pub(super) fn new(flows: u32) -> Self {
        let groups = u64::from(flows / 8).max(1);
        Self {
            buckets: (0..groups.wrapping_mul(GROUP))
                .map(|_| Bucket::default())
                .collect(),
            groups,
        }
    }

    /// The bucket that a key is in, if that has room.
    ///
    /// Keys overflow to the next bucket only when this one is full. It may
    /// have been full then and have room now, in which case a key seems to be
    /// missing; the slow path looks everywhere.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Option<&Bucket> {
        self.group(hash).next()
    }

    /// The flow numbers that all buckets of a key have for its hash.
    pub(super) fn everywhere(&self, hash: u64) -> impl Iterator<Item = u32> {
        self.group(hash).flat_map(move |bucket| bucket.meant(hash))
    }

    /// Adds `flow` under `hash`; false when there is no room.
    pub(super) fn insert(&self, hash: u64, flow: u32) -> bool {
        let new = word(hash, flow);
        self.group(hash).flat_map(|bucket| &bucket.0).any(|slot| {
            slot.load(Ordering::Relaxed) == 0
                && slot
                    .compare_exchange(0, new, Ordering::Release, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// Removes `flow` from under `hash`, if it is there.
    pub(super) fn remove(&self, hash: u64, flow: u32) {
        let old = word(hash, flow);
        for slot in self.group(hash).flat_map(|bucket| &bucket.0) {
            if slot.load(Ordering::Relaxed) == old
                && slot
                    .compare_exchange(old, 0, Ordering::Release, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
        }
    }

    /// The buckets that a key may be in, its own first.
    #[inline(always)]
    fn group(&self, hash: u64) -> impl Iterator<Item = &Bucket> {
        // The low half of the hash, less two bits, scaled to the number of
        // groups; two bits choose the home bucket in it.
        let group = ((hash & 0x3fff_ffff).wrapping_mul(self.groups) >> 30).wrapping_mul(GROUP);
        let home = (hash >> 30) & 3;
        (0..GROUP).filter_map(move |i| {
            let at = usize::try_from(group | (home ^ i)).unwrap_or(usize::MAX);
            self.buckets.get(at)
        })
    }
}
