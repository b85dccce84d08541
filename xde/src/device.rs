//! Devices: ports that we provide and links that we use.

use crate::ddi::kstat::Kstat;
use crate::ddi::log::{self, Level};
use crate::ddi::mac::{Client, Provider};
use crate::ddi::mutex::KernelMutex;
use crate::driver::Driver;
use crate::room::Wait;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering};
use once_cell::race::OnceBox;
use opte_core::api::{Name, PortId, PortSpec};
use opte_core::host::table;
use opte_core::limits::PORTS_MAX;
use opte_core::verdict::LinkId;
use opte_core::wire::MacAddr;

/// The current table of devices.
pub(crate) type Shared = table::Shared<KernelMutex, Device>;
/// What is there at one moment.
pub(crate) type Table = table::Table<Device>;
/// A lane's sight of it.
pub(crate) type View = table::View<KernelMutex, Device>;

/// Where packets come from and go to.
pub(crate) enum Device {
    /// A guest's side.
    Port(Port),
    /// An underlay link.
    Link(Link),
}

/// A port of the engine, and the guest's side of it.
pub(crate) struct Port {
    /// The engine's number for it.
    pub(crate) id: PortId,
    /// The guest's address.
    pub(crate) mac: MacAddr,
    /// Bytes of IP packet.
    mtu: AtomicU16,
    /// What MAC knows. A port that takes the place of one of the same name has
    /// the same.
    pub(crate) datalink: Arc<Datalink>,
}

impl Port {
    /// A port of the engine with this datalink.
    pub(crate) fn new(id: PortId, spec: &PortSpec, datalink: Arc<Datalink>) -> Self {
        Self {
            id,
            mac: spec.mac,
            mtu: AtomicU16::new(spec.mtu),
            datalink,
        }
    }

    /// Whether the datalink carries this port's packets, and not those of one
    /// that it takes the place of, or that took its place, or nobody's any more.
    pub(crate) fn has_datalink(&self) -> bool {
        self.datalink.port() == self.id
    }

    /// Bytes of IP packet.
    pub(crate) fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Remembers another MTU.
    pub(crate) fn set_mtu(&self, mtu: u16) {
        self.mtu.store(mtu, Ordering::Relaxed);
    }
}

/// A number that the engine gives to no port. What a guest sends as this one is
/// dropped and counted as `port_down`.
const NOBODY: PortId = PortId(u32::MAX);

// The numbers that it gives out are below.
const _: () = assert!(PORTS_MAX <= 1 << 31);

/// A datalink of ours, from `mac_register` to `mac_unregister`.
pub(crate) struct Datalink {
    /// Its name, and that of its ports.
    pub(crate) name: Name,
    /// The driver that it is of.
    pub(crate) driver: Arc<Driver>,
    /// The port that it is the guest's side of; [`NOBODY`] has it otherwise.
    port: AtomicU32,
    /// The address and MTU that MAC knows.
    mac: AtomicU64,
    mtu: AtomicU16,
    /// Whether MAC has started it, which it does while somebody uses it.
    in_use: AtomicBool,
    /// Whether a link has no room for what the guest sends.
    pub(crate) wait: Wait,
    /// Set as soon as MAC has given us its name for it.
    provider: OnceBox<Provider>,
    /// Its statistics.
    stats: OnceBox<[Option<Kstat>; 2]>,
}

impl Datalink {
    /// One that MAC doesn't know yet, for a port to be.
    pub(crate) fn new(spec: &PortSpec, driver: Arc<Driver>) -> Self {
        Self {
            name: spec.name,
            driver,
            port: AtomicU32::new(NOBODY.0),
            mac: AtomicU64::new(number(spec.mac)),
            mtu: AtomicU16::new(spec.mtu),
            in_use: AtomicBool::new(false),
            wait: Wait::none(),
            provider: OnceBox::new(),
            stats: OnceBox::new(),
        }
    }

    /// The port whose packets it carries, as who holds a lane sees it (rule R3 of
    /// `registry`).
    #[inline]
    pub(crate) fn port(&self) -> PortId {
        PortId(self.port.load(Ordering::Relaxed))
    }

    /// The address that MAC knows.
    pub(crate) fn mac(&self) -> MacAddr {
        let [_, _, mac @ ..] = self.mac.load(Ordering::Relaxed).to_be_bytes();
        MacAddr(mac)
    }

    /// The MTU that MAC knows.
    pub(crate) fn mtu(&self) -> u16 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Carries the packets of a port that is new, as this is.
    pub(crate) fn begin(&self, port: PortId) {
        self.port.store(port.0, Ordering::Relaxed);
    }

    /// Carries nobody's packets from now on.
    pub(crate) fn end(&self) {
        self.port.store(NOBODY.0, Ordering::Relaxed);
    }

    /// Carries the packets of `port` from now on, and tells MAC what is another
    /// thing with it. Sleeps.
    pub(crate) fn hand_to(&self, port: &Port) {
        self.begin(port.id);
        let before = self.mac.swap(number(port.mac), Ordering::Relaxed);
        if let Some(provider) = self.provider().filter(|_| before != number(port.mac)) {
            provider.set_address(port.mac);
        }
        if self.mtu() != port.mtu() {
            self.set_mtu(port.mtu());
        }
    }

    /// Tells MAC another MTU. Sleeps.
    pub(crate) fn set_mtu(&self, mtu: u16) {
        self.mtu.store(mtu, Ordering::Relaxed);
        let told = self.provider().map_or(Ok(()), |it| it.set_mtu(mtu));
        if let Err(errno) = told {
            let name = self.name.as_str();
            let text = format_args!("port {name}: its datalink keeps its MTU: error {errno}");
            log::say(Level::Warning, text);
        }
    }

    /// What MAC knows it by; `None` while it doesn't.
    #[inline]
    pub(crate) fn provider(&self) -> Option<&Provider> {
        self.provider.get()
    }

    /// MAC knows it.
    pub(crate) fn set_provider(&self, provider: Provider) {
        // It is registered once.
        let _ = self.provider.set(provider.into());
    }

    /// Keeps its statistics.
    pub(crate) fn set_stats(&self, stats: [Option<Kstat>; 2]) {
        // They are made once.
        let _ = self.stats.set(stats.into());
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

/// An address as a number.
fn number(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
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
