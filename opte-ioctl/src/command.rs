//! The table of commands.
//!
//! Append-only: a line that was ever in a release stays as it is. A command
//! that needs another payload is a new variant with a new number.

use crate::table::{List, PayloadError, messages, whole};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use opte_core::api::{
    Command, ExternalIps, FwRule, M2p, McastHop, Name, NatChange, PortSpec, Prefix, RouteSpec,
    Setting, Setup, SetupPart, SourceFilter, TransitPrefix, TunnelEndpoint, UnderlayRoute,
    UnderlaySpec, V2p,
};
use opte_core::limits::{
    ADDRESS_SET_PREFIXES_MAX, FW_RULES_MAX, M2P_MAX, MCAST_HOPS_MAX, SETTINGS_MAX,
    V2B_ENDPOINTS_MAX, V2P_MAX,
};
use opte_core::wire::Vni;
use opte_core::{Direction, LayerId};

/// Parts of a setup in one request: more than there are kinds.
const SETUP_PARTS_MAX: usize = 64;

/// The number of the hello exchange, which is no command: `serve` answers it.
pub const HELLO: u16 = 0;

messages! { Command:
    1 "create-port" CreatePort(spec: PortSpec),
    2 "delete-port" DeletePort(port: Name),
    3 "list-ports" ListPorts(cursor: u64),
    4 "list-layers" ListLayers(port: Name),
    5 "dump-layer" DumpLayer(port: Name, layer: LayerId, cursor: u64),
    6 "dump-uft" DumpUft(port: Name, cursor: u64),
    7 "clear-uft" ClearUft(port: Name),
    8 "clear-lft" ClearLft(port: Name, layer: LayerId),
    9 "dump-tcp-flows" DumpTcpFlows(port: Name, cursor: u64),
    10 "add-fw-rule" AddFwRule(port: Name, rule: FwRule),
    11 "rm-fw-rule" RmFwRule(port: Name, dir: Direction, id: u32),
    12 "set-fw-rules" SetFwRules(port: Name, rules: List<FwRule, FW_RULES_MAX>),
    13 "set-v2p" SetV2p(mappings: List<V2p, V2P_MAX>),
    14 "clear-v2p" ClearV2p(vni: Vni, address: IpAddr),
    15 "dump-v2p" DumpV2p(cursor: u64),
    16 "set-v2b" SetV2b(prefix: Prefix, endpoints: List<TunnelEndpoint, V2B_ENDPOINTS_MAX>),
    17 "clear-v2b" ClearV2b(prefix: Prefix, endpoints: List<TunnelEndpoint, V2B_ENDPOINTS_MAX>),
    18 "dump-v2b" DumpV2b(cursor: u64),
    19 "add-route" AddRoute(port: Name, route: RouteSpec),
    20 "del-route" DelRoute(port: Name, route: RouteSpec),
    21 "dump-routes" DumpRoutes(port: Name, cursor: u64),
    22 "set-external-ips" SetExternalIps(port: Name, external: ExternalIps),
    23 "allow-cidr" AllowCidr(port: Name, transit: TransitPrefix),
    24 "remove-cidr" RemoveCidr(port: Name, transit: TransitPrefix),
    25 "attach-subnet" AttachSubnet(port: Name, prefix: Prefix),
    26 "detach-subnet" DetachSubnet(port: Name, prefix: Prefix),
    27 "set-underlay" SetUnderlay(spec: UnderlaySpec),
    28 "clear-underlay" ClearUnderlay,
    29 "show-underlay" ShowUnderlay,
    30 "dump-underlay-routes" DumpUnderlayRoutes(cursor: u64),
    31 "add-underlay-route" AddUnderlayRoute(route: UnderlayRoute),
    32 "del-underlay-route" DelUnderlayRoute(route: UnderlayRoute),
    33 "stats" Stats(port: Option<Name>),
    34 "apply" Apply(setup: Setup),
    40 "set-port-options" SetPortOptions(port: Name, settings: List<Setting, SETTINGS_MAX>),
    41 "set-address-set" SetAddressSet(
        name: Name, prefixes: List<Prefix, ADDRESS_SET_PREFIXES_MAX>),
    42 "delete-address-set" DeleteAddressSet(name: Name),
    43 "list-address-sets" ListAddressSets(cursor: u64),
    44 "dump-address-set" DumpAddressSet(name: Name, cursor: u64),
    45 "apply-parts" ApplyParts(parts: List<SetupPart, SETUP_PARTS_MAX>),
    46 "set-host-options" SetHostOptions(settings: List<Setting, SETTINGS_MAX>),
    47 "show-port-options" ShowPortOptions(port: Name),
    48 "create-port-parts" CreatePortParts(parts: List<SetupPart, SETUP_PARTS_MAX>),
    49 "show-advertise" ShowAdvertise(port: Name),
    50 "set-m2p" SetM2p(mappings: List<M2p, M2P_MAX>),
    51 "clear-m2p" ClearM2p(vni: Option<Vni>, group: IpAddr),
    52 "dump-m2p" DumpM2p(cursor: u64),
    53 "set-mcast-fwd" SetMcastFwd(underlay: Ipv6Addr, hops: List<McastHop, MCAST_HOPS_MAX>),
    54 "clear-mcast-fwd" ClearMcastFwd(
        underlay: Ipv6Addr, addresses: List<Ipv6Addr, MCAST_HOPS_MAX>),
    55 "dump-mcast-fwd" DumpMcastFwd(cursor: u64),
    56 "mcast-subscribe" McastSubscribe(port: Name, group: IpAddr, filter: SourceFilter),
    57 "mcast-unsubscribe" McastUnsubscribe(port: Name, group: IpAddr),
    58 "mcast-unsubscribe-all" McastUnsubscribeAll(port: Option<Name>, group: Option<IpAddr>),
    59 "dump-mcast-subs" DumpMcastSubs(cursor: u64),
    60 "set-mcast-listen" SetMcastListen(port: Name, on: bool),
    61 "set-mcast-vni" SetMcastVni(vni: Vni),
    70 "set-nat" SetNat(port: Name, change: NatChange),
    71 "show-nat" ShowNat(port: Name),
    72 "set-external-nat" SetExternalNat(port: Name, external: ExternalIps, change: NatChange),
}
