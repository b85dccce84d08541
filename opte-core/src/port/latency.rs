//! How long a port takes for its frames, added up for whoever watches.
//!
//! Purpose   a tracer that is called for each frame takes longer than the
//!           engine does. So frames are counted by how long they took, and the
//!           probe `port-latency` tells the counts at each tick.
//! Terms     time    a power of two of nanoseconds: that, up to its double
//! Flow      enter -> Env::started -> left -> Times::count
//!           tick -> Times::tell -> port-latency
//! Rules     L1  a lane's counts have one writer, and so has what was told of
//!               them: the tick. What is told is the difference, so no frame
//!               is told twice.
//!           L2  the engine knows no clock, so the observer's is read.
//! Failure   frames that were counted and not told when nobody watches any
//!           more are forgotten.

use super::{Env, Port};
use crate::Direction;
use crate::event::{Observer, Path, PortTag, Probe, observe};
use crate::flow::record::side;
use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};
use lock_api::RawMutex;

/// The probes of frames that come and go.
pub(crate) const FOLLOWING: &[Probe] = &[
    Probe::PortProcessEntry,
    Probe::PortProcessReturn,
    Probe::PortLatency,
];

/// Times that are told apart; the last one is two seconds and all above.
const TIMES: usize = 32;

/// Counts of one direction and path, by time.
type Counts = [Count; TIMES];

/// What a lane has counted.
#[derive(Debug, Default)]
pub(crate) struct Times([[Counts; Path::ALL.len()]; 2]);

/// Frames that took about as long. Both wrap.
#[derive(Debug, Default)]
struct Count {
    frames: AtomicU32,
    told: AtomicU32,
}

impl Count {
    fn add(&self) {
        let frames = self.frames.load(Ordering::Relaxed).wrapping_add(1);
        self.frames.store(frames, Ordering::Relaxed);
    }

    /// Frames since the last call.
    fn news(&self) -> u32 {
        let frames = self.frames.load(Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        self.told.store(frames, Ordering::Relaxed);
        frames.wrapping_sub(told)
    }
}

impl Times {
    fn count(&self, dir: Direction, path: Path, ns: u64) {
        let time = ns.checked_ilog2().unwrap_or(0);
        let time = usize::try_from(time).unwrap_or(TIMES).min(TIMES - 1);
        let paths = self.0.get(side(dir));
        let counts = paths.and_then(|paths| paths.get(usize::from(path.number())));
        if let Some(count) = counts.and_then(|counts| counts.get(time)) {
            count.add();
        }
    }

    /// Tells what is new, or forgets it when nobody listens.
    fn tell(&self, port: &PortTag, observer: &impl Observer) {
        for dir in [Direction::In, Direction::Out] {
            let paths = self.0.get(side(dir)).into_iter().flatten();
            for (counts, path) in paths.zip(Path::ALL) {
                for (count, time) in counts.iter().zip(0..) {
                    let frames = count.news();
                    if frames == 0 {
                        continue;
                    }
                    let ns = 1_u64 << time;
                    observe!(
                        observer,
                        PortLatency {
                            port,
                            dir,
                            path,
                            ns,
                            frames
                        }
                    );
                }
            }
        }
    }
}

impl<R: RawMutex> Port<R> {
    /// Says that a frame is here, and reads the clock if its time is wanted.
    #[cold]
    #[inline(never)]
    pub(super) fn entered<O: Observer>(&self, env: &Env<'_, R, O>, dir: Direction, len: usize) {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let port = &self.tag;
        observe!(env.observer, PortProcessEntry { port, dir, len });
        if env.observer.enabled(Probe::PortLatency) {
            env.started.set(Some(env.observer.clock_ns()));
        }
    }

    /// Counts how long the frame took that has just been here.
    #[cold]
    #[inline(never)]
    pub(super) fn left<O: Observer>(&self, env: &Env<'_, R, O>, dir: Direction, path: Path) {
        if let Some(started) = env.started.take() {
            let ns = env.observer.clock_ns().wrapping_sub(started);
            let times = &self.stats.lane(env.lane).times;
            times.get_or_init(Box::default).count(dir, path, ns);
        }
    }

    /// Tells how long frames took since the last tick.
    pub(crate) fn tell_times(&self, observer: &impl Observer) {
        for times in self.stats.times() {
            times.tell(&self.tag, observer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Name, PortId};
    use crate::event::Event;
    use crate::wire::Vni;
    use core::cell::RefCell;
    use std::vec::Vec;

    type Line = (Direction, Path, u64, u32);

    /// Writes down what it is told.
    #[derive(Default)]
    struct Listener(RefCell<Vec<Line>>);

    impl Observer for Listener {
        fn enabled(&self, probe: Probe) -> bool {
            probe == Probe::PortLatency
        }

        fn event(&self, event: &Event<'_>) {
            if let Event::PortLatency {
                dir,
                path,
                ns,
                frames,
                ..
            } = *event
            {
                self.0.borrow_mut().push((dir, path, ns, frames));
            }
        }
    }

    #[test]
    fn each_frame_is_told_once() {
        let name: Name = "g1".parse().unwrap();
        let tag = PortTag::new(PortId(1), &name, Vni::new(7).unwrap(), Default::default());
        let times = Times::default();
        let listener = Listener::default();
        for ns in [0, 1, 2, 3, 1_023, 1_024, u64::MAX] {
            times.count(Direction::Out, Path::Hit, ns);
        }
        times.count(Direction::In, Path::Miss, 700);
        times.tell(&tag, &listener);
        let out = |ns, frames| (Direction::Out, Path::Hit, ns, frames);
        let told = listener.0.take();
        assert_eq!(
            told,
            [
                (Direction::In, Path::Miss, 512, 1),
                out(1, 2),
                out(2, 2),
                out(512, 1),
                out(1_024, 1),
                out(1 << 31, 1),
            ]
        );
        times.tell(&tag, &listener);
        assert_eq!(listener.0.take(), []);
        times.count(Direction::Out, Path::Hit, 5);
        times.tell(&tag, &crate::event::Unobserved);
        times.tell(&tag, &listener);
        assert_eq!(listener.0.take(), [], "what nobody heard is forgotten");
    }
}
