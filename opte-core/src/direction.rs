//! Directions and layers: the two labels that every decision carries.

use crate::numbered::numbered;
use core::fmt;
use serde::{Deserialize, Serialize};

/// Which way a frame travels, as the guest sees it.
///
/// The numbers are part of the probe contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Direction {
    /// Towards the guest.
    In = 1,
    /// From the guest.
    Out = 2,
}

impl Direction {
    /// The number in probes.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }

    /// `in` or `out`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

numbered! {
    /// The layers of a port, in outbound order; inbound is the reverse.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum LayerId {
        /// Anti-spoofing and the replies that the virtual gateway makes.
        Gateway = 1 "gateway",
        /// Stateful allow and deny rules.
        Firewall = 2 "firewall",
        /// Longest-prefix routes of the VPC.
        Router = 3 "router",
        /// External addresses and port translation.
        Nat = 4 "nat",
        /// Virtual to physical mapping and encapsulation.
        Overlay = 5 "overlay",
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl core::str::FromStr for LayerId {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|layer| layer.name() == s)
            .ok_or("a layer is one of gateway, firewall, router, nat, overlay")
    }
}
