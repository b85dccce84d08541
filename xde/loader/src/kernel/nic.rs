//! NICs: what they have room for, and what MAC keeps when they have none.

use super::Kernel;
use super::mac::{handle, receive};
use crate::context;
use illumos_sys_hdrs::{self as sys, mblk_t};
use std::collections::VecDeque;
use std::ffi::c_void;

/// A NIC as far as its room goes.
#[derive(Default)]
pub(crate) struct Nic {
    /// Packets that it takes before it is full; without limit if `None`.
    pub(crate) room: Option<usize>,
    /// Packets that MAC keeps for it.
    pub(crate) queue: VecDeque<Vec<u8>>,
    /// Whether it has room again as soon as anybody asks.
    pub(crate) blinks: bool,
}

impl Nic {
    /// Whether MAC keeps packets, which is how it says that the NIC is full.
    pub(crate) fn is_full(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes a packet if there is room and nothing waits.
    fn takes_one(&mut self) -> bool {
        match &mut self.room {
            _ if !self.queue.is_empty() => false,
            None => true,
            Some(0) => false,
            Some(room) => {
                *room -= 1;
                true
            }
        }
    }

    /// What goes out when there is this much room.
    pub(crate) fn make_room(&mut self, room: Option<usize>) -> Vec<Vec<u8>> {
        let goes = room.unwrap_or(usize::MAX).min(self.queue.len());
        self.room = room.map(|room| room - goes);
        self.queue.drain(..goes).collect()
    }
}

pub(super) unsafe extern "C" fn mac_tx(
    mch: *mut c_void,
    chain: *mut mblk_t,
    _: usize,
    flags: u16,
    _: *mut *mut mblk_t,
) -> usize {
    let kernel = context::kernel();
    kernel.no_locks("mac_tx");
    let Some(link) = link_of(&kernel, mch) else {
        kernel.violated("mac_tx by no client");
        receive(&kernel, "", chain);
        return 0;
    };
    if flags & !sys::MAC_DROP_ON_NO_DESC != 0 {
        kernel.violated("mac_tx in a way that the rules don't have");
    }
    let count = |change: fn(&mut usize)| {
        if let Some(client) = kernel.state().net.clients.get_mut(&handle(mch)) {
            change(&mut client.sending);
        }
    };
    count(|sending| *sending += 1);
    let mut flows = Vec::new();
    let mut kept = false;
    for message in kernel.take_apart(chain) {
        let bytes = kernel.bytes(message);
        flows.push(outer_flow(&bytes));
        if kernel.state().net.nic(&link).takes_one() {
            receive(&kernel, &link, message);
            continue;
        }
        kernel.free_message(message);
        if flags & sys::MAC_DROP_ON_NO_DESC == 0 {
            kernel.state().net.nic(&link).queue.push_back(bytes);
            kept = true;
        } else {
            kernel.state().net.dropped += 1;
        }
    }
    count(|sending| *sending -= 1);
    flows.dedup();
    if flows.len() > 1 {
        kernel.violated("mac_tx of packets of several flows");
    }
    if kept { mch.addr() } else { 0 }
}

/// What tells flows on the underlay apart: addresses and ports behind an
/// Ethernet header and IPv6's, or whatever is there.
fn outer_flow(frame: &[u8]) -> Vec<u8> {
    frame.get(22..58).unwrap_or(frame).to_vec()
}

/// The link of a client.
fn link_of(kernel: &Kernel, mch: *mut c_void) -> Option<String> {
    let state = kernel.state();
    let client = state.net.clients.get(&handle(mch));
    let client = client.filter(|client| client.client);
    client.map(|client| client.link.clone())
}

pub(super) unsafe extern "C" fn mac_tx_is_flow_blocked(mch: *mut c_void, cookie: usize) -> i32 {
    let kernel = context::kernel();
    let Some(link) = link_of(&kernel, mch) else {
        kernel.violated("mac_tx_is_flow_blocked by no client");
        return sys::B_FALSE;
    };
    let mut state = kernel.state();
    let nic = state.net.nic(&link);
    let blinked = if nic.blinks {
        nic.make_room(None)
    } else {
        Vec::new()
    };
    let is_full = cookie == mch.addr() && nic.is_full();
    let blinked = blinked.into_iter().map(|bytes| (link.clone(), bytes));
    state.net.sent.extend(blinked);
    i32::from(is_full)
}

pub(super) unsafe extern "C" fn mac_tx_update(mh: *mut c_void) {
    let kernel = context::kernel();
    kernel.no_locks("mac_tx_update");
    let known = kernel
        .state()
        .net
        .providers
        .get_mut(&handle(mh))
        .map(|provider| provider.resumed = true);
    if known.is_none() {
        kernel.violated("mac_tx_update of what isn't registered");
    }
}
