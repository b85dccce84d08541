//! Everything a host can be asked to do, and what it answers.
//!
//! The numbers on the wire are in `opte-ioctl`'s tables, not in the order of
//! variants here. A number's payload never changes: a command that needs more
//! becomes a new variant with a new number.

use super::dump::{
    AddressSetEntry, LayerDumpEntry, LayerEntry, PortEntry, RouteEntry, Stats, TcpEntry, UftEntry,
    UnderlayEntry,
};
use super::page::Page;
use super::port::TransitPrefix;
use super::setting::Setting;
use super::setup::{Applied, Setup, SetupPart};
use super::{
    Advertise, ExternalIps, FwRule, M2p, McastForward, McastHop, McastSub, Name, NatChange,
    NatEntry, PortSpec, Prefix, RouteSpec, SourceFilter, TunnelEndpoint, UnderlayRoute,
    UnderlaySpec, V2b, V2p,
};
use crate::wire::Vni;
use crate::{Direction, LayerId};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};
use serde::{Deserialize, Serialize};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "commands are rare and short-lived"
)]
pub enum Command {
    /// Creates a port.
    CreatePort(PortSpec),
    /// Deletes a port with its flows.
    DeletePort(Name),
    /// Lists ports, one page.
    ListPorts(u64),
    /// Lists a port's layers.
    ListLayers(Name),
    /// A layer's rules and flows, one page.
    DumpLayer(Name, LayerId, u64),
    /// A port's cached decisions, one page.
    DumpUft(Name, u64),
    /// Forgets a port's cached decisions. No connection is lost.
    ClearUft(Name),
    /// Forgets what a layer remembers of a port's flows.
    ClearLft(Name, LayerId),
    /// A port's TCP connections, one page.
    DumpTcpFlows(Name, u64),
    /// Adds a firewall rule; the answer has its id.
    AddFwRule(Name, FwRule),
    /// Removes a firewall rule by direction and id.
    RmFwRule(Name, Direction, u32),
    /// Replaces all firewall rules of a port at once.
    SetFwRules(Name, Vec<FwRule>),
    /// Adds or changes virtual to physical mappings.
    SetV2p(Vec<V2p>),
    /// Removes a virtual to physical mapping.
    ClearV2p(Vni, IpAddr),
    /// Lists virtual to physical mappings, one page.
    DumpV2p(u64),
    /// Adds end points to a boundary prefix.
    SetV2b(Prefix, Vec<TunnelEndpoint>),
    /// Removes end points from a boundary prefix; an empty list removes all.
    ClearV2b(Prefix, Vec<TunnelEndpoint>),
    /// Lists virtual to boundary mappings, one page.
    DumpV2b(u64),
    /// Adds a route to a port; the answer has its id.
    AddRoute(Name, RouteSpec),
    /// Removes a route from a port.
    DelRoute(Name, RouteSpec),
    /// Lists a port's routes, one page.
    DumpRoutes(Name, u64),
    /// Replaces a port's external addresses.
    SetExternalIps(Name, ExternalIps),
    /// Allows a transit prefix.
    AllowCidr(Name, TransitPrefix),
    /// No longer allows a transit prefix, in the directions that are set.
    RemoveCidr(Name, TransitPrefix),
    /// Attaches an external subnet.
    AttachSubnet(Name, Prefix),
    /// Detaches an external subnet.
    DetachSubnet(Name, Prefix),
    /// Sets the underlay.
    SetUnderlay(UnderlaySpec),
    /// Removes the underlay.
    ClearUnderlay,
    /// Shows the underlay's address, links and neighbours.
    ShowUnderlay,
    /// Lists underlay routes, one page.
    DumpUnderlayRoutes(u64),
    /// Adds an underlay route.
    AddUnderlayRoute(UnderlayRoute),
    /// Removes an underlay route.
    DelUnderlayRoute(UnderlayRoute),
    /// Counters of the host, or of one port.
    Stats(Option<Name>),
    /// Brings the host to the state that a setup describes, all or nothing.
    Apply(Setup),
    /// Adds or changes multicast to physical mappings.
    SetM2p(Vec<M2p>),
    /// Removes the mapping of a group: the fleet's without a VNI.
    ClearM2p(Option<Vni>, IpAddr),
    /// Lists multicast to physical mappings, one page.
    DumpM2p(u64),
    /// Adds or changes next hops of an underlay group.
    SetMcastFwd(Ipv6Addr, Vec<McastHop>),
    /// Removes next hops of an underlay group by their addresses; an empty
    /// list removes all.
    ClearMcastFwd(Ipv6Addr, Vec<Ipv6Addr>),
    /// Lists underlay groups with their next hops, one page.
    DumpMcastFwd(u64),
    /// Puts a port in a group, or changes from which sources it hears it.
    McastSubscribe(Name, IpAddr, SourceFilter),
    /// Takes a port out of a group that the operator put it in.
    McastUnsubscribe(Name, IpAddr),
    /// As [`Command::McastUnsubscribe`], for every group of a port, every
    /// port of a group, or all of them.
    McastUnsubscribeAll(Option<Name>, Option<IpAddr>),
    /// Lists memberships, one page.
    DumpMcastSubs(u64),
    /// Whether a port's guest may join groups by IGMP and MLD.
    SetMcastListen(Name, bool),
    /// Changes the VNI of the fleet's groups, while there are none.
    SetMcastVni(Vni),
    /// Changes settings of a port: timeouts, limits, MTU.
    SetPortOptions(Name, Vec<Setting>),
    /// Makes an address set, or gives one that is there other addresses.
    SetAddressSet(Name, Vec<Prefix>),
    /// Deletes an address set that no rule names.
    DeleteAddressSet(Name),
    /// Lists address sets, one page.
    ListAddressSets(u64),
    /// An address set's prefixes, one page.
    DumpAddressSet(Name, u64),
    /// As [`Command::Apply`], with the setup in parts.
    ApplyParts(Vec<SetupPart>),
    /// Changes settings of the host as a whole.
    SetHostOptions(Vec<Setting>),
    /// Changes how a port's external addresses are used.
    SetNat(Name, NatChange),
    /// How a port's external addresses are used, and how full its pools are.
    ShowNat(Name),
    /// Every setting of a port, as it is.
    ShowPortOptions(Name),
    /// As [`Command::CreatePort`], with the port in parts.
    CreatePortParts(Vec<SetupPart>),
    /// What a port's router advertisements say.
    ShowAdvertise(Name),
    /// As [`Command::SetExternalIps`] and [`Command::SetNat`], at once.
    SetExternalNat(Name, ExternalIps, NatChange),
}

