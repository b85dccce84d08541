//! Addresses by which a guest is seen outside of its VPC.

use super::list::at_most;
use super::nat::NatOptions;
use super::{GatewayId, beside};
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
    /// How the addresses are used. On the wire they have messages of their own.
    #[serde(with = "beside", skip_serializing_if = "beside::is_default")]
    pub nat: NatOptions,
}

impl ExternalIps {
    /// Whether there is any address.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        !(self.snat.is_empty() && self.ephemeral.is_empty() && self.floating.is_empty())
    }
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
