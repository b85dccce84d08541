//! The state that a host is to be in.

use super::list::at_most;
use super::{MulticastSpec, PortSpec, UnderlaySpec, V2b, V2p};
use crate::limits::{PORTS_MAX, V2B_MAX, V2P_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// All of a host's configuration: the setup file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// The physical network; none for a host without one.
    pub underlay: Option<UnderlaySpec>,
    /// Virtual to physical mappings.
    #[serde(deserialize_with = "at_most::<_, _, V2P_MAX>")]
    pub v2p: Vec<V2p>,
    /// Virtual to boundary mappings.
    #[serde(deserialize_with = "at_most::<_, _, V2B_MAX>")]
    pub v2b: Vec<V2b>,
    /// Groups, their members and where their frames go.
    pub multicast: MulticastSpec,
    /// Ports.
    #[serde(rename = "port", deserialize_with = "at_most::<_, _, PORTS_MAX>")]
    pub ports: Vec<PortSpec>,
}

/// What applying a setup changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The host's configuration generation afterwards.
    pub generation: u64,
    /// What changed, in the order in which it was done; the first
    /// [`crate::limits::CHANGES_MAX`] of it. Empty when nothing had to.
    pub changes: Vec<Change>,
    /// How many changes more there were.
    pub more: u64,
}

/// One thing that applying a setup changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What was done.
    pub verb: ChangeVerb,
    /// To what, as `port guest0` or `v2p 7 10.0.0.1`.
    pub object: String,
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeVerb {
    /// It is new.
    Add,
    /// It is gone.
    Remove,
    /// It is different.
    Change,
}
