//! Which external ports are taken, and a free one among them.
//!
//! Purpose   finds a free port in a bounded number of steps however few are
//!           left, and needs memory for the ports that are taken, not for
//!           those that could be.
//!
//! Terms     scope   for whom a port is taken: for everybody, or for one far
//!                   address or endpoint only, so that the same port can serve
//!                   another one (RFC 7857 section 3)
//!           spot    a port's place in the order in which the bitmap has them:
//!                   even ports first, then odd ones, so that a class is a run
//!           class   parity, and whether it is a well-known port; a port is
//!                   given out within its class where possible (RFC 4787 REQ-3a
//!                   and REQ-4)
//!           leaf    64 spots, a bit each
//!           summary 64 leaves, a bit for each that has no free spot
//!
//! Rules     T1  a word that is all zeroes isn't stored.
//!           T2  a port that is taken for everybody is free for nobody.
//!           T3  the choice is by random numbers of the caller, among all that
//!               are free (RFC 6056 section 3.3.2: a random port a few times,
//!               then the next free one from a random place on).

use crate::keyed::Keyed;
use core::ops::{Range, RangeInclusive};
use hashbrown::{HashMap, TryReserveError};

/// For whom an external port is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    /// For everybody.
    All,
    /// For one far address.
    Address([u8; 16]),
    /// For one far address and port.
    Endpoint([u8; 16], u16),
}

/// The ports of a range that are taken.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    words: HashMap<(Scope, u16), u64, Keyed>,
}

impl Ports {
    /// Every port of `range` is free.
    pub(super) fn new(range: RangeInclusive<u16>, key: Keyed) -> Self {
        // Port zero is none (RFC 6335 section 6).
        let first = (*range.start()).max(1);
        Self {
            range: first..=*range.end(),
            words: HashMap::with_hasher(key),
        }
    }

    /// How many ports there are, taken or not.
    pub(super) fn len(&self) -> usize {
        let (first, last) = (*self.range.start(), *self.range.end());
        match last.checked_sub(first) {
            Some(more) => usize::from(more).saturating_add(1),
            None => 0,
        }
    }

    /// Makes room for `ports` more to be taken.
    pub(super) fn reserve(&mut self, ports: usize) -> Result<(), TryReserveError> {
        // A leaf each, and the summary of it.
        self.words.try_reserve(ports.saturating_mul(2))
    }

    /// Takes a port for `scope`; whether it was free for it.
    pub(super) fn take(&mut self, scope: Scope, port: u16) -> bool {
        let (leaf, bit) = place(port);
        let word = self.words.entry((scope, leaf)).or_insert(0);
        let was_free = *word & bit == 0;
        *word |= bit;
        let word = *word;
        if word == self.of_range(leaf) {
            let (summary, bit) = place_of_leaf(leaf);
            *self.words.entry((scope, summary)).or_insert(0) |= bit;
        }
        was_free
    }

    /// Gives a port back.
    pub(super) fn give_back(&mut self, scope: Scope, port: u16) {
        let (leaf, bit) = place(port);
        let (summary, full) = place_of_leaf(leaf);
        self.clear((scope, leaf), bit);
        self.clear((scope, summary), full);
    }

    /// A port that is free for `scope`: of the class of `like` where possible,
    /// else of its parity, else any. `random` gives a number at each call.
    pub(super) fn free(
        &self,
        scope: Scope,
        like: u16,
        mut random: impl FnMut() -> u64,
    ) -> Option<u16> {
        let (odd, well_known) = (like & 1 == 1, like < WELL_KNOWN_END);
        [
            (odd, well_known),
            (odd, !well_known),
            (!odd, well_known),
            (!odd, !well_known),
        ]
        .into_iter()
        .find_map(|(odd, well_known)| {
            let spots = self.class(odd, well_known);
            self.guess(scope, &spots, &mut random)
                .or_else(|| self.search(scope, &spots, random()))
        })
    }

    /// A few ports by chance.
    fn guess(
        &self,
        scope: Scope,
        spots: &Range<u32>,
        random: &mut impl FnMut() -> u64,
    ) -> Option<u16> {
        let len = u64::from(spots.end.checked_sub(spots.start)?);
        (0..GUESSES).find_map(|_| {
            // The bias of the remainder is below 2^-48.
            let at = u32::try_from(random().checked_rem(len)?).ok()?;
            let spot = spots.start.saturating_add(at);
            let (leaf, bit) = (leaf_of(spot), bit_of(spot));
            let taken = self.taken(scope, leaf) & bit != 0;
            (!taken).then(|| port_at(spot))?
        })
    }

