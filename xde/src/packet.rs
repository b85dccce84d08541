//! Packets: from MAC into the engine and on.
//!
//! Any context below LOCK_LEVEL. A chain is worked on with one lane and one
//! look at the clock, a group at a time; what comes of it leaves when the lane
//! is free again.

use crate::ddi::mblk::{Message, ROOM, Received};
use crate::ddi::{context, kmem};
use crate::device::Datalink;
use crate::driver::{Driver, count_no_memory};
use crate::finish::{cut, finish};
use crate::lane::{self, Lane};
use crate::outbox::Outbox;
use opte_core::Instant;
use opte_core::frame::Frame;
use opte_core::host::table::Source;
use opte_core::limits::ENCAP_LEN;
use opte_core::verdict::{LinkId, Verdict};

/// Packets that are worked on with one lane before they are sent: what the stack
/// has room for, and no more than a reserve of memory that is half empty (rule
/// A3 of `ddi::kmem`).
pub(crate) const GROUP: usize = 12;

/// Packets that a guest sends; gives back those that there is no room for
/// (rule W1 of `room`).
pub(crate) fn from_guest(datalink: &Datalink, mut chain: Received) -> Received {
    let driver = &*datalink.driver;
    while !chain.is_empty() && !datalink.is_waiting() {
        if chain.is_lone() {
            let each = |lane: &mut Lane, group: &mut [Message], now, outbox: &mut Outbox| {
                let (engine, lane) = (&driver.engine, &mut lane.engine);
                let port = datalink.port();
                for message in group {
                    finish(message);
                    let verdict = engine.tx(lane, port, message, now, outbox);
                    send(outbox, verdict, message);
                }
            };
            work::<1>(driver, Some(datalink), &mut chain, each);
        } else {
            let each = |lane: &mut Lane, group: &mut [Message], now, outbox: &mut Outbox| {
                let (engine, lane) = (&driver.engine, &mut lane.engine);
                let port = datalink.port();
                group.iter_mut().for_each(finish);
                let done = |message: &mut Message, verdict, outbox: &mut Outbox| {
                    send(outbox, verdict, message);
                };
                engine.tx_burst(lane, port, group, now, outbox, done);
            };
            work::<GROUP>(driver, Some(datalink), &mut chain, each);
        }
    }
    chain
}

/// Packets from an underlay link. MAC hands them over one by one.
pub(crate) fn from_link(driver: &Driver, link: LinkId, mut chain: Received) {
    while !chain.is_empty() {
        let each = |lane: &mut Lane, group: &mut [Message], now, outbox: &mut Outbox| {
            let (engine, lane) = (&driver.engine, &mut lane.engine);
            for message in group {
                let verdict = engine.rx(lane, link, message, now, outbox);
                send(outbox, verdict, message);
            }
        };
        work::<1>(driver, None, &mut chain, each);
    }
}

/// Takes a group of packets through the engine and sends what comes of them, on
/// behalf of the datalink `from` if they are a guest's.
///
/// Each size has a stack frame of its own: what a packet that is alone needs isn't
/// there under a group.
#[inline(never)]
fn work<const SIZE: usize>(
    driver: &Driver,
    from: Option<&Datalink>,
    chain: &mut Received,
    each: impl FnOnce(&mut Lane, &mut [Message], Instant, &mut Outbox),
) {
    let mut outbox = Outbox::new();
    let mut taken = lane::take();
    let Some(lane) = &mut *taken else {
        // The driver is being detached; there are no devices.
        return chain.free();
    };
    lane.view.refresh();
    let of_guest = from.is_some();
    // The outer headers go in front of what a guest sends.
    let room = if of_guest { ROOM } else { 0 };
    let mut group = [const { Message::NONE }; SIZE];
    let mut count = 0;
    for place in &mut group {
        match chain.take(room, of_guest) {
            None => break,
            Some(Some(message)) if !kmem::is_low() => {
                *place = message;
                count += 1;
            }
            // There is no memory for it, or soon won't be for others.
            Some(_) => {
                count_no_memory();
                break;
            }
        }
    }
    if let Some(group) = group.get_mut(..count)
        && !group.is_empty()
    {
        each(lane, group, context::now(), &mut outbox);
        outbox.settle(&driver.engine, lane, from.map(Datalink::port));
    }
    drop(taken);
    outbox.send(from);
}

/// Has a packet sent as the engine says, in parts if it is a large segment.
#[inline(always)]
fn send(outbox: &mut Outbox, verdict: Verdict, message: &mut Message) {
    let (to, outer) = match verdict {
        Verdict::Link(link) => (Source::Link(link), ENCAP_LEN),
        Verdict::Port(port) => (Source::Port(port), 0),
        Verdict::Consumed | Verdict::Held | Verdict::Dropped(_) => return,
    };
    let message = message.take();
    if message.offload().segment_len == 0 {
        outbox.put(to, message);
    } else if !cut(&message, outer, |part| outbox.put(to, part)) {
        count_no_memory();
    }
}
