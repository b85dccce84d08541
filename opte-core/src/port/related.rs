//! ICMP errors about flows that are there.
//!
//! Purpose   an error that somebody on the way sends about a packet of an
//!           allowed flow belongs to that flow ("related"): path MTU discovery,
//!           traceroute and quick failure depend on it. It passes whatever the
//!           rules say of ICMP, and is translated as the flow is, inside and
//!           out (RFC 5508 section 4.2, RFC 5382 REQ-9, RFC 4787 REQ-12).
//! Terms     quote   the beginning of the packet that the error is about; it
//!                   went the other way than the error goes
//! Rules     E1  the quote names a flow of this port, by the key that packets
//!               have on the side that the error comes from, and the flow has
//!               sent packets the quote's way; a quoted TCP segment begins
//!               where one may that is on its way. So nobody can quote a
//!               packet that he was not on the way of, or that went to him.
//!           E2  the error goes to whom the quoted packet came from.
//!           E3  an error about an external flow comes from outside, one about
//!               a flow inside of the VPC from inside.
//!           E4  an error neither makes, nor refreshes, nor ends a flow (RFC
//!               5508 REQ-6), and no decision made for it is remembered.
//!           E5  what the guest reports about a packet that came to an external
//!               address has that address as its source, whichever of the
//!               hosts behind the guest speaks (RFC 5508 REQ-5).
//! Failure   `IcmpUnrelated`: no such flow. `IcmpNotForwarded`: of a kind that
//!           means nothing beyond a link (redirect, RFC 1812 section 5.2.7.2) or
//!           nothing any more (source quench, RFC 6633 section 3).

use super::edit::{NearEnd, address_at, put, update};
use super::fast::{Onward, name_of};
use super::process::Arrival;
use super::{Dropped, Env, Policy, Port};
use crate::event::Observer;
use crate::flow::record::{Flow, NatKind, side};
use crate::flow::{Family, Proto, Tuple};
use crate::frame::Frame;
use crate::layer::gateway;
use crate::wire::checksum::Diff;
use crate::wire::icmp;
use crate::wire::icmpv6;
use crate::wire::ip::Ends;
use crate::wire::packet::{ETHERNET_LEN, Packet};
use crate::wire::quote::Quote;
use crate::{Direction, DropReason, LayerId};
use core::net::IpAddr;
use lock_api::RawMutex;

/// Whether a packet is an ICMP error of either family, known or not.
pub(super) const fn is_error(packet: &Packet) -> bool {
    match packet.tuple.proto {
        Proto::ICMP => icmp::is_error(packet.icmp.0),
        Proto::ICMPV6 => icmpv6::is_error(packet.icmp.0),
        _ => false,
    }
}

