//! What guests leave to their device, done in software.
//!
//! A port's datalink offers checksums and cutting large TCP segments. No ordinary
//! NIC does either behind a tunnel's headers, and a guest on the same host may be
//! anything (a zone, a VM that wants its checksums right, a router). So both are
//! done here, for all of them:
//!
//! * a missing checksum before the engine sees the packet, since the gateway
//!   reads some and quotes others;
//! * cutting when the engine has decided where a large segment goes, so that it
//!   is decided about once (`opte_core::frame::Offload`).

use crate::ddi::mblk::Message;
use opte_core::frame::Frame;
use opte_core::wire::offload::Unfinished;

/// Does what the engine wants to have been done: the rest is done when it has
/// decided.
#[inline]
pub(crate) fn finish(message: &mut Message) {
    let offload = message.offload();
    if offload.checksum_partial && offload.segment_len == 0 {
        sum_up(message);
    }
}

/// Writes the checksum that a packet lacks.
#[inline(never)]
fn sum_up(message: &mut Message) {
    // What can't be read the engine drops, or it has no such checksum.
    if let Some(unfinished) = Unfinished::read(message.head(), message.frame_len(), 0) {
        let sum = message.sum(unfinished.headers(), unfinished.payload());
        unfinished.finish(message.head_mut(), sum);
    }
    message.set_finished();
}

/// Cuts a large segment with `outer` bytes of outer headers and hands on what
/// comes of it; false when there was no memory for all.
#[inline(never)]
pub(crate) fn cut(message: &Message, outer: usize, mut put: impl FnMut(Message)) -> bool {
    let read = Unfinished::read(message.head(), message.frame_len(), outer);
    let Some(unfinished) = read else {
        // The engine lets none pass that it can't read.
        return false;
    };
    let headers = unfinished.headers();
    let mut cuts = unfinished.cuts(message.offload().segment_len);
    cuts.all(|cut| {
        let start = headers.saturating_add(cut.start);
        let part = message.part(headers, start, cut.len);
        part.is_some_and(|mut part| {
            unfinished.write_cut(part.head_mut(), cut, message.sum(start, cut.len));
            put(part);
            true
        })
    })
}
