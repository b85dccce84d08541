//! Ports by the MAC address of their guest: asked for every frame from the
//! underlay, so the hash is one multiplication and the table has open places.
//!
//! What is in the map comes from the operator, and how long a look-up takes
//! depends on what is in it. A stranger chooses only what is looked up, so the
//! hash need not be as strong as that of a flow.

use crate::keyed::Keyed;
use crate::wire::MacAddr;
use alloc::boxed::Box;

/// A map from MAC addresses, made once of all it holds.
#[derive(Debug)]
pub(super) struct ByMac<T> {
    /// Twice as many places as values and one more at least, in a power of two:
    /// a value is in the place that its hash names or behind it, before any
    /// empty one.
    places: Box<[Option<(u64, T)>]>,
    /// An odd secret, to multiply by: the upper bits of a product are mixed best.
    factor: u64,
    /// How far the product is shifted to become a place.
    shift: u32,
}

impl<T> ByMac<T> {
    /// The map of these values; of several with one address the last counts.
    pub(super) fn new(key: Keyed, values: impl ExactSizeIterator<Item = (MacAddr, T)>) -> Self {
        let bits = values
            .len()
            .saturating_mul(2)
            .max(2)
            .ilog2()
            .saturating_add(1);
        let mut map = Self {
            places: (0..1_usize << bits).map(|_| None).collect(),
            factor: key.hash("mac") | 1,
            shift: u64::BITS.saturating_sub(bits),
        };
        for (mac, value) in values {
            let number = number(mac);
            let at = map.probe(number).find(|at| match map.places.get(*at) {
                Some(Some((there, _))) => *there == number,
                Some(None) => true,
                None => false,
            });
            if let Some(place) = at.and_then(|at| map.places.get_mut(at)) {
                *place = Some((number, value));
            }
        }
        map
    }

    /// What is known of this address.
    #[inline(always)]
    pub(super) fn get(&self, mac: MacAddr) -> Option<&T> {
        let number = number(mac);
        for at in self.probe(number) {
            match self.places.get(at)? {
                Some((there, value)) if *there == number => return Some(value),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// The places where an address may be, in order.
    #[inline(always)]
    fn probe(&self, number: u64) -> impl Iterator<Item = usize> + use<T> {
        let len = self.places.len();
        let mask = len.wrapping_sub(1);
        let first = number.wrapping_mul(self.factor) >> self.shift;
        let first = usize::try_from(first).unwrap_or(0);
        (0..len).map(move |step| first.wrapping_add(step) & mask)
    }
}

#[inline(always)]
const fn number(mac: MacAddr) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    // In the order that costs nothing: which number it is doesn't matter.
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_found_and_no_other() {
        let mac = |n: u16| {
            let [a, b] = n.to_be_bytes();
            MacAddr([0xa8, 0x40, 0x25, 0xf0, a, b])
        };
        for len in [0, 1, 2, 3, 4_096] {
            let map = ByMac::new(Keyed::new(1, "test"), (0..len).map(|n| (mac(n), n)));
            for n in 0..len {
                assert_eq!(map.get(mac(n)), Some(&n));
            }
            assert_eq!(map.get(mac(len)), None);
            assert_eq!(map.get(MacAddr::ZERO), None);
        }
    }

    #[test]
    fn the_last_of_one_address_counts() {
        let mac = MacAddr([2; 6]);
        let map = ByMac::new(Keyed::new(1, "test"), [(mac, 1), (mac, 2)].into_iter());
        assert_eq!(map.get(mac), Some(&2));
    }
}
