//! The state that a host is to be in.

use super::{PortSpec, UnderlaySpec, V2b, V2p};
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
    pub v2p: Vec<V2p>,
    /// Virtual to boundary mappings.
    pub v2b: Vec<V2b>,
    /// Ports.
    #[serde(rename = "port")]
    pub ports: Vec<PortSpec>,
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
