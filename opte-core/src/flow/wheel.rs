//! A timer wheel over flow numbers.
//!
//! Purpose   the cost of a tick follows the number of flows that are due, not
//!           the number that exist (decision D7); and a full table finds a flow
//!           that gives way without a look at those that don't.
//! Terms     fate    whether a flow may give way to another one or stays, when
//!                   it was scheduled
//! Shape     time is cut into blocks of `NEAR` seconds. The near ring has one
//!           slot per second of the present block; the far ring one slot per
//!           later block, which is poured into the near ring when its block
//!           begins. Each fate has a pair of rings. Slots are circular lists,
//!           linked by number in one vector, so an entry costs 8 bytes and is
//!           removed in O(1).
//! Rules     W1  a flow that is in use is not moved. When it comes due, its
//!               owner looks at its last packet and schedules it again. So a
//!               flow that may give way has perhaps been answered meanwhile.

use super::position;
use alloc::vec::Vec;
use prefetch::prefetch;

/// Slots of one second.
const NEAR: u32 = 256;
/// Slots of one block. Timeouts beyond the last come due early, and are then
/// scheduled again (W1).
const FAR: u32 = 64;
/// List heads of one fate.
const RINGS: u32 = NEAR + FAR;
/// List heads come first in the vector; flows after them.
const HEADS: u32 = 2 * RINGS;
/// Words that have a bit for each head of a fate.
const WORDS: usize = position(RINGS / u64::BITS);

/// What may become of a flow whose table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    MayGiveWay,
    Stays,
}

impl Fate {
    const ALL: [Self; 2] = [Self::MayGiveWay, Self::Stays];

    /// The first of its heads.
    const fn heads(self) -> u32 {
        match self {
            Self::MayGiveWay => 0,
            Self::Stays => RINGS,
        }
    }
}

/// A node's neighbour, and half of the node's second in its block, which is
/// all that a flow of a later block has to know.
#[derive(Clone, Copy, Debug)]
struct Link(u32);

impl Link {
    const NUMBER: u32 = 0x0fff_ffff;

    const fn new(number: u32, half: u32) -> Self {
        Self(half << 28 | number & Self::NUMBER)
    }

    const fn number(self) -> u32 {
        self.0 & Self::NUMBER
    }

    const fn half(self) -> u32 {
        self.0 >> 28
    }

    const fn to(self, number: u32) -> Self {
        Self::new(number, self.half())
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: Link,
    next: Link,
}

impl Node {
    /// A node on no list but its own.
    const fn alone(at: u32) -> Self {
        Self::new(at, at, 0)
    }

    const fn new(prev: u32, next: u32, second: u32) -> Self {
        Self {
            prev: Link::new(prev, second >> 4 & 0xf),
            next: Link::new(next, second & 0xf),
        }
    }

    /// The second of its block in which it is due.
    const fn second(self) -> u32 {
        self.prev.half() << 4 | self.next.half()
    }
}

/// Timers for flow numbers from zero up.
#[derive(Debug)]
pub(super) struct Wheel {
    nodes: Vec<Node>,
    /// Stands in for a number that was never grown to.
    spare: Node,
    /// The second that is being worked on; earlier ones are done.
    now: u32,
    /// The heads of flows that may give way that have perhaps any: one bit
    /// each, in the order of the heads.
    taken: [u64; WORDS],
}

impl Wheel {
    /// A wheel whose clock starts at second `now`.
    pub(super) fn new(now: u32) -> Self {
        Self {
            nodes: (0..HEADS).map(Node::alone).collect(),
            spare: Node::alone(0),
            now,
            taken: [0; WORDS],
        }
    }

    /// Sees to it that there are flow numbers up to `count`, if there is
    /// memory for them.
    pub(super) fn grow(&mut self, count: u32) -> Option<()> {
        let old = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let new = HEADS.saturating_add(count);
        let more = position(new.saturating_sub(old));
        self.nodes.try_reserve_exact(more).ok()?;
        self.nodes.extend((old..new).map(Node::alone));
        Some(())
    }

    /// Schedules `flow` for second `due`, taking it off an earlier schedule.
    /// A time that has passed means the second being worked on.
    pub(super) fn schedule(&mut self, flow: u32, due: u32, fate: Fate) {
        self.cancel(flow);
        let block = self.now / NEAR;
        let last = block
            .saturating_add(FAR)
            .saturating_mul(NEAR)
            .saturating_sub(1);
        // At the end of time the last may be before now.
        let due = due.min(last).max(self.now);
        let slot = if due / NEAR == block {
            due % NEAR
        } else {
            NEAR.wrapping_add(due / NEAR % FAR)
        };
        if fate == Fate::MayGiveWay {
            self.mark(slot, true);
        }
        let head = fate.heads().wrapping_add(slot);
        self.link(head, flow.wrapping_add(HEADS), due % NEAR);
    }

    /// Puts a node at the end of a list.
    fn link(&mut self, head: u32, at: u32, second: u32) {
        let last = self.get(head).prev.number();
        *self.node(at) = Node::new(last, head, second);
        self.join(last, at);
        self.join(at, head);
    }

    /// Takes `flow` off the schedule, if it is on it.
    pub(super) fn cancel(&mut self, flow: u32) {
        let at = flow.wrapping_add(HEADS);
        let Node { prev, next } = self.get(at);
        self.join(prev.number(), next.number());
        *self.node(at) = Node::alone(at);
    }

