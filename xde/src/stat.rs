//! What `kstat` shows: the host's and each port's counters, drops by reason, and
//! what each layer of a port has and did.

use crate::ddi::kstat::Source;
use crate::driver::{self, Driver};
use alloc::sync::{Arc, Weak};
use core::ffi::CStr;
use opte_core::api::Name;
use opte_core::api::counter::{HOST, POOLS, TRAFFIC};
use opte_core::api::dump::Stats;
use opte_core::{DropReason, LayerId};

/// What hosts and ports have besides counters of the engine and drops.
const COMMON: [&CStr; 1] = [c"flows"];
/// What only the module knows.
const NO_MEMORY: [&CStr; 1] = [c"no_memory"];

/// The host's counters.
pub(crate) struct HostStats(Weak<Driver>);

impl HostStats {
    /// Of a driver.
    pub(crate) fn new(driver: &Arc<Driver>) -> Self {
        Self(Arc::downgrade(driver))
    }

    /// Their names.
    pub(crate) fn names() -> impl Iterator<Item = &'static CStr> + Clone {
        names(HOST.iter().chain(&NO_MEMORY))
    }
}

impl Source for HostStats {
    fn tell(&self, set: &mut dyn FnMut(&str, u64)) {
        let Some(driver) = driver::find(&self.0) else {
            return;
        };
        set("no_memory", driver::no_memory());
        if let Some(stats) = driver.engine.counted(None) {
            tell(&stats, set);
        }
    }
}

/// A port's counters.
pub(crate) struct PortStats(Weak<Driver>, Name);

impl PortStats {
    /// Of a port of a driver.
    pub(crate) fn new(driver: &Arc<Driver>, port: Name) -> Self {
        Self(Arc::downgrade(driver), port)
    }

    /// Their names.
    pub(crate) fn names() -> impl Iterator<Item = &'static CStr> + Clone {
        names(POOLS.as_flattened().iter())
    }
}

impl Source for PortStats {
    fn tell(&self, set: &mut dyn FnMut(&str, u64)) {
        let Some(driver) = driver::find(&self.0) else {
            return;
        };
        if let Some(stats) = driver.engine.counted(Some(&self.1)) {
            tell(&stats, set);
        }
    }
}

/// What the layers of a port have and did: one set for all, since the port's
/// flows are walked over to find out.
pub(crate) struct LayerStats(Weak<Driver>, Name);

/// The numbers of each layer.
macro_rules! per_layer {
    ($($layer:literal)+) => {
        [$([
            c_name(concat!($layer, "_rules_in\0")),
            c_name(concat!($layer, "_rules_out\0")),
            c_name(concat!($layer, "_flows\0")),
            c_name(concat!($layer, "_default_hits_in\0")),
            c_name(concat!($layer, "_default_hits_out\0")),
        ],)+]
    };
}

/// In the order of [`LayerId::ALL`].
const LAYER: [[&CStr; 5]; LayerId::ALL.len()] =
    per_layer! { "gateway" "firewall" "router" "nat" "overlay" };

/// A name with its zero as a C string.
const fn c_name(text: &'static str) -> &'static CStr {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(name) => name,
        Err(_) => panic!("no zero, or one inside"),
    }
}

impl LayerStats {
    /// Of a port of a driver.
    pub(crate) fn new(driver: &Arc<Driver>, port: Name) -> Self {
        Self(Arc::downgrade(driver), port)
    }

    /// Their names.
    pub(crate) fn names() -> impl Iterator<Item = &'static CStr> + Clone {
        LAYER.as_flattened().iter().copied()
    }
}

impl Source for LayerStats {
    fn tell(&self, set: &mut dyn FnMut(&str, u64)) {
        let layers = driver::find(&self.0);
        let layers = layers.and_then(|driver| driver.engine.counted_layers(&self.1));
        for (layer, names) in layers.iter().flatten().zip(LAYER) {
            let values = [
                layer.rules_in.into(),
                layer.rules_out.into(),
                layer.flows.into(),
                layer.default_hits_in,
                layer.default_hits_out,
            ];
            for (name, value) in names.iter().zip(values) {
                set(name.to_str().unwrap_or_default(), value);
            }
        }
    }
}

fn tell(stats: &Stats, set: &mut dyn FnMut(&str, u64)) {
    set("flows", stats.flows.into());
    for counter in stats.counters.iter().chain(&stats.drops) {
        set(&counter.name, counter.value);
    }
}

/// Names of common counters, more of them, and of drops.
fn names(
    more: impl Iterator<Item = &'static &'static CStr> + Clone,
) -> impl Iterator<Item = &'static CStr> + Clone {
    let drops = DropReason::ALL.iter().map(|reason| reason.c_name());
    let counters = COMMON.iter().chain(&TRAFFIC).chain(more);
    counters.copied().chain(drops)
}
