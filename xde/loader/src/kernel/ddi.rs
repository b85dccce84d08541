//! Driver interfaces: the module, its node, time, user memory, privileges.

use super::{Kernel, Resource};
use crate::context::{self, Context};
use illumos_sys_hdrs as sys;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::Ordering;

pub(super) unsafe extern "C" fn mod_install(linkage: *mut sys::modlinkage) -> c_int {
    let kernel = context::kernel();
    // SAFETY: the module's structure.
    let fields = unsafe { &*linkage };
    if fields.ml_rev != sys::MODREV_1 {
        kernel.violated("mod_install: another revision");
    }
    if kernel.state().ops == 0 {
        kernel.violated("mod_install before mac_init_ops");
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    kernel.state().linkage = linkage.expose_provenance() as u64;
    0
}

pub(super) unsafe extern "C" fn mod_remove(linkage: *mut sys::modlinkage) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mod_remove");
    if kernel.state().linkage != linkage.addr() as u64 {
        kernel.violated("mod_remove of another module");
    }
    if kernel.state().attached && detach(&kernel) != Ok(u64::from(sys::DDI_SUCCESS.cast_unsigned()))
    {
        return sys::EBUSY;
    }
    kernel.state().linkage = 0;
    0
}

pub(super) unsafe extern "C" fn mod_info(_: *mut sys::modlinkage, _: *mut sys::modinfo) -> c_int {
    1
}

/// The module's operations.
pub(crate) fn operations(kernel: &Kernel) -> &'static sys::dev_ops {
    let linkage = usize::try_from(kernel.state().linkage).unwrap_or(0);
    let linkage = std::ptr::with_exposed_provenance::<sys::modlinkage>(linkage);
    // SAFETY: installed, and not removed.
    let driver = unsafe { (*linkage).ml_linkage[0] }.cast::<sys::modldrv>();
    // SAFETY: as above.
    let operations = unsafe { (*driver).drv_dev_ops };
    // SAFETY: as above.
    unsafe { &*operations }
}

/// The instance's information: an address, and nothing behind it.
pub const DIP: u64 = 0x1000_d1d1;

/// Calls `devo_detach`.
pub(crate) fn detach(kernel: &Kernel) -> Result<u64, String> {
    let detach = operations(kernel).devo_detach.ok_or("no devo_detach")?;
    let result = crate::call::module(detach as *const () as u64, &[DIP, 0])?;
    if result == 0 {
        kernel.state().attached = false;
    }
    Ok(result & 0xffff_ffff)
}

pub(super) unsafe extern "C" fn ddi_create_minor_node(
    _: *mut sys::dev_info_t,
    name: *const c_char,
    kind: c_int,
    minor: sys::minor_t,
    _: *const c_char,
    _: c_int,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("ddi_create_minor_node");
    if kind != sys::S_IFCHR || minor < 0x2_0000 {
        kernel.violated("a node that collides with MAC's");
    }
    if kernel.step_fails() {
        return sys::DDI_FAILURE;
    }
    // SAFETY: a C string of the module's.
    let name = unsafe { super::text(name) };
    kernel.state().nodes.push(name);
    sys::DDI_SUCCESS
}

pub(super) unsafe extern "C" fn ddi_remove_minor_node(
    _: *mut sys::dev_info_t,
    name: *const c_char,
) {
    let kernel = context::kernel();
    kernel.sleeps("ddi_remove_minor_node");
    if name.is_null() {
        kernel.violated("all nodes were removed, MAC's too");
        return;
    }
    // SAFETY: a C string of the module's.
    let name = unsafe { super::text(name) };
    kernel.state().nodes.retain(|node| *node != name);
}

pub(super) unsafe extern "C" fn ddi_periodic_add(
    func: unsafe extern "C" fn(*mut c_void),
    arg: *mut c_void,
    interval: i64,
    level: c_int,
) -> *mut c_void {
    let kernel = context::kernel();
    if interval < 10_000_000 || level != sys::DDI_IPL_0 {
        kernel.violated("a handler that is called too often, or where it mustn't sleep");
    }
    kernel.sleeps("ddi_periodic_add");
    let handler = (func as *const () as u64, arg.expose_provenance() as u64);
    if kernel.state().periodic.replace(handler).is_some() {
        kernel.violated("ddi_periodic_add of a second handler");
    }
    std::ptr::dangling_mut()
}

pub(super) unsafe extern "C" fn ddi_periodic_delete(_: *mut c_void) {
    let kernel = context::kernel();
    let call = "ddi_periodic_delete";
    kernel.sleeps(call);
    if kernel.state().periodic.take().is_none() {
        kernel.violated("ddi_periodic_delete of what isn't there");
    }
    // It waits for a call that is under way; a handler's own is a panic there.
    if kernel.asks(Resource::Handler, call) {
        let mut ended = false;
        kernel.wait(call, || {
            ended = ended || kernel.is_handler_idle();
            ended
        });
    }
}

pub(super) unsafe extern "C" fn secpolicy_dl_config(_: *const sys::cred_t) -> c_int {
    let may = context::kernel().privileged.load(Ordering::Relaxed);
    if may { 0 } else { sys::EPERM }
}

pub(super) unsafe extern "C" fn random_get_pseudo_bytes(buf: *mut u8, len: usize) -> c_int {
    let kernel = context::kernel();
    if kernel.step_fails() {
        return sys::EAGAIN;
    }
    let seed = kernel.seed.load(Ordering::Relaxed).to_ne_bytes();
    for (at, byte) in seed.iter().cycle().take(len).enumerate() {
        // SAFETY: as many bytes as the module has room for.
        unsafe { buf.wrapping_add(at).write(*byte) };
    }
    0
}

pub(super) unsafe extern "C" fn gethrtime() -> i64 {
    let kernel = context::kernel();
    let set = kernel.time.load(Ordering::Relaxed);
    let gone = kernel.started.get().map_or(0, |start| {
        u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    });
    set.saturating_add(gone).cast_signed()
}

pub(super) unsafe extern "C" fn delay(_: i64) {
    context::kernel().sleeps("delay");
    std::thread::yield_now();
}

pub(super) unsafe extern "C" fn curcpup() -> *mut c_void {
    // A structure of 2 KiB for each thread, nowhere.
    let number = usize::try_from(context::thread_number()).unwrap_or(0);
    std::ptr::without_provenance_mut(number << 11)
}

pub(super) unsafe extern "C" fn servicing_interrupt() -> c_int {
    c_int::from(context::current() == Context::Interrupt)
}

pub(super) unsafe extern "C" fn getminor(dev: u64) -> u32 {
    u32::try_from(dev & 0xffff_ffff).unwrap_or(0)
}

pub(super) unsafe extern "C" fn ddi_report_dev(_: *mut c_void) {}

pub(super) unsafe extern "C" fn ddi_quiesce_not_needed(_: *mut c_void) -> c_int {
    0
}

pub(super) unsafe extern "C" fn ddi_prop_op() -> c_int {
    1
}

pub(super) unsafe extern "C" fn nochpoll() -> c_int {
    sys::ENXIO
}

pub(super) unsafe extern "C" fn nodev() -> c_int {
    sys::ENXIO
}

pub(super) unsafe extern "C" fn nulldev() -> c_int {
    0
}
