//! Paths: what the frames of many flows to one tunnel end point share.
//!
//! Purpose   a flow remembers a [`PathId`] and nothing of the underlay. When
//!           a neighbour answers, moves or goes away, its paths change in
//!           place and every flow follows with its next frame.
//! Terms     path       a tunnel end point and the next hop chosen for it
//!           template   the outer header that frames of a path start with
//!           slot       where a path is kept: one cache line of atomic words
//!           life       counts what a slot was used for; a part of the id
//! Flow      `Underlay::path` (id to slot) -> `Path::write_header` -> frame
//!           the underlay's lock held: `Slab::publish`, `Slab::retire`
//! Rules     P1  a slot's words are read and written by rule S2 of `seq`.
//!           P2  slots are never freed, so a reference stays good; chunks of
//!               them are made as they are needed, `UNDERLAY_PATHS_MAX` at
//!               most.
//!           P3  a slot that is used for another path gets another life. The
//!               life is part of the tag that a reader checks together with
//!               the words, so an old id never yields another path's header.
//!           P4  a reader of a usable path sets its `used` flag if it isn't
//!               set; `tick` clears it. That is all that a path in use tells
//!               the neighbour cache, and it costs a shared write once per
//!               sweep and not per frame.
//! Failure   unresolved, retired, or being written: `write_header` says
//!           `None` and the caller goes to `Underlay::hold` with its frame.

use super::seq::Seq;
use crate::fallible;
use crate::limits::{ENCAP_LEN, UNDERLAY_PATHS_MAX};
use crate::verdict::LinkId;
use crate::wire::MacAddr;
use alloc::boxed::Box;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicBool, Ordering};
use once_cell::race::OnceBox;

/// A path's number: the slot in the low half, the slot's life in the high half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub u32);

impl PathId {
    pub(super) fn new(slot: u16, life: u16) -> Self {
        Self((u32::from(life) << 16) | u32::from(slot))
    }

    /// The slot's number.
    pub(super) const fn slot(self) -> u16 {
        let [_, _, a, b] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    const fn life(self) -> u16 {
        let [a, b, _, _] = self.0.to_be_bytes();
        u16::from_be_bytes([a, b])
    }
}

/// A path, to be read for one frame.
#[derive(Clone, Copy, Debug)]
pub struct Path<'s> {
    slot: &'s Seq<WORDS>,
    used: &'s AtomicBool,
    life: u16,
    mtu: u16,
}

impl Path<'_> {
    /// Writes the outer header: Ethernet, IPv6, UDP, Geneve. What belongs to
    /// the frame is zero and left to the caller: IPv6 payload length (bytes
    /// 18 and 19), UDP source port (54 and 55) and length (58 and 59), Geneve
    /// option length (62) and VNI (66 to 68).
    ///
    /// `None` when the path can't be used now. `out` then holds a header
    /// without addresses; the caller fills in its part all the same and gives
    /// the frame to `Underlay::hold`.
    #[inline(always)]
    pub fn write_header(&self, out: &mut [u8; ENCAP_LEN]) -> Option<LinkId> {
        let (words, _) = out.as_chunks_mut();
        if let Some(tag) = self.slot.copy_to(words) {
            let tag = Tag::unpack(tag);
            if tag.life == self.life && tag.usable {
                if !self.used.load(Ordering::Relaxed) {
                    self.used.store(true, Ordering::Relaxed); // P4
                }
                if let Some(tail) = out.last_chunk_mut() {
                    *tail = TAIL;
                }
                return Some(LinkId(u16::from(tag.link)));
            }
        }
        *out = BLANK;
        None
    }

    /// Bytes of IP packet, outer header included, that the path's link
    /// carried when the path was found.
    #[inline(always)]
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }
}

/// What a path's frames start with, before it is packed into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Template {
    /// The next hop's MAC address; `None` while it isn't known.
    pub(super) next_hop: Option<MacAddr>,
    /// The link's MAC address.
    pub(super) mac: MacAddr,
    /// Our tunnel address.
    pub(super) source: Ipv6Addr,
    /// The far tunnel end point.
    pub(super) dest: Ipv6Addr,
    /// The link.
    pub(super) link: LinkId,
    /// Bytes of IP packet that the link carries.
    pub(super) mtu: u16,
}

impl Template {
    /// Puts the addresses into a frame that has room for an outer header.
    /// Bytes beyond the frame's end are left out.
    pub(super) fn fill(&self, frame: &mut [u8]) {
        put(frame, 0, self.next_hop.unwrap_or_default().0);
        put(frame, 6, self.mac.0);
        put(frame, 22, self.source.octets());
        put(frame, 38, self.dest.octets());
    }
}

/// Every path's slot.
#[derive(Debug)]
pub(super) struct Slab {
    chunks: Box<[Chunk]>,
}

