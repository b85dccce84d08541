//! One side of a connection: what it has said, what the other side has
//! acknowledged of that, and how much it takes.

use crate::wire::packet::Segment;
use crate::wire::tcp::{Header, SynOptions, WINDOW_SCALE_MAX};

/// Bytes that one packet can carry at most, and the largest window without
/// scaling. What a window check allows beyond the letter of the RFC is this much.
const PACKET: u32 = 65_535;

/// What a SYN says about window scaling (RFC 7323 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Its options can't be read.
    Unknown,
    /// Its sender doesn't scale.
    Off,
    /// Its sender shifts windows by this many bits, if the other side scales too.
    Shift(u8),
}

impl Scale {
    /// Reads the options of a SYN. `transport` begins with its TCP header.
    #[must_use]
    pub fn read(transport: &[u8]) -> Self {
        let header = Header::parse(transport);
        let options = header.and_then(|(header, _)| SynOptions::parse(header.options));
        match options.map(|options| options.window_scale) {
            Ok(Some(shift)) => Self::Shift(shift.min(WINDOW_SCALE_MAX)),
            Ok(None) => Self::Off,
            Err(_) => Self::Unknown,
        }
    }
}

/// One side. Without padding, because every flow has two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed)]
pub(super) struct Side {
    /// Sequence number after the last byte (or SYN, or FIN) that it has sent.
    pub(super) end: u32,
    /// The first number that the other side hasn't acknowledged: never after
    /// what the other side expects next, and until the SYN is acknowledged, the SYN's.
    pub(super) una: u32,
    /// The largest window that it has offered: [`units`] before scaling.
    pub(super) window: u8,
    /// How far it shifts its windows, [`Side::UNSCALED`] if its SYN says nothing.
    scale: u8,
    said: u8,
}

impl Side {
    /// It has sent a SYN.
    pub(super) const SYN: u8 = 1;
    /// Its SYN is acknowledged.
    pub(super) const SYN_ACKED: u8 = 2;
    /// It has sent a FIN, which is the last before `end`.
    pub(super) const FIN: u8 = 4;
    /// Its FIN came before the other's.
    pub(super) const FIRST: u8 = 8;
    /// It has sent a SYN that isn't the connection's.
    pub(super) const ASKED: u8 = 16;
    /// Its windows aren't known, because its SYN wasn't seen or can't be read.
    pub(super) const UNSURE: u8 = 32;

    const UNSCALED: u8 = u8::MAX;

    /// A side that has said nothing.
    pub(super) const SILENT: Self = Self {
        end: 0,
        una: 0,
        window: 0,
        scale: 0,
        said: 0,
    };

    /// A side that sends `segment`, a SYN.
    pub(super) fn opening(segment: &Segment, scale: Scale) -> Self {
        let fresh = Self {
            end: segment.seq.wrapping_add(segment.len).wrapping_add(1),
            una: segment.seq,
            said: Self::SYN,
            ..Self::SILENT
        };
        match scale {
            Scale::Unknown => fresh.unsure(),
            Scale::Off => Self {
                window: units(segment.window),
                scale: Self::UNSCALED,
                ..fresh
            },
            // A SYN's own window is never scaled; the same in later terms.
            Scale::Shift(shift) => Self {
                window: units(segment.window.checked_shr(shift.into()).unwrap_or(0)),
                scale: shift,
                ..fresh
            },
        }
    }

    /// A side that is in the middle of something, and whose next number is `seq`.
    pub(super) fn joined(seq: u32) -> Self {
        Self {
            end: seq,
            una: seq,
            said: Self::SYN | Self::SYN_ACKED,
            ..Self::SILENT
        }
        .unsure()
    }

    /// With windows as large as they can be.
    pub(super) const fn unsure(self) -> Self {
        Self {
            window: u8::MAX,
            scale: WINDOW_SCALE_MAX,
            said: self.said | Self::UNSURE,
            ..self
        }
    }

    /// Both sides' SYNs are seen: both scale their windows, or none does (RFC 7323 section 1.3).
    pub(super) fn agree(&mut self, other: &mut Self) {
        if self.scale == Self::UNSCALED || other.scale == Self::UNSCALED {
            for side in [self, other] {
                if side.scale != Self::UNSCALED && side.scale > 0 {
                    // It has counted in larger units.
                    side.window = u8::MAX;
                }
                side.scale = Self::UNSCALED;
                side.unsay(Self::UNSURE);
            }
        }
    }

    #[inline(always)]
    pub(super) const fn has(&self, bits: u8) -> bool {
        self.said & bits == bits
    }

    pub(super) const fn say(&mut self, bits: u8) {
        self.said |= bits;
    }

    pub(super) const fn unsay(&mut self, bits: u8) {
        self.said &= !bits;
    }

