//! One end of a connection by the letter of RFC 9293 section 3.10, for the model.
//!
//! Positions in the stream are 64 bits wide and start at zero with the SYN;
//! only segments have numbers that wrap.

use super::{Scale, State};
use crate::rng::Rng;
use crate::wire::packet::Segment;
use std::collections::BTreeMap;
use std::vec::Vec;

/// A segment and the scale option of a SYN.
pub(super) type Sent = (Segment, Scale);

/// Ticks before something is sent again.
const RETRANSMIT: u32 = 12;

#[derive(Debug)]
pub(super) struct End {
    pub(super) state: State,
    /// Whether it ended by a reset, sent or taken.
    pub(super) is_dead: bool,
    iss: u32,
    irs: u32,
    /// First position not acknowledged, next one to send, end of what may be sent.
    pub(super) una: i64,
    pub(super) nxt: i64,
    edge: i64,
    /// Bytes of the application, and whether it closes after them.
    pub(super) bytes: i64,
    pub(super) closes: bool,
    /// Next position expected, and the end of what it has offered to take.
    rcv: i64,
    offered: i64,
    /// What came early: start to end.
    early: BTreeMap<i64, i64>,
    fin: Option<i64>,
    /// Bytes that it would take now.
    pub(super) room: i64,
    offers_scale: Option<u8>,
    pub(super) shift: u8,
    peer_shift: u8,
    mss: i64,
    timer: u32,
}

impl End {
    pub(super) fn new(rng: &mut Rng, active: bool) -> Self {
        let scales = rng.below(4) > 0;
        Self {
            state: if active {
                State::SynSent
            } else {
                State::Listen
            },
            is_dead: false,
            iss: rng.pick(&[0, 7_000, u32::MAX, u32::MAX - 9_000, 0x7fff_fff0]),
            irs: 0,
            una: 0,
            nxt: i64::from(active),
            edge: 1,
            bytes: rng.pick(&[0, 1, 1_000, 30_000, 400_000]),
            closes: true,
            rcv: 0,
            offered: 0,
            early: BTreeMap::new(),
            fin: None,
            room: rng.pick(&[500, 4_000, 65_535, 200_000]),
            offers_scale: scales.then(|| rng.pick(&[0, 2, 7, 14])),
            shift: 0,
            peer_shift: 0,
            mss: rng.pick(&[536, 1_460, 9_000, 60_000]),
            timer: RETRANSMIT,
        }
    }

    /// Opens again, after all that it has sent before.
    pub(super) fn again(rng: &mut Rng, active: bool, before: &Self) -> Self {
        let iss = before.seq(before.nxt).wrapping_add(1_000);
        Self {
            iss,
            ..Self::new(rng, active)
        }
    }

    pub(super) fn seq(&self, position: i64) -> u32 {
        self.iss.wrapping_add(position as u32)
    }

    /// Whether a reset is exactly where it has to be.
    pub(super) fn obeys(&self, reset: &Segment) -> bool {
        reset.seq == self.irs.wrapping_add(self.rcv as u32)
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_dead || matches!(self.state, State::Closed | State::TimeWait)
    }

    fn end(&self) -> i64 {
        1 + self.bytes
    }

    /// A segment from `at`, with what of its SYN and FIN falls into it.
    fn segment(&mut self, flags: u8, at: i64, len: i64) -> Sent {
        let syn = flags & Segment::SYN != 0;
        let shift = if syn { 0 } else { self.shift };
        let window = (self.room >> shift).min(65_535);
        self.offered = self.offered.max(self.rcv + (window << shift));
        let ack = if flags & Segment::ACK != 0 {
            self.irs.wrapping_add(self.rcv as u32)
        } else {
            0
        };
        let segment = Segment {
            seq: self.seq(at),
            ack,
            len: len as u32,
            window: window as u16,
            flags,
        };
        (segment, self.offers_scale.map_or(Scale::Off, Scale::Shift))
    }

    fn ack(&mut self) -> Sent {
        self.segment(Segment::ACK, self.nxt, 0)
    }

