//! Opening and closing devices, as commands ask for it.
//!
//! Flow      port: datalink's number -> Datalink -> register -> publish -> table
//!           port in the place of one of the same name: its datalink -> table;
//!           when the other one is closed the datalink is handed on
//!           link: open -> Link -> listen -> table
//!           both, back: out of the table -> retiring; at the end of the
//!           command nobody sees them any more and they are taken apart
//!
//! Rules     R1  a device that is opened half is closed again before the error
//!               is returned.
//!           R2  closing can't fail. What MAC still uses stays on the list of
//!               those that retire, without packets, and is tried again at each
//!               command and tick; `may_close_port` makes that rare.
//!           R3  a datalink carries the packets of one port at a time. A port
//!               that is to take another one's place changes nothing of it
//!               until that one is closed, so a command that fails meanwhile
//!               leaves it as it was. Without such a port it carries nobody's
//!               from then on, however long it stays (rule R2): the engine gives
//!               the number to the next port. Packets look with a lane held
//!               whose they are, and every lane is let go of once before the
//!               next command (`Driver::renew`), so none has the number still.
//!           R4  a device is taken apart when the list has the last reference
//!               (rule L4), and a port's datalink with the last of the ports
//!               that had it: packets are on their way to it by any of them.

use crate::ddi::kstat::Kstat;
use crate::ddi::log::{self, Level};
use crate::ddi::mac::{self, Client, DeviceInfo};
use crate::ddi::{Errno, context};
use crate::device::{Datalink, Device, Link, Port};
use crate::driver::{self, Driver};
use crate::entry;
use crate::stat::{LayerStats, PortStats};
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use illumos_sys_hdrs::{EACCES, EBUSY, EEXIST, ENOENT, EPERM};
use opte_core::api::{ConfigError, ErrorCode, LinkSpec, Name, ObjectKind, PortId, PortSpec};
use opte_core::host::table::Source;
use opte_core::host::{Devices, LinkDevice};
use opte_core::verdict::LinkId;
use opte_ioctl::device;

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
        let Some(driver) = driver::find(&self.driver) else {
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
    #[inline(never)]
    fn withdraw(&mut self, source: Source) {
        let Some(driver) = driver::find(&self.driver) else {
            return;
        };
        let gone = driver.shared.update(|table| table.set(source, None));
        if let Ok(Some(device)) = gone {
            self.open = self.open.saturating_sub(1);
            self.retiring.push(device);
        }
    }

    /// Makes the datalink of a port.
    fn make_datalink(&mut self, id: PortId, spec: &PortSpec) -> Result<Arc<Datalink>, ConfigError> {
        let name = spec.name.as_str();
        let refuse = |field: &str, errno| system(ObjectKind::Port, name, field, errno);
        let driver = driver::find(&self.driver).ok_or_else(|| no_driver(name))?;
        let c_name = c_string(name).ok_or_else(|| no_driver(name))?;
        let number = mac::find_datalink(&c_name).map_err(|errno| {
            let error = refuse("name", errno);
            match error.code {
                ErrorCode::NotFound => error.hint("there is no datalink id of this name"),
                _ => error,
            }
        })?;
        let datalink = Arc::new(Datalink::new(spec, Arc::clone(&driver)));
        entry::mac::register(self.instance, &datalink).map_err(|errno| refuse("device", errno))?;
        let published = datalink.provider().map_or(Ok(()), |it| it.publish(number));
        if let Err(errno) = published {
            let port = Port::new(id, spec, datalink);
            self.retiring.push(Arc::new(Device::Port(port)));
            return Err(refuse("device", errno));
        }
        datalink.set_stats(show(&driver, spec.name));
        Ok(datalink)
    }

    /// A port is closed: the one that takes its place gets the datalink, if there
    /// is one.
    fn hand_on(&self, old: &Port) {
        let Some(driver) = driver::find(&self.driver).filter(|_| old.has_datalink()) else {
            return;
        };
        let table = driver.shared.table();
        let heir = table.ports().find_map(|device| match &**device {
            Device::Port(port) if Arc::ptr_eq(&port.datalink, &old.datalink) => Some(port),
            _ => None,
        });
        match heir {
            Some(heir) => old.datalink.hand_to(heir),
            None => old.datalink.end(),
        }
    }

    /// The datalink of a name, if there is a port that has it.
    fn datalink(&self, name: &Name) -> Option<Arc<Datalink>> {
        let table = driver::find(&self.driver)?.shared.table();
        let mut ports = table.ports();
        ports.find_map(|device| match &**device {
            Device::Port(port) if port.datalink.name == *name => Some(Arc::clone(&port.datalink)),
            _ => None,
        })
    }

    /// The device of a port.
    fn device(&self, id: PortId) -> Option<Arc<Device>> {
        let table = driver::find(&self.driver)?.shared.table();
        table.get(Source::Port(id)).map(Arc::clone)
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
        // Another port has its datalink, or is to be taken apart as well. Nobody
        // else has references to it, so they become no more (rule R4).
        Device::Port(port) if Arc::strong_count(&port.datalink) > 1 => true,
        Device::Port(port) => {
            let datalink = &port.datalink;
            let done = datalink.provider().map_or(Ok(()), mac::Provider::withdraw);
            if let Err(errno) = done {
                let name = datalink.name.as_str();
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
        let driver = driver::find(&self.driver).ok_or_else(|| no_driver(name))?;
        let taken_over = self.datalink(&spec.name);
        let is_new = taken_over.is_none();
        let datalink = match taken_over {
            Some(datalink) => datalink,
            None => self.make_datalink(id, spec)?,
        };
        let port = Port::new(id, spec, Arc::clone(&datalink));
        let device = Arc::new(Device::Port(port));
        if !self.publish(&driver, Source::Port(id), Arc::clone(&device)) {
            self.retiring.extend(is_new.then_some(device));
            return Err(no_driver(name));
        }
        if is_new {
            datalink.begin(id);
        }
        Ok(())
    }

    fn may_close_port(&mut self, id: PortId) -> Result<(), ConfigError> {
        match self.device(id).as_deref() {
            Some(Device::Port(port)) if port.datalink.is_in_use() => {
                let name = port.datalink.name.as_str();
                let error = ConfigError::new(ErrorCode::InUse, ObjectKind::Port, name);
                Err(error.hint("take away what uses its datalink first"))
            }
            _ => Ok(()),
        }
    }

    fn close_port(&mut self, id: PortId) {
        let Some(device) = self.device(id) else {
            return;
        };
        self.withdraw(Source::Port(id));
        if let Device::Port(port) = &*device {
            self.hand_on(port);
        }
    }

    fn set_port_mtu(&mut self, id: PortId, mtu: u16) {
        let Some(device) = self.device(id) else {
            return;
        };
        let Device::Port(port) = &*device else { return };
        port.set_mtu(mtu);
        if port.has_datalink() {
            port.datalink.set_mtu(mtu);
        }
    }

    fn open_link(&mut self, id: LinkId, spec: &LinkSpec) -> Result<LinkDevice, ConfigError> {
        let name = spec.name.as_str();
        let refuse = |errno| system(ObjectKind::Link, name, "device", errno);
        let driver = driver::find(&self.driver).ok_or_else(|| no_driver(name))?;
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

/// Shows the statistics of a port, as far as there is memory.
fn show(driver: &Arc<Driver>, port: Name) -> [Option<Kstat>; 2] {
    let (instance, name) = device::kstat_of(&port);
    let Some(name) = c_string(name) else {
        return [None, None];
    };
    let at = |module| (module, instance.into(), &*name);
    let source = Box::new(PortStats::new(driver, port));
    let counters = Kstat::show(at(device::STATS), PortStats::names(), source);
    let source = Box::new(LayerStats::new(driver, port));
    let layers = Kstat::show(at(device::LAYER_STATS), LayerStats::names(), source);
    [counters, layers]
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
