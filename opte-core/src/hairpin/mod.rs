//! What the virtual gateway answers itself.
//!
//! Purpose   every guest sees one neighbour, the gateway: it has a MAC
//!           address, an IPv4 address, an IPv6 address and a link-local one.
//!           No such machine exists. What the guest asks of it is answered
//!           here, from the port's configuration and nothing else.
//!
//! Terms     service   a protocol that the gateway speaks: ARP, neighbour
//!                     discovery, echo, DHCP
//!           ours      a frame that the layers mustn't see, answered or not
//!
//! Flow      outbound -- not ours ------------------------> the layers
//!               `-- ours: addresses checked -- service --> reply, or a reason
//!
//! Rules     H1  No ARP and no neighbour discovery passes a port, wherever it
//!               is addressed to.
//!           H2  A reply goes to the guest that asked and depends on its frame
//!               and the configuration alone: nothing is remembered, so there
//!               is nothing that a guest could fill or poison.
//!           H3  The guest sends from its own MAC address and from addresses
//!               that are its own. What is on the link only (link-local
//!               addresses, and none at all while it has none) may be a source
//!               here, and nowhere else.
//!           H4  Whether a frame is ours is told from its headers alone, so
//!               that only a frame that is gets read as a whole.
//!
//! Failure   a frame that is ours and isn't answered has a [`DropReason`].

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

mod arp;
mod dhcp;
mod dhcpv4;
mod dhcpv6;
mod icmp;
mod ndp;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use crate::DropReason;
use crate::api::port::{Ipv4Config, Ipv6Config};
use crate::api::{Advertise, DhcpOptions, Prefix};
use crate::flow::{Family, Proto};
use crate::wire::ethernet::{self, EtherType};
use crate::wire::ip::{Datagram, Ends};
use crate::wire::packet::Packet;
use crate::wire::{MacAddr, Writer, icmpv6, ipv4, ipv6};
use crate::wire::{dhcpv4 as dhcpv4_wire, dhcpv6 as dhcpv6_wire};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Hop limit of replies, as hosts send them; neighbour discovery has its own.
const HOP_LIMIT: u8 = 64;

/// What the virtual gateway of one port knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The guest's MAC address.
    pub mac: MacAddr,
    /// The gateway's MAC address.
    pub gateway_mac: MacAddr,
    /// The guest's IPv4 address and gateway.
    pub ipv4: Option<Ipv4Config>,
    /// The guest's IPv6 address and gateway.
    pub ipv6: Option<Ipv6Config>,
    /// More prefixes that the guest may send from: attached subnets, and what
    /// it forwards for.
    pub sources: Vec<Prefix>,
    /// Bytes of IP packet that the guest may send and is sent.
    pub mtu: u16,
    /// What DHCP and router advertisements tell the guest.
    pub dhcp: DhcpOptions,
    /// What router advertisements tell it besides.
    pub advertise: Advertise,
}

/// What the gateway has to say to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// An Ethernet frame for the guest, with no checksum left to fill in.
    pub frame: Vec<u8>,
    /// The address that the guest says another host uses.
    pub declined: Option<IpAddr>,
}

impl From<Vec<u8>> for Answer {
    fn from(frame: Vec<u8>) -> Self {
        Self {
            frame,
            declined: None,
        }
    }
}

/// Answers a frame from the guest, all of which is in `frame`.
///
/// `Ok(None)` means that the frame isn't for the gateway, so that
/// the layers have to decide. For a frame that isn't, `frame` may end behind
/// the transport header.
///
/// # Errors
///
/// Why a frame that the layers mustn't see gets no answer.
pub fn outbound(config: &Config, frame: &[u8]) -> Result<Option<Answer>, DropReason> {
    let (ethernet, packet) = ethernet::Header::parse(frame)?;
    match ethernet.ethertype {
        EtherType::ARP => arp::answer(config, &ethernet, packet).map(|frame| Some(frame.into())),
        EtherType::IPV4 | EtherType::IPV6 => {
            let Some(service) = Service::of(config, ethernet.ethertype, packet)? else {
                return Ok(None);
            };
            check_macs(config, &ethernet, service.destination)?;
            let datagram = Datagram::parse(ethernet.ethertype, packet)?;
            service.answer(config, &datagram).map(Some)
        }
        _ => Ok(None),
    }
}

