//! Room: how a link that is full slows guests down.
//!
//! Terms     full      MAC has as many packets waiting for a NIC as it wants
//!           cookie    MAC's name for the queue that is full
//!           waiting   a datalink of ours whose packets we don't take: MAC keeps
//!                     them, and has the guest's sockets wait in turn
//!
//! Flow      [`Outbox::send`](crate::outbox::Outbox::send) -> mac_tx: full
//!           -> [`Datalink::wait_for`]; mc_tx gives back what it hasn't taken yet
//!           MAC's notification -> [`returned`] -> [`Datalink::go_on`]
//!           -> mac_tx_update: MAC sends what it kept
//!
//! Rules     W1  a packet that the engine has seen is never given back: it is
//!               counted, and its headers are those of the underlay. A chain
//!               is worked on in groups, so a link that is full is given at
//!               most a group more by each call of mc_tx. MAC queues it, up to
//!               a limit of its own, which is why nothing is queued here
//!               (`MAC_TX_NO_ENQUEUE` would ask for that).
//!           W2  only those wait who can: what a tick, a command or a link's
//!               packet has sent is dropped by a NIC without room.
//!           W3  room may come back between MAC's answer and [`Datalink::wait_for`],
//!               so that looks again. A notification that never comes, also
//!               because the link is closed, is made up for by the next tick
//!               ([`check`]).
//!           W4  a datalink goes on by way of mac_tx_update, always: another CPU may
//!               have given packets back meanwhile. To go on without reason is
//!               harmless: a link that is full says so again.

use crate::ddi::mac::Cookie;
use crate::device::{Datalink, Device, Link, Table};
use crate::driver::Driver;
use core::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use opte_core::host::table::Source;
use opte_core::verdict::LinkId;

/// What a datalink waits for. Two CPUs that make it wait for different links may
/// leave a mixture; then no link's notification or a wrong one fits, and a tick
/// finds that the queue isn't full (rule W3).
#[derive(Debug)]
pub(crate) struct Wait {
    link: AtomicU16,
    /// Zero while it doesn't wait.
    cookie: AtomicUsize,
}

impl Wait {
    /// For nothing.
    pub(crate) const fn none() -> Self {
        Self {
            link: AtomicU16::new(0),
            cookie: AtomicUsize::new(0),
        }
    }

    fn get(&self) -> Option<(LinkId, Cookie)> {
        let cookie = Cookie::new(self.cookie.load(Ordering::Acquire))?;
        Some((LinkId(self.link.load(Ordering::Relaxed)), cookie))
    }
}

impl Datalink {
    /// Whether the guest's packets aren't taken for now.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        self.wait.cookie.load(Ordering::Relaxed) != 0
    }

    /// Takes no packets until the link has room again. With no lock held
    /// (rule L1).
    pub(crate) fn wait_for(&self, link: &Link, cookie: Cookie) {
        self.wait.link.store(link.id.0, Ordering::Relaxed);
        self.wait.cookie.store(cookie.get(), Ordering::SeqCst);
        if !link.client.is_full(cookie) {
            self.go_on();
        }
    }

    /// Takes packets again, and has MAC send those that it kept (rule W4).
    fn go_on(&self) {
        let waited = self.wait.cookie.swap(0, Ordering::SeqCst) != 0;
        if let Some(provider) = self.provider().filter(|_| waited) {
            provider.has_room();
        }
    }
}

/// MAC says that a link has room again. Any context, no lock held.
pub(crate) fn returned(link: &Link) {
    let table = link.driver.shared.table();
    for (datalink, (id, _)) in waiting(&table) {
        if id == link.id {
            datalink.go_on();
        }
    }
}

/// Has datalinks go on whose link has room, or is gone (rule W3).
pub(crate) fn check(driver: &Driver) {
    let table = driver.shared.table();
    for (datalink, (id, cookie)) in waiting(&table) {
        let link = table.get(Source::Link(id)).map(|device| &**device);
        let is_full = match link {
            Some(Device::Link(link)) => link.client.is_full(cookie),
            _ => false,
        };
        if !is_full {
            datalink.go_on();
        }
    }
}

/// The datalinks that wait, and what for.
fn waiting(table: &Table) -> impl Iterator<Item = (&Datalink, (LinkId, Cookie))> {
    table.ports().filter_map(|device| match &**device {
        Device::Port(port) => Some((&*port.datalink, port.datalink.wait.get()?)),
        Device::Link(_) => None,
    })
}