impl Slab {
    /// No path yet.
    pub(super) fn new() -> Self {
        let chunks = UNDERLAY_PATHS_MAX.div_ceil(CHUNK_SLOTS);
        Self {
            chunks: (0..chunks).map(|_| Chunk::default()).collect(),
        }
    }

    /// The path, unless its slot has another life by now.
    #[inline]
    pub(super) fn get(&self, id: PathId) -> Option<Path<'_>> {
        let (chunk, position) = place(id.slot());
        let chunk = self.chunks.get(chunk)?;
        let slot: &Seq<WORDS> = chunk.slots.get()?.get(position)?;
        let tag = Tag::unpack(slot.tag());
        let path = Path {
            slot,
            used: chunk.used.get(position)?,
            life: id.life(),
            mtu: tag.mtu,
        };
        (tag.life == path.life).then_some(path)
    }

    /// The path that a slot was last used for; its first life when there was
    /// none.
    pub(super) fn current(&self, slot: u16) -> PathId {
        let life = self.slot(slot).map_or(0, |s| Tag::unpack(s.tag()).life);
        PathId::new(slot, life.max(1))
    }

    /// Writes a path. Only with the underlay's lock held (S1).
    pub(super) fn publish(&self, id: PathId, template: &Template) {
        let Some(slot) = self.slot(id.slot()) else {
            return;
        };
        let mut header = BLANK;
        template.fill(&mut header);
        let tag = Tag {
            life: id.life(),
            mtu: template.mtu,
            link: template.link.0.to_be_bytes()[1],
            usable: template.next_hop.is_some(),
        };
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(header.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        slot.store(tag.pack(), words);
    }

    /// Ends the life of a path: its id yields nothing from here on (P3).
    /// Only with the underlay's lock held (S1).
    pub(super) fn retire(&self, id: PathId) {
        if let Some(slot) = self.slot(id.slot()) {
            let life = id.life().checked_add(1).unwrap_or(1);
            let tag = Tag {
                life,
                ..Tag::default()
            };
            slot.store(tag.pack(), [0; WORDS]);
        }
        self.take_used(id.slot());
    }

    /// Whether frames used the path since the last call.
    pub(super) fn take_used(&self, slot: u16) -> bool {
        let (chunk, position) = place(slot);
        let used = self.chunks.get(chunk);
        let Some(used) = used.and_then(|chunk| chunk.used.get(position)) else {
            return false;
        };
        // A plain load first: a flag that isn't set is not written.
        used.load(Ordering::Relaxed) && used.swap(false, Ordering::Relaxed)
    }

    /// Sees to it that there is memory for a slot, if it can be had.
    pub(super) fn make(&self, slot: u16) -> Option<()> {
        let (chunk, _) = place(slot);
        let chunk = self.chunks.get(chunk)?;
        if chunk.slots.get().is_none() {
            // Another thread may have been faster, then it is there too.
            let slots = fallible::slice(CHUNK_SLOTS, |_| Line(Seq::new()))?;
            let _ = chunk.slots.set(Box::try_from(slots).ok()?);
        }
        Some(())
    }

    fn slot(&self, slot: u16) -> Option<&Seq<WORDS>> {
        let (chunk, position) = place(slot);
        let line = self.chunks.get(chunk)?.slots.get()?.get(position)?;
        Some(&line.0)
    }
}

/// Words of a slot: the bytes of a header that differ between paths.
const WORDS: usize = 7;
/// Bytes of a header that are the same for every path: UDP without its source
/// port, and Geneve.
const TAIL_LEN: usize = 14;
/// Slots of a chunk.
const CHUNK_SLOTS: usize = 32;

/// A header without addresses: version 6, next header UDP, hop limit 64,
/// destination port 6081, Geneve version 0 with an Ethernet frame inside.
const BLANK: [u8; ENCAP_LEN] = [
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd, // Ethernet
    0x60, 0, 0, 0, 0, 0, 17, 64, // IPv6
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // source
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // destination
    0, 0, 0x17, 0xc1, 0, 0, 0, 0, // UDP; no checksum, RFC 6935 section 5
    0, 0, 0x65, 0x58, 0, 0, 0, 0, // Geneve
];

const TAIL: [u8; TAIL_LEN] = match BLANK.last_chunk() {
    Some(tail) => *tail,
    None => [0; TAIL_LEN],
};

/// A cache line to itself, so that the update of a path disturbs no other.
#[derive(Debug)]
#[repr(align(64))]
struct Line(Seq<WORDS>);

impl core::ops::Deref for Line {
    type Target = Seq<WORDS>;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Paths whose memory is made at once.
#[derive(Debug, Default)]
struct Chunk {
    slots: OnceBox<[Line; CHUNK_SLOTS]>,
    /// Whether frames used them (P4).
    used: [AtomicBool; CHUNK_SLOTS],
}

/// The 40 bits that come with a slot's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tag {
    life: u16,
    mtu: u16,
    /// Links are numbered below `LINK_IDS`.
    link: u8,
    usable: bool,
}

