//! Packets: from MAC into the engine and on.
//!
//! Any context below LOCK_LEVEL. A chain is worked on with one lane and one
//! look at the clock; what comes of it leaves when the lane is free again.

use crate::ddi::mblk::{Message, ROOM, Received};
use crate::ddi::{context, kmem};
use crate::driver::Driver;
use crate::lane::{self, Lane};
use crate::outbox::Outbox;
use opte_core::api::PortId;
use opte_core::host::table::Source;
use opte_core::verdict::{LinkId, Verdict};

/// Packets that a guest sends.
pub(crate) fn from_guest(driver: &Driver, port: PortId, chain: Received) {
    let each = |lane: &mut Lane, message: &mut Message, now, out: &mut Outbox| {
        driver.engine.tx(&mut lane.engine, port, message, now, out)
    };
    work(driver, Some(port), chain, each);
}

/// Packets from an underlay link.
pub(crate) fn from_link(driver: &Driver, link: LinkId, chain: Received) {
    let each = |lane: &mut Lane, message: &mut Message, now, out: &mut Outbox| {
        message.forget_checksums();
        driver.engine.rx(&mut lane.engine, link, message, now, out)
    };
    work(driver, None, chain, each);
}

/// Takes packets through the engine and sends what comes of them.
fn work(
    driver: &Driver,
    from: Option<PortId>,
    mut chain: Received,
    each: impl Fn(&mut Lane, &mut Message, opte_core::Instant, &mut Outbox) -> Verdict,
) {
    // The outer headers go in front of what a guest sends.
    let room = if from.is_some() { ROOM } else { 0 };
    let mut outbox = Outbox::new();
    let mut taken = lane::take();
    let Some(lane) = &mut *taken else {
        // The driver is being detached; there are no devices.
        return;
    };
    lane.view.refresh();
    let now = context::now();
    while let Some(message) = chain.take(room) {
        let Some(mut message) = message.filter(|_| !kmem::is_low()) else {
            driver.count_no_memory();
            continue;
        };
        match each(lane, &mut message, now, &mut outbox) {
            Verdict::Link(link) => outbox.put(Source::Link(link), message),
            Verdict::Port(port) => outbox.put(Source::Port(port), message),
            Verdict::Consumed | Verdict::Held | Verdict::Dropped(_) => {}
        }
    }
    outbox.settle(&driver.engine, lane, from);
    drop(taken);
    outbox.send();
}
