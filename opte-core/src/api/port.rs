//! What a port is made from.

use super::list::at_most;
use super::setting::Range;
use super::{Advertise, ExternalIps, FwRule, Name, Prefix, RouteSpec, beside};
use crate::limits::{
    DHCP_LIST_MAX, FRAGMENT_S_DEFAULT, FRAGMENT_S_MAX, FRAGMENTS_HELD_DEFAULT, FRAGMENTS_HELD_MAX,
    FW_RULES_MAX, PORT_FLOWS_DEFAULT, PORT_FLOWS_MAX, PORT_MSS_MIN, PORT_MTU_MAX, PORT_MTU_MIN,
    PORT_MTU_V6_MIN, PORT_PREFIXES_MAX, ROUTES_MAX,
};
use crate::wire::{MacAddr, Vni};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};

/// A port: one guest vNIC. In the setup file, a `[[port]]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortSpec {
    /// Name of the port and of its device.
    pub name: Name,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// The VPC that the guest is in.
    pub vni: Vni,
    /// The guest's IPv4 address and gateway; none for an IPv6-only port.
    #[serde(default)]
    pub ipv4: Option<Ipv4Config>,
    /// The guest's IPv6 address and gateway; none for an IPv4-only port.
    #[serde(default)]
    pub ipv6: Option<Ipv6Config>,
    /// Bytes of IP packet that the guest may send and is sent.
    #[serde(default = "default_mtu")]
    pub mtu: u16,
    /// MAC address of the virtual gateway.
    #[serde(default = "default_gateway_mac")]
    pub gateway_mac: MacAddr,
    /// What DHCP and router advertisements tell the guest.
    #[serde(default)]
    pub dhcp: DhcpOptions,
    /// Limits and timeouts.
    #[serde(default)]
    pub options: PortOptions,
    /// Addresses by which the guest is seen outside of the VPC.
    #[serde(default)]
    pub external: ExternalIps,
    /// More prefixes that the guest may use as its own address, without NAT.
    #[serde(default, deserialize_with = "at_most::<_, _, PORT_PREFIXES_MAX>")]
    pub attached_subnets: Vec<Prefix>,
    /// Prefixes that the guest may forward traffic for.
    #[serde(default, deserialize_with = "at_most::<_, _, PORT_PREFIXES_MAX>")]
    pub transit: Vec<TransitPrefix>,
    /// Firewall rules.
    #[serde(default, deserialize_with = "at_most::<_, _, FW_RULES_MAX>")]
    pub rules: Vec<FwRule>,
    /// Routes.
    #[serde(default, deserialize_with = "at_most::<_, _, ROUTES_MAX>")]
    pub routes: Vec<RouteSpec>,
    /// What router advertisements tell the guest besides.
    #[serde(default, with = "super::text::people_only")]
    pub advertise: Advertise,
}

const fn default_mtu() -> u16 {
    1_500
}

const fn default_gateway_mac() -> MacAddr {
    MacAddr::GATEWAY
}

/// A port's IPv4 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv4Config {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The virtual gateway's address.
    pub gateway: Ipv4Addr,
}

/// A port's IPv6 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv6Config {
    /// The guest's address, handed out by DHCPv6.
    pub address: Ipv6Addr,
    /// The virtual gateway's address besides its link-local one.
    pub gateway: Ipv6Addr,
}

/// A prefix that the guest may forward traffic for, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransitPrefix {
    /// The prefix.
    pub prefix: Prefix,
    /// Whether frames to the prefix are delivered to the guest.
    #[serde(default = "yes")]
    pub inbound: bool,
    /// Whether the guest may send frames from the prefix.
    #[serde(default = "yes")]
    pub outbound: bool,
}

const fn yes() -> bool {
    true
}

/// What DHCP (and router advertisements) tell the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DhcpOptions {
    /// The guest's host name, without domain.
    pub hostname: Option<String>,
    /// The guest's domain.
    pub domain: Option<String>,
    /// Domains to search.
    #[serde(deserialize_with = "at_most::<_, _, DHCP_LIST_MAX>")]
    pub search: Vec<String>,
    /// DNS servers for IPv4.
    #[serde(deserialize_with = "at_most::<_, _, DHCP_LIST_MAX>")]
    pub dns4: Vec<Ipv4Addr>,
    /// DNS servers for IPv6.
    #[serde(deserialize_with = "at_most::<_, _, DHCP_LIST_MAX>")]
    pub dns6: Vec<Ipv6Addr>,
    /// NTP servers for IPv4.
    #[serde(deserialize_with = "at_most::<_, _, DHCP_LIST_MAX>")]
    pub ntp4: Vec<Ipv4Addr>,
    /// NTP servers for IPv6.
    #[serde(deserialize_with = "at_most::<_, _, DHCP_LIST_MAX>")]
    pub ntp6: Vec<Ipv6Addr>,
    /// Seconds that an address is leased for; a day when absent.
    pub lease_s: Option<u32>,
}

