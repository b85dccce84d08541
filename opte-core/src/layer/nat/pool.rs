//! The external ports of one address, family and transport.
//!
//! Purpose   gives an inside end (address and port) an external port for as
//!           long as it has a flow.
//!
//! Terms     mapping   an inside end, an external port, and the scope in which
//!                     they belong together. For everybody: whatever the far
//!                     end, the inside end has this port (endpoint-independent,
//!                     RFC 4787 REQ-1, RFC 5382 REQ-1, RFC 5508 REQ-1a). For a
//!                     far address or endpoint: other mappings may have the
//!                     same port for another one (RFC 7857 section 3)
//!           resting   not mapped any more, but a late packet of its last flow
//!                     may still come, so it isn't given out
//!           stamp     names one mapping: a port that is given out again has
//!                     another stamp, so an old holder can't be mistaken for
//!                     the new one
//!           stray     a mapping from before the pool's mode was changed, whose
//!                     scope isn't what the pool gives out now
//!
//! Flow      free -- take --> mapped -- last release --> resting -- wake --> free
//!
//! Rules     P1  a port is taken in `ports` for a scope while one mapping of
//!               that scope has it or while it rests. A stray's port is taken
//!               for everybody.
//!           P2  `by_inside` and `by_outside` mirror each other.
//!           P3  `take` makes the room that `release` needs, so only `take`
//!               may ask for memory and a flow's end can't fail.
//!           P4  the choice among free ports is by a keyed random number (RFC
//!               6056), and its cost is bounded however few are left.
//!           P5  no more ports rest than the pool has; the one that has rested
//!               longest goes first. Mappings are bounded by flows.
//!
//! Memory    about 150 bytes for a mapping, taken as needed; nothing for a port
//!           that nobody has.
//!
//! Failure   no port, or no memory to remember it: none is returned and the
//!           caller has `DropReason::SnatExhausted`.

use super::ports::{Ports, Scope};
use crate::Instant;
use crate::api::Behaviour;
use crate::flow::Tuple;
use crate::keyed::Keyed;
use crate::limits::{SNAT_REST_MS, SNAT_REST_MS_MIN};
use alloc::collections::VecDeque;
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

/// What a pool gives out, and to whom it lets strangers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// What of the far end a mapping depends on.
    pub(super) mapping: Behaviour,
    /// What of the far end must be known for a flow to come in.
    pub(super) filtering: Behaviour,
}

/// The external ports and who has them.
#[derive(Debug)]
pub(super) struct Pool {
    key: Keyed,
    mode: Mode,
    // Grows with each mapping, and never starts again: see `stamp` above.
    stamps: u32,
    draws: u64,
    ports: Ports,
    resting: VecDeque<(u16, Scope, Instant)>,
    by_inside: HashMap<(End, Scope), Mapping, Keyed>,
    by_outside: HashMap<(u16, Scope), (End, u32), Keyed>,
    // Strays that have a port.
    strays: HashMap<u16, u32, Keyed>,
    // Flows that a mapping for everybody has with a far address. Counted only
    // while address-dependent filtering asks for it: flows from before that
    // make nobody known.
    known: HashMap<(u16, [u8; 16]), u32, Keyed>,
}

impl Pool {
    /// A pool of no ports.
    pub(super) fn new(key: Keyed) -> Self {
        Self {
            key,
            mode: Mode::default(),
            stamps: 0,
            draws: 0,
            ports: Ports::new(0..=0, key),
            resting: VecDeque::new(),
            by_inside: HashMap::with_hasher(key),
            by_outside: HashMap::with_hasher(key),
            strays: HashMap::with_hasher(key),
            known: HashMap::with_hasher(key),
        }
    }

    /// A reference to the mapping of a flow's inside end, made if there is none.
    pub(super) fn take(&mut self, inside: &Tuple, now: Instant) -> Option<Grant> {
        let (end, scope) = (End::of(inside), scope(self.mode.mapping, inside));
        let counts = scope == Scope::All && self.mode.filtering == Behaviour::AddressDependent;
        if counts {
            self.known.try_reserve(1).ok()?;
        }
        let grant = match self.by_inside.get_mut(&(end, scope)) {
            Some(mapping) => {
                mapping.flows = mapping.flows.checked_add(1)?;
                mapping.grant
            }
            None => self.map(end, scope, now)?,
        };
        if counts {
            let flows = self.known.entry((grant.port, inside.remote)).or_insert(0);
            *flows = flows.saturating_add(1);
        }
        Some(grant)
    }

