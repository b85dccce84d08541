//! Every neighbour, with its timer and with what waits for it.

use super::{Due, Neighbour, Turn, Waiting};
use crate::host::underlay::path::PathId;
use crate::host::underlay::pool::Pool;
use crate::limits::{NEIGHBOUR_QUEUE_BYTES_MAX, NEIGHBOUR_QUEUE_MAX, NEIGHBOURS_MAX};
use crate::ordered::{OrderedMap, OrderedSet};
use crate::verdict::LinkId;
use crate::{DropReason, Instant, fallible};
#[cfg(test)]
use alloc::collections::BTreeMap;
use alloc::collections::VecDeque;
use core::net::Ipv6Addr;

/// Every neighbour, by number and by address.
#[derive(Debug)]
pub(in super::super) struct Neighbours {
    pool: Pool<Neighbour>,
    numbers: OrderedMap<(LinkId, Ipv6Addr), u16>,
    /// Neighbours with a timer, the next one first.
    timers: OrderedSet<(Instant, u16)>,
    waiting_bytes: usize,
}

impl Neighbours {
    /// None.
    pub(in super::super) const fn new() -> Self {
        Self {
            pool: Pool::new(NEIGHBOURS_MAX),
            numbers: OrderedMap::new(),
            timers: OrderedSet::new(),
            waiting_bytes: 0,
        }
    }

    /// The neighbour's number.
    pub(in super::super) fn find(&self, link: LinkId, address: Ipv6Addr) -> Option<u16> {
        self.numbers.get(&(link, address)).copied()
    }

    /// The neighbour.
    pub(in super::super) fn get(&self, number: u16) -> Option<&Neighbour> {
        self.pool.get(number)
    }

    /// Counts one more path that uses the neighbour, which is made if it isn't
    /// there, unless there are as many as there may be, or no memory for it.
    pub(in super::super) fn acquire(
        &mut self,
        link: LinkId,
        address: Ipv6Addr,
    ) -> Result<u16, DropReason> {
        let number = match self.find(link, address) {
            Some(number) => number,
            None => {
                let number = self.pool.insert(Neighbour::new(link, address))?;
                self.numbers.insert((link, address), number);
                number
            }
        };
        let neighbour = self.pool.get_mut(number);
        let neighbour = neighbour.ok_or(DropReason::UnderlayFull)?;
        neighbour.uses = neighbour.uses.saturating_add(1);
        Ok(number)
    }

    /// Counts one path less. With the last one the neighbour goes, and what
    /// still waits for it is handed back.
    pub(in super::super) fn release(&mut self, number: u16) -> VecDeque<Waiting> {
        let Some(neighbour) = self.pool.get_mut(number) else {
            return VecDeque::new();
        };
        neighbour.uses = neighbour.uses.saturating_sub(1);
        if neighbour.uses > 0 {
            return VecDeque::new();
        }
        let waiting = self.take_waiting(number);
        if let Some(gone) = self.pool.remove(number) {
            self.numbers.remove(&(gone.link, gone.address));
            if let Some(timer) = gone.timer {
                self.timers.remove(&(timer, number));
            }
        }
        waiting
    }

    /// Lets `change` change a neighbour and looks after its timer.
    pub(in super::super) fn update<T>(
        &mut self,
        number: u16,
        change: impl FnOnce(&mut Neighbour) -> T,
    ) -> Option<T> {
        let neighbour = self.pool.get_mut(number)?;
        let before = neighbour.timer;
        let result = change(neighbour);
        let after = neighbour.timer;
        if before != after {
            if let Some(timer) = before {
                self.timers.remove(&(timer, number));
            }
            if let Some(timer) = after {
                self.timers.insert((timer, number));
            }
        }
        Some(result)
    }

    /// Runs the next timer that is due, if there is one.
    pub(in super::super) fn expire(&mut self, now: Instant) -> Option<(u16, Due)> {
        let (timer, number) = *self.timers.first()?;
        if timer > now {
            return None;
        }
        match self.update(number, |n| n.timeout(now)) {
            Some(due) => Some((number, due)),
            None => {
                self.timers.remove(&(timer, number));
                Some((number, Due::Nothing))
            }
        }
    }

    /// Lets a frame wait, if there is room and memory for it. Adds to `out` how
    /// many older ones had to give way, either way (N2).
    pub(in super::super) fn wait(
        &mut self,
        number: u16,
        path: PathId,
        frame: &[u8],
        turn: Turn,
        out: &mut usize,
    ) -> Result<(), DropReason> {
        let neighbour = self.pool.get_mut(number);
        let neighbour = neighbour.ok_or(DropReason::NextHopQueueFull)?;
        let room = NEIGHBOUR_QUEUE_BYTES_MAX.saturating_sub(frame.len());
        while neighbour.waiting.len() >= NEIGHBOUR_QUEUE_MAX || self.waiting_bytes > room {
            let oldest = neighbour.waiting.pop_front();
            let oldest = oldest.ok_or(DropReason::NextHopQueueFull)?;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(oldest.frame.len());
            *out = out.saturating_add(1);
        }
        let room = neighbour.waiting.try_reserve(1).ok();
        let copy = room.and_then(|()| fallible::copy(0, frame));
        let frame = copy.ok_or(DropReason::NoMemory)?.into_boxed_slice();
        self.waiting_bytes = self.waiting_bytes.saturating_add(frame.len());
        neighbour.waiting.push_back(Waiting { path, frame, turn });
        Ok(())
    }

    /// What waits for a neighbour, the oldest first.
    pub(in super::super) fn take_waiting(&mut self, number: u16) -> VecDeque<Waiting> {
        let Some(neighbour) = self.pool.get_mut(number) else {
            return VecDeque::new();
        };
        let waiting = core::mem::take(&mut neighbour.waiting);
        for frame in &waiting {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(frame.frame.len());
        }
        waiting
    }

    /// Every neighbour.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.numbers.values().filter_map(|number| self.get(*number))
    }
}

#[cfg(test)]
impl Neighbours {
    /// Asserts that numbers, timers, bytes and uses are what they should be.
    pub(in crate::host::underlay) fn check(&self, uses: &BTreeMap<u16, u32>) {
        let live: BTreeMap<u16, &Neighbour> = self.pool.iter().collect();
        assert_eq!(live.len(), self.numbers.len());
        assert_eq!(live.len(), uses.len(), "a neighbour without a path");
        let mut timers = OrderedSet::new();
        let mut bytes = 0;
        for (number, n) in live {
            assert_eq!(self.find(n.link, n.address), Some(number));
            assert_eq!(Some(&n.uses), uses.get(&number), "{n:?}");
            if let Some(timer) = n.timer {
                timers.insert((timer, number));
            }
            assert!(n.waiting.len() <= NEIGHBOUR_QUEUE_MAX);
            assert!(
                n.waiting.is_empty() || n.state == super::State::Incomplete,
                "{n:?}"
            );
            bytes += n.waiting.iter().map(|w| w.frame.len()).sum::<usize>();
        }
        assert_eq!(timers, self.timers);
        assert_eq!(bytes, self.waiting_bytes);
    }
}

#[cfg(test)]
impl Neighbours {
    /// Bytes that wait, and timers that run.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.waiting_bytes, self.timers.len())
    }
}
