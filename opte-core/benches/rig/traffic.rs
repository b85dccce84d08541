//! Frames of many flows, replayed in bursts.
//!
//! Rules     T1  a burst is 64 frames; their header bytes are loaded again
//!               before each burst, outside of the time measured.
//!           T2  frames lie in buffers of their own, with 128 bytes of
//!               headroom, in one piece.
//!           T3  frames of established flows come in one random order, the
//!               same on every run and every pass.
//!           T4  what is timed is parse, look-up, state, counters, rewrite and
//!               encapsulation or decapsulation; the clock is read once per
//!               burst, unless the case is about reading it more often.

use super::flows::Flows;
use super::rng::Rng;
use super::{HEADROOM, Raw, Rig};
use opte_core::event::Observer;
use opte_core::frame::SliceFrame;
use opte_core::host::{Host, Lane};
use opte_core::verdict::{Discard, LinkId, Verdict};
use opte_core::{Direction, Instant};
use std::time::Duration;

/// Frames of a burst.
pub const BURST: usize = 64;
/// Frames of a chain, where they are handed over in chains.
pub const CHAIN: usize = 32;
/// What of a frame is edited or read: outer headers with an option, and inner
/// ones up to TCP over IPv6.
const LOADED: usize = 74 + 74;

/// Frames to replay.
pub struct Traffic {
    pub dir: Direction,
    /// How each buffer begins before a frame's own bytes are put in.
    head: Vec<u8>,
    /// Where frames differ from each other in their heads.
    own_at: Vec<u16>,
    /// What they have there, frame after frame: a few bytes each, so that
    /// reading them doesn't fill the caches that the engine uses.
    own: Vec<u8>,
    frame_len: usize,
    count: usize,
    at: usize,
    buffers: Vec<u8>,
}

impl Traffic {
    /// Frames, all of one length, in the order given.
    pub fn new(dir: Direction, frames: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let frames: Vec<Vec<u8>> = frames.into_iter().collect();
        let first = frames.first().expect("a frame");
        let head = first[..first.len().min(LOADED)].to_vec();
        let differ = |at: &usize| frames.iter().any(|frame| frame[*at] != head[*at]);
        let own_at: Vec<usize> = (0..head.len()).filter(differ).collect();
        let mut own = Vec::with_capacity(frames.len() * own_at.len());
        let mut buffers = Vec::new();
        for frame in &frames {
            assert_eq!(first.len(), frame.len(), "frames of one length");
            own.extend(own_at.iter().map(|at| frame[*at]));
        }
        for _ in 0..BURST {
            buffers.resize(buffers.len() + HEADROOM, 0);
            buffers.extend_from_slice(first);
        }
        Self {
            dir,
            head,
            own_at: own_at.into_iter().map(|at| at as u16).collect(),
            own,
            frame_len: first.len(),
            count: frames.len(),
            at: 0,
            buffers,
        }
    }

    /// A packet of each flow, in random order.
    pub fn of(flows: &Flows, dir: Direction, len: usize) -> Self {
        let order = Rng::new(1).permutation(flows.count);
        Self::new(
            dir,
            order
                .into_iter()
                .map(|number| flows.packet(number, dir, len)),
        )
    }

    /// Frames in all.
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Puts the next 64 frames into the buffers; after the last comes the first.
    pub fn load(&mut self) {
        let stride = HEADROOM + self.frame_len;
        for buffer in self.buffers.chunks_exact_mut(stride) {
            let head = &mut buffer[HEADROOM..][..self.head.len()];
            head.copy_from_slice(&self.head);
            let own = &self.own[self.at * self.own_at.len()..];
            for (at, byte) in self.own_at.iter().zip(own) {
                head[usize::from(*at)] = *byte;
            }
            self.at = (self.at + 1) % self.count;
        }
    }

