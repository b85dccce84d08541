//! Packets that need a closer look than a hit takes.
//!
//! Purpose   what a port does to a packet beyond its flow's rewrite: see that
//!           it fits, count its hops, lower what a SYN offers. Ports that ask
//!           for it by an option pay for it; a port without publishes its MTU
//!           to the cached path, which then comes here with what doesn't fit
//!           and with nothing else.
//! Rules     C1  a packet that doesn't fit is dropped and its sender told, also
//!               an IPv4 packet that may be fragmented: the engine doesn't touch
//!               payload (decision D1), and hosts heed the message for such
//!               packets as well (RFC 1191 section 6.2 asks for no less).
//!           C2  hops are counted outbound only: the gateway is the guest's
//!               router, and on the way between two guests there is one.
//!           C3  a TTL is lowered before the flow is looked up, and stays so in
//!               what an error quotes, as with any router.

use super::edit::{NearEnd, put, update};
use super::fast::{NoHit, Onward};
use super::process::{Arrival, is_neighbour_discovery};
use super::{Env, Policy, Port};
use crate::Direction;
use crate::event::{Observer, Path};
use crate::flow::record::Difference;
use crate::flow::{Family, Proto};
use crate::frame::Frame;
use crate::limits::ENCAP_LEN;
use crate::verdict::Output;
use crate::wire::checksum::Diff;
use crate::wire::notice::Notice;
use crate::wire::packet::{ETHERNET_LEN, Packet, Segment};
use crate::wire::tcp::{self, SynOptions};
use lock_api::RawMutex;

impl Policy {
    /// The MTU that the cached path may go by: zero when every packet needs a
    /// closer look.
    pub(super) fn plain_mtu(&self) -> u16 {
        let options = &self.spec.options;
        match options.decrement_ttl || options.mss_max != 0 {
            true => 0,
            false => self.spec.mtu,
        }
    }
}

impl<R: RawMutex> Port<R> {
    /// Looks closer at a packet and, if nothing is wrong with it, looks it up
    /// like any other.
    #[inline(never)]
    pub(super) fn look_closer<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        hash: u64,
        frame: &mut impl Frame,
    ) -> Result<Onward, NoHit> {
        self.prepare(arrival, frame)?;
        let onward = self.fast(env, arrival, hash, frame)?;
        self.stats.lane(env.lane).dir(arrival.dir).hits.add(1);
        self.went_on(env, arrival, frame, Path::Hit);
        Ok(onward)
    }

    /// What happens to a packet before its flow is looked up.
    fn prepare(&self, arrival: &Arrival<'_>, frame: &mut impl Frame) -> Result<(), NoHit> {
        let policy = self.policy();
        let (options, packet) = (&policy.spec.options, arrival.packet);
        let offload = frame.offload();
        if packet.len_cut(offload.segment_len) > policy.spec.mtu {
            return Err(NoHit::TooBig);
        }
        if options.decrement_ttl
            && arrival.dir == Direction::Out
            && !is_neighbour_discovery(packet)
            && !count_hop(frame.head_mut(), packet.tuple.family)
        {
            return Err(NoHit::Expired);
        }
        let is_syn = packet.tuple.proto == Proto::TCP && packet.segment.has(Segment::SYN);
        if options.mss_max != 0 && is_syn {
            let is_partial = offload.checksum_partial;
            clamp_mss(frame.head_mut(), packet, options.mss_max, is_partial);
        }
        Ok(())
    }

    /// Tells the guest that its packet is too big for the underlay, whose path
    /// carries `path_mtu` bytes. The frame is edited already; what the guest
    /// is shown is what it sent.
    #[inline(never)]
    pub(crate) fn too_big_for_path<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        frame: &mut impl Frame,
        packet: &Packet,
        path_mtu: u16,
        out: &mut impl Output,
    ) {
        // The answer quotes of it what there is room for.
        let _ = frame.gather();
        let head = frame.head();
        let mut head = head.get(..QUOTE_MAX).unwrap_or(head).to_vec();
        let (dir, len) = (Direction::Out, frame.frame_len());
        let mut now = Packet::EMPTY;
        let is_read = now.read(&head, len, dir).is_ok() || now.read_piece(&head, len, dir).is_ok();
        if !is_read {
            return;
        }
        if now.tuple != packet.tuple {
            let near = NearEnd {
                addr: packet.tuple.local,
                port: packet.tuple.local_port,
                diff: Difference::between(&now.tuple, &packet.tuple),
            };
            near.apply(&mut head, packet, dir, frame.offload());
        }
        let arrival = Arrival {
            dir,
            packet,
            external: false,
            len,
        };
        // The outer Ethernet header doesn't count, and the inner one does.
        let mtu = path_mtu.saturating_sub(u16::try_from(ENCAP_LEN).unwrap_or(u16::MAX));
        self.answer(env, &arrival, &head, Notice::TooBig { mtu }, out);
    }
}

/// Bytes of a frame that an ICMP error may quote.
const QUOTE_MAX: usize = 1_280 + ETHERNET_LEN;

