//! A stretch of cable that loses, copies and delays frames.
//!
//! Where the kernel has `netem`, it does this at both ends of a cable. Not
//! every kernel has; elsewhere this is two threads with packet sockets, one for
//! each way, between two devices of a switch's namespace.
//!
//! Failure   a thread that can't go on ends, after which nothing passes; who
//!           ends the weather is told why.

mod netem;

use super::Namespace;
use super::packet::PacketSocket;
use anyhow::{Result, anyhow};
use netem::Netem;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of the largest frame.
const FRAME_LEN_MAX: usize = 65_536;
/// Bytes of frames that may wait in the kernel.
const BUFFER_LEN: usize = 8 << 20;
/// How often a thread looks whether it shall end.
const STOP_POLL: Duration = Duration::from_millis(50);

/// How bad it is. Chances are in a thousand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Frames that are lost.
    pub(crate) loss: u64,
    /// Frames that come twice.
    pub(crate) copies: u64,
    /// Each frame takes up to this long, by chance, and so overtakes others.
    pub(crate) delay_max: Duration,
}

/// What became of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Frames that came.
    pub(crate) frames: u64,
    /// Those that went no further.
    pub(crate) lost: u64,
    /// Those that arrived twice, where that is counted.
    pub(crate) copied: Option<u64>,
    /// Those that arrived after one that came later, where that is counted.
    pub(crate) overtaken: Option<u64>,
}

impl Damage {
    /// Whether of what is counted there were so many each, or more: lost ones,
    /// copies, and overtaken ones.
    pub(crate) fn reaches(&self, [lost, copied, overtaken]: [u64; 3]) -> bool {
        let enough = |count: Option<u64>, of| count.is_none_or(|count| count >= of);
        self.lost >= lost && enough(self.copied, copied) && enough(self.overtaken, overtaken)
    }
}

/// Weather, until it ends.
#[derive(Debug)]
pub(crate) enum Storm {
    /// The kernel's.
    Netem(Netem),
    /// Ours.
    Relay(Relay),
}

impl Storm {
    /// Has the kernel make the weather at both ends of a cable.
    ///
    /// # Errors
    ///
    /// When it can't; nothing is changed then.
    pub(crate) fn of_kernel(ends: [(Namespace, String); 2], weather: Weather) -> Result<Self> {
        Netem::start(ends, weather).map(Self::Netem)
    }

    /// Ends it; what it did to frames, both ways together.
    ///
    /// # Errors
    ///
    /// When it ended before.
    pub(crate) fn end(self) -> Result<Damage> {
        match self {
            Self::Netem(netem) => netem.end(),
            Self::Relay(relay) => relay.end(),
        }
    }
}

/// Threads that carry frames, until they are dropped.
#[derive(Debug)]
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    ways: Vec<JoinHandle<Result<Done>>>,
}

/// What one way did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    frames: u64,
    lost: u64,
    copied: u64,
    overtaken: u64,
}

impl Relay {
    /// Carries frames between two devices of `namespace`, which nothing else does.
    ///
    /// # Errors
    ///
    /// When a device doesn't exist.
    pub(crate) fn start(
        namespace: &Namespace,
        [one, other]: [&str; 2],
        weather: Weather,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut ways = Vec::new();
        for (seed, (from, to)) in [(1, (one, other)), (2, (other, one))] {
            let from = PacketSocket::open(namespace, Some(from))?;
            from.set_buffer(BUFFER_LEN);
            let mut way = Way {
                from,
                to: PacketSocket::open(namespace, Some(to))?,
                weather,
                chance: seed,
                waiting: BinaryHeap::new(),
                last: 0,
                done: Done::default(),
            };
            let stopped = Arc::clone(&stop);
            ways.push(thread::spawn(move || way.carry(&stopped)));
        }
        Ok(Self { stop, ways })
    }

    fn end(mut self) -> Result<Damage> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut all, mut copied, mut overtaken) = (Damage::default(), 0, 0);
        for way in self.ways.drain(..) {
            let done = way.join().map_err(|_| anyhow!("the weather panicked"))??;
            all.frames += done.frames;
            all.lost += done.lost;
            copied += done.copied;
            overtaken += done.overtaken;
        }
        (all.copied, all.overtaken) = (Some(copied), Some(overtaken));
        Ok(all)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for way in self.ways.drain(..) {
            // Who wants to know what went wrong calls `end`.
            let _ = way.join();
        }
    }
}

/// A frame that waits: when it is due, the how manieth it was, itself.
type Waiting = Reverse<(Instant, u64, Vec<u8>)>;

/// One direction.
struct Way {
    from: PacketSocket,
    to: PacketSocket,
    weather: Weather,
    chance: u64,
    waiting: BinaryHeap<Waiting>,
    /// The latest frame that has arrived.
    last: u64,
    done: Done,
}

impl Way {
    fn carry(&mut self, stop: &AtomicBool) -> Result<Done> {
        let mut buffer = vec![0; FRAME_LEN_MAX];
        while !stop.load(Ordering::Relaxed) {
            let next = self.waiting.peek().map(|Reverse((due, ..))| *due);
            let left = next.map(|due| due.saturating_duration_since(Instant::now()));
            let limit = left.unwrap_or(STOP_POLL).min(STOP_POLL);
            // What this cable puts out on the other side comes by here, too.
            if let Some(received) = self.from.receive(&mut buffer, limit)?
                && !received.outgoing
            {
                self.take(&buffer[..received.len]);
            }
            self.deliver()?;
        }
        Ok(self.done)
    }

    fn take(&mut self, frame: &[u8]) {
        self.done.frames += 1;
        if self.below(1_000) < self.weather.loss {
            self.done.lost += 1;
            return;
        }
        let twice = self.below(1_000) < self.weather.copies;
        self.done.copied += u64::from(twice);
        let number = self.done.frames;
        let delay_max_us = u64::try_from(self.weather.delay_max.as_micros()).unwrap_or(u64::MAX);
        for _ in 0..=u8::from(twice) {
            let delay = Duration::from_micros(self.below(delay_max_us.max(1)));
            let waiting = (Instant::now() + delay, number, frame.to_vec());
            self.waiting.push(Reverse(waiting));
        }
    }

    fn deliver(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some(Reverse((due, ..))) = self.waiting.peek()
            && *due <= now
            && let Some(Reverse((_, number, frame))) = self.waiting.pop()
        {
            self.done.overtaken += u64::from(number < self.last);
            self.last = self.last.max(number);
            self.to.send(&frame)?;
        }
        Ok(())
    }

    /// A number below `n`; the same in every run (xorshift, by Marsaglia).
    fn below(&mut self, n: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) % n
    }
}
