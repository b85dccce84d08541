//! A stretch of cable that loses, copies and delays frames.
//!
//! Not every kernel has `netem`, so this is two threads with packet sockets,
//! one for each way, between two devices of a switch's namespace.
//!
//! Failure   a thread that can't go on ends, after which nothing passes; who
//!           ends the weather is told why.

use super::Namespace;
use super::packet::PacketSocket;
use anyhow::{Result, anyhow};
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
    /// Those that arrived twice.
    pub(crate) copied: u64,
    /// Those that arrived after one that came later.
    pub(crate) overtaken: u64,
}

/// Weather, until it is dropped.
#[derive(Debug)]
pub(crate) struct Storm {
    stop: Arc<AtomicBool>,
    ways: Vec<JoinHandle<Result<Damage>>>,
}

impl Storm {
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
                damage: Damage::default(),
            };
            let stopped = Arc::clone(&stop);
            ways.push(thread::spawn(move || way.carry(&stopped)));
        }
        Ok(Self { stop, ways })
    }

    /// Ends it; what it did to frames, both ways together.
    ///
    /// # Errors
    ///
    /// When it ended before.
    pub(crate) fn end(mut self) -> Result<Damage> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Damage::default();
        for way in self.ways.drain(..) {
            let damage = way.join().map_err(|_| anyhow!("the weather panicked"))??;
            all.frames += damage.frames;
            all.lost += damage.lost;
            all.copied += damage.copied;
            all.overtaken += damage.overtaken;
        }
        Ok(all)
    }
}

impl Drop for Storm {
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
    damage: Damage,
}

impl Way {
    fn carry(&mut self, stop: &AtomicBool) -> Result<Damage> {
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
        Ok(self.damage)
    }

    fn take(&mut self, frame: &[u8]) {
        self.damage.frames += 1;
        if self.below(1_000) < self.weather.loss {
            self.damage.lost += 1;
            return;
        }
        let twice = self.below(1_000) < self.weather.copies;
        self.damage.copied += u64::from(twice);
        let number = self.damage.frames;
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
            self.damage.overtaken += u64::from(number < self.last);
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