    /// The next free port from a random leaf on. Reads a summary for every 64
    /// leaves, and one leaf; more only where a scope and everybody have taken
    /// what the other has not.
    fn search(&self, scope: Scope, spots: &Range<u32>, random: u64) -> Option<u16> {
        let (first, last) = (leaf_of(spots.start), leaf_of(spots.end.checked_sub(1)?));
        let leaves = u64::from(last.checked_sub(first)?).saturating_add(1);
        let at = u16::try_from((random >> 6).checked_rem(leaves)?).ok()?;
        let start = first.saturating_add(at);
        [start..=last, first..=start]
            .into_iter()
            .find_map(|leaves| self.search_leaves(scope, leaves, spots, random))
    }

    fn search_leaves(
        &self,
        scope: Scope,
        leaves: RangeInclusive<u16>,
        spots: &Range<u32>,
        random: u64,
    ) -> Option<u16> {
        let (mut leaf, last) = leaves.into_inner();
        while leaf <= last {
            let (summary, _) = place_of_leaf(leaf);
            let open = !self.taken(scope, summary) >> (leaf & 63);
            if open == 0 {
                leaf = (leaf | 63).saturating_add(1);
                continue;
            }
            let skip = u16::try_from(open.trailing_zeros()).unwrap_or(0);
            leaf = leaf.saturating_add(skip);
            let free = mask(leaf, spots) & !self.taken(scope, leaf);
            if leaf <= last && free != 0 {
                let turn = u32::try_from(random & 63).unwrap_or(0);
                let bit = free.rotate_right(turn).trailing_zeros();
                let spot = u32::from(leaf).saturating_mul(64);
                return port_at(spot.saturating_add(bit.wrapping_add(turn) & 63));
            }
            leaf = leaf.saturating_add(1);
        }
        None
    }

    /// What is taken of a word's bits, for the scope or for everybody (T2).
    fn taken(&self, scope: Scope, word: u16) -> u64 {
        let of = |scope| self.words.get(&(scope, word)).copied().unwrap_or(0);
        match scope {
            Scope::All => of(Scope::All),
            scope => of(scope) | of(Scope::All),
        }
    }

    fn clear(&mut self, word: (Scope, u16), bits: u64) {
        if let Some(value) = self.words.get_mut(&word) {
            *value &= !bits;
            if *value == 0 {
                self.words.remove(&word); // T1
            }
        }
    }

    /// The bits of a leaf that are ports of the range.
    fn of_range(&self, leaf: u16) -> u64 {
        let odd = leaf_of(ODD_SPOTS) <= leaf;
        mask(leaf, &self.spots(odd, 0..=u16::MAX))
    }

    /// The spots of a class that are in the range.
    fn class(&self, odd: bool, well_known: bool) -> Range<u32> {
        match well_known {
            true => self.spots(odd, 0..=WELL_KNOWN_END.saturating_sub(1)),
            false => self.spots(odd, WELL_KNOWN_END..=u16::MAX),
        }
    }

    /// The spots of one parity that are in the range and in `within`.
    fn spots(&self, odd: bool, within: RangeInclusive<u16>) -> Range<u32> {
        let first = (*self.range.start()).max(*within.start());
        let last = (*self.range.end()).min(*within.end());
        let base = if odd { ODD_SPOTS } else { 0 };
        // Ports below `end` of this parity: half of them, rounded by parity.
        let below = |end: u32| (end.saturating_add(u32::from(!odd))) >> 1;
        let start = base.saturating_add(below(u32::from(first)));
        let end = base.saturating_add(below(u32::from(last).saturating_add(1)));
        start..end.max(start)
    }
}

/// Ports below are well known (RFC 6335 section 6).
const WELL_KNOWN_END: u16 = 1_024;
/// The spot of port 1, the first odd one.
const ODD_SPOTS: u32 = 32_768;
/// The word of the first summary, behind all leaves.
const SUMMARIES: u16 = 1_024;
/// Ports that are tried by chance before the bitmap is searched.
const GUESSES: u32 = 8;

/// The leaf and the bit of a port.
fn place(port: u16) -> (u16, u64) {
    let spot = (u32::from(port & 1) << 15) | u32::from(port >> 1);
    (leaf_of(spot), bit_of(spot))
}

/// The summary and the bit of a leaf.
fn place_of_leaf(leaf: u16) -> (u16, u64) {
    (SUMMARIES | (leaf >> 6), 1 << (leaf & 63))
}

