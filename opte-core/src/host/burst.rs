//! Frames in bursts.
//!
//! Purpose   among many flows a packet waits for memory longer than it is
//!           worked on: for the index, then for its flow. Frames that are
//!           there together wait together.
//! Flow      per group: parse all, asking for the index of each; look all up,
//!           asking for the flow of each; then take one after the other
//!           through the engine as if it had come alone
//! Rules     B1  a verdict is what it would be for the frame alone. What is
//!               kept between the steps is what the frame itself says, which
//!               no other frame changes.

use super::{Entry, Host, Lane};
use crate::api::PortId;
use crate::event::Observer;
use crate::frame::Frame;
use crate::port::{Keyless, Read};
use crate::verdict::{LinkId, Output, Verdict};
use crate::{Direction, DropReason, Instant};
use lock_api::RawMutex;

/// Frames that wait for memory together. More would push each other's out of
/// the nearest cache.
pub(super) const GROUP: usize = 16;

/// Stands where nothing is looked at.
const NOT_READ: Read = Err(Keyless::Macs(DropReason::Truncated));

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// As [`Host::tx`], for frames of one guest. `done` is called with each and
    /// its verdict, in order.
    pub fn tx_burst<F: Frame, Out: Output>(
        &self,
        lane: &mut Lane<R>,
        port: PortId,
        frames: &mut [F],
        now: Instant,
        out: &mut Out,
        mut done: impl FnMut(&mut F, Verdict, &mut Out),
    ) {
        self.renew(lane);
        let packets = &mut *lane.packets;
        let env = self.env_of(&lane.view, &lane.errands, lane.index, now);
        let Some(port) = env.view.port(port) else {
            for frame in frames {
                let verdict = self.refuse(&env, Direction::Out, DropReason::PortDown);
                done(frame, verdict, out);
            }
            return;
        };
        for group in frames.chunks_mut(GROUP) {
            let mut reads: [Read; GROUP] = [NOT_READ; GROUP];
            for ((packet, frame), read) in packets.iter_mut().zip(&*group).zip(&mut reads) {
                *read = port.read(packet, frame, Direction::Out);
                if let Ok(lookup) = read {
                    port.prefetch_index(lookup, false);
                }
            }
            for lookup in reads.iter().take(group.len()).flatten() {
                port.prefetch_flow(lookup, false);
            }
            for ((packet, frame), read) in packets.iter_mut().zip(group).zip(&reads) {
                let verdict = self.send(&env, port, (read, packet), frame, out);
                done(frame, verdict, out);
            }
        }
    }

    /// As [`Host::rx`], for frames of one link. `done` is called with each and
    /// its verdict, in order.
    pub fn rx_burst<F: Frame, Out: Output>(
        &self,
        lane: &mut Lane<R>,
        link: LinkId,
        frames: &mut [F],
        now: Instant,
        out: &mut Out,
        mut done: impl FnMut(&mut F, Verdict, &mut Out),
    ) {
        self.renew(lane);
        let packets = &mut *lane.packets;
        let env = self.env_of(&lane.view, &lane.errands, lane.index, now);
        for group in frames.chunks_mut(GROUP) {
            let mut arrived: [Result<(Entry<'_, R>, Read), Verdict>; GROUP] =
                [const { Err(Verdict::Consumed) }; GROUP];
            for ((packet, frame), arrived) in packets.iter_mut().zip(&mut *group).zip(&mut arrived)
            {
                *arrived = self.arrive(&env, link, frame, out).map(|entry| {
                    let read = entry.port.read(packet, frame, Direction::In);
                    if let Ok(lookup) = &read {
                        entry.port.prefetch_index(lookup, entry.external);
                    }
                    (entry, read)
                });
            }
            for (entry, read) in arrived.iter().take(group.len()).flatten() {
                if let Ok(lookup) = read {
                    entry.port.prefetch_flow(lookup, entry.external);
                }
            }
            for ((packet, frame), arrived) in packets.iter_mut().zip(group).zip(&arrived) {
                let verdict = match arrived {
                    Ok((entry, read)) => match Self::deliver(&env, entry, (read, packet), frame) {
                        Ok(verdict) => verdict,
                        Err(left) => self.finish(&env, entry.at(), (frame, packet), left, out),
                    },
                    Err(verdict) => *verdict,
                };
                done(frame, verdict, out);
            }
        }
    }
}
