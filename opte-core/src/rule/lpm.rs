//! Longest-prefix match.
//!
//! Purpose   from an address to the value of the longest prefix that holds it,
//!           for both families, at a cost that depends on the depth of the
//!           prefixes and not on their number.
//!
//! Terms     node    64 slots, indexed by six bits of an address
//!           slot    leads to a child node, or is covered by a leaf
//!           run     neighbouring slots with the same leaf; it is stored once
//!           root    as many nodes as there are prefixes, or fewer, indexed by
//!                   the first bits of an address after those that all
//!                   prefixes (but the default) have in common
//!           skip    a node for bits in which everything below it agrees
//!
//! Flow      lookup: root -> node -> .. -> leaf
//!           build (`lpm/build.rs`): sort -> spread over slots, level by level
//!
//! Each slot knows its answer already (prefixes are pushed down to leaves), so
//! a look-up never turns back. A node is two bitmaps and two base indices;
//! the position of a child or a run is the number of bits set before it. The
//! root is made of nodes rather than of pointers to nodes, because in a large
//! table every load that depends on another one is a cache miss.
//!
//! Rules     T1  `nodes` is in breadth-first order: a child lies after its
//!               parent, so a look-up ends.
//!           T2  in a node that isn't a skip, the first slot without a child
//!               starts a run; a skip has neither children nor runs.
//!           T3  below a node of depth d there are only prefixes longer than
//!               d, so d is less than the bits of an address.
//!           T4  leaf 0 is "no prefix".
//!
//! Failure   none. Memory is about 50 to 200 bytes per prefix.

mod build;
#[cfg(test)]
mod tests;

use crate::api::Prefix;
use crate::flow::Family;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::ops::{BitAnd, BitXor};

/// An immutable longest-prefix-match table for both families.
///
/// Values are copied into the table's leaves, a few times each: keep them
/// small, an index for example. A `T` in which `Option<T>` costs nothing, such
/// as `NonZeroU32`, makes a large table smaller and so faster.
pub struct Lpm<T> {
    v4: Trie<u32, T>,
    v6: Trie<u128, T>,
}

impl<T: Clone> Lpm<T> {
    /// The table of `entries`, in any order. Of several entries with the same
    /// prefix the last one counts.
    pub fn build(entries: impl IntoIterator<Item = (Prefix, T)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in entries {
            let len = prefix.bits();
            match prefix.addr() {
                IpAddr::V4(addr) => v4.push(Entry {
                    key: addr.to_bits(),
                    len,
                    value,
                }),
                IpAddr::V6(addr) => v6.push(Entry {
                    key: addr.to_bits(),
                    len,
                    value,
                }),
            }
        }
        Self {
            v4: Trie::build(v4),
            v6: Trie::build(v6),
        }
    }
}

impl<T> Lpm<T> {
    /// The value of the longest prefix that holds `addr`.
    #[must_use]
    #[inline]
    pub fn lookup(&self, addr: &IpAddr) -> Option<&T> {
        match addr {
            IpAddr::V4(addr) => self.v4.lookup(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.lookup(addr.to_bits()),
        }
    }

    /// As [`Lpm::lookup`], for an address in the form that a
    /// [`Tuple`](crate::flow::Tuple) has: IPv4 is in the last four bytes.
    #[must_use]
    #[inline]
    pub fn lookup_bytes(&self, family: Family, addr: &[u8; 16]) -> Option<&T> {
        match family {
            Family::V4 => {
                let [.., a, b, c, d] = *addr;
                self.v4.lookup(u32::from_be_bytes([a, b, c, d]))
            }
            Family::V6 => self.v6.lookup(u128::from_be_bytes(*addr)),
        }
    }

    /// How many prefixes there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.v4.entries.len().saturating_add(self.v6.entries.len())
    }

    /// Whether there is no prefix.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every prefix with its value: IPv4 first, then by address and length.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &T)> {
        self.v4.iter().chain(self.v6.iter())
    }
}

impl<T: Clone> Default for Lpm<T> {
    fn default() -> Self {
        Self::build([])
    }
}

impl<T: fmt::Debug> fmt::Debug for Lpm<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// An address of one family as a number.
trait Key: Copy + Ord + BitAnd<Output = Self> + BitXor<Output = Self> {
    /// The address of zeros.
    const ZERO: Self;

    /// The `bits` bits (at most 31) after the first `depth` (less than the
    /// address has) as a number; bits beyond the end are zero.
    fn chunk(self, depth: u32, bits: u32) -> usize;

    /// How many leading bits are the same.
    fn common(self, other: Self) -> u32;

    /// An address of ones, `bits` of them, and then zeros.
    fn mask(bits: u32) -> Self;

    /// The address.
    fn addr(self) -> IpAddr;
}

