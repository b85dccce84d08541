//! Opening and closing devices, as commands ask for it.
//!
//! Flow      port: datalink's number -> Port -> register -> publish -> table
//!           link: open -> Link -> listen -> table
//!           both, back: out of the table -> retiring; at the end of the
//!           command nobody sees them any more and they are taken apart
//!
//! Rules     R1  a device that is opened half is closed again before the error
//!               is returned.
//!           R2  closing can't fail. What MAC still uses stays on the list of
//!               those that retire, without packets, and is tried again at each
//!               command and tick; `may_close_port` makes that rare.
//!           R3  a device is taken apart when the list has the last reference
//!               (rule L4).

use crate::ddi::kstat::Kstat;
use crate::ddi::log::{self, Level};
use crate::ddi::mac::{self, Client, DeviceInfo};
use crate::ddi::{Errno, context};
use crate::device::{Device, Link, Port};
use crate::driver::Driver;
use crate::entry;
use crate::stat::PortStats;
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use illumos_sys_hdrs::{EACCES, EBUSY, EEXIST, ENOENT, EPERM};
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, ObjectKind, PortId, PortSpec};
use opte_core::host::table::Source;
use opte_core::host::{Devices, LinkDevice};
use opte_core::verdict::LinkId;

/// Clock ticks that a command waits for packets that are under way.
const PATIENCE: usize = 100;

/// Opens and closes devices.
pub(crate) struct Registry {
    /// Whose devices they are; it owns this.
    driver: Weak<Driver>,
    instance: DeviceInfo,
    /// Devices that are in no table any more (rule R2).
    retiring: Vec<Arc<Device>>,
    /// Devices that are in the table.
    open: usize,
}

impl Registry {
    /// Without devices.
    pub(crate) fn new(driver: Weak<Driver>, instance: DeviceInfo) -> Self {
        Self {
            driver,
            instance,
            retiring: Vec::new(),
            open: 0,
        }
    }

    /// Whether there are no devices.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0 && self.retiring.is_empty()
    }

    /// Takes apart what retires, as far as nobody uses it.
    pub(crate) fn retry(&mut self) {
        let Some(driver) = self.driver.upgrade() else {
            return;
        };
        if self.retiring.is_empty() {
            return;
        }
        driver.renew();
        self.retiring.retain(|device| !retire(device));
    }

    /// Puts a device where packets find it.
    fn publish(&mut self, driver: &Driver, source: Source, device: Arc<Device>) -> bool {
        let placed = driver
            .shared
            .update(|table| table.set(source, Some(device)));
        if placed.is_ok() {
            self.open += 1;
        }
        placed.is_ok()
    }

    /// Takes a device out of packets' sight.
    fn withdraw(&mut self, source: Source) {
        let Some(driver) = self.driver.upgrade() else {
            return;
        };
        let gone = driver.shared.update(|table| table.set(source, None));
        if let Ok(Some(device)) = gone {
            self.open = self.open.saturating_sub(1);
            self.retiring.push(device);
        }
    }

    /// The device of a port.
    fn device(&self, id: PortId) -> Option<Arc<Device>> {
        let view = self.driver.upgrade()?.shared.view();
        view.table().get(Source::Port(id)).map(Arc::clone)
    }
}

/// Takes a device apart; false when somebody still uses it.
fn retire(device: &Arc<Device>) -> bool {
    let waits = (0..PATIENCE).take_while(|_| Arc::strong_count(device) > 1);
    waits.for_each(|_| context::pause());
    if Arc::strong_count(device) > 1 {
        return false;
    }
    match &**device {
        Device::Link(link) => {
            link.client.close();
            true
        }
        Device::Port(port) => {
            let done = port.provider().map_or(Ok(()), mac::Provider::withdraw);
            if let Err(errno) = done {
                let name = port.name.as_str();
                log::say(
                    Level::Note,
                    format_args!("port {name} is deleted and its datalink in use: error {errno}"),
                );
            }
            done.is_ok()
        }
    }
}

