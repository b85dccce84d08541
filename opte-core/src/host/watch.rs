//! Whether anybody watches the guests' traffic.
//!
//! Rules     W1  what fires with every packet is in two groups of probes. Asking
//!               for each probe of them would cost a lone packet a sixth of
//!               what it costs at all; so the groups are looked at when the host
//!               starts, with each tick and with each command, and a packet reads
//!               what was seen. Such probes begin to fire one tick after they
//!               are enabled; who can't wait sends any command and then knows.
//!           W2  the group only says whether to look closer: each event still
//!               asks for its own probe before its arguments are put together.

use crate::event::{Observer, Probe};
use crate::port::latency::FOLLOWING;
use crate::port::traffic::TRAFFIC;
use core::sync::atomic::{AtomicBool, Ordering};

/// What was watched when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Watch {
    traffic: AtomicBool,
    frames: AtomicBool,
}

impl Watch {
    /// Looks at who watches (rule W1).
    pub(super) fn look<O: Observer>(&self, observer: &O) {
        let any = |probes: &[Probe]| probes.iter().any(|probe| observer.enabled(*probe));
        self.traffic.store(any(TRAFFIC), Ordering::Relaxed);
        self.frames.store(any(FOLLOWING), Ordering::Relaxed);
    }

    /// Whether anybody watches the guests' traffic ([`crate::port::traffic`]).
    #[inline(always)]
    pub(super) fn traffic<O: Observer>(&self) -> bool {
        O::CAN_WATCH && self.traffic.load(Ordering::Relaxed)
    }

    /// Whether anybody watches frames come and go ([`crate::port::latency`]).
    #[inline(always)]
    pub(super) fn frames<O: Observer>(&self) -> bool {
        O::CAN_WATCH && self.frames.load(Ordering::Relaxed)
    }
}
