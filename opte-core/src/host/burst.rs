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
use crate::verdict::{LinkId, Output, Verdict};
use crate::{Direction, DropReason, Instant};
use lock_api::RawMutex;

/// Frames that wait for memory together. More would push each other's out of
/// the nearest cache.
pub(super) const GROUP: usize = 16;

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
        let parsed = &mut *lane.parsed;
        let env = self.env_of(&lane.view, lane.index, now);
        let Some(port) = env.view.port(port) else {
            for frame in frames {
                let verdict = self.refuse(&env, Direction::Out, DropReason::PortDown);
                done(frame, verdict, out);
            }
            return;
        };
        for group in frames.chunks_mut(GROUP) {
            for (parsed, frame) in parsed.iter_mut().zip(&*group) {
                port.parse(parsed, frame, Direction::Out);
                port.prefetch_index(parsed, false);
            }
            for (parsed, _) in parsed.iter().zip(&*group) {
                port.prefetch_flow(parsed, false);
            }
            for (parsed, frame) in parsed.iter().zip(group) {
                let verdict = self.send(&env, port, parsed, frame, out);
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
        let parsed = &mut *lane.parsed;
        let env = self.env_of(&lane.view, lane.index, now);
        for group in frames.chunks_mut(GROUP) {
            let mut entries: [Result<Entry<'_, R>, Verdict>; GROUP] =
                [const { Err(Verdict::Consumed) }; GROUP];
            for ((parsed, frame), entry) in parsed.iter_mut().zip(&mut *group).zip(&mut entries) {
                *entry = self.arrive(&env, link, frame, out);
                if let Ok(Entry { port, external }) = *entry {
                    port.parse(parsed, frame, Direction::In);
                    port.prefetch_index(parsed, external);
                }
            }
            for ((parsed, _), entry) in parsed.iter().zip(&*group).zip(&entries) {
                if let Ok(Entry { port, external }) = *entry {
                    port.prefetch_flow(parsed, external);
                }
            }
            for ((parsed, frame), entry) in parsed.iter().zip(group).zip(&entries) {
                let verdict = match entry {
                    Ok(entry) => Self::deliver_parsed(&env, entry, parsed, frame),
                    Err(verdict) => *verdict,
                };
                done(frame, verdict, out);
            }
        }
    }
}
