//! Workers: the threads that move packets.
//!
//! Purpose   each worker waits for its devices, hands their frames to the
//!           engine and does what the verdicts say.
//!
//! Terms     turn    one wake-up: every device that is ready gets one burst
//!           burst   up to [`BURST_FRAMES`] frames of one device; the clock is
//!                   read once for all of them
//!           parked  a frame of the burst that goes to a link; those of one
//!                   link leave together
//!
//! Flow      Poll::wait -> View::refresh -> burst per device -> tick when due
//!           burst: Device::receive -> Host::tx_burst or Host::rx_burst
//!                  -> Sending::send (to a guest) or Sending::park (to a link)
//!                  -> Sender::flush
//!
//! Rules     W1  nothing is allocated for a frame: the buffer, the list of
//!               events and the sums of failures are as long as they get when
//!               the worker starts.
//!           W2  a worker waits for nobody but its `Poll`; every call on a
//!               device is non-blocking.
//!           W3  a device that no other worker reads: frames of one source
//!               reach the engine in their order.
//!
//! Failure   a frame that a guest can't take is counted by the engine
//!           (`DeviceFull`), and one that a link can't take or had no room for
//!           until it was read (`LinkFull`). A device that went away under the
//!           driver is reported once and read no more; `control::lost` opens it
//!           again when it can. Only a broken `epoll` ends a worker, and with it the
//!           driver.

mod sender;

pub(crate) use sender::{Sender, Sending};

use crate::clock::Clock;
use crate::device::{BURST_FRAMES, Batch, Device, Poll, Source, View, Wake};
use crate::engine::{Engine, Lane, TICK_MS, undelivered};
use opte_core::Instant;
use opte_core::frame::SliceFrame;
use opte_core::limits::LINKS_MAX;
use opte_core::verdict::{LinkId, Lost, Verdict};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Frames that the engine is given in one call.
const AT_ONCE: usize = 32;

/// One packet thread.
pub(crate) struct Worker {
    engine: Arc<Engine>,
    lane: Lane,
    poll: Arc<Poll>,
    view: View,
    clock: Clock,
    stop: Arc<AtomicBool>,
    batch: Batch,
    sender: Sender,
    /// When the next tick is due; `None` for a worker that doesn't tick.
    next_tick: Option<Instant>,
}

/// What a worker is made of, besides its lane.
pub(crate) struct Parts {
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    /// What the worker waits on.
    pub(crate) poll: Arc<Poll>,
    /// The devices.
    pub(crate) view: View,
    /// The clock that all threads share.
    pub(crate) clock: Clock,
    /// Set when the driver stops.
    pub(crate) stop: Arc<AtomicBool>,
    /// Whether this worker runs the engine's tick. One does.
    pub(crate) ticks: bool,
}

impl Worker {
    /// A worker with the engine's view `lane`.
    pub(crate) fn new(lane: Lane, parts: Parts) -> Self {
        Self {
            lane,
            next_tick: parts.ticks.then(|| parts.clock.now()),
            engine: parts.engine,
            poll: parts.poll,
            view: parts.view,
            clock: parts.clock,
            stop: parts.stop,
            batch: Batch::new(),
            sender: Sender::new(),
        }
    }

