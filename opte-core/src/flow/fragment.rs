//! Fragments on their way through a port.
//!
//! Purpose   only the first fragment of a packet has ports. What is decided for
//!           it holds for the others, in whatever order they come (RFC 4787
//!           REQ-14); nothing is put together here.
//! Terms     piece     a fragment
//!           slot      what is known of one fragmented packet
//!           held      a piece that came before the first one, as a copy
//! Flow      first: check -> the layers -> settle, which gives back what is held
//!           later: follow -- known --> the first one's key
//!                       `-- not yet --> held
//! Rules     F1  a set of four slots is chosen by a keyed hash of what names the
//!               packet; finding one costs the same however many there are.
//!           F2  a packet gives way to a newer one unless something is held
//!               for it: first one that has all of its pieces, whose slot only
//!               serves to know copies of them, then the oldest.
//!           F3  pieces never overlap. One that would spoils its packet: no
//!               piece of it passes from then on (RFC 5722). One that brings
//!               nothing new is a copy that a network made: it goes nowhere,
//!               and its packet is none the worse (RFC 8200 section 4.5). A
//!               first piece with the number of an earlier packet is a new
//!               packet for IPv4, whose numbers come round within seconds (RFC
//!               4963).
//!           F4  what is held is bounded: pieces, bytes, and time ([`Bounds`]).
//!               Lower bounds are for what comes; what is held stays.
//!           F5  pieces of a refused packet are refused without being held,
//!               which is why that is remembered too.
//! Failure   `FragmentOverlap`, `FragmentsFull`, `FragmentTimeout`; `Fragment`
//!           for one whose first is refused.

use super::position;
use super::tuple::{Family, Proto, Tuple};
use crate::api::PortOptions;
use crate::fallible;
use crate::keyed::Keyed;
use crate::limits::{FRAGMENT_BYTES_EACH, FRAGMENT_RANGES_MAX, FRAGMENTED_PACKETS_MAX};
use crate::wire::packet::{Piece, Segment};
use crate::{Direction, DropReason, Instant};
use alloc::boxed::Box;
use alloc::vec::Vec;
use lock_api::{Mutex, RawMutex};

/// Slots that a packet can be in.
const WAYS: usize = 4;

/// What names a fragmented packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) dir: Direction,
    /// Whether it came from outside of the VPC.
    pub(crate) external: bool,
    pub(crate) family: Family,
    pub(crate) local: [u8; 16],
    pub(crate) remote: [u8; 16],
    pub(crate) proto: Proto,
    pub(crate) id: u32,
}

/// What later pieces need to know of the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// The flow key as the packet came.
    pub(crate) tuple: Tuple,
    /// The TCP segment, of which this is the beginning.
    pub(crate) segment: Segment,
    /// Bytes before its payload.
    pub(crate) header_len: u16,
}

/// What a later piece does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It goes where the first one went.
    Follow(First),
    /// A copy of it waits for the first one.
    Held,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Awaited,
    Known(First),
    Refused,
    Spoiled,
}

/// The fragmented packets of a port.
#[derive(Debug)]
pub(crate) struct Fragments<R: RawMutex> {
    key: Keyed,
    state: Mutex<R, State>,
}

/// How much may be held, and how long (F4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bounds {
    wait_ms: u64,
    pieces: usize,
    bytes: usize,
}

impl Bounds {
    fn of(options: &PortOptions) -> Self {
        let pieces = position(options.fragments_max);
        Self {
            wait_ms: u64::from(options.fragment_s).saturating_mul(1_000),
            pieces,
            bytes: pieces.saturating_mul(FRAGMENT_BYTES_EACH),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    bounds: Bounds,
    /// Made when the first fragment comes.
    slots: Box<[Option<Slot>]>,
    held: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    since: Instant,
    seen: Seen,
    fate: Fate,
    held: Vec<Vec<u8>>,
}

impl<R: RawMutex> Fragments<R> {
    /// Nothing yet, and nothing held until [`Fragments::limit`] lets it be.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            key: Keyed::new(seed, "fragments"),
            state: Mutex::new(State::default()),
        }
    }

    /// Takes over what a port's options say (F4).
    pub(crate) fn limit(&self, options: &PortOptions) {
        self.state.lock().bounds = Bounds::of(options);
    }

