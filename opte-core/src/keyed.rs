//! Hashing with a secret, and choosing by it.
//!
//! Purpose   what a guest or a stranger may choose (addresses, ports) is never
//!           hashed without a key, so nobody outside can make values collide
//!           or foresee a choice.
//!
//! Terms     rendezvous   each candidate gets a score from the key, the flow
//!                        and itself; the highest wins. Taking a candidate
//!                        away moves only the flows that had chosen it.
//!
//! Failure   none.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

use core::fmt;
use core::hash::{BuildHasher, Hash};
use siphasher::sip::SipHasher13;

/// A keyed pseudo-random function: SipHash-1-3. Also the hasher of tables
/// whose keys come from guests.
#[derive(Clone, Copy)]
pub struct Keyed {
    first: u64,
    second: u64,
}

impl Keyed {
    /// The function of a boot's secret for one purpose. Two purposes share no
    /// key, so what one reveals says nothing about the other.
    #[must_use]
    pub fn new(seed: u64, purpose: &str) -> Self {
        let root = SipHasher13::new_with_keys(seed, seed.rotate_left(32));
        let derive = |index: u8| {
            let mut hasher = root;
            (index, purpose).hash(&mut hasher);
            core::hash::Hasher::finish(&hasher)
        };
        Self {
            first: derive(0),
            second: derive(1),
        }
    }

    /// The value's hash.
    #[must_use]
    #[inline]
    pub fn hash(&self, value: impl Hash) -> u64 {
        self.hash_one(value)
    }

    /// The candidate with the highest score for `flow`; none without candidates.
    pub fn rendezvous<T: Hash>(
        &self,
        flow: impl Hash + Copy,
        candidates: impl IntoIterator<Item = T>,
    ) -> Option<T> {
        candidates
            .into_iter()
            .max_by_key(|candidate| self.hash((flow, candidate)))
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    #[inline]
    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.first, self.second)
    }
}

impl fmt::Debug for Keyed {
    // A secret isn't printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_seeds_differ() {
        let hash = |seed, purpose| Keyed::new(seed, purpose).hash(7_u32);
        assert_eq!(hash(1, "a"), hash(1, "a"));
        assert_ne!(hash(1, "a"), hash(1, "b"));
        assert_ne!(hash(1, "a"), hash(2, "a"));
    }

    #[test]
    fn losing_a_candidate_moves_only_its_flows() {
        let key = Keyed::new(3, "test");
        let all = [10_u32, 20, 30, 40];
        let mut counts = [0; 4];
        for flow in 0..4_000_u32 {
            let before = key.rendezvous(flow, all).unwrap();
            let after = key.rendezvous(flow, [10_u32, 30, 40]).unwrap();
            assert!(before == 20 || before == after);
            counts[all.iter().position(|a| *a == before).unwrap()] += 1;
        }
        assert!(counts.iter().all(|n| (850..1150).contains(n)), "{counts:?}");
        assert_eq!(key.rendezvous(0, [0_u32; 0]), None);
    }
}
