//! `_init`, `_info` and `_fini`, and the structures that they hand over.
//!
//! Rules     E3  what the kernel writes to lies in statics that it alone
//!               touches once `_init` has been called.

use super::device;
use crate::ddi::log::{self, Level};
use crate::ddi::mutex;
use core::cell::UnsafeCell;
use core::ffi::{CStr, c_int, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;

/// What `modinfo` shows.
const DESCRIPTION: &CStr =
    match CStr::from_bytes_with_nul(concat!("OPTE ", env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a zero inside"),
    };
/// The driver's name, which is the module's file name too.
const NAME: &CStr = c"xde";

/// A structure of ours that the kernel writes to (rule E3).
#[repr(transparent)]
struct Kernel<T>(UnsafeCell<T>);

// SAFETY: rule E3.
unsafe impl<T> Sync for Kernel<T> {}

impl<T> Kernel<T> {
    const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    const fn as_ptr(&self) -> *mut T {
        self.0.get()
    }
}

static CB_OPS: Kernel<sys::cb_ops> = Kernel::new(sys::cb_ops {
    cb_open: Some(device::open),
    cb_close: Some(device::close),
    cb_strategy: Some(sys::nodev),
    cb_print: Some(sys::nodev),
    cb_dump: Some(sys::nodev),
    cb_read: Some(sys::nodev),
    cb_write: Some(sys::nodev),
    cb_ioctl: Some(device::ioctl),
    cb_devmap: Some(sys::nodev),
    cb_mmap: Some(sys::nodev),
    cb_segmap: Some(sys::nodev),
    cb_chpoll: Some(sys::nochpoll),
    cb_prop_op: Some(sys::ddi_prop_op),
    cb_str: ptr::null_mut(),
    cb_flag: sys::D_MP | sys::D_64BIT,
    cb_rev: sys::CB_REV,
    cb_aread: Some(sys::nodev),
    cb_awrite: Some(sys::nodev),
});

static DEV_OPS: Kernel<sys::dev_ops> = Kernel::new(sys::dev_ops {
    devo_rev: sys::DEVO_REV,
    devo_refcnt: 0,
    devo_getinfo: Some(device::getinfo),
    devo_identify: Some(sys::nulldev),
    devo_probe: Some(sys::nulldev),
    devo_attach: Some(device::attach),
    devo_detach: Some(device::detach),
    devo_reset: Some(sys::nodev),
    devo_cb_ops: CB_OPS.as_ptr(),
    devo_bus_ops: ptr::null_mut(),
    devo_power: Some(sys::nodev),
    devo_quiesce: Some(sys::ddi_quiesce_not_needed),
});

static DRIVER: Kernel<sys::modldrv> = Kernel::new(sys::modldrv {
    drv_modops: &raw const sys::mod_driverops,
    drv_linkinfo: DESCRIPTION.as_ptr(),
    drv_dev_ops: DEV_OPS.as_ptr(),
});

static LINKAGE: Kernel<sys::modlinkage> = Kernel::new(sys::modlinkage {
    ml_rev: sys::MODREV_1,
    ml_linkage: [
        DRIVER.as_ptr().cast::<c_void>(),
        ptr::null_mut(),
        ptr::null_mut(),
        ptr::null_mut(),
        ptr::null_mut(),
        ptr::null_mut(),
        ptr::null_mut(),
    ],
});

/// `_init`: the module is there.
///
/// # Safety
///
/// Called by the kernel, once.
#[cfg_attr(target_os = "illumos", unsafe(no_mangle))]
pub unsafe extern "C" fn _init() -> c_int {
    if !mutex::is_zero_a_mutex() {
        let text = format_args!("a free mutex of this kernel isn't all zeroes; can't load");
        log::say(Level::Warning, text);
        return sys::ENOTSUP;
    }
    // SAFETY: before `mod_install`, as MAC wants it.
    unsafe { sys::mac_init_ops(DEV_OPS.as_ptr(), NAME.as_ptr()) };
    // SAFETY: structures that are there for ever.
    let result = unsafe { sys::mod_install(LINKAGE.as_ptr()) };
    if result != 0 {
        // SAFETY: undoes `mac_init_ops`.
        unsafe { sys::mac_fini_ops(DEV_OPS.as_ptr()) };
    }
    result
}

/// `_info`: what the module is. Called before `_init`, too.
///
/// # Safety
///
/// Called by the kernel, with a place for the answer.
#[cfg_attr(target_os = "illumos", unsafe(no_mangle))]
pub unsafe extern "C" fn _info(info: *mut sys::modinfo) -> c_int {
    // SAFETY: our linkage, and the caller's place.
    unsafe { sys::mod_info(LINKAGE.as_ptr(), info) }
}

/// `_fini`: the module goes, if its instance can be detached.
///
/// # Safety
///
/// Called by the kernel.
#[cfg_attr(target_os = "illumos", unsafe(no_mangle))]
pub unsafe extern "C" fn _fini() -> c_int {
    // SAFETY: our linkage.
    let result = unsafe { sys::mod_remove(LINKAGE.as_ptr()) };
    if result == 0 {
        // SAFETY: undoes `mac_init_ops`.
        unsafe { sys::mac_fini_ops(DEV_OPS.as_ptr()) };
    }
    result
}