    /// The next flow that is due by second `now`, taken off the schedule, or
    /// `None` when all are done or `budget` is used up. Every flow that is
    /// moved costs one of it.
    pub(super) fn pop_due(&mut self, now: u32, budget: &mut u32) -> Option<u32> {
        if now.saturating_sub(self.now) > NEAR.wrapping_mul(FAR) {
            self.leap(now);
        }
        while *budget > 0 {
            let block = self.now / NEAR;
            if let Some((flow, fate)) = self.first(NEAR.wrapping_add(block % FAR)) {
                *budget = budget.wrapping_sub(1);
                let second = self.get(flow.wrapping_add(HEADS)).second();
                self.schedule(flow, block.wrapping_mul(NEAR).wrapping_add(second), fate);
                continue;
            }
            if let Some((flow, _)) = self.first(self.now % NEAR) {
                *budget = budget.wrapping_sub(1);
                self.cancel(flow);
                return Some(flow);
            }
            if self.now >= now {
                return None;
            }
            self.now = self.now.wrapping_add(1);
        }
        None
    }

    /// The first flow of a slot, and its fate.
    fn first(&self, slot: u32) -> Option<(u32, Fate)> {
        Fate::ALL.into_iter().find_map(|fate| {
            let head = fate.heads().wrapping_add(slot);
            let first = self.get(head).next.number();
            (first != head).then(|| (first.wrapping_sub(HEADS), fate))
        })
    }

    /// Moves the clock so far that all flows are due, without a step for each
    /// second (a machine that was suspended).
    fn leap(&mut self, now: u32) {
        self.now = now;
        self.mark(now % NEAR, true);
        for fate in Fate::ALL {
            let heads = fate.heads()..fate.heads().wrapping_add(RINGS);
            let slot = heads.start.wrapping_add(now % NEAR);
            for head in heads.filter(|head| *head != slot) {
                let Node { prev, next } = self.get(head);
                if next.number() != head {
                    // The whole list goes to the end of the slot's.
                    self.join(self.get(slot).prev.number(), next.number());
                    self.join(prev.number(), slot);
                    *self.node(head) = Node::alone(head);
                }
            }
        }
    }

    /// The first flow that `fits`, of at most `tries` that may give way and
    /// come due soonest. `expect` is called with each but the first of a slot
    /// while the one before it is looked at.
    pub(super) fn soonest(
        &mut self,
        mut tries: usize,
        expect: impl Fn(u32),
        mut fits: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let mut from = self.now % NEAR;
        while let Some(place) = self.taken_from(from) {
            let slot = self.slot(place);
            let mut at = self.get(slot).next.number();
            if at == slot {
                self.mark(slot, false);
            }
            while at != slot {
                tries = tries.checked_sub(1)?;
                let flow = at.wrapping_sub(HEADS);
                at = self.get(at).next.number();
                if at != slot {
                    expect(at.wrapping_sub(HEADS));
                }
                if fits(flow) {
                    return Some(flow);
                }
            }
            from = place.wrapping_add(1);
        }
        None
    }

    /// Asks for the first flow that may give way.
    pub(super) fn expect_soonest(&self, expect: impl Fn(u32)) {
        let first = self.taken_from(self.now % NEAR);
        if let Some((flow, Fate::MayGiveWay)) = first.and_then(|place| self.first(self.slot(place)))
        {
            expect(flow);
            let next = self.get(flow.wrapping_add(HEADS)).next.number();
            if let Some(node) = self.nodes.get(position(next)) {
                prefetch(node);
            }
        }
    }

    /// Says whether a slot has perhaps flows that may give way.
    fn mark(&mut self, slot: u32, taken: bool) {
        if let Some(word) = self.taken.get_mut(position(slot / u64::BITS)) {
            let bit = 1 << (slot % u64::BITS);
            match taken {
                true => *word |= bit,
                false => *word &= !bit,
            }
        }
    }

    /// The first place from this one on whose slot was taken. Places are slots
    /// in the order in which they come due.
    fn taken_from(&self, from: u32) -> Option<u32> {
        let first = from / u64::BITS;
        let mut below = !(u64::MAX << (from % u64::BITS));
        for (at, word) in (0..).zip(self.taken).skip(position(first)) {
            let word = match at < NEAR / u64::BITS {
                true => word,
                false => word.rotate_right(self.next_block()),
            };
            let left = word & !core::mem::take(&mut below);
            if left != 0 {
                return Some(
                    left.trailing_zeros()
                        .wrapping_add(at.wrapping_mul(u64::BITS)),
                );
            }
        }
        None
    }

    fn slot(&self, place: u32) -> u32 {
        match place.checked_sub(NEAR) {
            None => place,
            Some(after) => NEAR.wrapping_add(after.wrapping_add(self.next_block()) % FAR),
        }
    }

    /// The place in the far ring of the block after this one.
    const fn next_block(&self) -> u32 {
        (self.now / NEAR).wrapping_add(1) % FAR
    }

    /// Makes two nodes neighbours.
    fn join(&mut self, prev: u32, next: u32) {
        let node = self.node(prev);
        node.next = node.next.to(next);
        let node = self.node(next);
        node.prev = node.prev.to(prev);
    }

    fn get(&self, at: u32) -> Node {
        self.nodes.get(position(at)).copied().unwrap_or(self.spare)
    }

    fn node(&mut self, at: u32) -> &mut Node {
        self.nodes.get_mut(position(at)).unwrap_or(&mut self.spare)
    }
}

#[cfg(test)]
mod tests;