impl<R: RawMutex> Port<R> {
    /// Takes an ICMP error through the port with the flow that it is about.
    #[inline(never)]
    pub(super) fn related<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        frame: &mut impl Frame,
    ) -> Result<Onward, Dropped> {
        const SOURCE_QUENCH: u8 = 4;
        const REDIRECT: u8 = 5;
        let (dir, packet) = (arrival.dir, arrival.packet);
        if packet.tuple.proto == Proto::ICMP && matches!(packet.icmp.0, SOURCE_QUENCH | REDIRECT) {
            return Err(DropReason::IcmpNotForwarded.into());
        }
        let policy = self.policy();
        check_source(&policy, arrival)?;
        let quote = quoted(packet, frame.head(), dir).ok_or(DropReason::IcmpUnrelated)?;
        let is_back = match dir {
            Direction::In => packet.tuple.local == quote.tuple.local,
            Direction::Out => packet.tuple.remote == quote.tuple.remote,
        };
        let flow = self.borrow(env, &policy, arrival, &quote.tuple)?;
        let flow = flow.filter(|flow| is_back && may_quote(flow, &quote, dir.reverse()));
        let flow = flow.ok_or(DropReason::IcmpUnrelated)?;
        // The checksum is over all of it.
        if !frame.gather() {
            return Err(DropReason::NoMemory.into());
        }
        if !checksum_is_right(packet, frame.head()) {
            return Err(DropReason::BadChecksum.into());
        }
        self.address(&flow, dir, frame.head_mut());
        if flow.nat != NatKind::None {
            translate(
                &NearEnd::of(&flow, dir),
                packet,
                &quote,
                dir,
                frame.head_mut(),
            );
        }
        Ok(Onward::of(&flow))
    }

    /// A copy of the flow that packets going `dir` name by `key`, with a
    /// decision for them that holds now. It is made anew if need be and not
    /// remembered. `None` when there is no such flow.
    ///
    /// # Errors
    ///
    /// When the layers refuse the flow now.
    pub(super) fn borrow<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        arrival: &Arrival<'_>,
        key: &Tuple,
    ) -> Result<Option<Flow>, Dropped> {
        let dir = arrival.dir;
        let (name, hash) = (name_of(arrival.external), self.table.hash(key));
        let found = self.table.find(dir, name, key, hash);
        let found = found.map(|(_, flow)| *flow);
        let Some(mut flow) = found.filter(|flow| !flow.revoked && arrival.may_join(flow)) else {
            return Ok(None);
        };
        if self.stale(env, &flow, dir).is_none() {
            return Ok(Some(flow));
        }
        let held = flow.held();
        let decided = self.decide(env, policy, &mut flow, dir);
        let now_held = flow.held();
        if now_held == held {
            return decided.map(|()| Some(flow));
        }
        // It needs another external end, which its next packet will get it.
        if let Some(new) = now_held {
            self.nat.release(&flow.inside, &new, env.now);
        }
        decided.map(|()| None)
    }
}

/// The guest sends from its own addresses; nobody else is the guest, or its
/// gateway if he is outside of the VPC.
fn check_source(policy: &Policy, arrival: &Arrival<'_>) -> Result<(), Dropped> {
    let refuse = |reason| Err(Dropped::by(LayerId::Gateway, reason));
    let key = &arrival.packet.tuple;
    match arrival.dir {
        Direction::Out if !gateway::is_own(&policy.spec, &key.local_ip(), Direction::Out) => {
            refuse(DropReason::SpoofedIp)
        }
        Direction::In if !gateway::may_report(&policy.spec, &key.remote_ip(), arrival.external) => {
            refuse(DropReason::Martian)
        }
        _ => Ok(()),
    }
}

/// What an error that goes `dir` quotes.
fn quoted(packet: &Packet, head: &[u8], dir: Direction) -> Option<Quote> {
    let end = ETHERNET_LEN.saturating_add(packet.ip_len.into());
    let start = packet.transport.saturating_add(icmp::HEADER_LEN);
    let bytes = head.get(start..end.min(head.len()))?;
    Quote::parse(packet.tuple.family, bytes, dir.reverse())
}

/// Whether packets of the flow have gone `dir`, and the quoted one may be
/// among those on their way: its ports are easily guessed, its place in the
/// stream isn't (RFC 5927 section 4.1).
fn may_quote(flow: &Flow, quote: &Quote, dir: Direction) -> bool {
    let packets = flow.packets;
    let has_sent = packets.get(side(dir)).is_some_and(|sent| *sent > 0);
    let connection = flow.tcp;
    let is_under_way = |sequence| connection.may_be_under_way(sequence, dir);
    has_sent && quote.sequence.is_none_or(is_under_way)
}

/// Whether the error's checksum is right (RFC 5508 REQ-3). Of a message that
/// isn't all in the frame's head nobody can say; its receiver will.
fn checksum_is_right(packet: &Packet, head: &[u8]) -> bool {
    let end = ETHERNET_LEN.saturating_add(packet.ip_len.into());
    let Some(message) = head.get(packet.transport..end) else {
        return true;
    };
    let ends = match (packet.tuple.local_ip(), packet.tuple.remote_ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Ends::V4 {
            source,
            destination,
        },
        (IpAddr::V6(source), IpAddr::V6(destination)) => Ends::V6 {
            source,
            destination,
        },
        _ => return false,
    };
    // The sum doesn't ask which of the two is the source.
    icmp::checksum_is_right(&ends, message)
}