/// Why a packet that another host sends the guest, and that belongs to no flow,
/// isn't for it, if so: what is the gateway's alone to say crosses no port.
///
/// A guest may ask a DHCP server of the VPC by unicast; what that answers
/// belongs to a flow.
#[must_use]
pub fn inbound(packet: &Packet) -> Option<DropReason> {
    let tuple = &packet.tuple;
    let is_dhcp = || match tuple.family {
        Family::V4 => (dhcpv4_wire::SERVER_PORT, dhcpv4_wire::CLIENT_PORT),
        Family::V6 => (dhcpv6_wire::SERVER_PORT, dhcpv6_wire::CLIENT_PORT),
    } == (tuple.remote_port, tuple.local_port);
    match tuple.proto {
        Proto::ICMPV6 if icmpv6::is_neighbour_discovery(packet.icmp.0) => {
            Some(DropReason::NdpCrossing)
        }
        Proto::UDP if is_dhcp() => Some(DropReason::DhcpCrossing),
        _ => None,
    }
}

/// The router advertisement that goes to all nodes from time to time; `None`
/// for a port without IPv6.
#[must_use]
pub fn advertisement(config: &Config) -> Option<Vec<u8>> {
    config.ipv6?;
    Some(ndp::advertise(config, ipv6::ALL_NODES))
}

/// Who is asked for what.
#[derive(Clone, Copy, Debug)]
struct Service {
    kind: ServiceKind,
    destination: IpAddr,
}

#[derive(Clone, Copy, Debug)]
enum ServiceKind {
    Ndp,
    Icmp,
    Dhcpv4,
    Dhcpv6,
    /// None that the gateway has.
    Other,
}

impl Service {
    /// Looks at the headers of a packet; `None` when it isn't ours.
    fn of(
        config: &Config,
        ethertype: EtherType,
        packet: &[u8],
    ) -> Result<Option<Self>, DropReason> {
        let peek = Peek::of(ethertype, packet)?;
        let destination = peek.destination;
        let to_gateway = config.has_gateway(destination);
        let kind = match (peek.proto, destination) {
            (Proto::ICMPV6, IpAddr::V6(group)) => match peek.icmp_kind() {
                Some(kind) if icmpv6::is_neighbour_discovery(kind) => Some(ServiceKind::Ndp),
                Some(icmpv6::ECHO_REQUEST) if config.has_group(group) => Some(ServiceKind::Icmp),
                _ => to_gateway.then_some(ServiceKind::Icmp),
            },
            (Proto::ICMP, IpAddr::V4(_)) => to_gateway.then_some(ServiceKind::Icmp),
            (Proto::UDP, IpAddr::V4(address)) if peek.is_to(dhcpv4_wire::SERVER_PORT) => {
                (to_gateway || address.is_broadcast()).then_some(ServiceKind::Dhcpv4)
            }
            (Proto::UDP, IpAddr::V6(address)) if peek.is_to(dhcpv6_wire::SERVER_PORT) => {
                (to_gateway || address == dhcpv6_wire::ALL_SERVERS).then_some(ServiceKind::Dhcpv6)
            }
            _ => to_gateway.then_some(ServiceKind::Other),
        };
        Ok(kind.map(|kind| Self { kind, destination }))
    }

    fn answer(self, config: &Config, datagram: &Datagram<'_>) -> Result<Answer, DropReason> {
        match self.kind {
            ServiceKind::Ndp => ndp::answer(config, datagram).map(Answer::from),
            _ if datagram.is_fragment() => Err(DropReason::Fragment),
            ServiceKind::Icmp => icmp::answer(config, datagram).map(Answer::from),
            ServiceKind::Dhcpv4 => dhcpv4::answer(config, datagram).map(Answer::from),
            ServiceKind::Dhcpv6 => dhcpv6::answer(config, datagram),
            ServiceKind::Other => {
                config.check_source(&datagram.ends)?;
                Err(DropReason::GatewayNotAnswered)
            }
        }
    }
}

/// What the headers of a packet say that may be cut off behind them.
struct Peek<'p> {
    destination: IpAddr,
    proto: Proto,
    /// The upper layer's header and what there is of its data; empty for a
    /// later fragment, which has no header.
    payload: &'p [u8],
}

