//! A handler that is called again and again.

use core::ffi::c_void;
use illumos_sys_hdrs as sys;

/// A handler; dropping it waits for a call that is under way, so not from the
/// handler itself and with no lock that the handler takes.
pub(crate) struct Periodic(sys::ddi_periodic_t);

// SAFETY: a request may be deleted by any thread.
unsafe impl Send for Periodic {}
// SAFETY: there is nothing to do with a shared one.
unsafe impl Sync for Periodic {}

impl Periodic {
    /// Calls `handler` with `argument` every `interval_ms`, in a thread that
    /// may sleep.
    ///
    /// # Safety
    ///
    /// `argument` is what `handler` expects, until this is dropped.
    pub(crate) unsafe fn start(
        handler: unsafe extern "C" fn(*mut c_void),
        argument: *mut c_void,
        interval_ms: u32,
    ) -> Self {
        let interval = i64::from(interval_ms).saturating_mul(1_000_000);
        // SAFETY: the caller vouches for the argument.
        Self(unsafe { sys::ddi_periodic_add(handler, argument, interval, sys::DDI_IPL_0) })
    }
}

impl Drop for Periodic {
    fn drop(&mut self) {
        // SAFETY: added by `start` and deleted once.
        unsafe { sys::ddi_periodic_delete(self.0) }
    }
}