fn leaf_of(spot: u32) -> u16 {
    u16::try_from(spot >> 6).unwrap_or(u16::MAX)
}

fn bit_of(spot: u32) -> u64 {
    1 << (spot & 63)
}

fn port_at(spot: u32) -> Option<u16> {
    u16::try_from((spot & 0x7fff) << 1 | spot >> 15).ok()
}

/// The bits of a leaf whose spots are in a range.
fn mask(leaf: u16, spots: &Range<u32>) -> u64 {
    let base = u32::from(leaf).saturating_mul(64);
    let below = |end: u32| match end.saturating_sub(base) {
        bits @ 0..64 => (1_u64 << bits).wrapping_sub(1),
        _ => u64::MAX,
    };
    below(spots.end) & !below(spots.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn ports(range: RangeInclusive<u16>) -> Ports {
        Ports::new(range, Keyed::new(3, "test"))
    }

    #[test]
    fn spots_and_ports_are_one_to_one() {
        for port in 0..=u16::MAX {
            let (leaf, bit) = place(port);
            let spot = u32::from(leaf) * 64 + bit.trailing_zeros();
            assert_eq!(port_at(spot), Some(port));
        }
        for range in [1..=1, 2..=2, 1_000..=1_100, 1..=65_535, 65_535..=65_535] {
            let all = ports(range.clone());
            let classes = [(false, false), (false, true), (true, false), (true, true)];
            let mut seen: Vec<u16> = classes
                .into_iter()
                .flat_map(|(odd, known)| all.class(odd, known).filter_map(port_at))
                .collect();
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(range.clone()), "{range:?}");
            assert_eq!(all.len(), seen.len());
        }
    }

    #[test]
    fn the_last_free_port_is_found_in_few_steps() {
        let mut ports = ports(0..=u16::MAX);
        for port in (1..=u16::MAX).filter(|port| *port != 40_000) {
            assert!(ports.take(Scope::All, port));
        }
        let (mut calls, mut rng) = (0, Rng(1));
        let mut random = || {
            calls += 1;
            rng.next()
        };
        assert_eq!(ports.free(Scope::All, 7, &mut random), Some(40_000));
        assert!(calls <= 4 * 9);
        // 1 024 leaves and 16 summaries are all that there can ever be.
        assert!(ports.words.len() <= 1_040);
        for port in (1..=u16::MAX).filter(|port| *port != 40_000) {
            ports.give_back(Scope::All, port);
        }
        assert!(ports.words.is_empty());
    }

    #[test]
    fn the_bitmap_agrees_with_a_set() {
        let scopes = [
            Scope::All,
            Scope::Address([1; 16]),
            Scope::Endpoint([1; 16], 1),
            Scope::Endpoint([1; 16], 2),
        ];
        for seed in 0..if cfg!(miri) { 2 } else { 200 } {
            std::println!("seed {seed}");
            let mut rng = Rng(seed);
            let first = rng.pick(&[0, 1, 1_000, 1_023, 30_000]);
            let last = first + rng.pick(&[0, 1, 63, 64, 200]);
            let mut ports = ports(first..=last);
            let mut model = BTreeSet::new();
            for _ in 0..1_500 {
                let at = rng.below(scopes.len());
                let like = rng.pick(&[1, 2, 5_000, 5_001]);
                if rng.below(3) > 0 {
                    let free = |port: &u16| {
                        *port != 0 && !model.contains(&(0, *port)) && !model.contains(&(at, *port))
                    };
                    let class = |port: &u16| (*port % 2, *port < 1_024);
                    let found = ports.free(scopes[at], like, || rng.next());
                    let all: Vec<u16> = (first..=last).filter(free).collect();
                    assert_eq!(found.is_some(), !all.is_empty(), "seed {seed}");
                    let Some(port) = found else { continue };
                    assert!(all.contains(&port), "seed {seed}");
                    let better = |p: &&u16| class(p) == class(&like);
                    assert!(class(&port) == class(&like) || !all.iter().any(|p| better(&p)));
                    assert!(port % 2 == like % 2 || !all.iter().any(|p| p % 2 == like % 2));
                    assert!(ports.take(scopes[at], port));
                    model.insert((at, port));
                } else if let Some((at, port)) = model.iter().nth(rng.below(model.len() + 1)) {
                    let (at, port) = (*at, *port);
                    ports.give_back(scopes[at], port);
                    model.remove(&(at, port));
                }
            }
            for (at, port) in model {
                ports.give_back(scopes[at], port);
            }
            assert!(ports.words.is_empty(), "seed {seed}");
        }
    }
}
