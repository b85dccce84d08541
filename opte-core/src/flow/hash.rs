//! The keyed hash of flow keys.
//!
//! Purpose   guests and strangers choose flow keys, so which of them collide
//!           must be a secret; and every packet is hashed, so it must be quick.
//! Shape     NH, the hash of UMAC (RFC 4418 section 5.2): words are added to
//!           secret ones, multiplied in pairs, and the products summed. Two
//!           keys that were chosen without knowing the secret collide with a
//!           chance of 2^-64, whatever they are. The sum of 128 bits is folded
//!           with one more multiplication, so that every bit of the result
//!           depends on all of it.

use super::tuple::Tuple;
use crate::keyed::Keyed;

/// The secret words of a table.
#[derive(Clone, Copy)]
pub(super) struct Hasher([u64; 8]);

impl Hasher {
    /// The hash that belongs to a seed.
    pub(super) fn new(seed: u64) -> Self {
        let key = Keyed::new(seed, "flow");
        Self(core::array::from_fn(|i| key.hash(i)))
    }

    /// The hash of a flow key.
    #[inline(always)]
    pub(super) fn hash(&self, key: &Tuple) -> u64 {
        let [k0, k1, k2, k3, k4, k5, k6, k7] = self.0;
        let (l0, l1) = words(&key.local);
        let (r0, r1) = words(&key.remote);
        let rest = u64::from(key.local_port)
            | u64::from(key.remote_port) << 16
            | u64::from(key.proto.0) << 32
            | u64::from(key.family.number()) << 40;
        let sum = multiply(l0.wrapping_add(k0), l1.wrapping_add(k1))
            .wrapping_add(multiply(r0.wrapping_add(k2), r1.wrapping_add(k3)))
            .wrapping_add(multiply(rest.wrapping_add(k4), k5));
        let (high, low) = halves(sum);
        let (high, low) = halves(multiply(high ^ k6, low ^ k7));
        high ^ low
    }
}

impl core::fmt::Debug for Hasher {
    // A secret isn't printed.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Hasher")
    }
}

#[inline(always)]
fn multiply(a: u64, b: u64) -> u128 {
    u128::from(a).wrapping_mul(u128::from(b))
}

#[inline(always)]
#[expect(
    clippy::as_conversions,
    reason = "cutting a number in two is what this is for"
)]
const fn halves(number: u128) -> (u64, u64) {
    ((number >> 64) as u64, number as u64)
}

/// An address as two words, in the machine's byte order.
#[inline(always)]
const fn words(address: &[u8; 16]) -> (u64, u64) {
    halves(u128::from_ne_bytes(*address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Family, Proto};
    use crate::rng::Rng;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    const KEY: Tuple = Tuple {
        local: [1; 16],
        remote: [2; 16],
        local_port: 3,
        remote_port: 4,
        proto: Proto::TCP,
        family: Family::V6,
    };

    #[test]
    fn every_part_of_a_key_counts() {
        let hasher = Hasher::new(1);
        let mut keys = Vec::from([KEY]);
        for i in 0..16 {
            let (mut local, mut remote) = (KEY, KEY);
            local.local[i] ^= 0x80;
            remote.remote[i] ^= 0x80;
            keys.extend([local, remote]);
        }
        keys.push(Tuple {
            local_port: 5,
            ..KEY
        });
        keys.push(Tuple {
            remote_port: 5,
            ..KEY
        });
        keys.push(Tuple {
            proto: Proto::UDP,
            ..KEY
        });
        keys.push(Tuple {
            family: Family::V4,
            ..KEY
        });
        let hashes: BTreeSet<u64> = keys.iter().map(|key| hasher.hash(key)).collect();
        assert_eq!(hashes.len(), keys.len());
        assert_ne!(hasher.hash(&KEY), Hasher::new(2).hash(&KEY), "and the seed");
    }

    /// Keys that differ in few bits, as a port sweep's do, must fill every
    /// part of the hash evenly: the index uses the low bits for the bucket and
    /// the high half as a tag.
    #[test]
    fn a_sweep_spreads_over_every_part_of_the_hash() {
        let mut rng = Rng(7);
        let hasher = Hasher::new(rng.next());
        let hashes: Vec<u64> = (0..1 << 16)
            .map(|port| {
                hasher.hash(&Tuple {
                    remote_port: port as u16,
                    ..KEY
                })
            })
            .collect();
        for shift in (0..64).step_by(8) {
            let mut counts = [0_u32; 256];
            for hash in &hashes {
                counts[(hash >> shift & 0xff) as usize] += 1;
            }
            // 256 on average; seven standard deviations are 112.
            assert!(
                counts.iter().all(|n| (144..368).contains(n)),
                "bits {shift}"
            );
        }
        for bit in 0..64 {
            let ones = hashes.iter().filter(|hash| **hash >> bit & 1 == 1).count();
            assert!((31_872..33_664).contains(&ones), "bit {bit}: {ones}");
        }
    }
}