/// Limits and timeouts of a port. Timeouts are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortOptions {
    /// Flows that the port may have.
    pub flows_max: u32,
    /// A UDP flow that was never answered.
    pub udp_one_way_s: u32,
    /// A UDP flow with traffic both ways.
    pub udp_s: u32,
    /// An ICMP query.
    pub icmp_s: u32,
    /// A flow of any other protocol.
    pub other_s: u32,
    /// A TCP connection that isn't established yet.
    pub tcp_opening_s: u32,
    /// An established TCP connection.
    pub tcp_established_s: u32,
    /// A TCP connection with a FIN seen.
    pub tcp_closing_s: u32,
    /// A TCP connection after both FINs.
    pub tcp_time_wait_s: u32,
    /// A TCP connection after a reset.
    pub tcp_reset_s: u32,
    /// A cached decision without traffic; dropping it loses no state.
    pub uft_s: u32,
    /// Whether a TCP segment in mid-stream may create a flow.
    pub tcp_mid_stream: bool,
    /// Whether the gateway counts as a hop: takes one from the hop limit of
    /// what the guest sends, and says so when none is left.
    #[serde(with = "beside")]
    pub decrement_ttl: bool,
    /// The largest segment size that a TCP SYN from or to the guest may offer;
    /// zero leaves it alone.
    #[serde(with = "beside")]
    pub mss_max: u16,
    /// A fragmented packet, from its first piece to its last.
    #[serde(
        serialize_with = "beside::serialize",
        deserialize_with = "beside::deserialize_or::<_, FRAGMENT_S_DEFAULT>"
    )]
    pub fragment_s: u32,
    /// Fragments that may wait for the first of their packet.
    #[serde(
        serialize_with = "beside::serialize",
        deserialize_with = "beside::deserialize_or::<_, FRAGMENTS_HELD_DEFAULT>"
    )]
    pub fragments_max: u32,
}

/// What a port does with fragments, where it isn't the usual: options that
/// travel beside the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFragments {
    /// The port.
    pub port: Name,
    /// As [`PortOptions::fragment_s`].
    pub fragment_s: u32,
    /// As [`PortOptions::fragments_max`].
    pub fragments_max: u32,
}

impl PortFragments {
    /// What there is to say of a port.
    #[must_use]
    pub fn of(spec: &PortSpec) -> Option<Self> {
        let PortOptions {
            fragment_s,
            fragments_max,
            ..
        } = spec.options;
        let usual = (FRAGMENT_S_DEFAULT, FRAGMENTS_HELD_DEFAULT);
        ((fragment_s, fragments_max) != usual).then_some(Self {
            port: spec.name,
            fragment_s,
            fragments_max,
        })
    }
}

/// What a port does to packets on their way, where it does anything: options
/// that travel beside the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPath {
    /// The port.
    pub port: Name,
    /// As [`PortOptions::decrement_ttl`].
    pub decrement_ttl: bool,
    /// As [`PortOptions::mss_max`].
    pub mss_max: u16,
}

impl PortPath {
    /// What there is to say of a port.
    #[must_use]
    pub fn of(spec: &PortSpec) -> Option<Self> {
        let PortOptions {
            decrement_ttl,
            mss_max,
            ..
        } = spec.options;
        (decrement_ttl || mss_max != 0).then_some(Self {
            port: spec.name,
            decrement_ttl,
            mss_max,
        })
    }
}

impl PortSpec {
    /// What the MTU may be.
    pub(crate) const fn mtu_range(&self) -> RangeInclusive<u16> {
        match self.ipv6 {
            Some(_) => PORT_MTU_V6_MIN..=PORT_MTU_MAX,
            None => PORT_MTU_MIN..=PORT_MTU_MAX,
        }
    }
}

/// Longest timeout: a week.
const TIMEOUT_MAX_S: u32 = 604_800;

impl PortOptions {
    /// What [`PortOptions::mss_max`] may be.
    pub(crate) fn mss_range() -> String {
        alloc::format!("0, or {PORT_MSS_MIN} to {PORT_MTU_MAX}")
    }

    /// The options that have a range.
    pub(crate) const fn ranges(&self) -> [Range; 13] {
        [
            ("flows_max", self.flows_max, PORT_FLOWS_MAX),
            ("udp_one_way_s", self.udp_one_way_s, TIMEOUT_MAX_S),
            ("udp_s", self.udp_s, TIMEOUT_MAX_S),
            ("icmp_s", self.icmp_s, TIMEOUT_MAX_S),
            ("other_s", self.other_s, TIMEOUT_MAX_S),
            ("tcp_opening_s", self.tcp_opening_s, TIMEOUT_MAX_S),
            ("tcp_established_s", self.tcp_established_s, TIMEOUT_MAX_S),
            ("tcp_closing_s", self.tcp_closing_s, TIMEOUT_MAX_S),
            ("tcp_time_wait_s", self.tcp_time_wait_s, TIMEOUT_MAX_S),
            ("tcp_reset_s", self.tcp_reset_s, TIMEOUT_MAX_S),
            ("uft_s", self.uft_s, TIMEOUT_MAX_S),
            ("fragment_s", self.fragment_s, FRAGMENT_S_MAX),
            ("fragments_max", self.fragments_max, FRAGMENTS_HELD_MAX),
        ]
    }
}

impl Default for PortOptions {
    fn default() -> Self {
        Self {
            flows_max: PORT_FLOWS_DEFAULT,
            udp_one_way_s: 30,
            udp_s: 180,
            icmp_s: 60,
            other_s: 120,
            tcp_opening_s: 30,
            tcp_established_s: 7_440,
            tcp_closing_s: 240,
            tcp_time_wait_s: 120,
            tcp_reset_s: 10,
            uft_s: 60,
            tcp_mid_stream: true,
            decrement_ttl: false,
            mss_max: 0,
            fragment_s: FRAGMENT_S_DEFAULT,
            fragments_max: FRAGMENTS_HELD_DEFAULT,
        }
    }
}
