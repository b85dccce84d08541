//! Internet checksums (RFC 1071) and their update by difference (RFC 1624).
//!
//! Terms     sum    one's complement sum of 16-bit words, carries put off
//!           diff   what has to be added to a sum when fields change; for one
//!                  flow it is a constant and is computed once
//!
//! Rules     C1  A diff is applied to the stored checksum only; payload is
//!               never read (decision D1).
//!           C2  A diff that changes nothing leaves the stored checksum bit
//!               for bit as it was.
//!           C3  A stored UDP checksum of zero means "none" and stays zero; a
//!               computed one of zero is sent as 0xffff (RFC 768). That holds
//!               for IPv6 too, where zero is allowed to some tunnels only
//!               (RFC 6935): whether to take such a packet is the receiver's
//!               decision, and a made-up checksum would take it away.

/// A one's complement sum under way.
///
/// Words are added in the machine's byte order and turned once, at the end
/// (RFC 1071 section 2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds `bytes`. An odd last byte is followed by a zero, so only the last
    /// piece of a message may have an odd length.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, tail) = bytes.as_chunks::<4>();
        let mut sum = 0_u64;
        for word in words {
            // No overflow below 16 GiB, and no frame is that long.
            sum = sum.wrapping_add(u64::from(u32::from_ne_bytes(*word)));
        }
        let last = match *tail {
            [] => 0,
            [a] => u32::from_ne_bytes([a, 0, 0, 0]),
            [a, b] => u32::from_ne_bytes([a, b, 0, 0]),
            [a, b, c, ..] => u32::from_ne_bytes([a, b, c, 0]),
        };
        self.plus(Self(sum.wrapping_add(u64::from(last))))
    }

    /// Adds one 16-bit field.
    #[must_use]
    #[inline]
    pub const fn u16(self, field: u16) -> Self {
        self.bytes2(field.to_be_bytes())
    }

    /// Adds one 32-bit field.
    #[must_use]
    #[inline]
    pub const fn u32(self, field: u32) -> Self {
        let [a, b, c, d] = field.to_be_bytes();
        self.bytes2([a, b]).bytes2([c, d])
    }

    #[inline]
    const fn bytes2(self, [a, b]: [u8; 2]) -> Self {
        // Widened by hand, because `u64::from` isn't const.
        self.plus(Self(u64::from_ne_bytes(if cfg!(target_endian = "big") {
            [0, 0, 0, 0, 0, 0, a, b]
        } else {
            [a, b, 0, 0, 0, 0, 0, 0]
        })))
    }

    /// The sum of both.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        let (sum, carry) = self.0.overflowing_add(other.0);
        // After a carry the sum is below the maximum, so that one more fits.
        Self(if carry { sum.wrapping_add(1) } else { sum })
    }

    /// The sum in 16 bits, all carries added.
    #[must_use]
    #[inline]
    pub const fn fold(self) -> u16 {
        let [a, b, c, d, e, f, g, h] = self.0.to_ne_bytes();
        let mut sum = word(a, b)
            .wrapping_add(word(c, d))
            .wrapping_add(word(e, f))
            .wrapping_add(word(g, h));
        // Four words leave a carry of three at most, adding it one more.
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
        let [_, _, a, b] = sum.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// The checksum: what makes the sum of the whole message 0xffff.
    #[must_use]
    #[inline]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Whether this, the sum of a message with its checksum, says that the
    /// message is undamaged.
    #[must_use]
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

#[inline]
const fn word(high: u8, low: u8) -> u32 {
    u32::from_be_bytes([0, 0, high, low])
}

/// How a sum changes when fields do: the new fields less the old ones.
///
/// IPv4 addresses may be given in their 4-byte or in their IPv4-mapped form:
/// the difference is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diff(u16);

impl Diff {
    /// Nothing changes.
    pub const NONE: Self = Self(0);

    /// And a 16-bit field changes: a port, an echo identifier.
    #[must_use]
    #[inline]
    pub const fn replace_u16(self, old: u16, new: u16) -> Self {
        Self::of(Sum::ZERO.u16(self.0).u16(!old).u16(new))
    }

    /// And an address changes.
    #[must_use]
    #[inline]
    pub fn replace_addr(self, old: &[u8; 16], new: &[u8; 16]) -> Self {
        self.replace_bytes(old, new)
    }

    /// And bytes change that start at an even offset of the message. The two
    /// may differ in length, when the last byte of each is the message's last
    /// or both lengths are even.
    #[must_use]
    #[inline]
    pub fn replace_bytes(self, old: &[u8], new: &[u8]) -> Self {
        let old = Sum::ZERO.bytes(old).checksum();
        Self::of(Sum::ZERO.u16(self.0).u16(old).bytes(new))
    }

    /// The change back.
    #[must_use]
    #[inline]
    pub const fn reverse(self) -> Self {
        match self.0 {
            0 => Self(0),
            diff => Self(!diff),
        }
    }

    /// And what `other` says changes.
    #[must_use]
    #[inline]
    pub const fn plus(self, other: Self) -> Self {
        match add(self.0, other.0) {
            0xffff => Self(0),
            diff => Self(diff),
        }
    }

    /// One's complement has two zeros; C2 wants the positive one.
    #[inline]
    const fn of(sum: Sum) -> Self {
        match sum.fold() {
            0xffff => Self(0),
            diff => Self(diff),
        }
    }

    /// The checksum after the change (RFC 1624 equation 3), for IPv4, TCP,
    /// ICMP and ICMPv6.
    #[must_use]
    #[inline]
    pub const fn apply(self, stored: u16) -> u16 {
        !add(!stored, self.0)
    }

    /// As [`Diff::apply`], with the zeros of UDP (C3).
    #[must_use]
    #[inline]
    pub const fn apply_udp(self, stored: u16) -> u16 {
        match stored {
            0 => 0,
            stored => udp_nonzero(self.apply(stored)),
        }
    }

    /// The stored value after the change when it is partial: the sum of the
    /// pseudo-header, not complemented, to which a device adds the rest later.
    /// `self` has to be the difference of the addresses alone.
    #[must_use]
    #[inline]
    pub const fn apply_partial(self, stored: u16) -> u16 {
        add(stored, self.0)
    }
}

/// A sum in one's complement: two words, and the carry (RFC 1071 section 2).
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    match a.overflowing_add(b) {
        (sum, false) => sum,
        // After a carry the sum is below the maximum, so that one more fits.
        (sum, true) => sum.wrapping_add(1),
    }
}

