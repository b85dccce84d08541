//! What comes of a frame besides its own verdict.
//!
//! Purpose   an answer to the far side, and a fragment that waited for its
//!           first one, are frames of their own that go their own way, perhaps
//!           through another port. They do so when the frame that they come of
//!           has ended: a kernel's stack has no room for one packet's work
//!           inside of another's.
//! Rules     R1  errands are run in their order, before the frame's verdict is
//!               given (`Host::finish`). Nobody else runs them.
//!           R2  what an errand would give rise to itself is let go, so that no
//!               frame can make a chain of ports speak.
//!
//! One frame puts one answer here at most, and no more fragments than are kept
//! of a datagram.

use super::Onward;
use crate::api::PortId;
use crate::limits::ENCAP_LEN;
use crate::wire::geneve::Replication;
use crate::wire::packet::Packet;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

/// Bytes in front of an errand's frame: room for the outer headers, with the
/// option that copies for a group have.
pub(crate) const ROOM: usize = ENCAP_LEN + Replication::OPTION_LEN;

/// A frame that a port sends by itself.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) port: PortId,
    /// What it says.
    pub(crate) packet: Packet,
    /// Where it goes; none when it is to the members of its group.
    pub(crate) onward: Option<Onward>,
    /// [`ROOM`], and the frame, edited already.
    pub(crate) frame: Vec<u8>,
}

/// What is to be done. Each lane has its own.
#[derive(Debug, Default)]
pub(crate) struct Errands {
    waiting: RefCell<Vec<Errand>>,
    /// Whether some are being done (rule R2).
    busy: Cell<bool>,
}

impl Errands {
    /// Has a frame sent later.
    pub(crate) fn put(&self, errand: Errand) {
        if !self.busy.get()
            && let Ok(mut waiting) = self.waiting.try_borrow_mut()
        {
            waiting.push(errand);
        }
    }

    /// Whether there is something to be done.
    #[inline(always)]
    pub(crate) fn is_any(&self) -> bool {
        self.waiting
            .try_borrow()
            .is_ok_and(|waiting| !waiting.is_empty())
    }

    /// Does what there is to be done.
    pub(crate) fn run(&self, work: impl FnMut(Errand)) {
        let waiting = self.waiting.try_borrow_mut();
        let waiting = waiting.map_or_else(|_| Vec::new(), |mut all| core::mem::take(&mut *all));
        self.busy.set(true);
        waiting.into_iter().for_each(work);
        self.busy.set(false);
    }
}