impl Tag {
    const USABLE: u8 = 0x80;

    fn pack(self) -> u64 {
        let [a, b] = self.life.to_be_bytes();
        let [c, d] = self.mtu.to_be_bytes();
        let flags = if self.usable { Self::USABLE } else { 0 };
        u64::from_be_bytes([0, 0, 0, a, b, c, d, flags | (self.link & !Self::USABLE)])
    }

    #[inline(always)]
    const fn unpack(tag: u64) -> Self {
        let [_, _, _, a, b, c, d, e] = tag.to_be_bytes();
        Self {
            life: u16::from_be_bytes([a, b]),
            mtu: u16::from_be_bytes([c, d]),
            link: e & !Self::USABLE,
            usable: e & Self::USABLE != 0,
        }
    }
}

#[inline(always)]
fn place(slot: u16) -> (usize, usize) {
    let slot = usize::from(slot);
    (slot / CHUNK_SLOTS, slot % CHUNK_SLOTS)
}

/// Puts `bytes` at `at`, or nothing where there is no room.
fn put<const N: usize>(frame: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(room) = frame.get_mut(at..).and_then(|f| f.first_chunk_mut()) {
        *room = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: Template = Template {
        next_hop: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
        dest: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9),
        link: LinkId(3),
        mtu: 9_000,
    };

    /// A slab with memory for every slot.
    fn made() -> Slab {
        let slab = Slab::new();
        for slot in (0..UNDERLAY_PATHS_MAX).filter_map(|slot| u16::try_from(slot).ok()) {
            slab.make(slot).unwrap();
        }
        slab
    }

    #[test]
    fn a_slot_is_one_cache_line() {
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn the_header_is_the_one_that_the_protocols_want() {
        let slab = made();
        let id = slab.current(40);
        slab.publish(id, &TEMPLATE);
        let mut out = [0xaa; ENCAP_LEN];
        let path = slab.get(id).unwrap();
        assert_eq!(path.write_header(&mut out), Some(LinkId(3)));
        assert_eq!(path.mtu(), 9_000);
        assert_eq!(out[..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(out[6..12], [2, 0, 0, 0, 0, 1]);
        assert_eq!(out[12..22], [0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64]);
        assert_eq!(out[22..38], TEMPLATE.source.octets());
        assert_eq!(out[38..54], TEMPLATE.dest.octets());
        assert_eq!(out[54..62], [0, 0, 0x17, 0xc1, 0, 0, 0, 0]);
        assert_eq!(out[62..], [0, 0, 0x65, 0x58, 0, 0, 0, 0]);
    }

    #[test]
    fn an_unresolved_path_gives_a_blank_header_and_no_link() {
        let slab = made();
        let id = slab.current(0);
        slab.publish(
            id,
            &Template {
                next_hop: None,
                ..TEMPLATE
            },
        );
        let mut out = [0xaa; ENCAP_LEN];
        assert_eq!(slab.get(id).unwrap().write_header(&mut out), None);
        assert_eq!(out, BLANK);
        assert_eq!(slab.get(id).unwrap().mtu(), 9_000);
        assert!(!slab.take_used(0), "nothing was sent");
    }

    #[test]
    fn an_old_id_never_yields_the_slots_next_path() {
        let slab = made();
        let old = slab.current(7);
        slab.publish(old, &TEMPLATE);
        let held = slab.get(old).unwrap();
        slab.retire(old);
        assert!(slab.get(old).is_none());
        let new = slab.current(7);
        assert_ne!(old, new);
        assert_eq!(new.slot(), 7);
        slab.publish(new, &TEMPLATE);
        assert!(slab.get(new).is_some());
        // Somebody who found the path before it was retired.
        let mut out = [0; ENCAP_LEN];
        assert_eq!(held.write_header(&mut out), None);
    }

    #[test]
    fn lives_wrap_past_zero() {
        let slab = made();
        slab.retire(PathId::new(1, u16::MAX));
        assert_eq!(slab.current(1), PathId::new(1, 1));
        // A slot that was never used has no path, whatever the life asked for.
        assert!(slab.get(PathId::new(64, 1)).is_none());
    }

    #[test]
    fn use_is_seen_once() {
        let slab = made();
        let id = slab.current(33);
        slab.publish(id, &TEMPLATE);
        let mut out = [0; ENCAP_LEN];
        for _ in 0..3 {
            slab.get(id).unwrap().write_header(&mut out);
        }
        assert!(slab.take_used(33));
        assert!(!slab.take_used(33));
        assert!(!slab.take_used(34));
    }

    #[test]
    fn every_slot_has_a_place() {
        let slab = made();
        for slot in [0, 31, 32, u16::MAX] {
            let id = slab.current(slot);
            slab.publish(id, &TEMPLATE);
            assert!(slab.get(id).is_some(), "{slot}");
        }
    }
}
