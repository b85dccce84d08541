//! Neighbour discovery (RFC 4861): the gateway is the guest's only neighbour
//! and its router.
//!
//! The guest has no prefix on its link: its address comes by DHCPv6, and all
//! other addresses are behind the router. So advertisements say "managed" and
//! carry no prefix.

use super::{Config, frame};
use crate::DropReason;
use crate::api::DhcpOptions;
use crate::api::port::Ipv6Config;
use crate::flow::Proto;
use crate::limits::{DHCP_LIST_MAX, PORT_MTU_V6_MIN};
use crate::wire::ip::{Datagram, Ends};
use crate::wire::ndp::{self, Message, Opt, RouterAdvertisement, Servers};
use crate::wire::{MacAddr, Writer, ipv6, name};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

/// Seconds for which the gateway is a router, and its DNS servers are good:
/// three advertisements (RFC 4861 section 6.2.1, RFC 8106 section 5.1).
const LIFETIME_S: u16 = 1_800;
/// Bytes of domains to search. An advertisement has to fit in the smallest
/// packet that every link takes, 1280 bytes, of which all else takes 216.
const SEARCH_LEN_MAX: usize = 1_024;

/// Answers a router solicitation, and a neighbour solicitation for one of the
/// gateway's addresses. The guest's own probes and announcements mustn't meet
/// an objection, so all else isn't answered.
pub(super) fn answer(config: &Config, datagram: &Datagram<'_>) -> Result<Vec<u8>, DropReason> {
    let ipv6 = config.ipv6.ok_or(DropReason::FamilyOff)?;
    let (message, _) = Message::parse(datagram)?;
    let Ends::V6 {
        source,
        destination,
    } = datagram.ends
    else {
        return Err(DropReason::BadNdp);
    };
    // Who has no address yet sends from none; parsing has seen to the rest.
    if !source.is_unspecified() {
        config.check_source(&datagram.ends)?;
    }
    let to_gateway = config.has_gateway(IpAddr::V6(destination));
    match message {
        Message::RouterSolicitation if to_gateway || destination == ipv6::ALL_ROUTERS => {
            Ok(advertise(config, reply_to(source)))
        }
        Message::NeighbourSolicitation { target }
            if to_gateway || destination == ipv6::solicited_node(target) =>
        {
            neighbour(config, &ipv6, source, target)
        }
        _ => Err(DropReason::NdpNotAnswered),
    }
}

/// Answers a solicitation for `target`. A probe for duplicates (RFC 4862
/// section 5.4) has no source: everybody has to hear that the address is taken
/// (RFC 4861 section 7.2.4).
fn neighbour(
    config: &Config,
    ipv6: &Ipv6Config,
    source: Ipv6Addr,
    target: Ipv6Addr,
) -> Result<Vec<u8>, DropReason> {
    if target != ipv6.gateway && Some(target) != config.link_local() {
        return Err(DropReason::NdpNotAnswered);
    }
    let message = Message::NeighbourAdvertisement {
        target,
        router: true,
        solicited: !source.is_unspecified(),
        overrides: true,
    };
    let ends = Ends::V6 {
        source: target,
        destination: reply_to(source),
    };
    let options = [Opt::TargetLinkAddr(config.gateway_mac)];
    Ok(send(config, ends, &message, &options))
}

/// The router advertisement, to `destination`.
pub(super) fn advertise(config: &Config, destination: Ipv6Addr) -> Vec<u8> {
    let message = Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit: super::HOP_LIMIT,
        managed: true,
        other: true,
        lifetime_s: LIFETIME_S,
        reachable_ms: 0,
        retransmit_ms: 0,
    });
    let ends = Ends::V6 {
        source: config.gateway_mac.link_local(),
        destination,
    };
    let lifetime_s = u32::from(LIFETIME_S);
    let servers = config.dhcp.dns6.get(..DHCP_LIST_MAX);
    let servers = servers.unwrap_or(&config.dhcp.dns6);
    let names = search_list(&config.dhcp);
    let mut options = Vec::with_capacity(4);
    options.push(Opt::SourceLinkAddr(config.gateway_mac));
    // A smaller one is no MTU of a link with IPv6, and hosts ignore it.
    if config.mtu >= PORT_MTU_V6_MIN {
        options.push(Opt::Mtu(u32::from(config.mtu)));
    }
    if !servers.is_empty() {
        options.push(Opt::Rdnss {
            lifetime_s,
            servers: Servers::List(servers),
        });
    }
    if names.len() > 0 {
        options.push(Opt::Dnssl {
            lifetime_s,
            names: names.bytes(),
        });
    }
    send(config, ends, &message, &options)
}

/// As many of the domains to search as there is room for.
fn search_list(dhcp: &DhcpOptions) -> Writer {
    let mut names = Writer::default();
    for search in dhcp.search.iter().take(DHCP_LIST_MAX) {
        let mut one = Writer::default();
        name::emit([search.as_str()], &mut one);
        if names.len().saturating_add(one.len()) > SEARCH_LEN_MAX {
            break;
        }
        names.put(one.bytes());
    }
    names
}

/// Who gets the answer to a message from `source`: without one, all nodes.
fn reply_to(source: Ipv6Addr) -> Ipv6Addr {
    if source.is_unspecified() {
        ipv6::ALL_NODES
    } else {
        source
    }
}

fn send(config: &Config, ends: Ends, message: &Message, options: &[Opt<'_>]) -> Vec<u8> {
    let mut out = Writer::default();
    message.emit(&ends, options, &mut out);
    let datagram = Datagram {
        ends,
        proto: Proto::ICMPV6,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        fragment: None,
        payload: out.bytes(),
    };
    let destination = ends.destination();
    let mac = if destination.is_multicast() {
        MacAddr::of_group(destination)
    } else {
        config.mac
    };
    frame(config, mac, &datagram)
}

#[cfg(test)]
mod tests;
