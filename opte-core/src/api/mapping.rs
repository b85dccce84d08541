//! From virtual addresses to the hosts behind them.

use super::Prefix;
use super::list::at_most;
use super::text::serde_text;
use crate::limits::V2B_ENDPOINTS_MAX;
use crate::wire::{MacAddr, Vni};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use core::{fmt, str::FromStr};
use serde::{Deserialize, Serialize};

/// Virtual to physical: where a guest's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V2p {
    /// The VPC.
    pub vni: Vni,
    /// The guest's address.
    pub address: IpAddr,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// Tunnel address of the guest's host.
    pub sled: Ipv6Addr,
}

/// Virtual to boundary: by which end points a prefix outside is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct V2b {
    /// The prefix outside.
    pub prefix: Prefix,
    /// The tunnel end points; one is chosen per flow.
    #[serde(deserialize_with = "at_most::<_, _, V2B_ENDPOINTS_MAX>")]
    pub endpoints: Vec<TunnelEndpoint>,
}

/// A boundary tunnel end point, `ADDRESS` or `ADDRESS,VNI` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelEndpoint {
    /// Its address on the underlay.
    pub address: Ipv6Addr,
    /// The VNI that it expects.
    pub vni: Vni,
}

/// The boundary VNI unless configured otherwise.
pub const BOUNDARY_VNI: u32 = 99;
/// Why nothing of this host's can have [`BOUNDARY_VNI`].
pub(crate) const OUTSIDE: &str = "what has this VNI comes from outside of every VPC";

impl FromStr for TunnelEndpoint {
    type Err = &'static str;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "a tunnel end point is an IPv6 address, or ADDRESS,VNI";
        let (address, vni) = match s.split_once(',') {
            Some((address, vni)) => (address, vni.parse()?),
            None => (s, Vni::new(BOUNDARY_VNI).ok_or(WHY)?),
        };
        Ok(Self {
            address: address.parse().map_err(|_| WHY)?,
            vni,
        })
    }
}

impl fmt::Display for TunnelEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.address, self.vni)
    }
}

serde_text!(
    TunnelEndpoint,
    (Ipv6Addr, u32),
    |endpoint| (endpoint.address, endpoint.vni.get()),
    |(address, vni)| Some(TunnelEndpoint {
        address,
        vni: Vni::new(vni)?
    }),
    "a tunnel end point with a 24-bit VNI"
);
