//! Devices: ports that we provide and links that we use.

use crate::ddi::kstat::Kstat;
use crate::ddi::mac::{Client, Provider};
use crate::ddi::mutex::KernelMutex;
use crate::driver::Driver;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use once_cell::race::OnceBox;
use opte_core::api::{Name, PortId};
use opte_core::host::table;
use opte_core::verdict::LinkId;
use opte_core::wire::MacAddr;

/// The current table of devices.
pub(crate) type Shared = table::Shared<KernelMutex, Device>;
/// A lane's sight of it.
pub(crate) type View = table::View<KernelMutex, Device>;

/// Where packets come from and go to.
pub(crate) enum Device {
    /// A guest's side.
    Port(Port),
    /// An underlay link.
    Link(Link),
}

/// A datalink of ours.
pub(crate) struct Port {
    /// The engine's number for it.
    pub(crate) id: PortId,
    /// Its name, and the datalink's.
    pub(crate) name: Name,
    /// The guest's address.
    pub(crate) mac: MacAddr,
    /// Bytes of IP packet.
    mtu: AtomicU16,
    /// Whether MAC has started it, which it does while somebody uses it.
    in_use: AtomicBool,
    /// The driver that it is of.
    pub(crate) driver: Arc<Driver>,
    /// Set as soon as MAC has given us its name for it.
    provider: OnceBox<Provider>,
    /// Its statistics.
    stats: OnceBox<Option<Kstat>>,
}

impl Port {
    /// A port that MAC doesn't know yet.
    pub(crate) fn new(
        id: PortId,
        name: Name,
        (mac, mtu): (MacAddr, u16),
        driver: Arc<Driver>,
    ) -> Self {
        Self {
            id,
            name,
            mac,
            mtu: AtomicU16::new(mtu),
            in_use: AtomicBool::new(false),
            driver,
            provider: OnceBox::new(),
            stats: OnceBox::new(),
        }
    }

    /// What MAC knows it by; `None` while it doesn't.
    pub(crate) fn provider(&self) -> Option<&Provider> {
        self.provider.get()
    }

    /// MAC knows it.
    pub(crate) fn set_provider(&self, provider: Provider) {
        // It is registered once.
        let _ = self.provider.set(provider.into());
    }

    /// Keeps its statistics.
    pub(crate) fn set_stats(&self, stats: Option<Kstat>) {
        // They are made once.
        let _ = self.stats.set(stats.into());
    }

    /// Bytes of IP packet.
    pub(crate) fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Remembers another MTU.
    pub(crate) fn set_mtu(&self, mtu: u16) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }

    /// Whether somebody uses the datalink.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// MAC has started or stopped it.
    pub(crate) fn set_in_use(&self, in_use: bool) {
        self.in_use.store(in_use, Ordering::Relaxed);
    }
}

/// A datalink of somebody else's.
pub(crate) struct Link {
    /// The engine's number for it.
    pub(crate) id: LinkId,
    /// The driver that it is of.
    pub(crate) driver: Arc<Driver>,
    /// Us, as MAC knows us on it.
    pub(crate) client: Client,
}