impl Devices for Registry {
    fn open_port(&mut self, id: PortId, spec: &PortSpec) -> Result<(), ConfigError> {
        let name = spec.name.as_str();
        let refuse = |field: &str, errno| system(ObjectKind::Port, name, field, errno);
        let driver = self.driver.upgrade().ok_or_else(|| no_driver(name))?;
        let c_name = c_string(name).ok_or_else(|| no_driver(name))?;
        let number = mac::find_datalink(&c_name).map_err(|errno| {
            let error = refuse("name", errno);
            match error.code {
                ErrorCode::NotFound => error.hint("there is no datalink id of this name"),
                _ => error,
            }
        })?;
        let port = Port::new(id, spec.name, (spec.mac, spec.mtu), Arc::clone(&driver));
        let device = Arc::new(Device::Port(port));
        let Device::Port(port) = &*device else {
            return Err(no_driver(name));
        };
        entry::mac::register(self.instance, port).map_err(|errno| refuse("device", errno))?;
        let published = port.provider().map_or(Ok(()), |it| it.publish(number));
        if let Err(errno) = published {
            self.retiring.push(Arc::clone(&device));
            return Err(refuse("device", errno));
        }
        let source = Box::new(PortStats::new(&driver, spec.name));
        port.set_stats(Kstat::show(&c_name, PortStats::names(), source));
        if !self.publish(&driver, Source::Port(id), Arc::clone(&device)) {
            self.retiring.push(Arc::clone(&device));
            return Err(no_driver(name));
        }
        Ok(())
    }

    fn may_close_port(&mut self, id: PortId) -> Result<(), ConfigError> {
        match self.device(id).as_deref() {
            Some(Device::Port(port)) if port.is_in_use() => {
                let name = port.name.as_str();
                let error = ConfigError::new(ErrorCode::InUse, ObjectKind::Port, name);
                Err(error.hint("take away what uses its datalink first"))
            }
            _ => Ok(()),
        }
    }

    fn close_port(&mut self, id: PortId) {
        self.withdraw(Source::Port(id));
    }

    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        let Some(device) = self.device(id) else {
            return;
        };
        let Device::Port(port) = &*device else { return };
        port.set_mtu(mtu);
        let told = port.provider().map_or(Ok(()), |it| it.set_mtu(mtu));
        if let Err(errno) = told {
            let name = port.name.as_str();
            let text = format_args!("port {name}: its datalink keeps its MTU: error {errno}");
            log::say(Level::Warning, text);
        }
    }

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        let name = spec.name.as_str();
        let refuse = |errno| system(ObjectKind::Link, name, "device", errno);
        let driver = self.driver.upgrade().ok_or_else(|| no_driver(name))?;
        let c_name = c_string(name).ok_or_else(|| no_driver(name))?;
        let client = Client::open(&c_name, c"xde").map_err(refuse)?;
        let (mac, mtu) = (client.address(), client.mtu());
        let device = Arc::new(Device::Link(Link {
            id,
            driver: Arc::clone(&driver),
            client,
        }));
        let Device::Link(link) = &*device else {
            return Err(no_driver(name));
        };
        // Dropping the last reference closes what is open (rule R1).
        entry::mac::listen(link).map_err(refuse)?;
        if !self.publish(&driver, Source::Link(id), Arc::clone(&device)) {
            return Err(no_driver(name));
        }
        Ok(LinkDevice { mac, mtu })
    }

    fn close_link(&mut self, id: LinkId) {
        self.withdraw(Source::Link(id));
    }
}

/// A name for the kernel.
fn c_string(name: &str) -> Option<CString> {
    CString::new(name).ok()
}

/// What can't be while commands are carried out.
fn no_driver(name: &str) -> ConfigError {
    ConfigError::new(ErrorCode::System, ObjectKind::Request, name)
}

/// What the kernel said about a device, as a refusal.
fn system(kind: ObjectKind, object: &str, field: &str, errno: Errno) -> ConfigError {
    let code = match errno.get() {
        EPERM | EACCES => ErrorCode::NotPermitted,
        ENOENT => ErrorCode::NotFound,
        EEXIST => ErrorCode::Exists,
        EBUSY => ErrorCode::InUse,
        _ => ErrorCode::System,
    };
    ConfigError::new(code, kind, object)
        .field(field, "")
        .hint(format_args!("error {errno}"))
}