    /// Moves packets until the driver stops.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut wakes = Vec::with_capacity(BURST_FRAMES);
        while !self.stop.load(Ordering::Acquire) {
            self.poll.wait(self.until_tick(), &mut wakes)?;
            self.view.refresh();
            // Whoever closes a device wakes us: its port's memory goes too.
            self.engine.refresh(&mut self.lane);
            for wake in &wakes {
                if let Wake::Ready(source) = *wake {
                    self.burst(source);
                }
            }
            self.tick();
        }
        Ok(())
    }

    /// How long to wait at most; `None` when this worker doesn't tick.
    fn until_tick(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.next_tick
            .map(|due| Duration::from_nanos(due.as_nanos().saturating_sub(now.as_nanos())))
    }

    /// Runs the engine's tick if it is due.
    fn tick(&mut self) {
        let Some(due) = self.next_tick else { return };
        let now = self.clock.now();
        if now < due {
            return;
        }
        // Late ticks aren't made up for: the engine goes by the time it is told.
        self.next_tick = Some(now.plus_millis(TICK_MS));
        let mut output = self.sender.with(self.view.table());
        self.engine.tick(&mut self.lane, now, &mut output);
        self.count_failures();
        self.count_overflows();
    }

    /// Takes up to a burst of frames from one device.
    fn burst(&mut self, source: Source) {
        // The device may be closed since the event was taken.
        let Some(device) = self.view.table().get(source) else {
            return;
        };
        if let Err(error) = device.receive(&mut self.batch) {
            self.receive_failed(device, &error);
            return;
        }
        let now = self.clock.now();
        let mut output = self.sender.with(self.view.table());
        let mut memory = self.batch.frames();
        let mut index = 0;
        loop {
            let mut count = 0;
            let mut frames: [SliceFrame<'_>; AT_ONCE] = std::array::from_fn(|_| {
                let (slot, start, end) = memory.next().unwrap_or_default();
                count += usize::from(!slot.is_empty());
                SliceFrame::new(slot, start, end)
            });
            let frames = frames.get_mut(..count).unwrap_or_default();
            let done = |frame: &mut SliceFrame<'_>, verdict, output: &mut Sending<'_>| {
                act(source, index, frame, verdict, output);
                index += 1;
            };
            let (engine, lane) = (&self.engine, &mut self.lane);
            match source {
                Source::Port(port) => engine.tx_burst(lane, port, frames, now, &mut output, done),
                Source::Link(link) => engine.rx_burst(lane, link, frames, now, &mut output, done),
            }
            if count < AT_ONCE {
                break;
            }
        }
        drop(memory);
        self.sender
            .flush(self.view.table(), &self.batch, Some(source));
        self.count_failures();
    }

    /// Tells the engine what could not be sent.
    fn count_failures(&mut self) {
        for (lost, count) in self.sender.take_failed() {
            undelivered(&self.engine, &mut self.lane, lost, count);
        }
    }

    /// Tells the engine, and the log, what links lost before it was read.
    fn count_overflows(&mut self) {
        for id in (0..LINKS_MAX).filter_map(|id| u16::try_from(id).ok()) {
            let Some(device) = self.view.table().get(Source::Link(LinkId(id))) else {
                continue;
            };
            let frames = device.overflow();
            if frames > 0 {
                tracing::warn!(%device, frames, "frames came faster than they were taken, and were lost");
            }
            undelivered(&self.engine, &mut self.lane, Lost::ToLink, frames.into());
        }
    }

    /// A device that gave no frame: is it empty, or is it gone?
    fn receive_failed(&self, device: &Device, error: &io::Error) {
        match error.raw_os_error() {
            // Empty; interrupted; an underlay device that was set down, which
            // is said once and reported again when it has frames, or that is
            // gone, which `control::lost` looks after.
            Some(libc::EAGAIN | libc::EINTR | libc::ENETDOWN) => {}
            // Somebody deleted the device, or the network namespace it was in.
            // It would be reported for ever.
            _ => {
                tracing::warn!(%device, %error, "the device is gone; nothing is read from it any more");
                self.poll.remove(device);
            }
        }
    }
}

/// Does what the engine says about frame `index` of the batch.
fn act(
    source: Source,
    index: usize,
    frame: &SliceFrame<'_>,
    verdict: Verdict,
    output: &mut Sending<'_>,
) {
    match verdict {
        Verdict::Link(link) => output.park(link, index, frame.place()),
        Verdict::Port(port) => output.send(Source::Port(port), frame.bytes(), Some(source)),
        Verdict::Consumed | Verdict::Held | Verdict::Dropped(_) => {}
    }
}

#[cfg(test)]
mod tests;
