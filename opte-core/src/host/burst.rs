//! Frames in bursts.
//!
//! Purpose   among many flows a packet waits for memory longer than it is
//!           worked on: for the index, then for its flow. Frames that are
//!           there together wait together.
//! Flow      per group: parse all, asking for the index of each; look all up,
//!           asking for the flow of each; then take one after the other
//!           through the engine as if it had come alone
//!           Frames of one flow in a row ask once, and a lone one doesn't ask:
//!           nothing would be done between asking and looking.
//! Rules     B1  a verdict is what it would be for the frame alone. What is
//!               kept between the steps is what the frame itself says, which
//!               no other frame changes.

use super::{Entry, Host, Lane};
use crate::api::PortId;
use crate::event::Observer;
use crate::frame::Frame;
use crate::port::{Keyless, Lookup, Read};
use crate::verdict::{LinkId, Output, Verdict};
use crate::{Direction, DropReason, Instant};
use lock_api::RawMutex;

/// Frames that wait for memory together. More would push each other's out of
/// the nearest cache.
pub(super) const GROUP: usize = 16;

/// Which of a group's frames ask for the memory of their flow.
struct Asking {
    /// Whether there is anything to do until it comes.
    is_worth_it: bool,
    /// What was asked for last.
    last: Option<u64>,
}

impl Asking {
    fn new(frames: usize) -> Self {
        Self {
            is_worth_it: frames > 1,
            last: None,
        }
    }

    #[inline]
    fn does(&mut self, lookup: &Lookup) -> bool {
        self.is_worth_it && self.last.replace(lookup.hash()) != Some(lookup.hash())
    }
}

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
            let mut asking = Asking::new(group.len());
            for ((packet, frame), read) in packets.iter_mut().zip(&*group).zip(&mut reads) {
                *read = port.read(packet, frame, Direction::Out);
                if let Ok(lookup) = read
                    && asking.does(lookup)
                {
                    port.prefetch_index(lookup, false);
                }
            }
            let mut asking = Asking::new(group.len());
            for lookup in reads.iter().take(group.len()).flatten() {
                if asking.does(lookup) {
                    port.prefetch_flow(lookup, false);
                }
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
            let mut asking = Asking::new(group.len());
            for ((packet, frame), arrived) in packets.iter_mut().zip(&mut *group).zip(&mut arrived)
            {
                *arrived = self.arrive(&env, link, frame, out).map(|entry| {
                    let read = entry.port.read(packet, frame, Direction::In);
                    if let Ok(lookup) = &read
                        && asking.does(lookup)
                    {
                        entry.port.prefetch_index(lookup, entry.external);
                    }
                    (entry, read)
                });
            }
            let mut asking = Asking::new(group.len());
            for (entry, read) in arrived.iter().take(group.len()).flatten() {
                if let Ok(lookup) = read
                    && asking.does(lookup)
                {
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
