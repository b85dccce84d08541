//! What we say to stations on a link, and what we understand of what they say:
//! neighbour discovery (RFC 4861) and echo requests (RFC 4443).
//!
//! Reading and answering need our addresses only, so both are done without
//! the lock.

use super::neighbour::Advert;
use super::presence::Ours;
use crate::DropReason;
use crate::flow::Proto;
use crate::wire::ethernet::{self, EtherType};
use crate::wire::icmp::Message as Icmp;
use crate::wire::icmpv6::is_neighbour_discovery;
use crate::wire::ip::{Datagram, Ends};
use crate::wire::ipv6::{ALL_NODES, solicited_node};
use crate::wire::membership::{MLD_QUERY, Message as Membership};
use crate::wire::ndp::{HOP_LIMIT, Message as Ndp, Opt, Options};
use crate::wire::{MacAddr, Writer};
use alloc::boxed::Box;
use core::net::{IpAddr, Ipv6Addr};

/// Hop limit of what isn't neighbour discovery.
const ECHO_HOP_LIMIT: u8 = 64;

/// A frame for us that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// It asked for nothing but this answer.
    Reply(Box<[u8]>),
    /// A neighbour asks for one of our addresses.
    Solicitation {
        /// Who asks.
        source: Ipv6Addr,
        /// Its MAC address, when it says so.
        mac: Option<MacAddr>,
        /// What to answer.
        answer: Box<[u8]>,
    },
    /// A querier asks which groups we hear, for an answer within this time.
    Query {
        /// Milliseconds.
        answer_ms: u32,
    },
    /// A neighbour says where an address is.
    Advertisement {
        /// The address.
        target: Ipv6Addr,
        /// Where it is.
        advert: Advert,
    },
}

/// Reads a frame that came on a link on which we have these addresses.
///
/// # Errors
///
/// Why it is of no use.
pub(super) fn read(ours: &Ours, frame: &[u8]) -> Result<Message, DropReason> {
    let (ethernet, packet) = ethernet::Header::parse(frame).map_err(|_| DropReason::BadUnderlay)?;
    let to_group = ethernet.destination.is_multicast();
    if ethernet.destination != ours.mac && !to_group {
        return Err(DropReason::UnderlayNotForUs);
    }
    if ethernet.ethertype != EtherType::IPV6 {
        return Err(DropReason::UnderlayNotGeneve);
    }
    if ethernet.source.is_multicast() {
        return Err(DropReason::BadUnderlay);
    }
    let datagram =
        Datagram::parse(ethernet.ethertype, packet).map_err(|_| DropReason::BadUnderlay)?;
    let Ends::V6 {
        source,
        destination,
    } = datagram.ends
    else {
        return Err(DropReason::UnderlayNotGeneve);
    };
    let kind = datagram.payload.first().copied();
    // One about a group is sent to the group.
    if datagram.proto == Proto::ICMPV6 && kind == Some(MLD_QUERY) && to_group {
        return match Membership::parse(ethernet.ethertype, packet)? {
            Membership::Query { answer_ms } => Ok(Message::Query { answer_ms }),
            Membership::Report(_) => Err(DropReason::BadMembership),
        };
    }
    if !hears(ours, &destination) || to_group && !destination.is_multicast() {
        return Err(DropReason::UnderlayNotForUs);
    }
    if datagram.proto != Proto::ICMPV6 {
        return Err(DropReason::UnderlayNotGeneve);
    }
    if kind.is_some_and(is_neighbour_discovery) {
        let (message, options) = Ndp::parse(&datagram)?;
        discovery(ours, ethernet.source, source, message, options)
    } else {
        echo(ours, ethernet.source, &datagram)
    }
}

/// Whether a packet with this destination concerns us.
fn hears(ours: &Ours, destination: &Ipv6Addr) -> bool {
    let groups = [
        ALL_NODES,
        solicited_node(ours.tunnel),
        solicited_node(ours.mac.link_local()),
    ];
    ours.has(destination) || groups.contains(destination)
}

fn discovery(
    ours: &Ours,
    station: MacAddr,
    source: Ipv6Addr,
    message: Ndp,
    options: Options<'_>,
) -> Result<Message, DropReason> {
    match message {
        Ndp::NeighbourSolicitation { target } if ours.has(&target) => {
            let mac = options.iter().find_map(|option| match option {
                Opt::SourceLinkAddr(mac) => Some(mac),
                _ => None,
            });
            let mac = usable(ours, mac)?;
            let answer = advertisement(ours.mac, &target, source, mac.unwrap_or(station));
            Ok(Message::Solicitation {
                source,
                mac,
                answer,
            })
        }
        Ndp::NeighbourAdvertisement {
            target,
            solicited,
            overrides,
            ..
        } if !ours.has(&target) => {
            let mac = options.iter().find_map(|option| match option {
                Opt::TargetLinkAddr(mac) => Some(mac),
                _ => None,
            });
            let advert = Advert {
                mac: usable(ours, mac)?,
                solicited,
                overrides,
            };
            Ok(Message::Advertisement { target, advert })
        }
        _ => Err(DropReason::NdpNotAnswered),
    }
}

