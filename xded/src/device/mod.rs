//! Devices: where frames come from and go to.
//!
//! Purpose   opens and closes guests' TAPs and underlay links when the engine
//!           says so, and lets every thread find them without a lock.
//!
//! Terms     source     a port or a link, as an event names it
//!           device     an open descriptor that frames are read from and
//!                      written to, one frame a call
//!           table      all devices at one moment; never changed, only replaced
//!           poll       what one worker waits on
//!
//! Flow      command -> Registry (`Devices`) -> new Table -> Shared
//!                                         `-> Poll of the worker it is on
//!           worker: View::refresh once a turn, then look-ups in its Table
//!
//! Rules     D1  a table is published before the device's first event can come,
//!               so a worker that has an event finds its device.
//!           D2  closing waits for no worker: the descriptor is retired (see
//!               `sys::retire`) and the last table that has it frees the rest.
//!               A device that goes away by itself is opened again when there
//!               is one of its name (`registry::lost`).
//!           D3  a worker takes `Shared`'s lock only when the generation moved.

mod batch;
mod poll;
mod registry;
mod table;

pub(crate) use batch::{BURST_FRAMES, Batch};
pub(crate) use opte_core::host::table::Source;
pub(crate) use poll::{Poll, Wake};
pub(crate) use registry::{Registry, adopt};
pub(crate) use table::{Shared, Table, View};

use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// How frames are moved in and out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A character device: one frame a call.
    Tap,
    /// A socket: many frames a call.
    Packet,
}

/// An open device. Threads share it; the kernel orders their calls.
#[derive(Debug)]
pub(crate) struct Device {
    fd: OwnedFd,
    kind: Kind,
    name: String,
}

impl Device {
    /// The device `name` behind a descriptor that is non-blocking already.
    pub(crate) fn new(kind: Kind, fd: OwnedFd, name: impl Into<String>) -> Self {
        Self {
            fd,
            kind,
            name: name.into(),
        }
    }

    /// Replaces what is in the batch by the frames that are there, as far as
    /// it has room. An error means that there were none; no frames and no
    /// error, that the device is retired.
    pub(crate) fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        batch.clear();
        match self.kind {
            Kind::Tap => self.read_each(batch),
            Kind::Packet => {
                let mut lens = [0; BURST_FRAMES];
                let count = sys::packet::receive(self.fd.as_fd(), batch.free(), &mut lens)?;
                for len in lens.into_iter().take(count) {
                    batch.push(len);
                }
                Ok(())
            }
        }
    }

    /// Frames that came in and were lost since the last call, because nobody
    /// took them in time. A TAP tells its writer instead.
    pub(crate) fn overflow(&self) -> u32 {
        match self.kind {
            Kind::Tap => 0,
            // It fails for a device that is retired, and then nothing comes in.
            Kind::Packet => sys::packet::overflow(self.fd.as_fd()).unwrap_or_default(),
        }
    }

    /// Whether the device went away under the descriptor: somebody deleted it,
    /// or the network namespace that it was in. Nothing brings it back.
    fn is_gone(&self) -> bool {
        match self.kind {
            Kind::Tap => {
                let mut state = [PollFd::new(&self.fd, PollFlags::empty())];
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                let polled = rustix::event::poll(&mut state, Some(&now));
                let error = |state: &PollFd<'_>| state.revents().contains(PollFlags::ERR);
                polled.is_ok() && state.iter().any(error)
            }
            Kind::Packet => !sys::packet::is_bound(self.fd.as_fd()).unwrap_or(true),
        }
    }

    /// Reads frames one by one.
    fn read_each(&self, batch: &mut Batch) -> io::Result<()> {
        loop {
            let Some(room) = batch.free().next() else {
                return Ok(());
            };
            match rustix::io::read(&self.fd, room) {
                Ok(0) => return Ok(()),
                Ok(len) => batch.push(len),
                // Empty now; an error that stays comes again at the next call.
                Err(_) if batch.count() > 0 => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends frames in their order, calling `lost` for each that isn't taken.
    pub(crate) fn send_all<'f>(
        &self,
        frames: impl Iterator<Item = &'f [u8]> + Clone,
        mut lost: impl FnMut(io::Error),
    ) {
        if self.kind == Kind::Tap {
            return frames.for_each(|frame| {
                if let Err(error) = self.send(frame) {
                    lost(error);
                }
            });
        }
        let mut done: usize = 0;
        while frames.clone().nth(done).is_some() {
            let sent = match sys::packet::send(self.fd.as_fd(), frames.clone().skip(done)) {
                Ok(sent) => sent,
                // It is about the first of them.
                Err(error) => {
                    lost(error);
                    1
                }
            };
            done = done.saturating_add(sent.max(1));
        }
    }

    /// Sends one frame; it is taken whole or not at all.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::io::write(&self.fd, frame)?;
        Ok(())
    }

    /// Lets go of the device now, whoever still has the descriptor.
    fn retire(&self) {
        if let Err(error) = sys::retire(self.fd.as_fd()) {
            // Only running out of descriptors gets here; the device goes when
            // the last table that has it does.
            tracing::warn!(device = self.name, %error, "the device will be closed later");
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