    fn syn(&mut self) -> Sent {
        let ack = if self.state == State::SynSent {
            0
        } else {
            Segment::ACK
        };
        self.segment(Segment::SYN | ack, 0, 0)
    }

    /// Data from `at`, at most up to `to`; the FIN too if that is next and due.
    fn data(&mut self, at: i64, to: i64) -> Sent {
        let to = to.min(at + self.mss).min(self.end());
        let fin = self.closes && to == self.end();
        self.nxt = self.nxt.max(to + i64::from(fin));
        if fin {
            self.state = match self.state {
                State::Established => State::FinWait1,
                State::CloseWait => State::LastAck,
                other => other,
            };
        }
        let flags = if fin {
            Segment::ACK | Segment::FIN
        } else {
            Segment::ACK
        };
        self.segment(flags, at, (to - at).max(0))
    }

    /// Gives up at once.
    pub(super) fn abort(&mut self) -> Sent {
        self.is_dead = true;
        self.segment(Segment::RST | Segment::ACK, self.nxt, 0)
    }

    /// What it does by itself.
    pub(super) fn tick(&mut self, rng: &mut Rng) -> Vec<Sent> {
        let mut out = Vec::new();
        self.timer += 1;
        let is_late = self.timer >= RETRANSMIT;
        match self.state {
            _ if self.is_done() || self.state == State::Listen => return out,
            State::SynSent | State::SynReceived => {
                if is_late {
                    self.timer = 0;
                    out.push(self.syn());
                }
                return out;
            }
            _ => {}
        }
        if rng.below(8) == 0 {
            // The application reads, or doesn't; a window may shrink.
            self.room = rng.pick(&[0, 100, 5_000, 65_535, 300_000]);
            out.push(self.ack());
        }
        if rng.below(20) == 0 {
            // A keep-alive, without data or with a byte that is known.
            let len = i64::from(self.nxt > 1 && self.nxt <= self.end()) * rng.below(2) as i64;
            out.push(self.segment(Segment::ACK, self.nxt - 1, len));
        }
        let fin_sent = self.nxt > self.end();
        while self.nxt < self.edge && self.nxt < self.end() && rng.below(4) > 0 {
            let sent = self.data(self.nxt, self.edge);
            out.push(sent);
        }
        if !fin_sent && self.closes && self.nxt == self.end() && rng.below(4) == 0 {
            let sent = self.data(self.nxt, self.nxt);
            out.push(sent);
        } else if is_late && self.una < self.nxt {
            self.timer = 0;
            let to = self.una + 1 + rng.below(9_000) as i64;
            let sent = self.data(self.una, to.min(self.nxt));
            out.push(sent);
        } else if is_late && self.nxt < self.end() && self.edge <= self.nxt {
            // A window probe, of a byte or of what there is.
            self.timer = 0;
            let len = rng.pick(&[1, 1, 1_000]);
            let sent = self.data(self.nxt, self.nxt + len);
            out.push(sent);
        }
        out
    }

    /// What it answers to a segment.
    pub(super) fn take(&mut self, segment: &Segment, scale: Scale) -> Option<Sent> {
        let rst = segment.has(Segment::RST);
        let syn = segment.has(Segment::SYN);
        let ack = segment.has(Segment::ACK);
        let acked = self.una + i64::from(segment.ack.wrapping_sub(self.seq(self.una)) as i32);
        if self.is_dead || self.state == State::Closed {
            return (!rst).then(|| self.refuse(segment));
        }
        match self.state {
            State::Listen if rst => return None,
            State::Listen if ack || !syn => return Some(self.refuse(segment)),
            State::Listen => {
                self.synchronise(segment, scale);
                self.state = State::SynReceived;
                (self.nxt, self.timer) = (1, 0);
                return Some(self.syn());
            }
            State::SynSent => {
                if ack && !(1..=self.nxt).contains(&acked) {
                    return (!rst).then(|| self.refuse(segment));
                }
                if rst {
                    self.is_dead |= ack;
                    return None;
                }
                if !syn {
                    return None;
                }
                self.synchronise(segment, scale);
                if !ack {
                    self.state = State::SynReceived;
                    return Some(self.syn());
                }
                (self.una, self.state) = (1, State::Established);
                self.edge = 1 + i64::from(segment.window);
                return Some(self.ack());
            }
            _ => {}
        }
        self.take_synchronised(segment, acked)
    }