/// Bytes of a message, and how its sum changes with what is put into them.
struct Patch<'h> {
    bytes: &'h mut [u8],
    change: Diff,
}

impl Patch<'_> {
    fn put<const N: usize>(&mut self, at: usize, new: [u8; N]) {
        let old = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<N>);
        if let Some(old) = old {
            self.change = self.change.replace_bytes(old, &new);
            put(self.bytes, at, new);
        }
    }

    fn put_address(&mut self, at: usize, family: Family, addr: [u8; 16]) {
        match family {
            Family::V4 => {
                let [.., a, b, c, d] = addr;
                self.put(at, [a, b, c, d]);
            }
            Family::V6 => self.put(at, addr),
        }
    }

    fn update(&mut self, at: usize, new: impl FnOnce(u16) -> u16) {
        let old = self.bytes.get(at..).and_then(<[u8]>::first_chunk::<2>);
        if let Some(old) = old {
            self.put(at, new(u16::from_be_bytes(*old)).to_be_bytes());
        }
    }
}

/// Gives the error and what it quotes the flow's other near end. Of the quote,
/// what is there is changed; the rest was cut off by who sent the error.
fn translate(near: &NearEnd, packet: &Packet, quote: &Quote, dir: Direction, head: &mut [u8]) {
    let family = packet.tuple.family;
    let mut outer = Patch {
        bytes: head,
        change: Diff::NONE,
    };
    let near_is_source = dir == Direction::Out;
    let at = ETHERNET_LEN.saturating_add(address_at(family, near_is_source));
    outer.put_address(at, family, near.addr);
    let outer = outer.change;
    if family == Family::V4 {
        update(head, ETHERNET_LEN.saturating_add(10), |sum| {
            outer.apply(sum)
        });
    }
    let end = ETHERNET_LEN.saturating_add(packet.ip_len.into());
    let end = end.min(head.len());
    let mut message = Patch {
        bytes: head.get_mut(..end).unwrap_or_default(),
        change: Diff::NONE,
    };
    // In the quote, which went the other way, the near end is at the other end.
    let start = packet.transport.saturating_add(icmp::HEADER_LEN);
    let at = start.saturating_add(address_at(family, !near_is_source));
    message.put_address(at, family, near.addr);
    if family == Family::V4 {
        message.update(start.saturating_add(10), |sum| {
            near.diff.addresses.apply(sum)
        });
    }
    let transport = start.saturating_add(quote.transport);
    let (port_at, sum_at) = match quote.tuple.proto {
        Proto::TCP => (if near_is_source { 2 } else { 0 }, 16),
        Proto::UDP => (if near_is_source { 2 } else { 0 }, 6),
        _ if quote.tuple.is_echo() => (4, 2),
        proto => {
            let sum_at = proto.covering_checksum_at().unwrap_or(usize::MAX);
            (usize::MAX, sum_at)
        }
    };
    message.put(transport.saturating_add(port_at), near.port.to_be_bytes());
    let sum_at = transport.saturating_add(sum_at);
    match quote.tuple.proto {
        Proto::UDP | Proto::UDP_LITE => {
            message.update(sum_at, |sum| near.diff.transport.apply_udp(sum))
        }
        _ => message.update(sum_at, |sum| near.diff.transport.apply(sum)),
    }
    // A pseudo-header is part of ICMPv6's sum, not of ICMP's.
    let change = match family {
        Family::V4 => message.change,
        Family::V6 => message.change.plus(outer),
    };
    let at = packet.transport.saturating_add(icmp::CHECKSUM_AT);
    update(head, at, |sum| change.apply(sum));
}