#[expect(
    clippy::as_conversions,
    reason = "a chunk has at most 31 bits, which every usize holds"
)]
impl Key for u32 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn chunk(self, depth: u32, bits: u32) -> usize {
        self.wrapping_shl(depth)
            .unbounded_shr(Self::BITS.wrapping_sub(bits)) as usize
    }

    #[inline(always)]
    fn common(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn mask(bits: u32) -> Self {
        !Self::MAX.unbounded_shr(bits)
    }

    fn addr(self) -> IpAddr {
        core::net::Ipv4Addr::from_bits(self).into()
    }
}

#[expect(
    clippy::as_conversions,
    reason = "a chunk has at most 31 bits, which every usize holds"
)]
impl Key for u128 {
    const ZERO: Self = 0;

    #[inline(always)]
    fn chunk(self, depth: u32, bits: u32) -> usize {
        let high = (self.wrapping_shl(depth) >> 96) as u32;
        high.unbounded_shr(32_u32.wrapping_sub(bits)) as usize
    }

    #[inline(always)]
    fn common(self, other: Self) -> u32 {
        (self ^ other).leading_zeros()
    }

    fn mask(bits: u32) -> Self {
        !Self::MAX.unbounded_shr(bits)
    }

    fn addr(self) -> IpAddr {
        core::net::Ipv6Addr::from_bits(self).into()
    }
}

/// A prefix and its value.
struct Entry<K, T> {
    key: K,
    len: u8,
    value: T,
}

/// The table of one family.
struct Trie<K, T> {
    /// What all prefixes but the default start with: the root's depth.
    common: K,
    common_mask: K,
    common_bits: u32,
    /// Bits that index the root: the first `1 << root_bits` of `nodes`.
    root_bits: u32,
    nodes: Vec<Node>,
    skips: Vec<Skip<K>>,
    leaves: Vec<Option<T>>,
    /// The leaf of addresses that don't start with `common`.
    default: u32,
    /// What the table was made from, by key and length.
    entries: Vec<Entry<K, T>>,
}

/// Bits that a node indexes its slots by.
const NODE_BITS: u32 = 6;

/// 64 slots. With neither children nor runs it is a skip (T2).
#[derive(Clone, Copy)]
struct Node {
    /// Slots that lead to a child.
    children: u64,
    /// Slots without a child whose leaf isn't that of the one before.
    runs: u64,
    /// Position of the first child in `nodes`.
    child_base: u32,
    /// Position before that of the first run's leaf in `leaves`, wrapping;
    /// for a skip, its position in `skips`.
    leaf_base: u32,
}

/// Bits in which all prefixes below a node agree.
#[derive(Clone, Copy)]
struct Skip<K> {
    /// What an address must start with.
    key: K,
    /// How many leading bits of `key` count: the child's depth.
    bits: u32,
    /// Where an address that starts with it goes on.
    child: Below,
    /// The leaf for an address that starts differently.
    leaf: u32,
}

/// What is below a skip.
#[derive(Clone, Copy)]
enum Below {
    Node(u32),
    Leaf(u32),
}

impl<K: Key, T> Trie<K, T> {
    #[inline]
    fn lookup(&self, key: K) -> Option<&T> {
        if (key ^ self.common) & self.common_mask != K::ZERO {
            return self.leaf(self.default);
        }
        let mut at = key.chunk(self.common_bits, self.root_bits);
        let mut depth = self.common_bits.wrapping_add(self.root_bits);
        loop {
            let node = self.nodes.get(at)?;
            // A chunk is below 64, so nothing wraps.
            let bit = 1_u64.wrapping_shl(low_u32(key.chunk(depth, NODE_BITS)));
            let before = bit.wrapping_sub(1);
            if node.children & bit != 0 {
                let rank = (node.children & before).count_ones();
                at = index(node.child_base.wrapping_add(rank));
                depth = depth.wrapping_add(NODE_BITS);
            } else if node.runs != 0 {
                let rank = (node.runs & (before | bit)).count_ones();
                return self.leaf(node.leaf_base.wrapping_add(rank));
            } else {
                let skip = self.skips.get(index(node.leaf_base))?;
                if key.common(skip.key) < skip.bits {
                    return self.leaf(skip.leaf);
                }
                match skip.child {
                    Below::Leaf(leaf) => return self.leaf(leaf),
                    Below::Node(child) => at = index(child),
                }
                depth = skip.bits;
            }
        }
    }

    #[inline(always)]
    fn leaf(&self, leaf: u32) -> Option<&T> {
        self.leaves.get(index(leaf))?.as_ref()
    }

    fn iter(&self) -> impl Iterator<Item = (Prefix, &T)> {
        self.entries.iter().filter_map(|entry| {
            let prefix = Prefix::new(entry.key.addr(), entry.len).ok()?;
            Some((prefix, &entry.value))
        })
    }
}

#[expect(
    clippy::as_conversions,
    reason = "a u32 fits usize on every target with 32 bits or more"
)]
#[inline(always)]
pub(super) const fn index(n: u32) -> usize {
    n as usize
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "only for numbers that were a u32 before"
)]
#[inline(always)]
const fn low_u32(n: usize) -> u32 {
    n as u32
}
