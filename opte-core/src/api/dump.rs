//! What a host tells about itself.
//!
//! Listings that can be long come as [`super::page::Page`]s of these entries.
//! In JSON the names of fields and variants are as stable as the numbers on
//! the wire.

use super::external::ExternalIps;
use super::port::{DhcpOptions, Ipv4Config, Ipv6Config, PortOptions, TransitPrefix};
use super::{FwRule, Name, PortId, Prefix, RouteSpec};
use crate::flow::{Family, Proto};
use crate::wire::{MacAddr, Vni};
use crate::{Direction, LayerId};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use serde::{Deserialize, Serialize};

/// A port with its configuration and counters, rules and routes aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortEntry {
    /// The port's number.
    pub id: PortId,
    /// Its name.
    pub name: Name,
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// Its VPC.
    pub vni: Vni,
    /// Its IPv4 side.
    pub ipv4: Option<Ipv4Config>,
    /// Its IPv6 side.
    pub ipv6: Option<Ipv6Config>,
    /// Its MTU, in bytes of IP packet.
    pub mtu: u16,
    /// MAC address of its gateway.
    pub gateway_mac: MacAddr,
    /// What DHCP tells the guest.
    pub dhcp: DhcpOptions,
    /// Limits and timeouts.
    pub options: PortOptions,
    /// External addresses.
    pub external: ExternalIps,
    /// Attached subnets.
    pub attached_subnets: Vec<Prefix>,
    /// Allowed transit prefixes.
    pub transit: Vec<TransitPrefix>,
    /// Counts configuration changes of this port.
    pub generation: u64,
    /// Flows now.
    pub flows: u32,
    /// Counters.
    pub stats: PortStats,
}

/// Counters of a port, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStats {
    /// Towards the guest.
    pub inbound: DirStats,
    /// From the guest.
    pub outbound: DirStats,
}

/// Counters of one direction of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirStats {
    /// Frames that came.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames whose decision was in the flow table.
    pub hits: u64,
    /// Frames that the layers decided about.
    pub misses: u64,
    /// Frames that were answered by the engine.
    pub hairpins: u64,
    /// Frames that were dropped.
    pub drops: u64,
}

/// One layer of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerEntry {
    /// The layer.
    pub layer: LayerId,
    /// What happens inbound when no rule matches.
    pub default_in: DefaultAction,
    /// What happens outbound when no rule matches.
    pub default_out: DefaultAction,
    /// Inbound rules.
    pub rules_in: u32,
    /// Outbound rules.
    pub rules_out: u32,
    /// Flows that the layer remembers; zero for a layer without state.
    pub flows: u32,
    /// Decisions that came from the default, inbound.
    pub default_hits_in: u64,
    /// Decisions that came from the default, outbound.
    pub default_hits_out: u64,
}

/// What a layer does when no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DefaultAction {
    /// Lets it pass.
    Allow,
    /// Lets it and its replies pass.
    StatefulAllow,
    /// Drops it.
    Deny,
}

/// One line of a layer's dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerDumpEntry {
    /// A rule.
    Rule(RuleEntry),
    /// A remembered flow.
    Flow(LayerFlow),
}

/// A rule with its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// The rule's id, stable for its life and unique in its port.
    pub id: u32,
    /// Direction that it decides about.
    pub dir: Direction,
    /// Lower numbers first; none where order follows from something else.
    pub priority: Option<u16>,
    /// What it matches, as text of the layer.
    pub predicates: RuleText,
    /// Packets of the flows that it decided about.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Milliseconds since it last decided; none when it never did.
    pub idle_ms: Option<u64>,
}

/// A rule's content, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleText {
    /// A firewall rule.
    Firewall(FwRule),
    /// A route.
    Route(RouteSpec),
    /// A rule that the engine makes itself: what it matches and what it does.
    BuiltIn(String, String),
}

/// What a stateful layer remembers of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerFlow {
    /// The flow inside of the port.
    pub key: FlowKey,
    /// The flow outside, when translation changes it.
    pub outside: Option<FlowKey>,
    /// Direction in which it was opened.
    pub opened: Direction,
    /// The rule that allowed it; zero for the default.
    pub rule: u32,
    /// Milliseconds since its last packet.
    pub idle_ms: u64,
}

