//! Commands: from `opteadm` by ioctl.
//!
//! Flow      ioctl -> [`Driver::ioctl`]: transfer in, request in
//!           -> a thread with a large stack: `opte_ioctl::serve`
//!           -> [`Control::command`] -> response out, its length out
//!
//! Rules     I1  lengths are checked against the contract's limits before
//!               anything is allocated; at most [`REQUESTS_MAX`] requests are
//!               in the kernel at one time.
//!           I2  commands are carried out one at a time, in threads that may
//!               sleep.
//!           I3  a command that was carried out isn't undone when its response
//!               can't be copied out: the caller gave no memory for it.

use crate::Mutex;
use crate::ddi::Errno;
use crate::ddi::context;
use crate::ddi::copy::UserMemory;
use crate::ddi::mac::DeviceInfo;
use crate::ddi::thread;
use crate::driver::Driver;
use crate::lane::Lane;
use crate::outbox::Outbox;
use crate::registry::Registry;
use alloc::sync::Weak;
use core::sync::atomic::{AtomicUsize, Ordering};
use illumos_sys_hdrs::{EAGAIN, EINVAL, ENOTTY};
use opte_core::api::{Command, ConfigError, Response};
use opte_core::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use opte_ioctl::device::{COMMAND, TRANSFER_VERSION, Transfer};

/// Who answers.
const DRIVER: opte_ioctl::Driver = opte_ioctl::Driver {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
};
/// Requests that are worked on or wait.
const REQUESTS_MAX: usize = 16;

/// Carries out commands.
pub(crate) struct Control {
    parts: Mutex<Parts>,
    requests: AtomicUsize,
}

/// What one command at a time works with (rule I2).
struct Parts {
    lane: Lane,
    registry: Registry,
}

impl Control {
    /// For a driver that is being made.
    pub(crate) fn new(driver: Weak<Driver>, instance: DeviceInfo, lane: Lane) -> Self {
        Self {
            parts: Mutex::new(Parts {
                lane,
                registry: Registry::new(driver, instance),
            }),
            requests: AtomicUsize::new(0),
        }
    }

    /// Tries again to take away devices that were in use.
    pub(crate) fn retry(&self) {
        // A command does it as well.
        if let Some(mut parts) = self.parts.try_lock() {
            parts.registry.retry();
        }
    }

    /// Whether there is no device, also none that was in use when it was closed.
    pub(crate) fn is_idle(&self) -> bool {
        let mut parts = self.parts.lock();
        parts.registry.retry();
        parts.registry.is_idle()
    }

    fn command(&self, driver: &Driver, command: Command) -> Result<Response, ConfigError> {
        let mut outbox = Outbox::new();
        let mut parts = self.parts.lock();
        let Parts { lane, registry } = &mut *parts;
        registry.retry();
        let result = driver
            .engine
            .command(command, context::now(), registry, &mut outbox);
        lane.view.refresh();
        driver.engine.refresh(&mut lane.engine);
        outbox.settle(&driver.engine, lane, None);
        // What the command closed is gone when its answer is there.
        registry.retry();
        drop(parts);
        outbox.send(None);
        result
    }
}

impl Driver {
    /// An ioctl on `/dev/xde`.
    pub(crate) fn ioctl(&self, command: i32, argument: u64, user: UserMemory) -> Result<(), Errno> {
        if command != COMMAND {
            return Err(NOT_OURS);
        }
        let _place = Place::take(&self.control.requests).ok_or(TOO_MANY)?;
        let transfer = user.read_transfer(argument)?;
        let len = request_len(&transfer)?;
        let request = user.read(transfer.request, len)?;
        let command = |it| self.control.command(self, it);
        let observer = self.engine.observer();
        let serve = || opte_ioctl::serve_observed(&request, command, &DRIVER, observer);
        let response = thread::on_large_stack(serve).ok_or(TOO_MANY)?;
        let response_len = u64::try_from(response.len()).unwrap_or(0);
        user.write(transfer.response, &response)?;
        let place = argument.wrapping_add(Transfer::RESPONSE_LEN_AT);
        user.write(place, &response_len.to_ne_bytes())
    }
}

/// Bytes of the request of a transfer that makes sense (rule I1).
fn request_len(transfer: &Transfer) -> Result<usize, Errno> {
    let room = usize::try_from(transfer.response_room).map_err(|_| MAKES_NO_SENSE)?;
    let len = usize::try_from(transfer.request_len).map_err(|_| MAKES_NO_SENSE)?;
    let good = transfer.version == TRANSFER_VERSION
        && transfer.flags == 0
        && room >= RESPONSE_BYTES_MAX
        && len <= REQUEST_BYTES_MAX;
    if good { Ok(len) } else { Err(MAKES_NO_SENSE) }
}

/// One of the places for requests, given back when it is dropped.
struct Place<'c>(&'c AtomicUsize);

impl<'c> Place<'c> {
    fn take(count: &'c AtomicUsize) -> Option<Self> {
        let place = Self(count);
        let before = count.fetch_add(1, Ordering::Relaxed);
        (before < REQUESTS_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

const NOT_OURS: Errno = Errno::new(ENOTTY).unwrap();
const TOO_MANY: Errno = Errno::new(EAGAIN).unwrap();
const MAKES_NO_SENSE: Errno = Errno::new(EINVAL).unwrap();