    fn take_synchronised(&mut self, segment: &Segment, acked: i64) -> Option<Sent> {
        let from = self.irs.wrapping_add(self.rcv as u32);
        let at = self.rcv + i64::from(segment.seq.wrapping_sub(from) as i32);
        let to = at + i64::from(segment.len);
        let is_past = to + i64::from(segment.has(Segment::FIN | Segment::SYN)) < self.rcv;
        let is_acceptable = !is_past && at <= self.offered.max(self.rcv);
        if segment.has(Segment::RST) {
            return match at == self.rcv {
                true => {
                    self.is_dead = true;
                    None
                }
                false => is_acceptable.then(|| self.ack()),
            };
        }
        if !is_acceptable || segment.has(Segment::SYN) {
            // A second SYN with the acknowledgement that is waited for counts
            // for that (RFC 9293 section 3.5, figure 8).
            let answers = segment.has(Segment::SYN) && segment.has(Segment::ACK);
            if answers && self.state == State::SynReceived && acked == 1 {
                // Which scales no window.
                self.acknowledged(acked, i64::from(segment.window));
            }
            return Some(self.ack());
        }
        if self.state == State::SynReceived && !(self.una + 1..=self.nxt).contains(&acked) {
            return Some(self.refuse(segment));
        }
        if acked > self.nxt {
            return Some(self.ack());
        }
        self.acknowledged(acked, i64::from(segment.window) << self.peer_shift);
        if segment.len > 0 {
            let end = self.early.entry(at).or_insert(to);
            *end = (*end).max(to);
        }
        if segment.has(Segment::FIN) {
            self.fin = Some(to);
        }
        while let Some((&at, &to)) = self.early.first_key_value() {
            if at > self.rcv {
                break;
            }
            self.rcv = self.rcv.max(to);
            self.early.pop_first();
        }
        if self.fin == Some(self.rcv) {
            self.rcv += 1;
            self.state = match self.state {
                State::Established | State::SynReceived => State::CloseWait,
                State::FinWait1 => State::Closing,
                State::FinWait2 => State::TimeWait,
                other => other,
            };
        }
        (segment.len > 0 || segment.has(Segment::FIN)).then(|| self.ack())
    }

    fn synchronise(&mut self, segment: &Segment, scale: Scale) {
        (self.irs, self.rcv) = (segment.seq, 1);
        if let (Some(own), Scale::Shift(other)) = (self.offers_scale, scale) {
            (self.shift, self.peer_shift) = (own, other);
        }
        self.edge = 1 + i64::from(segment.window);
    }

    fn acknowledged(&mut self, acked: i64, window: i64) {
        if acked < self.una {
            return;
        }
        if acked > self.una {
            self.timer = 0;
        }
        self.una = acked;
        self.edge = acked + window;
        if self.state == State::SynReceived {
            self.state = State::Established;
        }
        if self.una > self.end() {
            self.state = match self.state {
                State::FinWait1 => State::FinWait2,
                State::Closing => State::TimeWait,
                State::LastAck => State::Closed,
                other => other,
            };
        }
    }

    /// A reset for a segment that isn't wanted (RFC 9293 section 3.10.7.1).
    fn refuse(&self, segment: &Segment) -> Sent {
        let len = segment.len + u32::from(segment.has(Segment::SYN | Segment::FIN));
        let (flags, seq, ack) = match segment.has(Segment::ACK) {
            true => (Segment::RST, segment.ack, 0),
            false => (
                Segment::RST | Segment::ACK,
                0,
                segment.seq.wrapping_add(len),
            ),
        };
        let segment = Segment {
            seq,
            ack,
            flags,
            ..Segment::default()
        };
        (segment, Scale::Off)
    }
}
