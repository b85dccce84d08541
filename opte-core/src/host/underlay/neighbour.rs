//! Neighbours on the underlay (RFC 4861 section 7).
//!
//! Purpose   the MAC address of a next hop, kept as fresh as its use asks
//!           for, and what waits until it is known.
//! Terms     state   as RFC 4861 section 7.3.2 names it, and UNREACHABLE of
//!                   RFC 7048: it doesn't answer, and is asked ever less often
//!           touch   a frame went to the neighbour
//! Flow                          touch               answer
//!             UNREACHABLE(idle) -----> INCOMPLETE ---------> REACHABLE
//!               ^                                             | 30 s
//!               | 3 x 1 s unanswered                          v
//!             PROBE <----- DELAY <------------------------- STALE
//!                     5 s            touch
//! Rules     N1  only a path makes a neighbour. What comes from the link
//!               changes neighbours that exist and makes none, so the link
//!               can't fill the table. (RFC 4861 section 7.2.3 lets a node
//!               make one for a solicitation; we answer without.)
//!           N2  the oldest frame gives way when a neighbour has as many
//!               waiting as it may (section 7.2.2). When all neighbours
//!               together have too many bytes waiting, this neighbour's own
//!               frames give way, and then the new frame is refused: one
//!               silent neighbour can't push out what waits for another.
//!           N3  the engine doesn't understand the guests' connections well
//!               enough to take them for proof that a neighbour is reachable;
//!               only its answers are.
//! Failure   an unanswered neighbour's frames are dropped with
//!           `NextHopUnresolved`, those that had to give way with
//!           `NextHopQueueFull`.

mod cache;

use super::path::PathId;
use crate::Instant;
use crate::verdict::LinkId;
use crate::wire::MacAddr;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
pub(super) use cache::Neighbours;
use core::net::Ipv6Addr;

/// Between two solicitations (`RETRANS_TIMER`).
const RETRANSMIT_MS: u64 = 1_000;
/// Solicitations without an answer before giving up
/// (`MAX_MULTICAST_SOLICIT`, `MAX_UNICAST_SOLICIT`).
const SOLICIT_MAX: u8 = 3;
/// For how long an answer proves that a neighbour is there (`REACHABLE_TIME`).
const REACHABLE_MS: u64 = 30_000;
/// Between the first use of a stale neighbour and the first question
/// (`DELAY_FIRST_PROBE_TIME`).
const DELAY_MS: u64 = 5_000;
/// Longest time between questions to a neighbour that is in use and doesn't
/// answer; they start at `RETRANSMIT_MS` and double (RFC 7048 section 3).
const UNREACHABLE_MS_MAX: u64 = 8_000;

/// What is known of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Being asked for, never answered.
    Incomplete,
    /// Answered lately.
    Reachable,
    /// Answered once.
    Stale,
    /// Stale and in use; about to be asked.
    Delay,
    /// Being asked whether it is still there.
    Probe,
    /// Didn't answer.
    Unreachable,
}

impl State {
    /// As RFC 4861 spells it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Unreachable => "UNREACHABLE",
        }
    }
}

/// A solicitation to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To the neighbour's solicited-node group.
    Group,
    /// To the neighbour itself.
    Direct(MacAddr),
}

/// What a timer asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// A solicitation.
    Ask(Ask),
    /// The neighbour has just become unreachable.
    Lost,
}

/// A neighbour advertisement that was checked (RFC 4861 section 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advert {
    /// The target link-layer address.
    pub(super) mac: Option<MacAddr>,
    /// It answers a solicitation of ours.
    pub(super) solicited: bool,
    /// It may replace the address that we have.
    pub(super) overrides: bool,
}

/// A frame that waits for its next hop.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The frame's path; it may have ended meanwhile.
    pub(super) path: PathId,
    /// The frame, its outer addresses still to be filled in.
    pub(super) frame: Box<[u8]>,
    /// How often it has waited.
    pub(super) turn: Turn,
}

/// How often a frame waits: for its next hop, and for the one that stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    Second,
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// Its link.
    pub(super) link: LinkId,
    /// Its address.
    pub(super) address: Ipv6Addr,
    /// What is known of it.
    pub(super) state: State,
    mac: Option<MacAddr>,
    /// When the state's timer runs out.
    timer: Option<Instant>,
    /// Solicitations without an answer.
    asked: u8,
    /// UNREACHABLE: it was touched since the last question.
    touched: bool,
    waiting: VecDeque<Waiting>,
    /// Paths that lead to it or would like to.
    uses: u32,
}

impl Neighbour {
    fn new(link: LinkId, address: Ipv6Addr) -> Self {
        Self {
            link,
            address,
            state: State::Unreachable,
            mac: None,
            timer: None,
            asked: 0,
            touched: false,
            waiting: VecDeque::new(),
            uses: 0,
        }
    }