    /// Takes a first piece into account. What becomes of its packet is for
    /// [`Fragments::settle`] to say.
    pub(crate) fn check(&self, key: &Key, piece: &Piece, now: Instant) -> Result<(), DropReason> {
        let mut state = self.state.lock();
        let slot = state.slot(self.set(key), key, now)?;
        let is_new = key.family == Family::V4 && !matches!(slot.fate, Fate::Awaited);
        if is_new {
            (slot.seen, slot.fate, slot.since) = (Seen::default(), Fate::Awaited, now);
        }
        slot.add(piece)
    }

    /// Remembers what was decided for a first piece: passed, as this is what
    /// others have to know of it, or refused. What was held for it comes back.
    pub(crate) fn settle(&self, key: &Key, first: Option<First>) -> Vec<Vec<u8>> {
        let mut state = self.state.lock();
        let place = state.find(self.set(key), key);
        let Some(slot) = place.and_then(Option::as_mut) else {
            return Vec::new();
        };
        slot.fate = match (slot.fate, first) {
            (Fate::Spoiled, _) => Fate::Spoiled,
            (_, Some(first)) => Fate::Known(first),
            (_, None) => Fate::Refused,
        };
        let pieces = core::mem::take(&mut slot.held);
        let State { held, bytes, .. } = &mut *state;
        forget(&pieces, held, bytes);
        pieces
    }

    /// Takes a later piece into account; `copy` makes a copy of its frame, if
    /// it can be had.
    pub(crate) fn follow(
        &self,
        key: &Key,
        piece: &Piece,
        now: Instant,
        copy: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<Turn, DropReason> {
        let mut state = self.state.lock();
        let (held, bytes, bounds) = (state.held, state.bytes, state.bounds);
        let slot = state.slot(self.set(key), key, now)?;
        slot.add(piece)?;
        match slot.fate {
            Fate::Spoiled => Err(DropReason::FragmentOverlap),
            Fate::Refused => Err(DropReason::Fragment),
            Fate::Known(first) => Ok(Turn::Follow(first)),
            Fate::Awaited => {
                let copy = copy().ok_or(DropReason::NoMemory)?;
                let bytes = bytes.saturating_add(copy.len());
                if held >= bounds.pieces || bytes > bounds.bytes {
                    return Err(DropReason::FragmentsFull);
                }
                let room = slot.held.try_reserve(1);
                room.map_err(|_| DropReason::NoMemory)?;
                slot.held.push(copy);
                state.held = held.saturating_add(1);
                state.bytes = bytes;
                Ok(Turn::Held)
            }
        }
    }

    /// Gives up on packets that took too long. How many pieces were held for
    /// them, by direction: inbound, outbound.
    pub(crate) fn expire(&self, now: Instant) -> [u32; 2] {
        let mut lost = [0_u32; 2];
        let mut state = self.state.lock();
        if state.held == 0 {
            return lost;
        }
        let State {
            bounds,
            slots,
            held,
            bytes,
        } = &mut *state;
        for place in slots {
            let is_over = |slot: &mut Slot| now.millis_since(slot.since) >= bounds.wait_ms;
            if let Some(slot) = place.take_if(is_over) {
                let side = super::record::side(slot.key.dir);
                if let Some(lost) = lost.get_mut(side) {
                    let held = u32::try_from(slot.held.len()).unwrap_or(u32::MAX);
                    *lost = lost.saturating_add(held);
                }
                forget(&slot.held, held, bytes);
            }
        }
        lost
    }

    /// Where the packet's slots begin (F1).
    fn set(&self, key: &Key) -> usize {
        let sets = u64::try_from(FRAGMENTED_PACKETS_MAX / WAYS).unwrap_or(1);
        let set = self.key.hash(key).checked_rem(sets).unwrap_or(0);
        position(u32::try_from(set).unwrap_or(0)).saturating_mul(WAYS)
    }
}

impl State {
    fn places(&mut self, set: usize) -> &mut [Option<Slot>] {
        let end = set.saturating_add(WAYS);
        self.slots.get_mut(set..end).unwrap_or_default()
    }

    /// The place that the packet is in.
    fn find(&mut self, set: usize, key: &Key) -> Option<&mut Option<Slot>> {
        let is_it = |place: &&mut Option<Slot>| place.as_ref().is_some_and(|s| s.key == *key);
        self.places(set).iter_mut().find(is_it)
    }

