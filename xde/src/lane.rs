//! Lanes: what packets on one CPU work with.
//!
//! Any thread may take any lane; a hint keeps threads of different CPUs apart.
//! There are never more than [`LANES_MAX`], in a static, so that the allocator
//! can ask whether the thread that it serves holds one (rule L3). So is the lane
//! of ticks, which hold locks of the engine that packets wait for.

use crate::ddi::context;
use crate::ddi::mutex::{KernelMutex, is_mine};
use crate::device::{Shared, View};
use crate::{Engine, Mutex};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use lock_api::MutexGuard;

/// Lanes for packets. CPUs beyond share them.
const LANES_MAX: usize = 64;
/// Lanes of the engine besides those for packets: for commands and for ticks.
pub(crate) const OTHERS: usize = 2;

/// The engine's lane and a sight of the devices.
pub(crate) struct Lane {
    /// What the engine wants with every call.
    pub(crate) engine: opte_core::host::Lane<KernelMutex>,
    /// The devices.
    pub(crate) view: View,
}

impl Lane {
    /// Lane number `index` of the engine; `None` when somebody has it.
    pub(crate) fn new(engine: &Engine, index: usize, shared: &Arc<Shared>) -> Option<Self> {
        Some(Self {
            engine: engine.lane(index)?,
            view: shared.view(),
        })
    }
}

static TICKER: Mutex<Option<Lane>> = Mutex::new(None);
static LANES: [Mutex<Option<Lane>>; LANES_MAX] = [const { Mutex::new(None) }; LANES_MAX];
/// How many of them have something in them.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Lanes for packets that this system wants.
pub(crate) fn wanted() -> usize {
    context::cpus_max().min(LANES_MAX)
}

/// Puts the lanes in their places; packets and ticks may come from now on.
pub(crate) fn install(engine: &Engine, shared: &Arc<Shared>) {
    let lane = Lane::new(engine, wanted() + 1, shared);
    *TICKER.lock() = lane;
    let places = LANES.iter().take(wanted()).enumerate();
    for (index, place) in places {
        let lane = Lane::new(engine, index, shared);
        *place.lock() = lane;
    }
    COUNT.store(wanted(), Ordering::Release);
}

/// The lane of ticks, of which there is one at a time.
pub(crate) fn ticker() -> MutexGuard<'static, KernelMutex, Option<Lane>> {
    TICKER.lock()
}

/// Takes the lanes away. No packet or tick comes any more.
pub(crate) fn remove() {
    let lane = TICKER.lock().take();
    drop(lane);
    let count = COUNT.swap(0, Ordering::AcqRel);
    for place in LANES.iter().take(count) {
        let lane = place.lock().take();
        drop(lane);
    }
}

/// Has every lane see the current devices and ports, so that none keeps those
/// that are gone. Waits for packets that are being worked on, and for a tick.
pub(crate) fn renew(engine: &Engine) {
    let places = LANES.iter().take(COUNT.load(Ordering::Acquire));
    for place in places.chain([&TICKER]) {
        if let Some(lane) = &mut *place.lock() {
            lane.view.refresh();
            engine.refresh(&mut lane.engine);
        }
    }
}

/// A lane that is free, or the first that becomes free.
pub(crate) fn take() -> MutexGuard<'static, KernelMutex, Option<Lane>> {
    let count = COUNT.load(Ordering::Acquire).max(1);
    let first = context::cpu_hint().checked_rem(count).unwrap_or(0);
    let from = |index: usize| &LANES[index % LANES_MAX];
    let mut others = (first..count).chain(0..first).map(from);
    let free = others.find_map(Mutex::try_lock);
    free.unwrap_or_else(|| from(first).lock())
}

/// Whether the thread that asks holds a lane.
pub(crate) fn is_held_here() -> bool {
    let places = LANES.iter().take(COUNT.load(Ordering::Acquire));
    places.chain([&TICKER]).any(is_mine)
}
