//! The external ports of one address, family and transport.
//!
//! Purpose   gives each inside end (address and port) one external port for
//!           as long as it has a flow, whatever the flow's far end
//!           (endpoint-independent mapping: RFC 4787 REQ-1, RFC 5382 REQ-1,
//!           RFC 5508 REQ-1).
//!
//! Terms     ready     free, and may be given out
//!           resting   free, but a late packet of its last flow may still come
//!           class     parity and whether it is a well-known port; a port
//!                     is given out within its class where possible (RFC 4787
//!                     REQ-3 and REQ-4)
//!           stamp     names one mapping: a port that is given out again has
//!                     another stamp, so an old holder can't be mistaken for
//!                     the new one
//!
//! Flow      ready -- take --> mapped -- last release --> resting -- wake --> ready
//!
//! Rules     P1  a port of the range is in exactly one place: in `ready`, or
//!               in `by_port` (mapped, or resting and then also in `resting`).
//!           P2  `by_inside` and the mapped part of `by_port` mirror each other.
//!           P3  `take` makes the room that `release` needs, so only `take`
//!               may ask for memory and a flow's end can't fail.
//!           P4  the choice among ready ports is uniform and keyed (RFC 6056
//!               section 3.3.1), and costs the same however few are left.
//!
//! Memory    two bytes per port of the range, and about a hundred more per port
//!           that is mapped or rests, which are taken as needed.
//!
//! Failure   no port, or no memory to remember it: none is returned and the
//!           caller has `DropReason::SnatExhausted`.

use crate::Instant;
use crate::keyed::Keyed;
use crate::limits::{SNAT_REST_MS, SNAT_REST_MS_MIN};
use alloc::collections::{TryReserveError, VecDeque};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use hashbrown::HashMap;

/// An inside end: address in the form of a flow key, and port or identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) addr: [u8; 16],
    pub(super) port: u16,
}

/// An external port with the stamp of its mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) port: u16,
    pub(super) stamp: u32,
}

#[derive(Debug)]
struct Mapping {
    grant: Grant,
    // Flows that hold the mapping; at least one.
    flows: u32,
}

/// The external ports and who has them.
#[derive(Debug)]
pub(super) struct Pool {
    key: Keyed,
    // Grows with each mapping, and never starts again: see `stamp` above.
    stamps: u32,
    ready: Ready,
    resting: VecDeque<(u16, Instant)>,
    by_inside: HashMap<End, Mapping, Keyed>,
    by_port: HashMap<u16, Option<(End, u32)>, Keyed>,
}

impl Pool {
    /// A pool of no ports.
    pub(super) fn new(key: Keyed) -> Self {
        Self {
            key,
            stamps: 0,
            ready: Ready::default(),
            resting: VecDeque::new(),
            by_inside: HashMap::with_hasher(key),
            by_port: HashMap::with_hasher(key),
        }
    }

    /// A reference to the mapping of `inside`, made if there is none.
    pub(super) fn take(&mut self, inside: End, now: Instant) -> Option<Grant> {
        if let Some(mapping) = self.by_inside.get_mut(&inside) {
            mapping.flows = mapping.flows.checked_add(1)?;
            return Some(mapping.grant);
        }
        let mapped = self.by_inside.len().saturating_add(1);
        self.by_inside.try_reserve(1).ok()?;
        self.by_port.try_reserve(1).ok()?;
        self.resting.try_reserve(mapped).ok()?; // P3
        self.wake(now);
        let random = self.key.hash(self.stamps);
        let port = self
            .ready
            .draw(inside.port, random)
            .or_else(|| self.wake_early(now))?;
        let grant = Grant {
            port,
            stamp: self.stamps,
        };
        self.stamps = self.stamps.wrapping_add(1);
        self.by_port.insert(port, Some((inside, grant.stamp)));
        self.by_inside.insert(inside, Mapping { grant, flows: 1 });
        Some(grant)
    }

    /// A reference to the mapping that has the external port, if one does.
    pub(super) fn take_by_port(&mut self, port: u16) -> Option<(End, Grant)> {
        let (inside, _) = (*self.by_port.get(&port)?)?;
        let mapping = self.by_inside.get_mut(&inside)?;
        mapping.flows = mapping.flows.checked_add(1)?;
        Some((inside, mapping.grant))
    }

    /// Whether the mapping that the grant names still exists.
    pub(super) fn holds(&self, grant: Grant) -> bool {
        matches!(self.by_port.get(&grant.port), Some(Some((_, stamp))) if *stamp == grant.stamp)
    }

