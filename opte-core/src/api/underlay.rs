//! The physical network as the operator configures it.

use super::Prefix;
use super::list::at_most;
use crate::limits::{LINK_MTU_MIN, LINKS_MAX, UNDERLAY_ROUTES_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;
use serde::{Deserialize, Serialize};

/// This host's place in the underlay. In the setup file, `[underlay]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderlaySpec {
    /// The host's tunnel address: where other hosts send Geneve to.
    pub address: Ipv6Addr,
    /// The links. Frames to one tunnel end point are spread over those that
    /// have an equally good route to it.
    #[serde(
        rename = "link",
        default,
        deserialize_with = "at_most::<_, _, LINKS_MAX>"
    )]
    pub links: Vec<LinkSpec>,
    /// Routes.
    #[serde(
        rename = "route",
        default,
        deserialize_with = "at_most::<_, _, UNDERLAY_ROUTES_MAX>"
    )]
    pub routes: Vec<UnderlayRoute>,
}

/// One underlay link. In the setup file, `[[underlay.link]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Name of the network device.
    pub name: String,
    /// Bytes of IP packet that the link carries.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
}

impl LinkSpec {
    /// What [`LinkSpec::mtu`] may be.
    pub(crate) fn mtu_range() -> String {
        alloc::format!("{LINK_MTU_MIN} to {}", u16::MAX)
    }
}

const fn default_mtu() -> u16 {
    9_000
}

/// One underlay route. Several routes for one destination share the flows
/// between them. In the setup file, `[[underlay.route]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderlayRoute {
    /// The destination, IPv6.
    pub dest: Prefix,
    /// The neighbour that forwards; none when the destination itself is a
    /// neighbour.
    #[serde(default)]
    pub via: Option<Ipv6Addr>,
    /// Name of the link.
    pub link: String,
}
