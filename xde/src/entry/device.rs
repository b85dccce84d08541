//! The driver's instance and its device node.

use crate::Mutex;
use crate::ddi::context::Credentials;
use crate::ddi::copy::UserMemory;
use crate::ddi::log::{self, Level};
use crate::ddi::mac::DeviceInfo;
use crate::ddi::periodic::Periodic;
use crate::ddi::thread;
use crate::ddi::{Errno, check};
use crate::driver::{Attached, Driver, TICK_MS};
use alloc::sync::Arc;
use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;

/// The name of the minor node.
const NODE: &CStr = c"ctl";

/// The instance, while it is attached. Taken by nothing that packets do.
static INSTANCE: Mutex<Option<Instance>> = Mutex::new(None);

/// An attached instance. Taken apart from top to bottom.
struct Instance {
    /// Calls [`tick`] with the driver of `attached`.
    ticks: Periodic,
    attached: Attached,
    info: DeviceInfo,
}

impl Instance {
    fn new(info: DeviceInfo) -> Result<Self, Errno> {
        let attached = thread::on_large_stack(|| Attached::new(info)).ok_or(NO_THREAD)??;
        // SAFETY: a number that MAC gives to all.
        let minor = unsafe { sys::mac_private_minor() };
        let kind = sys::DDI_PSEUDO.as_ptr();
        // SAFETY: the instance is being attached; C strings.
        let made = unsafe {
            sys::ddi_create_minor_node(info.as_ptr(), NODE.as_ptr(), sys::S_IFCHR, minor, kind, 0)
        };
        if check(made).is_err() {
            attached.end();
            return Err(NO_NODE);
        }
        let argument = Arc::as_ptr(attached.driver()).cast_mut().cast::<c_void>();
        // SAFETY: `attached` keeps the driver until the ticks have ended.
        let ticks = unsafe { Periodic::start(tick, argument, TICK_MS) };
        Ok(Self {
            ticks,
            attached,
            info,
        })
    }

    fn end(self) {
        let Self {
            ticks,
            attached,
            info,
        } = self;
        drop(ticks);
        // SAFETY: our node alone; MAC's are its own to remove.
        unsafe { sys::ddi_remove_minor_node(info.as_ptr(), NODE.as_ptr()) };
        attached.end();
    }
}

/// The driver, if it is attached.
fn driver() -> Option<Arc<Driver>> {
    let instance = INSTANCE.lock();
    instance.as_ref().map(|it| Arc::clone(it.attached.driver()))
}

/// `devo_attach`: starts the one instance.
///
/// # Safety
///
/// Called by the kernel, with the instance's information.
pub(super) unsafe extern "C" fn attach(dip: *mut sys::dev_info_t, command: c_int) -> c_int {
    if command != sys::DDI_ATTACH {
        return sys::DDI_FAILURE;
    }
    let mut place = INSTANCE.lock();
    if place.is_some() {
        return sys::DDI_FAILURE;
    }
    match Instance::new(DeviceInfo::new(dip)) {
        Ok(instance) => {
            *place = Some(instance);
            // SAFETY: the instance that is being attached.
            unsafe { sys::ddi_report_dev(dip) };
            sys::DDI_SUCCESS
        }
        Err(errno) => {
            log::say(Level::Warning, format_args!("can't attach: error {errno}"));
            sys::DDI_FAILURE
        }
    }
}

/// `devo_detach`: ends the instance, if there are no ports and links.
///
/// # Safety
///
/// Called by the kernel, while nobody has the node open.
pub(super) unsafe extern "C" fn detach(_: *mut sys::dev_info_t, command: c_int) -> c_int {
    if command != sys::DDI_DETACH {
        return sys::DDI_FAILURE;
    }
    let Some(driver) = driver() else {
        return sys::DDI_FAILURE;
    };
    // Only commands open devices, and there is nobody who could send one.
    if !driver.control.is_idle() {
        log::say(
            Level::Note,
            format_args!("there are ports or links; delete them first"),
        );
        return sys::DDI_FAILURE;
    }
    drop(driver);
    let instance = INSTANCE.lock().take();
    if let Some(instance) = instance {
        instance.end();
    }
    sys::DDI_SUCCESS
}

