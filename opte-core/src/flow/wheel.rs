//! A timer wheel over flow numbers.
//!
//! Purpose   the cost of a tick follows the number of flows that are due, not
//!           the number that exist (decision D7).
//! Shape     time is cut into blocks of `NEAR` seconds. The near ring has one
//!           slot per second of the present block; the far ring one slot per
//!           later block, which is poured into the near ring when its block
//!           begins. Slots are circular lists, linked by number in one vector,
//!           so an entry costs 12 bytes and is removed in O(1).
//! Rules     W1  a flow that is in use is not moved. When it comes due, its
//!               owner looks at its last packet and schedules it again.

use super::position;
use alloc::vec::Vec;

/// Slots of one second.
const NEAR: u32 = 256;
/// Slots of one block. Timeouts beyond the last come due early, and are then
/// scheduled again (W1).
const FAR: u32 = 64;
/// List heads come first in the vector; flows after them.
const HEADS: u32 = NEAR + FAR;

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    /// Second at which it is due.
    due: u32,
}

impl Node {
    /// A node on no list but its own.
    const fn alone(at: u32) -> Self {
        Self {
            prev: at,
            next: at,
            due: 0,
        }
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
}

impl Wheel {
    /// A wheel whose clock starts at second `now`.
    pub(super) fn new(now: u32) -> Self {
        Self {
            nodes: (0..HEADS).map(Node::alone).collect(),
            spare: Node::alone(0),
            now,
        }
    }

    /// Sees to it that there are flow numbers up to `count`.
    pub(super) fn grow(&mut self, count: u32) {
        let old = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let new = HEADS.saturating_add(count);
        self.nodes.reserve_exact(position(new.saturating_sub(old)));
        self.nodes.extend((old..new).map(Node::alone));
    }

    /// Schedules `flow` for second `due`, taking it off an earlier schedule.
    /// A time that has passed means the second being worked on.
    pub(super) fn schedule(&mut self, flow: u32, due: u32) {
        self.cancel(flow);
        let block = self.now / NEAR;
        let last = block
            .saturating_add(FAR)
            .saturating_mul(NEAR)
            .saturating_sub(1);
        let due = due.clamp(self.now, last);
        let head = if due / NEAR == block {
            due % NEAR
        } else {
            NEAR.wrapping_add(due / NEAR % FAR)
        };
        self.link(head, flow.wrapping_add(HEADS), due);
    }

    /// Puts a node at the end of a list.
    fn link(&mut self, head: u32, at: u32, due: u32) {
        let last = self.get(head).prev;
        *self.node(at) = Node {
            prev: last,
            next: head,
            due,
        };
        self.node(last).next = at;
        self.node(head).prev = at;
    }

    /// Takes `flow` off the schedule, if it is on it.
    pub(super) fn cancel(&mut self, flow: u32) {
        let at = flow.wrapping_add(HEADS);
        let Node { prev, next, .. } = self.get(at);
        self.node(prev).next = next;
        self.node(next).prev = prev;
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
            let far = NEAR.wrapping_add(self.now / NEAR % FAR);
            let poured = self.get(far).next;
            if poured != far {
                *budget = budget.wrapping_sub(1);
                let due = self.get(poured).due;
                self.schedule(poured.wrapping_sub(HEADS), due);
                continue;
            }
            let slot = self.now % NEAR;
            let first = self.get(slot).next;
            if first != slot {
                *budget = budget.wrapping_sub(1);
                self.cancel(first.wrapping_sub(HEADS));
                return Some(first.wrapping_sub(HEADS));
            }
            if self.now >= now {
                return None;
            }
            self.now = self.now.wrapping_add(1);
        }
        None
    }