    /// Whether it has closed its direction, and the other side knows.
    pub(super) const fn fin_acked(&self) -> bool {
        self.has(Self::FIN) && self.una == self.end
    }

    /// Bytes sent and not acknowledged.
    #[inline(always)]
    pub(super) const fn flight(&self) -> u32 {
        self.end.wrapping_sub(self.una)
    }

    /// The largest window that it has offered, in bytes, rounded up.
    fn reach(&self) -> u32 {
        let shift = match self.scale {
            Self::UNSCALED => 8,
            scale => u32::from(scale).saturating_add(8),
        };
        let units = u32::from(self.window).saturating_add(1);
        units.checked_shl(shift).unwrap_or(u32::MAX)
    }

    /// Whether it may send a segment that begins at `seq` now: not after the
    /// largest window that `receiver` has ever offered, which stays right when
    /// a window shrinks, and not more than a window before what is acknowledged.
    /// Keep-alives and window probes are inside of that, and so is whatever
    /// continues what has passed.
    pub(super) fn may_send(&self, seq: u32, receiver: &Self) -> bool {
        let reach = receiver.reach();
        let back = reach.max(PACKET);
        let ahead = reach.max(self.flight());
        let from = self.una.wrapping_sub(back);
        seq.wrapping_sub(from) <= back.saturating_add(ahead)
    }

    /// Whether `seq` is of the recent past.
    pub(super) fn is_past(&self, seq: u32, receiver: &Self) -> bool {
        self.una.wrapping_sub(seq) <= receiver.reach().max(PACKET)
    }

    /// Whether it may have sent `seq` at any time, in a copy that has been on
    /// its way for very long: a quarter of all numbers are before.
    pub(super) const fn may_have_sent(&self, seq: u32) -> bool {
        self.una.wrapping_sub(seq) < 1 << 30
    }

    /// Whether `receiver` may acknowledge `ack` of it: what it has sent, or
    /// in the past what it had sent (RFC 5961 section 5). A first fragment shows less
    /// than a packet's worth of what is sent, so there may be that much more.
    pub(super) fn may_be_acked(&self, ack: u32, receiver: &Self) -> bool {
        if !self.has(Self::SYN_ACKED) {
            let acked = ack.wrapping_sub(self.una);
            return acked != 0 && acked <= self.flight();
        }
        let reach = receiver.reach();
        let back = reach.max(PACKET);
        let ahead = match (self.has(Self::UNSURE), self.has(Self::FIN)) {
            (true, _) => reach.saturating_add(self.flight()),
            (false, true) => self.flight(),
            (false, false) => self.flight().saturating_add(PACKET),
        };
        let from = self.una.wrapping_sub(back);
        ack.wrapping_sub(from) <= back.saturating_add(ahead)
    }

    /// The other side acknowledges `ack`, which it may.
    pub(super) fn acknowledged(&mut self, ack: u32) {
        self.end = later(self.end, ack);
        self.una = later(self.una, ack);
        self.say(Self::SYN_ACKED);
    }

    /// It sends a segment, which it may. `other` has closed its direction or not.
    pub(super) fn sends(&mut self, segment: &Segment, other: &Self) {
        let end = segment.seq.wrapping_add(segment.len);
        if segment.has(Segment::FIN) {
            let end = end.wrapping_add(1);
            // The last FIN says where the stream ends; one that ends before
            // what is acknowledged is nonsense.
            if later(self.una, end) == end && !self.fin_acked() {
                if !self.has(Self::FIN) && !other.has(Self::FIN) {
                    self.say(Self::FIRST);
                }
                self.say(Self::FIN);
                self.end = end;
            }
        } else if end != self.end && later(self.end, end) == end && !self.fin_acked() {
            // Nothing follows a FIN: it wasn't one.
            self.unsay(Self::FIN | Self::FIRST);
            self.end = end;
        }
        self.window = self.window.max(units(segment.window));
    }

    /// Its SYN comes once more. Some systems leave options away by and by, and
    /// the other side may have taken either copy.
    pub(super) fn repeats(&mut self, segment: &Segment, scale: Scale) {
        let copy = Self::opening(segment, scale);
        let scaled = |side: &Self| (side.scale != Self::UNSCALED).then_some(side.scale);
        if scaled(&copy) > scaled(self) {
            (self.window, self.scale) = (copy.window, copy.scale);
        }
        self.end = later(self.end, copy.end);
    }
}

/// A window in units of 256 bytes, rounded down: `n` stands for less than `n + 1` of them.
#[inline(always)]
pub(super) const fn units(window: u16) -> u8 {
    let [high, _] = window.to_be_bytes();
    high
}

/// The later of two sequence numbers (RFC 9293 section 3.4).
#[inline(always)]
pub(super) const fn later(a: u32, b: u32) -> u32 {
    if b.wrapping_sub(a) < 1 << 31 { b } else { a }
}
