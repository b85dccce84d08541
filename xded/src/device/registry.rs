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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
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
    /// TAPs that the driver made and has open.
    made: BTreeMap<PortId, Made>,
}

/// A TAP that the driver made.
#[derive(Debug)]
struct Made {
    name: Name,
    mac: MacAddr,
    device: Arc<Device>,
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
        }
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
        let open = || match old {
            Some(old) => old.device.as_fd().try_clone_to_owned(),
            None => retry_busy(|| sys::tap::open(name)),
        };
        let fd = open().map_err(|error| refuse(&error))?;
        sys::tap::set_mac(fd.as_fd(), spec.mac.0)
            .map_err(|error| system(ObjectKind::Port, name, "mac", &error))?;
        set_mtu(name, fd.as_fd(), spec.mtu);
        Ok(Device::new(Kind::Tap, fd, name))
    }
}

impl Registry {
    /// A TAP is closed. When another port has it too, it has that one's
    /// address from now on: the new port's, or the old one's again when the
    /// new one came to nothing.
    fn forget(&self, gone: &Made) {
        let heir = self.made.values().find(|made| made.name == gone.name);
        if let Some(heir) = heir
            && let Err(error) = sys::tap::set_mac(heir.device.as_fd(), heir.mac.0)
        {
            tracing::warn!(device = %heir.device, %error, "cannot set the MAC address of the TAP");
        }
    }
}

impl Devices for Registry {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        let name = spec.name.as_str();
        let device = Arc::new(self.tap(spec)?);
        let opened = self.open(Source::Port(id), Arc::clone(&device));
        let made = Made {
            name: spec.name,
            mac: spec.mac,
            device,
        };
        if let Err(error) = opened {
            self.forget(&made);
            return Err(system(ObjectKind::Port, name, "device", &error));
        }
        if !self.handed.contains_key(&spec.name) {
            self.made.insert(id, made);
        }
        tracing::info!(port = name, %id, "opened");
        Ok(())
    }

    fn close_port(&mut self, id: PortId) {
        self.close(Source::Port(id));
        if let Some(made) = self.made.remove(&id) {
            self.forget(&made);
        }
    }

    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        // A TAP that was handed over is its owner's to change.
        if let Some(made) = self.made.get(&id) {
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
        let device = Device::new(Kind::Packet, fd, name);
        self.open(Source::Link(id), Arc::new(device))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tests::inside;
    use opte_core::api::Setup;

    fn spec(mac: &str) -> PortSpec {
        let text = format!("[[port]]\nname = \"guest0\"\nmac = \"{mac}\"\nvni = 1\nmtu = 1300\n");
        let setup: Setup = toml::from_str(&text).unwrap();
        setup.ports.into_iter().next().unwrap()
    }

    fn mac() -> MacAddr {
        MacAddr(netdev::attributes("guest0").unwrap().mac)
    }

    #[test]
    fn a_port_that_is_replaced_hands_its_tap_on() {
        if !inside("device::registry::tests::a_port_that_is_replaced_hands_its_tap_on") {
            return;
        }
        let shared = Arc::new(Shared::default());
        let polls = vec![Arc::new(Poll::new().unwrap())];
        let mut registry = Registry::new(shared, polls, BTreeMap::new());
        let (one, two) = (spec("A8:40:25:F0:00:01"), spec("A8:40:25:F0:00:02"));
        registry.open_port(PortId(0), &one).unwrap();
        let index = netdev::attributes("guest0").unwrap().index;
        assert_eq!(netdev::attributes("guest0").unwrap().mtu, 1_300);
        registry.set_port_mtu(PortId(0), 1_400);
        assert_eq!(netdev::attributes("guest0").unwrap().mtu, 1_400);
        // Refused by the system, or a port that isn't there: no harm.
        registry.set_port_mtu(PortId(0), 1);
        registry.set_port_mtu(PortId(9), 1_400);
        assert_eq!(netdev::attributes("guest0").unwrap().mtu, 1_400);
        // A replacement that comes to nothing leaves the TAP as it was.
        registry.open_port(PortId(1), &two).unwrap();
        assert_eq!(mac(), two.mac);
        registry.close_port(PortId(1));
        assert_eq!(mac(), one.mac);
        // One that succeeds keeps the device.
        registry.open_port(PortId(1), &two).unwrap();
        registry.close_port(PortId(0));
        assert_eq!(mac(), two.mac);
        assert_eq!(netdev::attributes("guest0").unwrap().index, index);
        registry.close_port(PortId(1));
        assert!(netdev::attributes("guest0").is_err());
        // And again, at once.
        registry.open_port(PortId(0), &one).unwrap();
        assert_eq!(mac(), one.mac);
    }

    #[test]
    fn what_the_system_refuses_names_the_object() {
        let shared = Arc::new(Shared::default());
        let mut registry = Registry::new(shared, Vec::new(), BTreeMap::new());
        let link = LinkSpec {
            name: "no-such-device".into(),
            mtu: 1_500,
        };
        let error = registry.open_link(LinkId(0), &link).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("link no-such-device: device "), "{text}");
        assert_eq!(error.code, ErrorCode::NotFound);
        let mut port = spec("A8:40:25:F0:00:01");
        port.name = "a_name_of_16_chr".parse().unwrap();
        let error = registry.open_port(PortId(0), &port).unwrap_err();
        assert!(error.to_string().contains("15 characters"), "{error}");
    }
}
