//! Opens and closes devices as the engine asks.

mod lost;

use super::{Device, Kind, Poll, Shared, Source};
use crate::sys;
use crate::sys::netdev::{self, NAME_SIZE};
use crate::sys::tap::OpenError;
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, Name, ObjectKind, PortId, PortSpec};
use opte_core::host::{Devices, LinkDevice};
use opte_core::verdict::LinkId;
use opte_core::wire::MacAddr;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long and how far apart a TAP name that is still in use is tried: a
/// retired TAP is there until a call on it that is under way returns.
const BUSY_PATIENCE: Duration = Duration::from_millis(100);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The driver's devices: the only writer of the shared table.
#[derive(Debug)]
pub(crate) struct Registry {
    shared: Arc<Shared>,
    /// One per worker; a device is read by the worker that its number falls on.
    polls: Vec<Arc<Poll>>,
    /// TAPs that were handed over open, for the ports of these names.
    handed: BTreeMap<Name, OwnedFd>,
    /// TAPs that the driver made and has open.
    made: BTreeMap<PortId, Made>,
    /// Links that are open.
    links: BTreeMap<LinkId, OpenLink>,
    /// Until when a TAP in use may be one of a predecessor that was killed and
    /// is being taken apart.
    predecessor_until: Instant,
}

/// A TAP that the driver made.
#[derive(Debug)]
struct Made {
    name: Name,
    mac: MacAddr,
    mtu: u16,
    /// Whether the TAP has this address and MTU. One that was taken over gets
    /// them when its former port goes: until then the command may be refused.
    dressed: bool,
    device: Arc<Device>,
}

/// A link that is open.
#[derive(Debug)]
struct OpenLink {
    spec: LinkSpec,
    device: Arc<Device>,
    /// Whether the log says already that its device is gone.
    gone: bool,
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
            made: BTreeMap::new(),
            links: BTreeMap::new(),
            predecessor_until: Instant::now(),
        }
    }

    /// From now on and that long, a TAP that is in use is waited for.
    pub(crate) fn wait_for_taps(&mut self, patience: Duration) {
        self.predecessor_until = Instant::now() + patience;
    }

    /// Publishes a device and has its worker read it.
    fn open(&self, source: Source, device: Arc<Device>) -> io::Result<()> {
        let placed = self
            .shared
            .update(|table| table.set(source, Some(Arc::clone(&device))));
        match placed {
            Err(_) => return Err(io::Error::other("its number is beyond the limit")),
            Ok(Some(old)) => self.discard(source, &old),
            Ok(None) => {}
        }
        // Rule D1: published first, then watched.
        let watched = match self.poll(source) {
            Some(poll) => poll.add(source, &device),
            None => Ok(()),
        };
        if watched.is_err() {
            self.close(source);
        }
        watched
    }

    /// Takes a device away from everybody.
    fn close(&self, source: Source) {
        let placed = self.shared.update(|table| table.set(source, None));
        if let Ok(Some(device)) = placed {
            self.discard(source, &device);
            tracing::info!(%device, "closed");
        }
        // Idle workers would keep the old table, and with it the descriptor.
        for poll in &self.polls {
            poll.wake();
        }
    }

    /// Lets go of a device that is in no table any more.
    fn discard(&self, source: Source, device: &Device) {
        // A TAP that is open under a second descriptor would be reported as
        // this source for ever.
        if let Some(poll) = self.poll(source) {
            poll.remove(device);
        }
        device.retire();
    }

    /// What the source's worker waits on.
    fn poll(&self, source: Source) -> Option<&Arc<Poll>> {
        self.polls.get(source.worker(self.polls.len()))
    }

    /// The port's TAP: handed over, taken over, or made.
    ///
    /// When a port is replaced by one of the same name, the new one is opened
    /// while the old one is. It takes over the TAP, which may be in a guest's
    /// network namespace and in use.
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
        let old = self.made.values().find(|made| made.name == spec.name);
        if let Some(old) = old {
            let fd = old.device.as_fd().try_clone_to_owned();
            let fd = fd.map_err(|error| refuse(&error))?;
            return Ok(Device::new(Kind::Tap, fd, name));
        }
        let until = self.predecessor_until.max(Instant::now() + BUSY_PATIENCE);
        let fd = open_tap(name, until).map_err(|error| no_tap(name, &error))?;
        sys::tap::set_mac(fd.as_fd(), spec.mac.0)
            .map_err(|error| system(ObjectKind::Port, name, "mac", &error))?;
        set_mtu(name, fd.as_fd(), spec.mtu);
        Ok(Device::new(Kind::Tap, fd, name))
    }

    /// A port's TAP is closed. The port that took it over, if one did, has it
    /// to itself from now on.
    fn hand_on(&mut self, name: Name) {
        let mut heirs = self.made.values_mut();
        let Some(heir) = heirs.find(|made| made.name == name && !made.dressed) else {
            return;
        };
        heir.dressed = true;
        if let Err(error) = sys::tap::set_mac(heir.device.as_fd(), heir.mac.0) {
            tracing::warn!(device = %heir.device, %error, "cannot set the MAC address of the TAP");
        }
        set_mtu(name.as_str(), heir.device.as_fd(), heir.mtu);
    }
}