impl<'p> Peek<'p> {
    fn of(ethertype: EtherType, packet: &'p [u8]) -> Result<Self, DropReason> {
        let (destination, proto, fragment, payload) = if ethertype == EtherType::IPV4 {
            let (header, rest) = ipv4::Header::read(packet)?;
            let destination = IpAddr::V4(header.destination);
            (destination, header.proto, header.fragment(), rest)
        } else {
            let (header, rest) = ipv6::Header::read(packet)?;
            let found = ipv6::walk(header.next_header, rest)?;
            let payload = rest.get(found.len..).unwrap_or_default();
            let destination = IpAddr::V6(header.destination);
            (destination, found.proto, found.fragment, payload)
        };
        let is_later = fragment.is_some_and(|fragment| fragment.offset != 0);
        Ok(Self {
            destination,
            proto,
            payload: if is_later { &[] } else { payload },
        })
    }

    fn icmp_kind(&self) -> Option<u8> {
        self.payload.first().copied()
    }

    /// Whether the datagram that this is goes to `port`.
    fn is_to(&self, port: u16) -> bool {
        self.payload.get(2..4) == Some(&port.to_be_bytes())
    }
}

/// Whether a frame comes from the guest's MAC address and goes to one that the
/// gateway listens on when it is `destination`.
fn check_macs(
    config: &Config,
    ethernet: &ethernet::Header,
    destination: IpAddr,
) -> Result<(), DropReason> {
    if ethernet.source != config.mac {
        return Err(DropReason::SpoofedMac);
    }
    let is_broadcast = destination == IpAddr::V4(Ipv4Addr::BROADCAST);
    let group = if is_broadcast {
        Some(MacAddr::BROADCAST)
    } else if destination.is_multicast() {
        Some(MacAddr::of_group(destination))
    } else {
        None
    };
    if ethernet.destination == config.gateway_mac || Some(ethernet.destination) == group {
        Ok(())
    } else {
        Err(DropReason::BadDestinationMac)
    }
}

impl Config {
    /// The gateway's link-local address, if the port has IPv6.
    fn link_local(&self) -> Option<Ipv6Addr> {
        self.ipv6.map(|_| self.gateway_mac.link_local())
    }

    /// Whether `address` is one of the gateway's.
    fn has_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4.is_some_and(|ipv4| ipv4.gateway == address),
            IpAddr::V6(address) => self
                .ipv6
                .is_some_and(|ipv6| ipv6.gateway == address || self.link_local() == Some(address)),
        }
    }

    /// Whether the gateway is in `group`: it is a node and a router.
    fn has_group(&self, group: Ipv6Addr) -> bool {
        self.ipv6.is_some() && (group == ipv6::ALL_NODES || group == ipv6::ALL_ROUTERS)
    }

    /// Whether the guest may send to the gateway from `address` (H3).
    fn may_send_from(&self, address: IpAddr) -> bool {
        let is_own = match address {
            IpAddr::V4(address) => self.ipv4.is_some_and(|ipv4| ipv4.address == address),
            IpAddr::V6(address) => self
                .ipv6
                .is_some_and(|ipv6| ipv6.address == address || ipv6::is_link_local(address)),
        };
        let is_more = || self.sources.iter().any(|prefix| prefix.contains(&address));
        is_unicast(address) && !self.has_gateway(address) && (is_own || is_more())
    }

    /// As [`Config::may_send_from`], with a reason.
    fn check_source(&self, ends: &Ends) -> Result<(), DropReason> {
        if self.may_send_from(ends.source()) {
            Ok(())
        } else {
            Err(DropReason::SpoofedIp)
        }
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    !(address.is_unspecified() || address.is_multicast() || is_broadcast)
}

/// A frame from the gateway, with `datagram` in it.
fn frame(config: &Config, destination: MacAddr, datagram: &Datagram<'_>) -> Vec<u8> {
    let len = datagram.payload.len();
    let headers = ethernet::HEADER_LEN.saturating_add(ipv6::HEADER_LEN);
    let mut out = Writer::with_capacity(headers.saturating_add(len));
    let header = ethernet::Header {
        destination,
        source: config.gateway_mac,
        ethertype: datagram.ethertype(),
    };
    header.emit(&mut out);
    datagram.emit(&mut out);
    out.into_bytes()
}
