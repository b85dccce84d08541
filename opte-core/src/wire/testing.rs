//! What the tests of all headers share: seeded random bytes, and the two
//! things that every parser has to survive.

use core::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::vec::Vec;

/// A small generator (splitmix64): the same seed gives the same bytes.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.u64() as u8
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.u64() as u16
    }

    /// A number below `bound`, which isn't zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.u8());
    }

    /// Up to `len_max` bytes.
    pub(crate) fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let mut bytes = std::vec![0; self.below(len_max + 1)];
        self.fill(&mut bytes);
        bytes
    }
}

/// Rounds of random tests; fewer where each costs a lot.
const ROUNDS: u64 = if cfg!(miri) { 50 } else { 3_000 };

/// `parse` takes `bytes`, and refuses them when they end early, wherever.
pub(crate) fn refuses_truncation<'b, T: Debug, E: Debug>(
    bytes: &'b [u8],
    parse: impl Fn(&'b [u8]) -> Result<T, E>,
) {
    parse(bytes).unwrap();
    for len in 0..bytes.len() {
        let cut = parse(&bytes[..len]);
        assert!(cut.is_err(), "the first {len} bytes give {cut:?}");
    }
}

/// `run` survives random bytes, and `good` with random bytes in it and cut.
pub(crate) fn survives_anything(good: &[u8], run: impl Fn(&[u8])) {
    for seed in 0..ROUNDS {
        let mut rng = Rng::new(seed);
        let bytes = if rng.below(4) == 0 {
            rng.bytes(good.len() * 2)
        } else {
            mutate(&mut rng, good)
        };
        let survived = catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_ok();
        assert!(survived, "seed {seed}: {bytes:02x?}");
    }
}

/// A copy of `good` with a few bytes changed and, at times, cut or longer.
pub(crate) fn mutate(rng: &mut Rng, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len());
        bytes[at] = match rng.below(4) {
            0 => 0,
            1 => 0xff,
            2 => bytes[at] ^ (1 << rng.below(8)),
            _ => rng.u8(),
        };
    }
    match rng.below(8) {
        0 => bytes.truncate(rng.below(bytes.len() + 1)),
        1 => bytes.extend(rng.bytes(16)),
        _ => {}
    }
    bytes
}
