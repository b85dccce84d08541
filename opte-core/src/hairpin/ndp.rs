//! Neighbour discovery (RFC 4861): the gateway is the guest's only neighbour
//! and its router.
//!
//! Rules     N1  Unless it is configured otherwise the guest has no prefix on
//!               its link: its address comes by DHCPv6, and all other addresses
//!               are behind the router. So advertisements say "managed" and
//!               carry no prefix.
//!           N2  The gateway claims its own addresses, against a probe for
//!               duplicates too (RFC 4862 section 5.4.3), and stands in for the
//!               neighbours that a prefix on the link makes the guest look for
//!               (section 7.2.8). What may be the guest's own it never claims,
//!               and to a probe it claims nothing but its own.
//!           N3  Nothing is learnt from a message: there is one neighbour, and
//!               where it is, is configured.
//!           N4  The checks on receipt are in [`crate::wire::ndp`].

use super::{Config, frame};
use crate::DropReason;
use crate::api::DhcpOptions;
use crate::flow::Proto;
use crate::limits::{DHCP_LIST_MAX, PORT_MTU_V6_MIN};
use crate::wire::ip::{Datagram, Ends};
use crate::wire::ndp::{self, Message, Opt, PrefixOption, RouterAdvertisement, Servers};
use crate::wire::{MacAddr, Writer, ipv6, name};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

/// Bytes of domains to search. An advertisement has to fit in the smallest
/// packet that every link takes, 1280 bytes, of which all else takes 256 at
/// most: the headers 56, addresses 16, a prefix 32, servers 136, and what is
/// before the domains and behind them 16.
const SEARCH_LEN_MAX: usize = 1_024;

/// Answers a router solicitation, and a neighbour solicitation for one of the
/// gateway's addresses or for one that it stands in for (N2). The guest's own
/// probes and announcements mustn't meet an objection, so all else isn't
/// answered.
pub(super) fn answer(config: &Config, datagram: &Datagram<'_>) -> Result<Vec<u8>, DropReason> {
    if config.ipv6.is_none() {
        return Err(DropReason::FamilyOff);
    }
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
            neighbour(config, source, target)
        }
        _ => Err(DropReason::NdpNotAnswered),
    }
}

/// Answers a solicitation for `target`. A probe for duplicates (RFC 4862
/// section 5.4) has no source: everybody has to hear that the address is taken
/// (RFC 4861 section 7.2.4).
fn neighbour(config: &Config, source: Ipv6Addr, target: Ipv6Addr) -> Result<Vec<u8>, DropReason> {
    let is_probe = source.is_unspecified();
    let is_own = config.has_gateway(IpAddr::V6(target));
    if !is_own && (is_probe || !stands_in(config, target)) {
        return Err(DropReason::NdpNotAnswered);
    }
    let message = Message::NeighbourAdvertisement {
        target,
        router: true,
        solicited: !is_probe,
        // The neighbour itself would know better (section 7.2.8).
        overrides: is_own,
    };
    let from = if is_own {
        target
    } else {
        config.gateway_mac.link_local()
    };
    let ends = Ends::V6 {
        source: from,
        destination: reply_to(source),
    };
    let options = [Opt::TargetLinkAddr(config.gateway_mac)];
    Ok(send(config, ends, &message, &options))
}

/// Whether the guest takes `target` for a neighbour that only the gateway can
/// reach, and it isn't one of the guest's own addresses.
fn stands_in(config: &Config, target: Ipv6Addr) -> bool {
    let target = IpAddr::V6(target);
    let prefix = config.advertise.prefix.filter(|prefix| prefix.on_link);
    prefix.is_some_and(|prefix| prefix.prefix.contains(&target)) && !config.may_send_from(target)
}

/// The router advertisement, to `destination`. There is no last one that takes
/// it back (section 6.2.5): a port that loses IPv6 is another port, and its
/// guest's device goes away with the old one.
pub(super) fn advertise(config: &Config, destination: Ipv6Addr) -> Vec<u8> {
    let advertise = &config.advertise;
    let message = Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit: super::HOP_LIMIT,
        managed: advertise.managed,
        other: advertise.other,
        lifetime_s: advertise.lifetime_s(),
        reachable_ms: 0,
        retransmit_ms: 0,
    });
    let ends = Ends::V6 {
        source: config.gateway_mac.link_local(),
        destination,
    };
    // Three advertisements (RFC 8106 section 5.1).
    let lifetime_s = u32::from(advertise.interval_s.saturating_mul(3));
    let servers = config.dhcp.dns6.get(..DHCP_LIST_MAX);
    let servers = servers.unwrap_or(&config.dhcp.dns6);
    let names = search_list(&config.dhcp);
    let mut options = Vec::with_capacity(5);
    options.push(Opt::SourceLinkAddr(config.gateway_mac));
    // A smaller one is no MTU of a link with IPv6, and hosts ignore it.
    if config.mtu >= PORT_MTU_V6_MIN {
        options.push(Opt::Mtu(u32::from(config.mtu)));
    }
    options.extend(prefix_option(config));
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

/// The prefix of the guest's link, if it is to have one (section 4.6.2).
fn prefix_option(config: &Config) -> Option<Opt<'static>> {
    let option = config.advertise.prefix?;
    let IpAddr::V6(prefix) = option.prefix.addr() else {
        return None;
    };
    Some(Opt::Prefix(PrefixOption {
        prefix,
        bits: option.prefix.bits(),
        on_link: option.on_link,
        autonomous: option.autonomous,
        valid_s: option.valid_s,
        preferred_s: option.preferred_s,
    }))
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
