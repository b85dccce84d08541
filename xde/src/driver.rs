//! The driver's state, from attach to detach.

use crate::control::Control;
use crate::ddi::kstat::Kstat;
use crate::ddi::mac::DeviceInfo;
use crate::ddi::{Errno, context, kmem};
use crate::device::Shared;
use crate::lane::{self, Lane};
use crate::outbox::Outbox;
use crate::probe::Probes;
use crate::stat::HostStats;
use crate::{Engine, room};
use alloc::boxed::Box;
use alloc::sync::{Arc, Weak};
use core::sync::atomic::{AtomicU64, Ordering};
use illumos_sys_hdrs::ENOMEM;
use opte_core::host::HostConfig;
use opte_ioctl::device::{HOST_STATS, STATS};

/// What the packet path, commands and ticks share.
pub(crate) struct Driver {
    /// The engine.
    pub(crate) engine: Engine,
    /// The devices.
    pub(crate) shared: Arc<Shared>,
    /// Commands.
    pub(crate) control: Control,
}

/// Packets of ours that were freed, or never made, because there was no memory.
/// Here, as those who make packets for the engine know nothing of a driver, of
/// which there is one.
static LOST: AtomicU64 = AtomicU64::new(0);

/// There was no memory for a packet.
#[cold]
pub(crate) fn count_no_memory() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// Packets that there was no memory for.
pub(crate) fn no_memory() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// A driver at work. Taken apart from top to bottom.
pub(crate) struct Attached {
    stats: Option<Kstat>,
    driver: Arc<Driver>,
    lanes: Lanes,
    /// Last, as everything else may have memory of it.
    reserve: kmem::Filled,
}

/// The driver of who is part of it; `None` while it is taken apart. The one place
/// where the language checks how many references to it there are.
#[inline(never)]
pub(crate) fn find(driver: &Weak<Driver>) -> Option<Arc<Driver>> {
    driver.upgrade()
}

/// The lanes that packets work with, while this is kept.
struct Lanes;

impl Drop for Lanes {
    fn drop(&mut self) {
        lane::remove();
    }
}

impl Attached {
    /// Makes the engine and all that is around it.
    pub(crate) fn new(instance: DeviceInfo) -> Result<Self, Errno> {
        let reserve = kmem::fill();
        let driver = Driver::new(instance)?;
        lane::install(&driver.engine, &driver.shared);
        let source = Box::new(HostStats::new(&driver));
        let stats = Kstat::show((STATS, 0, HOST_STATS), HostStats::names(), source);
        Ok(Self {
            stats,
            driver,
            lanes: Lanes,
            reserve,
        })
    }

    /// The driver.
    pub(crate) fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// Takes it apart. There are no devices, nobody has it open, and its ticks
    /// have ended.
    pub(crate) fn end(self) {
        let Self {
            stats,
            driver,
            lanes,
            reserve,
        } = self;
        drop(stats);
        drop(lanes);
        drop(driver);
        drop(reserve);
    }
}

impl Driver {
    fn new(instance: DeviceInfo) -> Result<Arc<Self>, Errno> {
        const NO_MEMORY: Errno = Errno::new(ENOMEM).unwrap();
        LOST.store(0, Ordering::Relaxed);
        let packets = lane::wanted();
        let config = HostConfig {
            seed: context::random_seed()?,
            lanes: packets + lane::OTHERS,
        };
        let engine = Engine::new(config, Probes);
        let shared: Arc<Shared> = Arc::default();
        let commands = Lane::new(&engine, packets, &shared).ok_or(NO_MEMORY)?;
        Ok(Arc::new_cyclic(|this: &Weak<Self>| Self {
            engine,
            shared,
            control: Control::new(Weak::clone(this), instance, commands),
        }))
    }

    /// What the time asks for. About every [`TICK_MS`], in a thread that may
    /// sleep.
    pub(crate) fn tick(&self) {
        kmem::refill();
        let mut outbox = Outbox::new();
        let mut taken = lane::ticker();
        if let Some(lane) = &mut *taken {
            lane.view.refresh();
            self.engine
                .tick(&mut lane.engine, context::now(), &mut outbox);
            outbox.settle(&self.engine, lane, None);
        }
        drop(taken);
        outbox.send(None);
        room::check(self);
        self.control.retry();
    }

    /// Has nobody keep devices and ports that are gone.
    pub(crate) fn renew(&self) {
        lane::renew(&self.engine);
    }
}

/// Milliseconds between two ticks.
pub(crate) const TICK_MS: u32 = 100;
