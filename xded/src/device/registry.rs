//! Opens and closes devices as the engine asks.

use super::{Device, Kind, Poll, Shared, Source};
use crate::sys;
use crate::sys::netdev::{self, NAME_SIZE};
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, Name, ObjectKind, PortId, PortSpec};
use opte_core::host::{Devices, LinkDevice};
use opte_core::verdict::LinkId;
use opte_core::wire::MacAddr;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often and how far apart a TAP name that is still in use is tried: a
/// retired TAP is there until a call on it that is under way returns.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The driver's devices: the only writer of the shared table.
#[derive(Debug)]
pub(crate) struct Registry {
    shared: Arc<Shared>,
    /// One per worker; a device is read by the worker that its number falls on.
    polls: Vec<Arc<Poll>>,
    /// TAPs that were handed over open, for the ports of these names.
    handed: BTreeMap<Name, OwnedFd>,
}

impl Registry {
    /// No devices yet. `handed` are checked to be TAPs already.
    pub(crate) fn new(
        shared: Arc<Shared>,
        polls: Vec<Arc<Poll>>,
        handed: BTreeMap<Name, OwnedFd>,
    ) -> Self {
        Self {
            shared,
            polls,
            handed,
        }
    }

    /// Publishes a device and has its worker read it.
    fn open(&mut self, source: Source, device: Device) -> io::Result<()> {
        let device = Arc::new(device);
        let placed = self
            .shared
            .update(|table| table.set(source, Some(Arc::clone(&device))));
        match placed {
            Err(_) => return Err(io::Error::other("its number is beyond the limit")),
            Ok(Some(old)) => old.retire(),
            Ok(None) => {}
        }
        // Rule D1: published first, then watched.
        let poll = self.polls.get(source.worker(self.polls.len()));
        let watched = poll.map_or(Ok(()), |poll| poll.add(source, &device));
        if watched.is_err() {
            self.close(source);
        }
        watched
    }

    /// Takes a device away from everybody.
    fn close(&mut self, source: Source) {
        let placed = self.shared.update(|table| table.set(source, None));
        if let Ok(Some(device)) = placed {
            device.retire();
            tracing::debug!(%device, "closed");
        }
        // Idle workers would keep the old table, and with it the descriptor.
        for poll in &self.polls {
            poll.wake();
        }
    }

    /// The port's TAP: handed over, or made.
    fn tap(&self, spec: &PortSpec) -> Result<Device, ConfigError> {
        let name = spec.name.as_str();
        let refuse = |error: &io::Error| system(ObjectKind::Port, name, "device", error);
        if let Some(fd) = self.handed.get(&spec.name) {
            // A copy: deleting the port and creating it again uses it again.
            let fd = fd.try_clone().map_err(|error| refuse(&error))?;
            return Ok(Device::new(Kind::Tap, fd, name));
        }
        if name.len() >= NAME_SIZE {
            let most = NAME_SIZE.saturating_sub(1);
            return Err(
                ConfigError::new(ErrorCode::OutOfRange, ObjectKind::Port, name)
                    .field("name", name)
                    .hint(format_args!(
                        "a device name has at most {most} characters; hand over an open TAP instead"
                    )),
            );
        }
        let fd = retry_busy(|| sys::tap::open(name, spec.mac.0)).map_err(|error| refuse(&error))?;
        if let Err(error) = netdev::set_mtu(name, spec.mtu) {
            // The guest learns the MTU by DHCP and router advertisements too.
            tracing::warn!(port = name, mtu = spec.mtu, %error, "cannot set the MTU of the TAP");
        }
        Ok(Device::new(Kind::Tap, fd, name))
    }
}

impl Devices for Registry {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        let name = spec.name.as_str();
        let device = self.tap(spec)?;
        self.open(Source::Port(id), device)
            .map_err(|error| system(ObjectKind::Port, name, "device", &error))?;
        tracing::info!(port = name, %id, "opened");
        Ok(())
    }

    fn close_port(&mut self, id: PortId) {
        self.close(Source::Port(id));
    }

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        let name = spec.name.as_str();
        let refuse = |error: io::Error| system(ObjectKind::Link, name, "device", &error);
        let attributes = netdev::attributes(name).map_err(refuse)?;
        if attributes.hardware != libc::ARPHRD_ETHER {
            return Err(
                ConfigError::new(ErrorCode::Unsupported, ObjectKind::Link, name)
                    .field("name", name)
                    .hint("it is not an Ethernet device"),
            );
        }
        let fd = sys::packet::open(&attributes).map_err(refuse)?;
        self.open(Source::Link(id), Device::new(Kind::Packet, fd, name))
            .map_err(refuse)?;
        tracing::info!(link = name, id = id.0, "opened");
        Ok(LinkDevice {
            mac: MacAddr(attributes.mac),
            mtu: u16::try_from(attributes.mtu).unwrap_or(u16::MAX),
        })
    }

    fn close_link(&mut self, id: LinkId) {
        self.close(Source::Link(id));
    }
}

/// Checks the TAPs that were handed over, before anything is started.
pub(crate) fn adopt(handed: &BTreeMap<Name, OwnedFd>) -> anyhow::Result<()> {
    for (name, fd) in handed {
        sys::tap::adopt(fd.as_fd()).map_err(|error| anyhow::anyhow!("--tap {name}: {error}"))?;
    }
    Ok(())
}

/// Tries again for a short while when the name is still in use.
fn retry_busy<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..BUSY_TRIES {
        match attempt() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => thread::sleep(BUSY_PAUSE),
            done => return done,
        }
    }
    attempt()
}

/// What the operating system said about a device, as a refusal.
fn system(kind: ObjectKind, object: &str, field: &str, error: &io::Error) -> ConfigError {
    let code = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => ErrorCode::NotPermitted,
        Some(libc::ENODEV) => ErrorCode::NotFound,
        Some(libc::EBUSY) => ErrorCode::InUse,
        _ => ErrorCode::System,
    };
    ConfigError::new(code, kind, object)
        .field(field, "")
        .hint(error)
}