/// A flow key as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// IP version.
    pub family: Family,
    /// Protocol.
    pub proto: Proto,
    /// The guest's address.
    pub local: IpAddr,
    /// The guest's port or the identifier of an ICMP query.
    pub local_port: u16,
    /// The far end's address.
    pub remote: IpAddr,
    /// The far end's port, or type and code of an ICMP message: of a query or
    /// its answer, as the guest sends it.
    pub remote_port: u16,
}

impl From<&crate::flow::Tuple> for FlowKey {
    fn from(tuple: &crate::flow::Tuple) -> Self {
        Self {
            family: tuple.family,
            proto: tuple.proto,
            local: tuple.local_ip(),
            local_port: tuple.local_port,
            remote: tuple.remote_ip(),
            remote_port: tuple.remote_port,
        }
    }
}

/// A cached decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UftEntry {
    /// Direction of the packets that it applies to.
    pub dir: Direction,
    /// The flow as its packets come.
    pub before: FlowKey,
    /// The flow as its packets leave.
    pub after: FlowKey,
    /// Where they go.
    pub action: UftAction,
    /// Packets in this direction.
    pub packets: u64,
    /// Bytes in this direction.
    pub bytes: u64,
    /// Milliseconds since the last packet.
    pub idle_ms: u64,
    /// Whether what it was made from is still current.
    pub current: bool,
}

/// Where packets of a cached decision go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UftAction {
    /// To the guest.
    Deliver,
    /// To another guest of this host.
    Local(PortId),
    /// To a tunnel end point.
    Encapsulate {
        /// The end point.
        sled: Ipv6Addr,
        /// The VNI in the Geneve header.
        vni: Vni,
        /// Destination MAC address of the inner frame.
        mac: MacAddr,
        /// UDP source port of the tunnel.
        source_port: u16,
    },
}

/// A TCP connection or an SCTP association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpEntry {
    /// The flow inside of the port.
    pub key: FlowKey,
    /// Direction in which it was opened.
    pub opened: Direction,
    /// State, as RFC 9293 or RFC 9260 names it, from the guest's point of view;
    /// `REVOKED` for a connection that isn't allowed any more, while somebody
    /// tries.
    pub state: String,
    /// Packets from the guest.
    pub packets_out: u64,
    /// Packets to the guest.
    pub packets_in: u64,
    /// Bytes from the guest.
    pub bytes_out: u64,
    /// Bytes to the guest.
    pub bytes_in: u64,
    /// Milliseconds since the last packet.
    pub idle_ms: u64,
    /// Milliseconds until it expires if nothing comes.
    pub expires_ms: u64,
}

/// A route of a port with its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The rule id of the route.
    pub id: u32,
    /// The route.
    pub route: RouteSpec,
}

/// An address set, its prefixes aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSetEntry {
    /// Its name.
    pub name: Name,
    /// Prefixes in it.
    pub prefixes: u32,
    /// Rules that name it, of all ports.
    pub rules: u32,
}

/// The underlay as it is, routes aside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderlayEntry {
    /// Counts configuration changes of the underlay.
    pub generation: u64,
    /// The host's tunnel address.
    pub address: Option<Ipv6Addr>,
    /// Links.
    pub links: Vec<LinkEntry>,
    /// Neighbours.
    pub neighbours: Vec<NeighbourEntry>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkEntry {
    /// Name of the device.
    pub name: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// The engine's link-local address on it.
    pub link_local: Ipv6Addr,
    /// Bytes of IP packet that it carries.
    pub mtu: u16,
    /// Frames and bytes received for us, frames and bytes sent.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
}

/// One neighbour on the underlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourEntry {
    /// Its address.
    pub address: Ipv6Addr,
    /// Name of the link.
    pub link: String,
    /// Its MAC address, when known.
    pub mac: Option<MacAddr>,
    /// State, as RFC 4861 names it.
    pub state: String,
    /// Frames that wait for it.
    pub queued: u32,
}

/// A named counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
}

/// Counters of the host or of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The host's configuration generation.
    pub generation: u64,
    /// Flows now, all ports together.
    pub flows: u32,
    /// Counters that are no drops.
    pub counters: Vec<Counter>,
    /// One counter per drop reason; zeroes are left out.
    pub drops: Vec<Counter>,
}
