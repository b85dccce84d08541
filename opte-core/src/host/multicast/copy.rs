//! Copies of a frame: to links, and to members' guests.

use super::group::Group;
use crate::api::PortId;
use crate::event::{Observer, observe};
use crate::flow::Tuple;
use crate::flow::tuple::from_ip;
use crate::frame::Frame;
use crate::host::Host;
use crate::host::encap::{finish_checksum, put};
use crate::host::underlay::PathId;
use crate::limits::{ENCAP_LEN, MCAST_HOPS_MAX};
use crate::port::{Dropped, Env, Port};
use crate::verdict::{LinkId, Output, Verdict};
use crate::wire::MacAddr;
use crate::wire::geneve::Replication;
use crate::wire::membership::is_membership;
use crate::wire::outer::{self, Outer};
use crate::wire::packet::{self, Packet, Reject};
use crate::{Direction, DropReason, LayerId};
use core::net::IpAddr;
use lock_api::RawMutex;

/// Bytes in front of a copy for the underlay: with the replication option.
const COPY_ENCAP_LEN: usize = ENCAP_LEN + Replication::OPTION_LEN;

/// A frame that is about to be copied.
struct Original<'g> {
    group: &'g Group,
    key: &'g Tuple,
    /// The address that was sent to, and by whom.
    to: IpAddr,
    source: IpAddr,
    /// The port that it came from, if it is one of this host.
    from: Option<PortId>,
    /// Whether it is from outside of the fleet.
    external: bool,
}

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Copies a guest's frame for a group that its port let pass, or hears
    /// what it says of its memberships.
    #[inline(never)]
    pub(in crate::host) fn sent_to_group(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        frame: &mut impl Frame,
        packet: &Packet,
        out: &mut impl Output,
    ) -> Verdict {
        let done = if is_membership(packet.tuple.proto, packet.icmp.0) {
            let heard = self.reported(env, port, frame.head());
            heard.map_err(|reason| Dropped::by(LayerId::Gateway, reason))
        } else {
            self.copy_to_group(env, port, frame, packet, out)
        };
        done.unwrap_or_else(|dropped| {
            let key = Some(packet.tuple);
            port.dropped(env, Direction::Out, &Dropped { key, ..dropped });
            Verdict::Dropped(dropped.reason)
        })
    }

    fn copy_to_group(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        frame: &mut impl Frame,
        packet: &Packet,
        out: &mut impl Output,
    ) -> Result<Verdict, Dropped> {
        let key = &packet.tuple;
        let refused = |reason| Dropped::by(LayerId::Overlay, reason);
        let to = key.remote_ip();
        let group = self.multicast.find(port.vni, &to);
        let group = group.ok_or_else(|| refused(DropReason::NoM2p))?;
        let copies = group.hops.len().saturating_add(group.members.len());
        if !port.may_copy(copies, env.now) {
            return Err(refused(DropReason::MulticastRate)); // G6
        }
        finish(frame).map_err(refused)?;
        observe!(
            env.observer,
            McastTx {
                port: &port.tag,
                vni: group.vni,
                underlay: group.underlay.octets(),
                key
            }
        );
        let original = Original {
            group: &group,
            key,
            to,
            source: key.local_ip(),
            from: Some(port.id),
            external: false,
        };
        let lost = |reason| {
            let key = Some(*key);
            port.dropped(
                env,
                Direction::Out,
                &Dropped {
                    key,
                    ..refused(reason)
                },
            );
        };
        let asked = Replication::Both;
        let links = self.copy_to_links(env, &original, asked, frame, out, lost);
        let mut inbound = Packet::EMPTY;
        let members = read_inbound(&mut inbound, frame).is_ok_and(|is_whole| {
            self.copy_to_members(env, &original, (&mut inbound, is_whole), frame, out)
        });
        match links || members {
            true => Ok(Verdict::Consumed),
            false => Err(refused(DropReason::NoMulticast)),
        }
    }

    /// Copies a frame from the underlay, whose outer headers were read.
    #[inline(never)]
    pub(in crate::host) fn arrived_for_group(
        &self,
        env: &Env<'_, R, O>,
        link: LinkId,
        outer: &Outer,
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Verdict {
        let replication = outer::replication(frame.head());
        frame.truncate(outer.end);
        frame.pop(outer.len);
        let mut packet = Packet::EMPTY;
        let result = read_inbound(&mut packet, frame).and_then(|is_whole| {
            let inbound = (&mut packet, is_whole);
            self.copy_arrived(env, link, (outer, replication), frame, inbound, out)
        });
        match result {
            Ok(()) => Verdict::Consumed,
            Err(reason) => self.refuse(env, Direction::In, reason),
        }
    }

    fn copy_arrived(
        &self,
        env: &Env<'_, R, O>,
        link: LinkId,
        (outer, replication): (&Outer, Option<Replication>),
        frame: &mut impl Frame,
        (packet, is_whole): (&mut Packet, bool),
        out: &mut impl Output,
    ) -> Result<(), DropReason> {
        let key = &{ packet.tuple };
        let (to, source) = (key.local_ip(), key.remote_ip());
        let (mac, sender) = packet::macs(frame.head()).ok_or(DropReason::Truncated)?;
        if !to.is_multicast() || mac != MacAddr::of_group(to) {
            return Err(DropReason::BadDestinationMac);
        }
        let is_copy = outer.address.is_multicast();
        let group = self.multicast.find_in(outer.vni, &to);
        let group = group.filter(|group| !is_copy || group.underlay == outer.address);
        let group = group.ok_or(DropReason::NoM2p)?;
        if env.view.port_with_mac(sender).is_some() {
            return Err(DropReason::MulticastLoop); // G2
        }
        // Hosts don't send frames without the option to each other.
        let mode = replication.unwrap_or(Replication::Underlay);
        if is_copy && !mode.has_hosts() {
            return Err(DropReason::ReplicatedElsewhere);
        }
        finish(frame)?;
        observe!(
            env.observer,
            McastRx {
                link: link.0,
                vni: group.vni,
                underlay: group.underlay.octets(),
                key
            }
        );
        let original = Original {
            group: &group,
            key,
            to,
            source,
            from: None,
            external: outer.external,
        };
        // G1
        let is_asked = !is_copy && replication.is_some_and(Replication::has_hosts);
        let lost = |reason| self.refused(env, Direction::Out, reason);
        let links = is_asked && self.copy_to_links(env, &original, mode, frame, out, lost);
        let members = self.copy_to_members(env, &original, (packet, is_whole), frame, out);
        match links || members {
            true => Ok(()),
            false => Err(DropReason::NoMulticast),
        }
    }

    /// Sends a copy on every link that leads to a next hop of the group, for
    /// what is `asked` of it; tells `lost` of those that can't be sent.
    /// Whether there was any to send.
    fn copy_to_links(
        &self,
        env: &Env<'_, R, O>,
        original: &Original<'_>,
        asked: Replication,
        frame: &mut impl Frame,
        out: &mut impl Output,
        lost: impl Fn(DropReason),
    ) -> bool {
        // G3: next hops on one link have the same path.
        let mut copies = [None::<(PathId, Replication)>; MCAST_HOPS_MAX];
        let mut is_any = false;
        for hop in &original.group.hops {
            let Some(mode) = hop.mode.within(asked) else {
                continue;
            };
            is_any = true;
            let path = match hop.path(env, &original.group.underlay) {
                Ok(path) => path,
                Err(reason) => {
                    lost(reason);
                    continue;
                }
            };
            let fits = |copy: &&mut Option<(PathId, _)>| copy.is_none_or(|(id, _)| id == path);
            if let Some(copy) = copies.iter_mut().find(fits) {
                *copy = Some((path, copy.map_or(mode, |(_, other)| mode.with(other))));
            }
        }
        for (path, mode) in copies.into_iter().flatten() {
            let len = frame.frame_len();
            if let Err(reason) = self.copy_to_link(env, original, (path, mode), frame, out) {
                lost(reason);
            }
            let added = frame.frame_len().saturating_sub(len);
            frame.pop(added);
        }
        is_any
    }

    /// Sends one copy. What is put in front of the frame is the caller's to
    /// remove.
    fn copy_to_link(
        &self,
        env: &Env<'_, R, O>,
        original: &Original<'_>,
        (path, mode): (PathId, Replication),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> Result<(), DropReason> {
        let path = self
            .underlay
            .path(path)
            .ok_or(DropReason::NoUnderlayRoute)?;
        // Of the outer packet, less its Ethernet and IPv6 headers: UDP, Geneve
        // with the option, and the frame.
        let payload = frame
            .frame_len()
            .saturating_add(16 + Replication::OPTION_LEN);
        let payload = u16::try_from(payload).map_err(|_| DropReason::TooBig)?;
        if u32::from(payload).saturating_add(40) > u32::from(path.mtu()) {
            return Err(DropReason::TooBig);
        }
        let room: &mut [u8; COPY_ENCAP_LEN] = frame
            .push(COPY_ENCAP_LEN)
            .and_then(|room| room.try_into().ok())
            .ok_or(DropReason::NoHeadroom)?;
        let (header, option) = room.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
        let link = path.write_header(header);
        let payload = payload.to_be_bytes();
        put(header, 18, payload);
        put(header, 54, source_port(env.choice.hash(original.key)));
        put(header, 58, payload);
        put(header, 62, [OPTION_WORDS]);
        put(header, 66, original.group.vni.to_bytes());
        option.copy_from_slice(&mode.option());
        // A group's MAC address follows from it, so there is none to wait for.
        let link = link.ok_or(DropReason::NextHopUnresolved)?;
        self.count_link(env.lane, link, Direction::Out, frame.frame_len());
        out.to_link(link, frame.head());
        Ok(())
    }

    /// Takes a copy through the port of every member that hears the source,
    /// the sender aside, and hands those that pass to the guests. Whether
    /// there were any.
    fn copy_to_members(
        &self,
        env: &Env<'_, R, O>,
        original: &Original<'_>,
        (packet, is_whole): (&mut Packet, bool),
        frame: &mut impl Frame,
        out: &mut impl Output,
    ) -> bool {
        let mut is_any = false;
        for member in &original.group.members {
            if Some(member.port) == original.from || !member.filter.allows(&original.source) {
                continue;
            }
            let port = env.view.port(member.port);
            let Some(port) = port.filter(|port| port.mac == member.mac) else {
                continue;
            };
            is_any = true;
            observe!(
                env.observer,
                McastDeliver {
                    port: &port.tag,
                    vni: original.group.vni,
                    group: from_ip(original.to),
                    source: from_ip(original.source)
                }
            );
            // In the fleet's network the sender's VPC isn't known.
            let external = original.external || port.vni != original.group.vni;
            let verdict = port.process_copy(env, external, (packet, is_whole), frame, out);
            if let Verdict::Port(id) = verdict {
                if O::CAN_WATCH && env.watched {
                    port.tell_frame(env, Direction::In, frame);
                }
                out.to_port(id, frame.head());
            }
        }
        is_any
    }
}

/// Reads a frame as its members see it; whether it is whole. Of a later
/// fragment there are only addresses.
fn read_inbound(packet: &mut Packet, frame: &impl Frame) -> Result<bool, DropReason> {
    let (head, len) = (frame.head(), frame.frame_len());
    match packet.read(head, len, Direction::In) {
        Ok(()) => Ok(true),
        Err(Reject::Fragment) => packet.read_piece(head, len, Direction::In).map(|_| false),
        Err(Reject::Bad(reason)) => Err(reason),
        Err(Reject::Arp) => Err(DropReason::ArpNotAnswered),
    }
}

/// Words of 4 bytes that the replication option takes.
const OPTION_WORDS: u8 = 2;
const _: () = assert!(Replication::OPTION_LEN == 8);

/// The tunnel's UDP source port, as other flows have it.
fn source_port(hash: u64) -> [u8; 2] {
    let [low, high, ..] = hash.to_be_bytes();
    [0xc0 | low & 0x3f, high]
}

/// Makes a frame such that its copies need no more work: they leave without
/// the device that would do it.
fn finish(frame: &mut impl Frame) -> Result<(), DropReason> {
    let offload = frame.offload();
    if offload.segment_len != 0 {
        return Err(DropReason::TooBig);
    }
    if !frame.gather() {
        return Err(DropReason::NoMemory);
    }
    if offload.checksum_partial {
        finish_checksum(frame.head_mut());
    }
    Ok(())
}
