//! Addresses by which a guest is seen outside of its VPC.

use super::GatewayId;
use super::list::at_most;
use crate::limits::FLOATING_MAX;
use alloc::vec::Vec;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// A port's external addresses, of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExternalIps {
    /// Shared addresses with a range of ports; at most one per family.
    #[serde(deserialize_with = "at_most::<_, _, 2>")]
    pub snat: Vec<Snat>,
    /// Addresses that are the guest's alone, for outbound traffic when no
    /// floating address fits; at most one per family.
    #[serde(deserialize_with = "at_most::<_, _, 2>")]
    pub ephemeral: Vec<IpAddr>,
    /// Addresses that are the guest's alone.
    #[serde(deserialize_with = "at_most::<_, _, FLOATING_MAX>")]
    pub floating: Vec<Floating>,
    /// How the addresses are used.
    pub nat: NatOptions,
}

/// How a port's external addresses are used.
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

/// One address and a range of its ports, the rest of which others use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snat {
    /// The external address.
    pub address: IpAddr,
    /// First port (and ICMP echo identifier) of the range.
    pub first_port: u16,
    /// Last port of the range, itself included.
    pub last_port: u16,
}

/// A floating address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floating {
    /// The external address.
    pub address: IpAddr,
    /// The internet gateway that it belongs to; none for any gateway.
    #[serde(default)]
    pub gateway: Option<GatewayId>,
}
