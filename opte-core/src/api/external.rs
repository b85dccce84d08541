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
    #[serde(with = "beside")]
    pub nat: NatOptions,
}

impl ExternalIps {
    /// Whether there is any address.
    #[must_use]
    pub fn has_addresses(&self) -> bool {
        !(self.snat.is_empty() && self.ephemeral.is_empty() && self.floating.is_empty())
    }

    /// Every address, with the ports of it that are the guest's.
    pub(crate) fn claims(&self) -> impl Iterator<Item = Claim> {
        let whole = |field, address| Claim {
            field,
            address,
            first_port: 0,
            last_port: u16::MAX,
        };
        let snat = self.snat.iter().map(|snat| Claim {
            field: SNAT,
            address: snat.address,
            first_port: snat.first_port,
            last_port: snat.last_port,
        });
        let ephemeral = self.ephemeral.iter();
        let ephemeral = ephemeral.map(move |address| whole(EPHEMERAL, *address));
        let floating = self.floating.iter();
        let floating = floating.map(move |floating| whole(FLOATING, floating.address));
        snat.chain(ephemeral).chain(floating)
    }
}

/// Fields of a port that have external addresses.
pub(crate) const SNAT: &str = "external.snat";
pub(crate) const EPHEMERAL: &str = "external.ephemeral";
pub(crate) const FLOATING: &str = "external.floating";

/// An external address, and ports of it.
pub(crate) struct Claim {
    /// The port's field that has it.
    pub(crate) field: &'static str,
    pub(crate) address: IpAddr,
    pub(crate) first_port: u16,
    pub(crate) last_port: u16,
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