/// A computed UDP checksum as it is sent (RFC 768).
#[must_use]
#[inline]
pub const fn udp_nonzero(checksum: u16) -> u16 {
    match checksum {
        0 => 0xffff,
        checksum => checksum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::testing::Rng;
    use std::vec::Vec;

    /// The sum as RFC 1071 defines it, one word at a time.
    fn oracle(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn sums_agree_with_the_oracle_however_they_are_cut() {
        let mut rng = Rng::new(1);
        for _ in 0..500 {
            let bytes = rng.bytes(200);
            let cut = rng.below(bytes.len() / 2 + 1) * 2;
            let sum = Sum::ZERO.bytes(&bytes);
            assert_eq!(sum.fold(), oracle(&bytes), "{bytes:x?}");
            let pieces = Sum::ZERO.bytes(&bytes[..cut]).bytes(&bytes[cut..]);
            assert_eq!(pieces.fold(), sum.fold());
            let mut whole: Vec<u8> = bytes.clone();
            if whole.len() % 2 == 1 {
                whole.push(0);
            }
            whole.extend(sum.checksum().to_be_bytes());
            assert!(Sum::ZERO.bytes(&whole).is_valid());
        }
    }

    #[test]
    fn fields_add_like_their_bytes() {
        let sum = Sum::ZERO.u16(0x1234).u32(0x5678_9abc);
        assert_eq!(sum.fold(), oracle(&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc]));
        let full = Sum(u64::MAX);
        assert_eq!(full.plus(full).fold(), 0xffff);
        assert_eq!(full.plus(Sum::ZERO.u16(5)).fold(), 5);
    }

    #[test]
    fn a_difference_gives_what_summing_again_gives() {
        let mut rng = Rng::new(2);
        for _ in 0..2_000 {
            let mut message = rng.bytes(60);
            message.resize(60, 1);
            let before = Sum::ZERO.bytes(&message).checksum();
            let mut old = [0; 16];
            old.copy_from_slice(&message[8..24]);
            let old_port = u16::from_be_bytes([message[40], message[41]]);
            let mut new = [0; 16];
            rng.fill(&mut new);
            let new_port = rng.u16();
            message[8..24].copy_from_slice(&new);
            message[40..42].copy_from_slice(&new_port.to_be_bytes());
            let diff = Diff::NONE
                .replace_addr(&old, &new)
                .plus(Diff::NONE.replace_u16(old_port, new_port));
            assert_eq!(diff.apply(before), Sum::ZERO.bytes(&message).checksum());
            assert_eq!(
                diff.apply_partial(!before),
                Sum::ZERO.bytes(&message).fold()
            );
        }
    }

    #[test]
    fn a_mapped_address_differs_as_its_four_bytes_do() {
        let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
        assert_eq!(
            Diff::NONE.replace_addr(&mapped(1), &mapped(200)),
            Diff::NONE.replace_bytes(&[10, 0, 0, 1], &[10, 0, 0, 200])
        );
    }

    #[test]
    fn no_change_leaves_every_checksum() {
        let diff = Diff::NONE
            .replace_u16(7, 7)
            .replace_addr(&[9; 16], &[9; 16]);
        assert_eq!(diff, Diff::NONE);
        for stored in 0..=u16::MAX {
            assert_eq!(diff.apply(stored), stored);
            assert_eq!(diff.apply_udp(stored), stored);
            assert_eq!(diff.apply_partial(stored), stored);
        }
    }

    #[test]
    fn udp_has_its_own_zeros() {
        assert_eq!(Diff::NONE.replace_u16(1, 2).apply_udp(0), 0);
        // A stored 0x0001 that falls by one is computed as zero.
        let diff = Diff::NONE.replace_u16(1, 2);
        assert_eq!(diff.apply(1), 0);
        assert_eq!(diff.apply_udp(1), 0xffff);
    }

    #[test]
    fn there_and_back_is_no_change() {
        let mut rng = Rng::new(3);
        for _ in 0..2_000 {
            let (old, new, stored) = (rng.u16(), rng.u16(), rng.u16().max(1));
            let there = Diff::NONE.replace_u16(old, new);
            let back = Diff::NONE.replace_u16(new, old);
            assert_eq!(there.plus(back), Diff::NONE);
            let moved = back.apply_udp(there.apply_udp(stored));
            // 0xffff and zero are the same number.
            assert_eq!(moved % 0xffff, stored % 0xffff);
        }
    }
}