/// `devo_getinfo`: our own node, and MAC's for its nodes.
///
/// # Safety
///
/// Called by the kernel, with a place for the answer.
pub(super) unsafe extern "C" fn getinfo(
    dip: *mut sys::dev_info_t,
    command: sys::ddi_info_cmd_t,
    argument: *mut c_void,
    result: *mut *mut c_void,
) -> c_int {
    let device = u64::try_from(argument.addr()).unwrap_or(0);
    if !is_ours(device) {
        // SAFETY: the same question, with the same promises.
        return unsafe { sys::mac_getinfo(dip, command, argument, result) };
    }
    let info = INSTANCE.lock().as_ref().map(|it| it.info);
    let answer = match (command, info) {
        (sys::DDI_INFO_DEVT2DEVINFO, Some(info)) => info.as_ptr().cast(),
        // There is one instance, number zero.
        (sys::DDI_INFO_DEVT2INSTANCE, _) => ptr::null_mut(),
        _ => return sys::DDI_FAILURE,
    };
    // SAFETY: the place for the answer.
    unsafe { result.write(answer) };
    sys::DDI_SUCCESS
}

/// Whether a device number is our node's.
fn is_ours(device: sys::dev_t) -> bool {
    // SAFETY: takes a number apart.
    let minor = unsafe { sys::getminor(device) };
    // SAFETY: a number that MAC gives to all.
    minor == unsafe { sys::mac_private_minor() }
}

/// `cb_open`: for those who may administer datalinks.
///
/// # Safety
///
/// Called by the kernel, with a device number and live credentials.
pub(super) unsafe extern "C" fn open(
    device: *mut sys::dev_t,
    _: c_int,
    kind: c_int,
    cred: *mut sys::cred_t,
) -> c_int {
    // SAFETY: the caller's device number.
    let device = unsafe { device.read() };
    // SAFETY: credentials live as long as the call.
    let caller = Credentials::new(unsafe { &*cred });
    if kind != sys::OTYP_CHR || !is_ours(device) {
        return sys::ENXIO;
    }
    errno_of(caller.may_administer())
}

/// `cb_close`: nothing is kept for those who have it open.
///
/// # Safety
///
/// Called by the kernel.
pub(super) unsafe extern "C" fn close(
    _: sys::dev_t,
    _: c_int,
    _: c_int,
    _: *mut sys::cred_t,
) -> c_int {
    0
}

/// `cb_ioctl`: a command. Privileges are asked for again: a descriptor may have
/// been handed to somebody else.
///
/// # Safety
///
/// Called by the kernel, with live credentials.
pub(super) unsafe extern "C" fn ioctl(
    device: sys::dev_t,
    command: c_int,
    argument: isize,
    mode: c_int,
    cred: *mut sys::cred_t,
    _: *mut c_int,
) -> c_int {
    // SAFETY: credentials live as long as the call.
    let caller = Credentials::new(unsafe { &*cred });
    if !is_ours(device) {
        return sys::ENXIO;
    }
    if let Err(errno) = caller.may_administer() {
        return errno.get();
    }
    let Some(driver) = driver() else {
        return sys::ENXIO;
    };
    let argument = u64::try_from(argument.cast_unsigned()).unwrap_or(0);
    errno_of(driver.ioctl(command, argument, UserMemory::new(mode)))
}

/// The periodic handler.
///
/// # Safety
///
/// `argument` is the driver that `Instance::new` gave.
unsafe extern "C" fn tick(argument: *mut c_void) {
    // SAFETY: it lives until the ticks have ended.
    let driver = unsafe { &*argument.cast::<Driver>() };
    // Sorting what is due takes more than a handler's stack should give.
    thread::on_large_stack(|| driver.tick());
}

fn errno_of(result: Result<(), Errno>) -> c_int {
    result.err().map_or(0, Errno::get)
}

/// There is no thread.
const NO_THREAD: Errno = Errno::new(sys::EAGAIN).unwrap();
/// The node can't be made.
const NO_NODE: Errno = Errno::new(sys::EEXIST).unwrap();