/// A MAC address that a neighbour may have: one station's, and not ours.
fn usable(ours: &Ours, mac: Option<MacAddr>) -> Result<Option<MacAddr>, DropReason> {
    match mac {
        Some(mac) if mac.is_multicast() || mac == MacAddr::ZERO || mac == ours.mac => {
            Err(DropReason::BadNdp)
        }
        mac => Ok(mac),
    }
}

fn echo(ours: &Ours, station: MacAddr, datagram: &Datagram<'_>) -> Result<Message, DropReason> {
    if datagram.is_fragment() {
        return Err(DropReason::Fragment);
    }
    let Icmp::EchoRequest(request) = Icmp::parse(&datagram.ends, datagram.payload)? else {
        return Err(DropReason::IcmpNotAnswered);
    };
    let ends = datagram.ends.reverse();
    let answerable = |ends: &Ends| match (ends.source(), ends.destination()) {
        (IpAddr::V6(us), IpAddr::V6(them)) => {
            ours.has(&us) && !them.is_unspecified() && !them.is_multicast()
        }
        _ => false,
    };
    if !answerable(&ends) {
        return Err(DropReason::IcmpNotAnswered);
    }
    let mut message = Writer::with_capacity(datagram.payload.len());
    Icmp::EchoReply(request).emit(&ends, &mut message);
    let reply = frame(ours.mac, station, ends, ECHO_HOP_LIMIT, message.bytes());
    Ok(Message::Reply(reply))
}

/// Asks who has `target`: everybody who might, or just the station `mac`.
/// The source is our link-local address, so that the answer comes back on
/// this link whatever routes the neighbour has.
pub(super) fn solicitation(ours: MacAddr, target: &Ipv6Addr, mac: Option<MacAddr>) -> Box<[u8]> {
    let destination = match mac {
        Some(_) => *target,
        None => solicited_node(*target),
    };
    let ends = Ends::V6 {
        source: ours.link_local(),
        destination,
    };
    let mut message = Writer::default();
    Ndp::NeighbourSolicitation { target: *target }.emit(
        &ends,
        &[Opt::SourceLinkAddr(ours)],
        &mut message,
    );
    let mac = mac.unwrap_or_else(|| group_mac(&destination));
    frame(ours, mac, ends, HOP_LIMIT, message.bytes())
}

/// Tells everybody on the link that we have `target` (RFC 4861 section 7.2.6).
pub(super) fn announcement(ours: MacAddr, target: &Ipv6Addr) -> Box<[u8]> {
    let nobody = Ipv6Addr::UNSPECIFIED;
    advertisement(ours, target, nobody, MacAddr::ZERO)
}

/// Answers that we have `target`. Who asks without an address is about to
/// take one, and everybody hears the answer (RFC 4861 section 7.2.4).
fn advertisement(ours: MacAddr, target: &Ipv6Addr, to: Ipv6Addr, mac: MacAddr) -> Box<[u8]> {
    let solicited = !to.is_unspecified();
    let (destination, mac) = if solicited {
        (to, mac)
    } else {
        (ALL_NODES, group_mac(&ALL_NODES))
    };
    let ends = Ends::V6 {
        source: *target,
        destination,
    };
    let mut message = Writer::default();
    let advertisement = Ndp::NeighbourAdvertisement {
        target: *target,
        router: false,
        solicited,
        overrides: true,
    };
    advertisement.emit(&ends, &[Opt::TargetLinkAddr(ours)], &mut message);
    frame(ours, mac, ends, HOP_LIMIT, message.bytes())
}

/// The MAC address of a group.
pub(super) const fn group_mac(group: &Ipv6Addr) -> MacAddr {
    MacAddr::of_group(IpAddr::V6(*group))
}

/// A whole frame around an ICMPv6 message.
fn frame(
    source: MacAddr,
    destination: MacAddr,
    ends: Ends,
    hop_limit: u8,
    message: &[u8],
) -> Box<[u8]> {
    let headers_len = ethernet::HEADER_LEN.saturating_add(crate::wire::ipv6::HEADER_LEN);
    let mut out = Writer::with_capacity(headers_len.saturating_add(message.len()));
    let ethernet = ethernet::Header {
        destination,
        source,
        ethertype: EtherType::IPV6,
    };
    ethernet.emit(&mut out);
    let datagram = Datagram {
        ends,
        proto: Proto::ICMPV6,
        hop_limit,
        traffic_class: 0,
        fragment: None,
        payload: message,
    };
    datagram.emit(&mut out);
    out.into_bytes().into_boxed_slice()
}

#[cfg(test)]
mod tests;