    /// Gives a reference back. Nothing happens if the mapping is gone already.
    pub(super) fn release(&mut self, inside: End, grant: Grant, now: Instant) {
        let Some(mapping) = self.by_inside.get_mut(&inside) else {
            return;
        };
        if mapping.grant != grant {
            return;
        }
        mapping.flows = mapping.flows.saturating_sub(1);
        if mapping.flows == 0 {
            self.by_inside.remove(&inside);
            self.by_port.insert(grant.port, None);
            self.resting.push_back((grant.port, now));
        }
    }

    /// Gives the pool another range. Mappings whose port `keeps` stay, all
    /// others are gone. `ready` is every port of the new range; the old one
    /// comes back for the caller to free when it holds no lock.
    pub(super) fn retarget(&mut self, ready: Ready, keeps: impl Fn(u16) -> bool) -> Ready {
        self.by_inside
            .retain(|_, mapping| keeps(mapping.grant.port));
        self.by_port.retain(|port, _| keeps(*port));
        self.resting.retain(|(port, _)| keeps(*port));
        let old = core::mem::replace(&mut self.ready, ready);
        if !self.by_port.is_empty() {
            let taken = &self.by_port;
            self.ready.retain(|port| !taken.contains_key(&port));
        }
        old
    }

    /// Ports that are mapped, that rest, and that are ready.
    pub(super) fn count(&self) -> (usize, usize, usize) {
        (self.by_inside.len(), self.resting.len(), self.ready.len())
    }

    /// Makes some of the ports ready that have rested long enough. More per
    /// call than a call can take, so that none is left behind; bounded, so
    /// that a quiet hour isn't paid for by one packet.
    fn wake(&mut self, now: Instant) {
        for _ in 0..WAKE_MAX {
            match self.resting.front() {
                Some((port, since)) if now.millis_since(*since) >= SNAT_REST_MS => {
                    self.by_port.remove(port);
                    self.ready.push(*port);
                    self.resting.pop_front();
                }
                _ => break,
            }
        }
    }

    /// The port that has rested longest, when no other is left: refusing the
    /// flow would harm the guest more than a late packet of its own old flow
    /// (RFC 6888 REQ-8 B: the range is this guest's alone).
    fn wake_early(&mut self, now: Instant) -> Option<u16> {
        let (port, since) = *self.resting.front()?;
        (now.millis_since(since) >= SNAT_REST_MS_MIN).then(|| {
            self.resting.pop_front();
            port
        })
    }
}

/// The free ports, by class.
#[derive(Debug, Default)]
pub(super) struct Ready {
    classes: [Vec<u16>; 4],
}

impl Ready {
    /// Every port of a range but zero, which is none (RFC 6335 section 6).
    pub(super) fn of(range: RangeInclusive<u16>) -> Result<Self, TryReserveError> {
        let mut ready = Self::default();
        for (number, ports) in (0_u16..).zip(&mut ready.classes) {
            let of_class = |port: &u16| *port != 0 && class(*port) == number;
            // Counted first, so that `push` finds room for ever after.
            ports.try_reserve_exact(range.clone().filter(of_class).count())?;
            ports.extend(range.clone().filter(of_class));
        }
        Ok(ready)
    }

    fn len(&self) -> usize {
        self.classes
            .iter()
            .fold(0, |sum, ports| sum.saturating_add(ports.len()))
    }

    /// A port of the class of `like` where possible; else of its parity, else any.
    fn draw(&mut self, like: u16, random: u64) -> Option<u16> {
        let own = class(like);
        [0, WELL_KNOWN, ODD, WELL_KNOWN | ODD]
            .into_iter()
            .find_map(|other| {
                let ports = self.classes.get_mut(usize::from(own ^ other))?;
                let len = u64::try_from(ports.len()).ok()?;
                // The bias of the remainder is below 2^-48.
                let at = usize::try_from(random.checked_rem(len)?).ok()?;
                Some(ports.swap_remove(at))
            })
    }

    fn push(&mut self, port: u16) {
        if let Some(ports) = self.classes.get_mut(usize::from(class(port))) {
            ports.push(port);
        }
    }

    fn retain(&mut self, keep: impl Fn(u16) -> bool) {
        for ports in &mut self.classes {
            ports.retain(|port| keep(*port));
        }
    }
}

const ODD: u16 = 1;
const WELL_KNOWN: u16 = 2;
const WAKE_MAX: usize = 32;

fn class(port: u16) -> u16 {
    (port & ODD) | if port < 1_024 { WELL_KNOWN } else { 0 }
}
