//! The engine's table of devices, as this shell uses it.

use super::Device;
use crate::engine::Lock;
use opte_core::host::table;

/// All devices at one moment.
pub(crate) type Table = table::Table<Device>;

/// The current table, for every thread.
pub(crate) type Shared = table::Shared<Lock, Device>;

/// One thread's sight of the devices.
pub(crate) type View = table::View<Lock, Device>;