    /// Where frames go, in every state in which they may.
    pub(super) fn mac(&self) -> Option<MacAddr> {
        match self.state {
            State::Incomplete | State::Unreachable => None,
            State::Reachable | State::Stale | State::Delay | State::Probe => self.mac,
        }
    }

    /// Whether it was asked and gave no answer. One that was never asked, or
    /// not for long, may be tried.
    pub(super) fn is_lost(&self) -> bool {
        self.state == State::Unreachable && self.timer.is_some()
    }

    /// Its MAC address as last known, whatever the state.
    pub(super) const fn last_mac(&self) -> Option<MacAddr> {
        self.mac
    }

    /// Frames that wait for it.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// A frame went to it, or wants to.
    pub(super) fn touch(&mut self, now: Instant) -> Option<Ask> {
        match self.state {
            State::Stale => {
                self.state = State::Delay;
                self.timer = Some(now.plus_millis(DELAY_MS));
                None
            }
            State::Unreachable if self.timer.is_none() => {
                self.state = State::Incomplete;
                self.asked = 1;
                self.timer = Some(now.plus_millis(RETRANSMIT_MS));
                Some(Ask::Group)
            }
            State::Unreachable => {
                self.touched = true;
                None
            }
            State::Incomplete | State::Reachable | State::Delay | State::Probe => None,
        }
    }

    /// The timer ran out.
    fn timeout(&mut self, now: Instant) -> Due {
        self.timer = None;
        match self.state {
            State::Reachable => self.state = State::Stale,
            State::Stale => {}
            State::Delay => {
                self.state = State::Probe;
                self.asked = 0;
                return self.ask_again(now);
            }
            State::Incomplete | State::Probe => return self.ask_again(now),
            State::Unreachable if self.touched => {
                self.touched = false;
                self.asked = self.asked.saturating_add(1);
                self.timer = Some(now.plus_millis(self.backoff_ms()));
                return Due::Ask(Ask::Group);
            }
            // Nobody wants it: the next touch starts from the beginning.
            State::Unreachable => {}
        }
        Due::Nothing
    }

    fn ask_again(&mut self, now: Instant) -> Due {
        if self.asked >= SOLICIT_MAX {
            self.state = State::Unreachable;
            self.asked = 0;
            self.touched = false;
            self.timer = Some(now.plus_millis(self.backoff_ms()));
            return Due::Lost;
        }
        self.asked = self.asked.saturating_add(1);
        self.timer = Some(now.plus_millis(RETRANSMIT_MS));
        Due::Ask(match (self.state, self.mac) {
            (State::Probe, Some(mac)) => Ask::Direct(mac),
            _ => Ask::Group,
        })
    }

    fn backoff_ms(&self) -> u64 {
        RETRANSMIT_MS
            .wrapping_shl(u32::from(self.asked.min(SOLICIT_MAX)))
            .min(UNREACHABLE_MS_MAX)
    }

    /// An advertisement came (RFC 4861 section 7.2.5).
    pub(super) fn advertised(&mut self, advert: Advert, now: Instant) {
        if matches!(self.state, State::Incomplete | State::Unreachable) {
            // Ethernet has addresses, so one without says nothing new.
            if let Some(mac) = advert.mac {
                self.learn(mac, advert.solicited, now);
            }
            return;
        }
        let other = advert.mac.is_some() && advert.mac != self.mac;
        if other && !advert.overrides {
            // Somebody else claims it: find out, but go on meanwhile.
            if self.state == State::Reachable {
                self.become_stale();
            }
        } else if advert.solicited {
            self.mac = advert.mac.or(self.mac);
            self.become_reachable(now);
        } else if other {
            self.mac = advert.mac;
            self.become_stale();
        }
    }

    /// A solicitation came that has the neighbour's MAC address
    /// (RFC 4861 section 7.2.3).
    pub(super) fn solicited_us(&mut self, mac: MacAddr) {
        if self.mac() != Some(mac) {
            self.mac = Some(mac);
            self.become_stale();
        }
    }

    fn learn(&mut self, mac: MacAddr, confirmed: bool, now: Instant) {
        self.mac = Some(mac);
        if confirmed {
            self.become_reachable(now);
        } else {
            self.become_stale();
        }
    }

    fn become_reachable(&mut self, now: Instant) {
        self.state = State::Reachable;
        self.timer = Some(now.plus_millis(REACHABLE_MS));
    }

    fn become_stale(&mut self) {
        self.state = State::Stale;
        self.timer = None;
    }
}

#[cfg(test)]
mod tests;