    /// The packet's slot, made if there is none (F2).
    fn slot(&mut self, set: usize, key: &Key, now: Instant) -> Result<&mut Slot, DropReason> {
        if self.slots.is_empty() {
            let slots = fallible::slice(FRAGMENTED_PACKETS_MAX, |_| None);
            self.slots = slots.ok_or(DropReason::NoMemory)?;
        }
        let wait_ms = self.bounds.wait_ms;
        // Smallest first: the packet itself, a vacant place, a packet that is
        // whole, the oldest.
        let rank = |place: &Option<Slot>| match place {
            Some(slot) if slot.key == *key => Some((0, Instant::ZERO)),
            None => Some((1, Instant::ZERO)),
            Some(slot) if !slot.held.is_empty() => None,
            Some(slot) if slot.seen.is_whole() => Some((2, slot.since)),
            Some(slot) => Some((3, slot.since)),
        };
        let ranked = self.places(set).iter_mut();
        let ranked = ranked.filter_map(|place| Some((rank(place)?, place)));
        let (_, place) = ranked
            .min_by_key(|(rank, _)| *rank)
            .ok_or(DropReason::FragmentsFull)?;
        let is_old = |slot: &mut Slot| {
            let is_over = now.millis_since(slot.since) >= wait_ms;
            slot.key != *key || is_over && slot.held.is_empty()
        };
        drop(place.take_if(is_old));
        Ok(place.get_or_insert_with(|| Slot {
            key: *key,
            since: now,
            seen: Seen::default(),
            fate: Fate::default(),
            held: Vec::new(),
        }))
    }
}

/// Takes pieces off the account of what is held: how many, and their bytes.
fn forget(pieces: &[Vec<u8>], held: &mut usize, bytes: &mut usize) {
    *held = held.saturating_sub(pieces.len());
    for piece in pieces {
        *bytes = bytes.saturating_sub(piece.len());
    }
}

impl Slot {
    /// Adds a piece to what was seen of the packet (F3).
    fn add(&mut self, piece: &Piece) -> Result<(), DropReason> {
        if self.seen.has(piece) {
            return Err(DropReason::FragmentOverlap);
        }
        match self.seen.add(piece) {
            Err(DropReason::FragmentOverlap) => {
                self.fate = Fate::Spoiled;
                Err(DropReason::FragmentOverlap)
            }
            result => result,
        }
    }
}

/// Which bytes of a packet have come.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Where each run of bytes starts and ends, in order; runs don't touch.
    runs: [(u16, u16); FRAGMENT_RANGES_MAX],
    count: usize,
    /// Where the packet ends, when its last piece has come.
    end: Option<u16>,
}

impl Seen {
    fn add(&mut self, piece: &Piece) -> Result<(), DropReason> {
        let (mut start, mut end) = (piece.start, piece.end);
        let runs = self.runs.get(..self.count).unwrap_or_default();
        let last = runs.last().map_or(0, |run| run.1);
        let is_beyond = self.end.is_some_and(|whole| end > whole || !piece.more);
        let is_short = !piece.more && last > end;
        let overlaps = runs.iter().any(|run| start < run.1 && run.0 < end);
        if is_beyond || is_short || overlaps {
            return Err(DropReason::FragmentOverlap);
        }
        // The new run takes in the ones that it touches.
        let mut next = Self {
            end: self.end.or((!piece.more).then_some(end)),
            ..Self::default()
        };
        for run in runs {
            if run.1 == start {
                start = run.0;
            } else if run.0 == end {
                end = run.1;
            }
        }
        let apart = runs.iter().filter(|run| run.1 < start || run.0 > end);
        let before = apart.clone().filter(|run| run.1 < start);
        let after = apart.filter(|run| run.0 > end);
        for run in before.chain([&(start, end)]).chain(after) {
            let place = next
                .runs
                .get_mut(next.count)
                .ok_or(DropReason::FragmentsFull)?;
            *place = *run;
            next.count = next.count.saturating_add(1);
        }
        *self = next;
        Ok(())
    }

    /// Whether all that the piece says is known.
    fn has(&self, piece: &Piece) -> bool {
        let mut runs = self.runs.get(..self.count).unwrap_or_default().iter();
        let is_there = runs.any(|run| run.0 <= piece.start && piece.end <= run.1);
        is_there && (piece.more || self.end == Some(piece.end))
    }

    /// Whether all of the packet has come.
    fn is_whole(&self) -> bool {
        match (self.runs.first(), self.end) {
            (Some((0, last)), Some(end)) => self.count == 1 && *last == end,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
