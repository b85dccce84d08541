//! What a port says about packets that it drops.
//!
//! Purpose   a sender that is told why its packet went nowhere tries something
//!           else at once; one that isn't waits for a timeout. To the guest the
//!           gateway speaks as any router would. Towards the far side only two
//!           things are said: that a rule rejects the packet, and that it is
//!           too big for the guest.
//! Rules     A1  an answer makes no flow and finds none. One to the far side
//!               takes the way that the route and the mappings of the
//!               packet's source address give, now, so it goes to whoever has
//!               that address and to nobody else.
//!           A2  what comes from inside of the VPC is answered inside, what
//!               comes from outside is answered outside; where the route says
//!               otherwise there is no answer.
//!           A3  towards the outside an error comes from the address that the
//!               packet was for: the gateway's means nothing there.
//!           A4  each direction has its own token bucket (RFC 4443 section 2.4
//!               (f)), so that nobody outside can use up what the guest needs
//!               to find its path MTU. With rule T3 of `wire::notice` that is
//!               all that a forged source address can make of us.
//! Failure   no answer. The packet is dropped and counted as it would be anyway.

use super::errand::{Errand, ROOM};
use super::fast::Onward;
use super::process::Arrival;
use super::{Env, Policy, Port};
use crate::api::RouteTarget;
use crate::event::{Observer, observe};
use crate::flow::record::Forward;
use crate::flow::{Family, Tuple};
use crate::layer::overlay;
use crate::limits::{ANSWERS_AT_ONCE, ANSWERS_PER_S};
use crate::port::bucket::Bucket;
use crate::verdict::Output;
use crate::wire::ethernet::{self, EtherType};
use crate::wire::notice::Notice;
use crate::wire::packet::{self, ETHERNET_LEN};
use crate::{Direction, DropReason};
use alloc::vec::Vec;
use core::net::IpAddr;
use lock_api::RawMutex;

/// How much a port may still say, towards the far side and to the guest.
#[derive(Debug)]
pub(super) struct Buckets {
    far: Bucket,
    guest: Bucket,
}

impl Default for Buckets {
    fn default() -> Self {
        let bucket = || Bucket::new(ANSWERS_PER_S, ANSWERS_AT_ONCE);
        Self {
            far: bucket(),
            guest: bucket(),
        }
    }
}

impl Buckets {
    /// For answers to packets that go `dir`.
    const fn of(&self, dir: Direction) -> &Bucket {
        match dir {
            Direction::In => &self.far,
            Direction::Out => &self.guest,
        }
    }
}

/// What is said about a packet that is dropped for `reason`, if anything is.
/// How much would fit is not known here, so "too big" isn't among it.
pub(super) const fn notice(reason: DropReason, dir: Direction) -> Option<Notice> {
    match (reason, dir) {
        (DropReason::FirewallReject, _) => Some(Notice::Refused),
        (DropReason::SnatExhausted, Direction::Out) => Some(Notice::Prohibited),
        (DropReason::TtlExceeded, _) => Some(Notice::TimeExceeded),
        _ => None,
    }
}

impl<R: RawMutex> Port<R> {
    /// Tells the sender of a packet that is being dropped. `head` is its frame
    /// as it came, or the beginning of it.
    #[inline(never)]
    pub(crate) fn answer<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        arrival: &Arrival<'_>,
        head: &[u8],
        notice: Notice,
        out: &mut impl Output,
    ) {
        let (dir, key) = (arrival.dir, &arrival.packet.tuple);
        let bucket = self.answers.of(dir);
        if !bucket.is_ready(env.now) {
            return;
        }
        let policy = self.policy();
        let packet = head.get(ETHERNET_LEN..).unwrap_or_default();
        let said = router(&policy, arrival).and_then(|router| notice.about(packet, router));
        let Some(said) = said.filter(|_| bucket.take(env.now)) else {
            return;
        };
        let (port, len) = (&self.tag, u32::try_from(said.len()).unwrap_or(u32::MAX));
        observe!(
            env.observer,
            Answer {
                port,
                dir,
                key,
                len
            }
        );
        if dir == Direction::Out {
            let macs = (self.mac, self.gateway_mac);
            let frame = frame(macs, key.family, &said, 0);
            return self.to_guest(env, &frame, out);
        }
        let Some(forward) = self.way_back(env, &policy, arrival) else {
            return;
        };
        let frame = frame((forward.mac, self.mac), key.family, &said, ROOM);
        let bytes = frame.get(ROOM..).unwrap_or_default();
        if let Ok(packet) = packet::parse(bytes, bytes.len(), Direction::Out) {
            env.errands.put(Errand {
                port: self.id,
                packet,
                onward: Some(Onward {
                    to: forward.to,
                    source_port: forward.source_port,
                }),
                frame,
            });
        }
    }

    /// The way to the sender of an inbound packet (A1, A2).
    fn way_back<O: Observer>(
        &self,
        env: &Env<'_, R, O>,
        policy: &Policy,
        arrival: &Arrival<'_>,
    ) -> Option<Forward> {
        let key: &Tuple = &arrival.packet.tuple;
        let remote = key.remote_ip();
        let choice = u32::try_from(env.choice.hash(key) >> 32).unwrap_or(0);
        let target = policy.routes.find(&remote, choice)?.spec.target;
        let is_outside = matches!(target, RouteTarget::Gateway(_));
        if is_outside != arrival.external {
            return None;
        }
        overlay::forward(env, self.vni, target, key, choice).ok()
    }
}

/// Whom an error comes from: the gateway, or as rule A3 says.
fn router(policy: &Policy, arrival: &Arrival<'_>) -> Option<IpAddr> {
    let key = &arrival.packet.tuple;
    match (arrival.dir, arrival.external, key.family) {
        (Direction::In, true, _) => Some(key.local_ip()),
        (_, _, Family::V4) => policy.spec.ipv4.map(|c| c.gateway.into()),
        (_, _, Family::V6) => policy.spec.ipv6.map(|c| c.gateway.into()),
    }
}

/// A frame with `packet` in it, behind `room` bytes.
fn frame(
    (destination, source): (crate::wire::MacAddr, crate::wire::MacAddr),
    family: Family,
    packet: &[u8],
    room: usize,
) -> Vec<u8> {
    let header = ethernet::Header {
        destination,
        source,
        ethertype: match family {
            Family::V4 => EtherType::IPV4,
            Family::V6 => EtherType::IPV6,
        },
    };
    let mut frame = alloc::vec![0; room];
    frame.extend_from_slice(&header.to_bytes());
    frame.extend_from_slice(packet);
    frame
}