    /// A reference to the mapping that a packet for the external port belongs
    /// to, if one does, and whether its sender may open a flow.
    pub(super) fn take_by_port(&mut self, outside: &Tuple) -> Option<(End, Grant, bool)> {
        let port = outside.local_port;
        let found = |scope| Some((self.by_outside.get(&(port, scope))?, scope));
        let ((end, _), scope) = scopes(outside).into_iter().find_map(found)?;
        let mapping = self.by_inside.get_mut(&(*end, scope))?;
        mapping.flows = mapping.flows.checked_add(1)?;
        let flows = self.known.get_mut(&(port, outside.remote));
        let admits = match (self.mode.filtering, scope) {
            (Behaviour::EndpointIndependent, _) | (_, Scope::Endpoint(..)) => true,
            (Behaviour::AddressDependent, Scope::Address(_)) => true,
            (Behaviour::AddressDependent, Scope::All) => flows.is_some(),
            (Behaviour::AddressAndPortDependent, _) => false,
        };
        if let Some(flows) = flows {
            *flows = flows.saturating_add(1);
        }
        Some((*end, mapping.grant, admits))
    }

    /// Whether the mapping that the grant names still exists. `inside` is a
    /// flow that has it, by the names of its far end.
    pub(super) fn holds(&self, inside: &Tuple, grant: Grant) -> bool {
        self.find(inside, grant).is_some()
    }

    /// Gives a reference back: the port was used last at `last`. Nothing
    /// happens if the mapping is gone already.
    pub(super) fn release(&mut self, inside: &Tuple, grant: Grant, last: Instant) {
        let Some((end, scope)) = self.find(inside, grant) else {
            return;
        };
        let known = (grant.port, inside.remote);
        if let Some(flows) = self.known.get_mut(&known) {
            *flows = flows.saturating_sub(1);
            if *flows == 0 {
                self.known.remove(&known);
            }
        }
        let Some(mapping) = self.by_inside.get_mut(&(end, scope)) else {
            return;
        };
        mapping.flows = mapping.flows.saturating_sub(1);
        if mapping.flows == 0 {
            self.by_inside.remove(&(end, scope));
            self.by_outside.remove(&(grant.port, scope));
            self.lay_to_rest(grant.port, scope, last);
        }
    }

    /// Gives the pool another range or mode. Mappings whose port `keeps` stay,
    /// whatever the mode was when they were made; all others are gone, and
    /// without memory to remember them, those too.
    pub(super) fn retarget(
        &mut self,
        range: RangeInclusive<u16>,
        mode: Mode,
        keeps: impl Fn(u16) -> bool,
    ) {
        self.by_inside
            .retain(|_, mapping| keeps(mapping.grant.port));
        self.by_outside.retain(|(port, _), _| keeps(*port));
        self.resting.retain(|(port, ..)| keeps(*port));
        match mode.filtering == self.mode.filtering {
            true => self.known.retain(|(port, _), _| keeps(*port)),
            false => self.known.clear(),
        }
        self.mode = mode;
        self.ports = Ports::new(range, self.key);
        self.strays.clear();
        let taken = self.by_outside.len().saturating_add(self.resting.len());
        let room = self.ports.reserve(taken).is_ok()
            && self.strays.try_reserve(self.by_outside.len()).is_ok();
        if !room {
            self.by_inside.clear();
            self.by_outside.clear();
            self.resting.clear();
        }
        for (port, scope) in self.by_outside.keys() {
            if is_of(*scope, mode.mapping) {
                self.ports.take(*scope, *port);
            } else {
                self.ports.take(Scope::All, *port);
                let strays = self.strays.entry(*port).or_insert(0);
                *strays = strays.saturating_add(1);
            }
        }
        let (ports, strays) = (&mut self.ports, &self.strays);
        // What rested for one far end rests for all; once is enough.
        self.resting.retain_mut(|(port, scope, _)| {
            if !is_of(*scope, mode.mapping) {
                *scope = Scope::All;
            }
            !strays.contains_key(port) && ports.take(*scope, *port)
        });
    }

    /// Mappings, ports that rest, and ports in all.
    pub(super) fn count(&self) -> (usize, usize, usize) {
        (self.by_inside.len(), self.resting.len(), self.ports.len())
    }

