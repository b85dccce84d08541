//! How a port's external addresses are used.

use super::{Name, PortSpec};
use crate::layer::nat::Transport;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// How a port's external addresses are used. In the setup file, `nat` in the
/// table of external addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatOptions {
    /// On what of the far end a port of a shared address depends (RFC 4787
    /// section 4.1). A port that depends on more than nothing serves several
    /// far ends at once, so that a range carries more flows than it has ports.
    pub mapping: Behaviour,
    /// What of the far end the guest must have sent to, for it to be let in by
    /// a port of a shared address (RFC 4787 section 5). The firewall decides
    /// besides.
    pub filtering: Behaviour,
    /// Which of several floating addresses a new flow of the guest gets.
    pub pooling: Pooling,
}

/// On what of the far end translation depends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// On nothing.
    #[default]
    EndpointIndependent,
    /// On its address.
    AddressDependent,
    /// On its address and port.
    AddressAndPortDependent,
}

/// Which of several addresses a flow gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// All flows of the guest get the same one, as long as it is there (RFC
    /// 4787 REQ-2).
    #[default]
    Paired,
    /// All flows of one socket get the same one; sockets spread.
    Arbitrary,
}

/// A change of [`NatOptions`]: what isn't there stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatChange {
    /// See [`NatOptions::mapping`].
    pub mapping: Option<Behaviour>,
    /// See [`NatOptions::filtering`].
    pub filtering: Option<Behaviour>,
    /// See [`NatOptions::pooling`].
    pub pooling: Option<Pooling>,
}

/// The options of one port of a setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortNat {
    /// The port.
    pub port: Name,
    /// Its options.
    pub options: NatOptions,
}

/// A port's translation as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatEntry {
    /// Counts configuration changes of the port.
    pub generation: u64,
    /// How the addresses are used.
    pub options: NatOptions,
    /// The pools of the shared addresses.
    pub pools: Vec<PoolEntry>,
}

/// How full a pool is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolEntry {
    /// The shared address.
    pub address: IpAddr,
    /// What of it is mapped.
    pub transport: Transport,
    /// Mappings: of as many ports, unless one port serves several far ends.
    pub mappings: u32,
    /// Ports that rest after their last flow.
    pub resting: u32,
    /// Ports in all.
    pub ports: u32,
}

impl PortNat {
    /// A port's options, if they aren't the default ones.
    #[must_use]
    pub fn of(port: &PortSpec) -> Option<Self> {
        let options = port.external.nat;
        (options != NatOptions::default()).then_some(Self {
            port: port.name,
            options,
        })
    }
}

impl NatChange {
    /// Everything.
    #[must_use]
    pub const fn to(options: NatOptions) -> Self {
        Self {
            mapping: Some(options.mapping),
            filtering: Some(options.filtering),
            pooling: Some(options.pooling),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The options after the change.
    #[must_use]
    pub fn apply(&self, options: NatOptions) -> NatOptions {
        NatOptions {
            mapping: self.mapping.unwrap_or(options.mapping),
            filtering: self.filtering.unwrap_or(options.filtering),
            pooling: self.pooling.unwrap_or(options.pooling),
        }
    }
}

impl Behaviour {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::EndpointIndependent, "endpoint-independent"),
        (Self::AddressDependent, "address-dependent"),
        (Self::AddressAndPortDependent, "address-and-port-dependent"),
    ];
}

impl Pooling {
    const NAMES: [(Self, &'static str); 2] =
        [(Self::Paired, "paired"), (Self::Arbitrary, "arbitrary")];
}

macro_rules! text {
    ($type:ident, $why:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Self::NAMES.iter().find(|(value, _)| value == self);
                f.pad(name.map_or("", |(_, name)| name))
            }
        }

        impl FromStr for $type {
            type Err = &'static str;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let value = Self::NAMES.iter().find(|(_, name)| *name == text);
                value.map(|(value, _)| *value).ok_or($why)
            }
        }
    };
}

text!(
    Behaviour,
    "it is endpoint-independent, address-dependent or address-and-port-dependent"
);
text!(Pooling, "it is paired or arbitrary");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ExternalIps;
    use std::string::ToString;

    #[test]
    fn names_are_those_of_the_setup_file() {
        for (value, name) in Behaviour::NAMES {
            assert_eq!((name.parse(), value.to_string()), (Ok(value), name.into()));
            let options: NatOptions =
                toml::from_str(&std::format!("mapping = \"{name}\"")).unwrap();
            assert_eq!(options.mapping, value);
        }
        for (value, name) in Pooling::NAMES {
            assert_eq!((name.parse(), value.to_string()), (Ok(value), name.into()));
            let options: NatOptions =
                toml::from_str(&std::format!("pooling = \"{name}\"")).unwrap();
            assert_eq!(options.pooling, value);
        }
        assert!("symmetric".parse::<Behaviour>().is_err());
    }

    #[test]
    fn options_are_in_files_and_beside_the_addresses_on_the_wire() {
        let text = "nat = { mapping = \"address-dependent\", pooling = \"arbitrary\" }";
        let external: ExternalIps = toml::from_str(text).unwrap();
        assert_eq!(external.nat.mapping, Behaviour::AddressDependent);
        let founding = postcard::to_allocvec(&ExternalIps::default()).unwrap();
        assert_eq!(postcard::to_allocvec(&external).unwrap(), founding);
        let back: ExternalIps = postcard::from_bytes(&founding).unwrap();
        assert_eq!(back, ExternalIps::default());
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let change = NatChange {
            filtering: Some(Behaviour::AddressDependent),
            ..NatChange::default()
        };
        let before = NatOptions {
            mapping: Behaviour::AddressAndPortDependent,
            ..NatOptions::default()
        };
        let after = change.apply(before);
        assert_eq!(after.mapping, before.mapping);
        assert_eq!(after.filtering, Behaviour::AddressDependent);
        assert_eq!(NatChange::to(after).apply(before), after);
        assert!(NatChange::default().is_empty() && !change.is_empty());
    }
}
