//! Ports by the MAC address of their guest: asked for every frame from the
//! underlay, so the hash is one multiplication.
//!
//! What is in the map comes from the operator, and how long a look-up takes
//! depends on what is in it. A stranger chooses only what is looked up, so the
//! hash need not be as strong as that of a flow.

use crate::keyed::Keyed;
use crate::wire::MacAddr;
use core::hash::{BuildHasher, Hasher};
use hashbrown::HashMap;

/// A map from MAC addresses.
#[derive(Debug)]
pub(super) struct ByMac<T>(HashMap<u64, T, Multiply>);

impl<T> ByMac<T> {
    /// An empty map.
    pub(super) fn new(key: Keyed) -> Self {
        Self(HashMap::with_hasher(Multiply(key.hash("mac") | 1)))
    }

    pub(super) fn insert(&mut self, mac: MacAddr, value: T) {
        self.0.insert(number(mac), value);
    }

    /// What is known of this address.
    #[inline(always)]
    pub(super) fn get(&self, mac: MacAddr) -> Option<&T> {
        self.0.get(&number(mac))
    }
}

#[inline(always)]
const fn number(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// Multiplies by an odd secret; the upper half of the product is mixed best.
#[derive(Clone, Copy, Debug)]
struct Multiply(u64);

impl BuildHasher for Multiply {
    type Hasher = Product;

    #[inline(always)]
    fn build_hasher(&self) -> Product {
        Product(self.0)
    }
}

struct Product(u64);

impl Hasher for Product {
    #[inline(always)]
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(self.0).rotate_left(32);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_found_and_no_other() {
        let mut map = ByMac::new(Keyed::new(1, "test"));
        let mac = |n: u16| {
            let [a, b] = n.to_be_bytes();
            MacAddr([0xa8, 0x40, 0x25, 0xf0, a, b])
        };
        for n in 0..4_096 {
            map.insert(mac(n), n);
        }
        for n in 0..4_096 {
            assert_eq!(map.get(mac(n)), Some(&n));
        }
        assert_eq!(map.get(mac(4_096)), None);
        assert_eq!(map.get(MacAddr::ZERO), None);
    }
}
