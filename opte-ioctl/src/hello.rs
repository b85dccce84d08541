//! Who is there: the exchange that works between tools and drivers of any age.

use crate::envelope::{VERSION_MAX, VERSION_MIN};
use crate::serve::Driver;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// What a driver says of itself. Its payload never changes (C3 in `lib.rs`);
/// what is new is a capability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The driver's name, as `xded`.
    pub driver: String,
    /// The driver's version, as `0.1.0`.
    pub driver_version: String,
    /// Oldest version of the contract that it speaks.
    pub version_min: u16,
    /// Newest version of the contract that it speaks.
    pub version_max: u16,
    /// What it can do, as numbers; a reader skips those it doesn't know.
    pub capabilities: Vec<u16>,
}

impl Hello {
    pub(crate) fn of(driver: &Driver) -> Self {
        Self {
            driver: driver.name.into(),
            driver_version: driver.version.into(),
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            capabilities: CAPABILITIES.iter().map(|(number, _)| *number).collect(),
        }
    }
}

/// Every capability that this build knows. Append-only.
pub const CAPABILITIES: &[(u16, &str)] = &[
    // Long listings come in pages.
    (1, "paging"),
    // Whole setups are applied at once.
    (2, "apply"),
    // Ports with both IPv4 and IPv6.
    (3, "dual-stack"),
    // Floating addresses, by internet gateway.
    (4, "floating"),
    // Ephemeral addresses.
    (5, "ephemeral"),
    // Shared addresses with a port range.
    (6, "snat"),
    // External subnets without translation.
    (7, "attached-subnets"),
    // Transit prefixes, by direction.
    (8, "transit"),
    // Boundary tunnel end points by prefix.
    (9, "v2b"),
    // Any number of underlay links with equal-cost routes.
    (10, "underlay-routes"),
    // Settings of live ports and of the host.
    (40, "live-options"),
    // Named address sets, which rules ask for as `set=NAME`.
    (41, "address-sets"),
    // Groups: mappings, replication, memberships by command, IGMP and MLD.
    (50, "multicast"),
    // Mapping, filtering and pooling of translation.
    (70, "nat-options"),
];

/// The name of a capability, if this build knows it.
#[must_use]
pub fn capability_name(number: u16) -> Option<&'static str> {
    CAPABILITIES
        .iter()
        .find(|(known, _)| *known == number)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_numbered_in_order_and_named_once() {
        assert!(CAPABILITIES.is_sorted_by_key(|(number, _)| *number));
        for (number, name) in CAPABILITIES {
            let same = CAPABILITIES.iter().filter(|(other, _)| other == number);
            assert_eq!(same.count(), 1, "{number}");
            let twins = CAPABILITIES.iter().filter(|(_, other)| other == name);
            assert_eq!(twins.count(), 1, "{name}");
        }
        assert_eq!(capability_name(2), Some("apply"));
        assert_eq!(capability_name(0), None);
    }
}