/// Takes one from the hop limit; whether one is left.
pub(super) fn count_hop(head: &mut [u8], family: Family) -> bool {
    let at = ETHERNET_LEN.saturating_add(match family {
        Family::V4 => 8,
        Family::V6 => 7,
    });
    let Some(&old) = head.get(at) else {
        return false;
    };
    if old <= 1 {
        return false;
    }
    let new = old.saturating_sub(1);
    put(head, at, [new]);
    if family == Family::V4 {
        // It shares a word of the header's checksum with the protocol.
        let word = |ttl: u8| u16::from_be_bytes([ttl, 0]);
        let diff = Diff::NONE.replace_u16(word(old), word(new));
        update(head, ETHERNET_LEN.saturating_add(10), |sum| diff.apply(sum));
    }
    true
}

/// Lowers the segment size that a SYN offers to `most` bytes (RFC 9293 section
/// 3.7.1). One that offers none means 536 bytes, or 1220 for IPv6, and stays.
fn clamp_mss(head: &mut [u8], packet: &Packet, most: u16, is_partial: bool) {
    let segment = head.get(packet.transport..).unwrap_or_default();
    let Ok((header, _)) = tcp::Header::parse(segment) else {
        return;
    };
    let found = SynOptions::parse(header.options).ok().and_then(|o| o.mss);
    let Some(mss) = found.filter(|mss| mss.bytes > most) else {
        return;
    };
    let at = packet
        .transport
        .saturating_add(tcp::HEADER_LEN)
        .saturating_add(mss.at);
    put(head, at, most.to_be_bytes());
    if is_partial {
        // Whoever finishes the checksum counts what is there then.
        return;
    }
    // Behind an odd number of bytes it lies across two words of the sum.
    let turn = |bytes: u16| {
        if mss.at % 2 == 0 {
            bytes
        } else {
            bytes.swap_bytes()
        }
    };
    let diff = Diff::NONE.replace_u16(turn(mss.bytes), turn(most));
    let at = packet.transport.saturating_add(tcp::CHECKSUM_AT);
    update(head, at, |sum| diff.apply(sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;
    use crate::wire::ip::Ends;
    use crate::wire::packet;
    use crate::wire::tcp::Flags;
    use core::net::Ipv4Addr;
    use std::vec::Vec;

    const ENDS: Ends = Ends::V4 {
        source: Ipv4Addr::new(10, 0, 0, 1),
        destination: Ipv4Addr::new(10, 0, 0, 2),
    };

    fn syn(options: &[u8]) -> (Vec<u8>, Packet) {
        let header = tcp::Header {
            source_port: 1,
            destination_port: 2,
            sequence: 3,
            acknowledgment: 0,
            flags: Flags::SYN,
            window: 9,
            checksum: 0,
            urgent: 0,
            options,
        };
        let mut segment = Writer::default();
        header.emit(&ENDS, &[], &mut segment);
        let mut out = Writer::default();
        out.put(&[0; 12]);
        out.put(&[8, 0]);
        let datagram = crate::wire::ip::Datagram {
            ends: ENDS,
            proto: Proto::TCP,
            hop_limit: 2,
            traffic_class: 0,
            fragment: None,
            payload: segment.bytes(),
        };
        datagram.emit(&mut out);
        let frame = out.into_bytes();
        let packet = packet::parse(&frame, frame.len(), Direction::Out).unwrap();
        (frame, packet)
    }

    fn offered(frame: &[u8]) -> Option<u16> {
        let segment = &frame[34..];
        let sum = ENDS.pseudo_header(Proto::TCP, segment.len());
        assert!(sum.bytes(segment).is_valid());
        let (header, _) = tcp::Header::parse(segment).unwrap();
        SynOptions::parse(header.options)
            .unwrap()
            .mss
            .map(|mss| mss.bytes)
    }

    #[test]
    fn a_syn_offers_no_more_than_it_may() {
        for (options, offer) in [
            (&[2, 4, 5, 0xb4][..], Some(1_300)),
            (&[1, 2, 4, 5, 0xb4, 1, 1, 1], Some(1_300)),
            (&[1, 1, 2, 4, 5, 0xb4, 3, 3, 7, 0, 0, 0], Some(1_300)),
            (&[2, 4, 2, 0x18], Some(536)),
            (&[4, 2, 1, 1], None),
            (&[], None),
        ] {
            let (mut frame, packet) = syn(options);
            clamp_mss(&mut frame, &packet, 1_300, false);
            assert_eq!(offered(&frame), offer, "{options:?}");
        }
    }

    #[test]
    fn an_unfinished_checksum_stays_as_it_is() {
        let (mut frame, packet) = syn(&[2, 4, 5, 0xb4]);
        let before = [frame[50], frame[51]];
        clamp_mss(&mut frame, &packet, 1_300, true);
        assert_eq!([frame[50], frame[51]], before);
        assert_eq!(frame[56..58], 1_300_u16.to_be_bytes());
    }

    #[test]
    fn hops_are_counted_down_to_one() {
        let (mut frame, _) = syn(&[]);
        assert!(count_hop(&mut frame, Family::V4));
        let header = crate::wire::checksum::Sum::ZERO.bytes(&frame[14..34]);
        assert_eq!((frame[22], header.is_valid()), (1, true));
        assert!(!count_hop(&mut frame, Family::V4), "the last one");
        assert_eq!(frame[22], 1);
        assert!(!count_hop(&mut [], Family::V6));
    }
}
