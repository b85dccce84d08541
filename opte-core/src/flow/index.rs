//! From the hash of a translated flow's outside key to flow numbers, without a
//! lock. Inside keys need no index: their hash says where the record is.
//!
//! Shape     an array of buckets of 16 words, a cache line each; a word holds
//!           8 bits of hash and a flow number. A key may be in the bucket that
//!           its hash names or in the three beside it, so a look-up reads one
//!           cache line nearly always and four at most. Small words matter
//!           more than clear ones: of 100,000 flows the index stays in the
//!           processor's cache while their records don't, and one flow in a
//!           few hundred costs a look at a wrong record.
//! Rules     I1  words change by compare-and-swap only, so any number of
//!               threads may look up, insert and remove at once.
//!           I2  a number that is found is a hint: the reader locks the flow
//!               and compares the whole key. A removed flow's number may still
//!               be read by a reader that was late.
//!           I3  who inserts holds the lock that makes a key's insertion
//!               unique (the table's shard); the index doesn't look for twins.
//! Failure   [`Index::insert`] says no when the four buckets are full. The
//!           array has room for twice the flows that the table may hold, so
//!           that does not happen before the table is full, but for a chance
//!           below one in ten thousand.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

const SLOTS: usize = 16;
/// Buckets that a key may be in: its own and its neighbours within the group.
const GROUP: u64 = 4;
/// Flows for which a group has room twice over.
const FLOWS_PER_GROUP: u32 = 32;

/// A word's bits of hash.
const TAG: u32 = 0xff00_0000;

#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Bucket([AtomicU32; SLOTS]);

#[derive(Debug)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
    groups: u64,
}

/// A word of the index: the hash's upper bits, and the flow number plus one,
/// so that zero is an empty slot.
#[inline(always)]
fn word(hash: u64, flow: u32) -> u32 {
    tag(hash) | (flow.wrapping_add(1) & !TAG)
}

/// The bits of a hash that a word holds.
#[inline(always)]
fn tag(hash: u64) -> u32 {
    let [a, ..] = hash.to_be_bytes();
    u32::from_be_bytes([a, 0, 0, 0])
}

impl Bucket {
    /// The flow numbers here that the hash may mean. Slots fill from the first
    /// one on.
    #[inline(always)]
    pub(super) fn meant(&self, hash: u64) -> impl Iterator<Item = u32> {
        let tag = tag(hash);
        self.0.iter().filter_map(move |slot| {
            // Acquire pairs with the release in `insert`: what was written to
            // the flow before it was published is seen.
            let found = slot.load(Ordering::Acquire);
            // An empty slot becomes a number that no flow has.
            ((found ^ tag) <= !TAG).then_some((found & !TAG).wrapping_sub(1))
        })
    }

    /// Whether a slot is empty.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.0.iter().any(|slot| slot.load(Ordering::Relaxed) == 0)
    }
}

impl Index {
    /// Numbers of flows must be below this.
    pub(super) const FLOWS_MAX: u32 = !TAG;

    /// An index for `flows` flows.
    pub(super) fn new(flows: u32) -> Self {
        let groups = u64::from(flows / FLOWS_PER_GROUP).max(1);
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

    /// Moves `flow` to where the fast path finds it, if it overflowed and
    /// there is room by now.
    pub(super) fn bring_home(&self, hash: u64, flow: u32) {
        let Some(home) = self.home(hash) else {
            return;
        };
        if home.has_room() && !home.meant(hash).any(|number| number == flow) {
            self.remove(hash, flow);
            self.insert(hash, flow);
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
