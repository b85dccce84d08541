//! What a worker waits on: its devices, and a way to be woken.

use super::{Device, Source};
use opte_core::api::PortId;
use opte_core::verdict::LinkId;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Events taken by one wait.
const EVENTS_MAX: usize = 64;

/// Why a worker woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// A device has frames, or something happened to it.
    Ready(Source),
    /// Somebody called [`Poll::wake`].
    Called,
}

/// One worker's `epoll` instance. Any thread may add devices and wake it.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    wake: OwnedFd,
}

impl Poll {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Edge-triggered: each call wakes once and nobody has to read it.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, &wake, encode(Wake::Called), flags)?;
        Ok(Self { epoll, wake })
    }

    /// Reports the device as `source` while it has frames. Level-triggered, so
    /// a device with more frames than a turn takes is reported again.
    pub(crate) fn add(&self, source: Source, device: &Device) -> io::Result<()> {
        let data = encode(Wake::Ready(source));
        Ok(epoll::add(
            &self.epoll,
            device,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// No longer reports the device.
    pub(crate) fn remove(&self, device: &Device) {
        // It fails when the device was retired in between, and then there is
        // nothing left to remove.
        let _ = epoll::delete(&self.epoll, device);
    }

    /// Makes the worker take a turn.
    pub(crate) fn wake(&self) {
        // It fails when 2^64-2 calls were not read: then it is awake anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Waits until something happens or `timeout` is over (`None` is never),
    /// and puts what happened into `into`, which is emptied first.
    pub(crate) fn wait(&self, timeout: Option<Duration>, into: &mut Vec<Wake>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        into.clear();
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; EVENTS_MAX];
        let count = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => 0,
            other => other?,
        };
        // The field is in a packed structure: copied, not borrowed.
        into.extend(events.iter().take(count).map(|event| {
            let data = event.data;
            decode(data.u64())
        }));
        Ok(())
    }
}

const PORT: u64 = 1 << 32;
const LINK: u64 = 2 << 32;

fn encode(wake: Wake) -> epoll::EventData {
    epoll::EventData::new_u64(match wake {
        Wake::Ready(Source::Port(PortId(id))) => PORT | u64::from(id),
        Wake::Ready(Source::Link(LinkId(id))) => LINK | u64::from(id),
        Wake::Called => 0,
    })
}

fn decode(data: u64) -> Wake {
    let id = u32::try_from(data & u64::from(u32::MAX)).unwrap_or_default();
    match data & !u64::from(u32::MAX) {
        PORT => Wake::Ready(Source::Port(PortId(id))),
        LINK => Wake::Ready(Source::Link(LinkId(u16::try_from(id).unwrap_or(u16::MAX)))),
        _ => Wake::Called,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Batch, Kind};
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn wakes_survive_the_kernel() {
        for wake in [
            Wake::Called,
            Wake::Ready(Source::Port(PortId(u32::MAX))),
            Wake::Ready(Source::Link(LinkId(7))),
        ] {
            assert_eq!(decode(encode(wake).u64()), wake);
        }
    }

    #[test]
    fn a_ready_device_is_reported_until_it_is_read_and_a_call_once() {
        let poll = Poll::new().unwrap();
        let (far, near) = UnixDatagram::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let device = Device::new(Kind::Tap, OwnedFd::from(near), "test");
        let source = Source::Port(PortId(5));
        poll.add(source, &device).unwrap();
        let mut wakes = Vec::new();
        let mut wait = || {
            poll.wait(Some(Duration::ZERO), &mut wakes).unwrap();
            wakes.clone()
        };
        assert_eq!(wait(), []);
        poll.wake();
        poll.wake();
        assert_eq!(wait(), [Wake::Called]);
        far.send(b"frame").unwrap();
        assert_eq!(wait(), [Wake::Ready(source)]);
        assert_eq!(wait(), [Wake::Ready(source)]);
        let mut batch = Batch::new();
        device.receive(&mut batch).unwrap();
        assert_eq!(batch.count(), 1);
        assert_eq!(wait(), []);
        far.send(b"more").unwrap();
        device.retire();
        assert_eq!(wait(), []);
        device.receive(&mut batch).unwrap();
        assert_eq!(batch.count(), 0);
    }
}