impl Devices for Registry {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        let name = spec.name.as_str();
        let device = Arc::new(self.tap(spec)?);
        self.open(Source::Port(id), Arc::clone(&device))
            .map_err(|error| system(ObjectKind::Port, name, "device", &error))?;
        if !self.handed.contains_key(&spec.name) {
            let made = Made {
                name: spec.name,
                mac: spec.mac,
                mtu: spec.mtu,
                dressed: !self.made.values().any(|made| made.name == spec.name),
                device,
            };
            self.made.insert(id, made);
        }
        tracing::info!(port = name, %id, "opened");
        Ok(())
    }

    fn close_port(&mut self, id: PortId) {
        self.close(Source::Port(id));
        if let Some(made) = self.made.remove(&id) {
            self.hand_on(made.name);
        }
    }

    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        // A TAP that was handed over is its owner's to change.
        if let Some(made) = self.made.get_mut(&id) {
            made.mtu = mtu;
            set_mtu(made.name.as_str(), made.device.as_fd(), mtu);
        }
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
        let device = Arc::new(Device::new(Kind::Packet, fd, name));
        self.open(Source::Link(id), Arc::clone(&device))
            .map_err(refuse)?;
        let link = OpenLink {
            spec: spec.clone(),
            device,
            gone: false,
        };
        self.links.insert(id, link);
        tracing::info!(link = name, id = id.0, "opened");
        Ok(LinkDevice {
            mac: MacAddr(attributes.mac),
            mtu: u16::try_from(attributes.mtu).unwrap_or(u16::MAX),
        })
    }

    fn close_link(&mut self, id: LinkId) {
        self.close(Source::Link(id));
        self.links.remove(&id);
    }
}

/// Gives a TAP its MTU, as far as the system lets us: the guest learns it by
/// DHCP and router advertisements, too.
fn set_mtu(port: &str, tap: BorrowedFd<'_>, mtu: u16) {
    if let Err(error) = sys::tap::set_mtu(tap, mtu) {
        tracing::warn!(port, mtu, %error, "cannot set the MTU of the TAP");
    }
}

/// Checks the TAPs that were handed over, before anything is started.
pub(crate) fn adopt(handed: &BTreeMap<Name, OwnedFd>) -> anyhow::Result<()> {
    for (name, fd) in handed {
        sys::tap::adopt(fd.as_fd()).map_err(|error| anyhow::anyhow!("--tap {name}: {error}"))?;
    }
    Ok(())
}

/// Opens a TAP, and tries again for a while when its name is still in use.
fn open_tap(name: &str, until: Instant) -> Result<OwnedFd, OpenError> {
    let mut quiet_until = Instant::now() + BUSY_PATIENCE;
    loop {
        match sys::tap::open(name) {
            Err(OpenError::Refused(error))
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until =>
            {
                thread::sleep(BUSY_PAUSE);
                if Instant::now() > quiet_until {
                    tracing::info!(port = name, "somebody else has the TAP; waiting for it");
                    quiet_until = until;
                }
            }
            done => return done,
        }
    }
}

/// Why there is no TAP, as a refusal.
fn no_tap(name: &str, error: &OpenError) -> ConfigError {
    let new = |code| ConfigError::new(code, ObjectKind::Port, name);
    match error {
        OpenError::Maker(error) => {
            let code = match error.kind() {
                io::ErrorKind::PermissionDenied => ErrorCode::NotPermitted,
                io::ErrorKind::NotFound => ErrorCode::NotFound,
                _ => ErrorCode::System,
            };
            new(code)
                .field("device", sys::tap::MAKER)
                .hint(format_args!(
                    "{error}; TAPs are made there, by the kernel's module tun"
                ))
        }
        OpenError::Other => new(ErrorCode::Exists).field("device", name).hint(
            "a network device of this name is there already, and it is no TAP with one queue",
        ),
        OpenError::Refused(error) => system(ObjectKind::Port, name, "device", error),
    }
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

#[cfg(test)]
mod tests;