    /// Moves the clock so far that all flows are due, without a step for each
    /// second (a machine that was suspended).
    fn leap(&mut self, now: u32) {
        let slot = now % NEAR;
        for head in (0..HEADS).filter(|head| *head != slot) {
            let Node {
                prev: last,
                next: first,
                ..
            } = self.get(head);
            if first == head {
                continue;
            }
            // The whole list goes to the end of the slot's.
            let end = self.get(slot).prev;
            self.node(end).next = first;
            self.node(first).prev = end;
            self.node(last).next = slot;
            self.node(slot).prev = last;
            *self.node(head) = Node::alone(head);
        }
        self.now = now;
    }

    /// The first flow that `fits`, of at most `tries` that come due soonest.
    pub(super) fn soonest(
        &self,
        mut tries: usize,
        mut fits: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let block = self.now / NEAR;
        let near = (self.now % NEAR)..NEAR;
        let far = NEAR.wrapping_add(block.wrapping_add(1) % FAR);
        for head in near.chain(core::iter::once(far)) {
            let mut at = self.get(head).next;
            while at != head {
                let flow = at.wrapping_sub(HEADS);
                if fits(flow) {
                    return Some(flow);
                }
                tries = tries.checked_sub(1)?;
                at = self.get(at).next;
            }
        }
        None
    }

    fn get(&self, at: u32) -> Node {
        self.nodes.get(position(at)).copied().unwrap_or(self.spare)
    }

    fn node(&mut self, at: u32) -> &mut Node {
        self.nodes.get_mut(position(at)).unwrap_or(&mut self.spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn drain(wheel: &mut Wheel, now: u32) -> Vec<u32> {
        let mut budget = u32::MAX;
        core::iter::from_fn(|| wheel.pop_due(now, &mut budget)).collect()
    }

    #[test]
    fn flows_come_due_in_their_second() {
        let mut wheel = Wheel::new(1_000);
        wheel.grow(8);
        for (flow, due) in [(0, 1_001), (1, 1_300), (2, 8_440), (3, 1_001), (4, 5)] {
            wheel.schedule(flow, due);
        }
        wheel.schedule(1, 1_400);
        wheel.cancel(3);
        assert_eq!(drain(&mut wheel, 1_000), [4]);
        assert_eq!(drain(&mut wheel, 1_399), [0]);
        assert_eq!(drain(&mut wheel, 1_400), [1]);
        assert!(drain(&mut wheel, 8_439).is_empty());
        assert_eq!(drain(&mut wheel, 8_440), [2]);
    }

    #[test]
    fn a_budget_is_kept_and_nothing_is_lost() {
        let mut wheel = Wheel::new(0);
        wheel.grow(1_000);
        for flow in 0..1_000 {
            wheel.schedule(flow, 300);
        }
        let (mut seen, mut calls) = (0, 0);
        while seen < 1_000 {
            let mut budget = 64;
            while wheel.pop_due(300, &mut budget).is_some() {
                seen += 1;
            }
            calls += 1;
            assert!(calls < 40, "pouring and popping cost one each");
        }
    }

    #[test]
    fn the_wheel_agrees_with_a_map() {
        for seed in 0..if cfg!(miri) { 2 } else { 200 } {
            let mut state = seed * 2_654_435_761 + 88_172_645_463_325_252_u64;
            let mut next = |bound: u32| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u32 % bound
            };
            let mut now = next(10_000);
            let (mut wheel, mut model) = (Wheel::new(now), BTreeMap::new());
            wheel.grow(64);
            for _ in 0..300 {
                let flow = next(64);
                match next(4) {
                    0 => {
                        wheel.cancel(flow);
                        model.remove(&flow);
                    }
                    1 => now += next(700),
                    _ => {
                        let due = now + next(9_000);
                        wheel.schedule(flow, due);
                        model.insert(flow, due);
                    }
                }
                let mut due = drain(&mut wheel, now);
                due.sort_unstable();
                let expected: Vec<u32> = model
                    .iter()
                    .filter(|(_, at)| **at <= now)
                    .map(|(flow, _)| *flow)
                    .collect();
                model.retain(|_, at| *at > now);
                assert_eq!(due, expected, "seed {seed}");
            }
        }
    }
}