    /// A new mapping.
    fn map(&mut self, end: End, scope: Scope, now: Instant) -> Option<Grant> {
        let mapped = self.by_inside.len().saturating_add(1);
        self.by_inside.try_reserve(1).ok()?;
        self.by_outside.try_reserve(1).ok()?;
        self.ports.reserve(1).ok()?;
        let may_rest = mapped.saturating_add(self.resting.len());
        let may_rest = may_rest.min(self.ports.len());
        let more = may_rest.saturating_sub(self.resting.len());
        self.resting.try_reserve(more).ok()?; // P3
        self.wake(now);
        let (key, draws) = (self.key, &mut self.draws);
        let random = || {
            *draws = draws.wrapping_add(1);
            key.hash(*draws)
        };
        let port = self.ports.free(scope, end.port, random);
        let port = port.or_else(|| self.wake_early(scope, now))?;
        let grant = Grant {
            port,
            stamp: self.stamps,
        };
        self.stamps = self.stamps.wrapping_add(1);
        self.ports.take(scope, port);
        self.by_outside.insert((port, scope), (end, grant.stamp));
        self.by_inside
            .insert((end, scope), Mapping { grant, flows: 1 });
        Some(grant)
    }

    /// The inside end and the scope of the mapping that a grant names.
    fn find(&self, inside: &Tuple, grant: Grant) -> Option<(End, Scope)> {
        scopes(inside).into_iter().find_map(|scope| {
            let (end, stamp) = self.by_outside.get(&(grant.port, scope))?;
            (*stamp == grant.stamp).then_some((*end, scope))
        })
    }

    /// A port that isn't mapped any more rests.
    fn lay_to_rest(&mut self, port: u16, scope: Scope, last: Instant) {
        let mut scope = scope;
        if !is_of(scope, self.mode.mapping) {
            // A stray: its port rests when no other stray has it.
            let strays = self.strays.get_mut(&port).map(|strays| {
                *strays = strays.saturating_sub(1);
                *strays
            });
            if strays.is_some_and(|strays| strays > 0) {
                return;
            }
            self.strays.remove(&port);
            scope = Scope::All;
        }
        if self.resting.len() >= self.ports.len() {
            self.wake_first(); // P5
        }
        match self.resting.front() {
            // In the order of their last packets, as far as that costs nothing.
            Some((.., first)) if last < *first => self.resting.push_front((port, scope, last)),
            _ => self.resting.push_back((port, scope, last)),
        }
    }

    /// Makes some of the ports free that have rested long enough. More per
    /// call than a call can take, so that none is left behind; bounded, so
    /// that a quiet hour isn't paid for by one packet.
    fn wake(&mut self, now: Instant) {
        for _ in 0..WAKE_MAX {
            match self.resting.front() {
                Some((.., since)) if now.millis_since(*since) >= SNAT_REST_MS => self.wake_first(),
                _ => break,
            }
        }
    }

    fn wake_first(&mut self) {
        if let Some((port, scope, _)) = self.resting.pop_front() {
            self.ports.give_back(scope, port);
        }
    }

    /// The port that has rested longest, when no other is left: refusing the
    /// flow would harm the guest more than a late packet of its own old flow
    /// (RFC 6888 REQ-8 B: the range is this guest's alone). One that rests for
    /// another far end is of no use, so only the first few are looked at.
    fn wake_early(&mut self, scope: Scope, now: Instant) -> Option<u16> {
        let rested = |since: &Instant| now.millis_since(*since) >= SNAT_REST_MS_MIN;
        let resting = self.resting.iter().take(EARLY_MAX);
        let at = resting
            .take_while(|(.., since)| rested(since))
            .position(|(_, of, _)| *of == scope)?;
        let (port, scope, _) = self.resting.remove(at)?;
        self.ports.give_back(scope, port);
        Some(port)
    }
}

impl End {
    pub(super) const fn of(inside: &Tuple) -> Self {
        Self {
            addr: inside.local,
            port: inside.local_port,
        }
    }
}

/// The scope of a new mapping for a flow.
const fn scope(mapping: Behaviour, flow: &Tuple) -> Scope {
    match mapping {
        Behaviour::EndpointIndependent => Scope::All,
        Behaviour::AddressDependent => Scope::Address(flow.remote),
        Behaviour::AddressAndPortDependent => Scope::Endpoint(flow.remote, flow.remote_port),
    }
}

/// Whether that is the kind of scope that a pool gives out.
const fn is_of(scope: Scope, mapping: Behaviour) -> bool {
    matches!(
        (scope, mapping),
        (Scope::All, Behaviour::EndpointIndependent)
            | (Scope::Address(_), Behaviour::AddressDependent)
            | (Scope::Endpoint(..), Behaviour::AddressAndPortDependent)
    )
}

/// Every scope that a mapping of a flow may have, the narrowest first.
const fn scopes(flow: &Tuple) -> [Scope; 3] {
    [
        Scope::Endpoint(flow.remote, flow.remote_port),
        Scope::Address(flow.remote),
        Scope::All,
    ]
}

const WAKE_MAX: usize = 32;
const EARLY_MAX: usize = 256;