    /// Hands what is loaded to the host; how many frames went on.
    #[inline]
    pub fn process<O: Observer>(
        &mut self,
        rig: &Rig<O>,
        lane: &mut Lane<Raw>,
        clock: impl FnMut() -> Instant,
    ) -> u64 {
        let stride = HEADROOM + self.frame_len;
        match self.dir {
            Direction::Out => {
                timed::<true, _, _>(&rig.host, lane, rig.port, &mut self.buffers, stride, clock)
            }
            Direction::In => {
                timed::<false, _, _>(&rig.host, lane, rig.port, &mut self.buffers, stride, clock)
            }
        }
    }

    /// Loads and processes a burst; how long the latter took, and how many
    /// frames went on.
    pub fn burst<O: Observer>(&mut self, rig: &Rig<O>, lane: &mut Lane<Raw>) -> (Duration, u64) {
        self.load();
        let start = std::time::Instant::now();
        let now = rig.now();
        let passed = self.process(rig, lane, || now);
        (start.elapsed(), passed)
    }

    /// As [`Traffic::burst`], with frames handed over in chains.
    pub fn chained_burst<O: Observer>(
        &mut self,
        rig: &Rig<O>,
        lane: &mut Lane<Raw>,
    ) -> (Duration, u64) {
        self.load();
        let stride = HEADROOM + self.frame_len;
        let start = std::time::Instant::now();
        let now = rig.now();
        let passed = match self.dir {
            Direction::Out => chained::<true, _>(rig, lane, &mut self.buffers, stride, now),
            Direction::In => chained::<false, _>(rig, lane, &mut self.buffers, stride, now),
        };
        (start.elapsed(), passed)
    }

    /// As [`Traffic::burst`], with the clock read for every packet.
    pub fn clocked_burst<O: Observer>(
        &mut self,
        rig: &Rig<O>,
        lane: &mut Lane<Raw>,
    ) -> (Duration, u64) {
        self.load();
        let start = std::time::Instant::now();
        let passed = self.process(rig, lane, || rig.now());
        (start.elapsed(), passed)
    }
}

/// The part that is measured, by name: callgrind counts in here only.
#[inline(never)]
fn timed<const OUT: bool, O: Observer, C: FnMut() -> Instant>(
    host: &Host<Raw, O>,
    lane: &mut Lane<Raw>,
    port: opte_core::api::PortId,
    buffers: &mut [u8],
    stride: usize,
    mut clock: C,
) -> u64 {
    let mut passed = 0;
    for buffer in buffers.chunks_exact_mut(stride) {
        let mut frame = SliceFrame::new(buffer, HEADROOM, stride);
        let now = clock();
        let verdict = if OUT {
            host.tx(lane, port, &mut frame, now, &mut Discard)
        } else {
            host.rx(lane, LinkId(0), &mut frame, now, &mut Discard)
        };
        passed += u64::from(matches!(verdict, Verdict::Link(_) | Verdict::Port(_)));
    }
    passed
}

/// As [`timed`], in chains of [`CHAIN`] frames.
#[inline(never)]
fn chained<const OUT: bool, O: Observer>(
    rig: &Rig<O>,
    lane: &mut Lane<Raw>,
    buffers: &mut [u8],
    stride: usize,
    now: Instant,
) -> u64 {
    let mut passed = 0;
    for chain in buffers.chunks_exact_mut(stride * CHAIN) {
        let mut buffers = chain.chunks_exact_mut(stride);
        let mut frames: [SliceFrame<'_>; CHAIN] = std::array::from_fn(|_| {
            let buffer = buffers.next().unwrap_or_default();
            SliceFrame::new(buffer, HEADROOM, stride)
        });
        let done = |_: &mut SliceFrame<'_>, verdict, _: &mut Discard| {
            passed += u64::from(matches!(verdict, Verdict::Link(_) | Verdict::Port(_)));
        };
        let (host, out) = (&rig.host, &mut Discard);
        if OUT {
            host.tx_burst(lane, rig.port, &mut frames, now, out, done);
        } else {
            host.rx_burst(lane, LinkId(0), &mut frames, now, out, done);
        }
    }
    passed
}