/// What a command is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// It is done.
    Done,
    /// It is done; the new object has this id.
    Id(u32),
    /// It is done; so many entries were affected.
    Count(u64),
    /// Ports.
    Ports(Page<PortEntry>),
    /// Layers.
    Layers(Vec<LayerEntry>),
    /// A layer.
    Layer(Page<LayerDumpEntry>),
    /// Cached decisions.
    Uft(Page<UftEntry>),
    /// TCP connections.
    Tcp(Page<TcpEntry>),
    /// Virtual to physical mappings.
    V2p(Page<V2p>),
    /// Virtual to boundary mappings.
    V2b(Page<V2b>),
    /// Routes.
    Routes(Page<RouteEntry>),
    /// The underlay.
    Underlay(UnderlayEntry),
    /// Underlay routes.
    UnderlayRoutes(Page<UnderlayRoute>),
    /// Counters.
    Stats(Stats),
    /// What applying a setup changed.
    Applied(Applied),
    /// Multicast to physical mappings.
    M2p(Page<M2p>),
    /// Underlay groups with their next hops.
    McastFwd(Page<McastForward>),
    /// Memberships.
    McastSubs(Page<McastSub>),
    /// Address sets.
    AddressSets(Page<AddressSetEntry>),
    /// An address set's prefixes.
    Prefixes(Page<Prefix>),
    /// A port's translation.
    Nat(NatEntry),
    /// Settings.
    Settings(Vec<Setting>),
    /// What a port's router advertisements say.
    Advertise(Advertise),
}
