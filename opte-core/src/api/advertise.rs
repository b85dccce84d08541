//! What router advertisements say (RFC 4861 section 6.2.1).

use super::Prefix;
use crate::limits::{ADVERTISE_INTERVAL_S_MAX, ADVERTISE_INTERVAL_S_MIN};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// What a port's gateway says of itself as an IPv6 router, besides its MTU and
/// what DHCP says too. In the setup file, `[port.advertise]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Advertise {
    /// Whether the guest is to get its address by DHCPv6.
    pub managed: bool,
    /// Whether the guest is to get everything else by DHCPv6.
    pub other: bool,
    /// Most seconds between two advertisements that nobody asked for.
    pub interval_s: u16,
    /// Seconds for which the gateway is a default router, zero for never;
    /// three intervals when absent.
    pub lifetime_s: Option<u16>,
    /// A prefix of the guest's link. Without one the guest is alone on it.
    pub prefix: Option<AdvertisedPrefix>,
}

impl Default for Advertise {
    fn default() -> Self {
        Self {
            managed: true,
            other: true,
            interval_s: 600,
            lifetime_s: None,
            prefix: None,
        }
    }
}

impl Advertise {
    /// What [`Advertise::interval_s`] may be.
    pub(crate) fn interval_range() -> String {
        alloc::format!("{ADVERTISE_INTERVAL_S_MIN} to {ADVERTISE_INTERVAL_S_MAX}")
    }

    /// Seconds for which the gateway is a default router.
    #[must_use]
    pub fn lifetime_s(&self) -> u16 {
        self.lifetime_s
            .unwrap_or_else(|| self.interval_s.saturating_mul(3))
    }
}

/// A prefix that the gateway advertises (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdvertisedPrefix {
    /// The prefix; IPv6.
    pub prefix: Prefix,
    /// Whether its addresses are neighbours. The gateway answers for them.
    #[serde(default)]
    pub on_link: bool,
    /// Whether the guest makes addresses of it (RFC 4862). It may send from
    /// them only where it may send from the prefix.
    #[serde(default)]
    pub autonomous: bool,
    /// Seconds for which the prefix is valid.
    #[serde(default = "thirty_days")]
    pub valid_s: u32,
    /// Seconds for which addresses made of it are preferred.
    #[serde(default = "seven_days")]
    pub preferred_s: u32,
}

/// AdvValidLifetime.
const fn thirty_days() -> u32 {
    2_592_000
}

/// AdvPreferredLifetime.
const fn seven_days() -> u32 {
    604_800
}
