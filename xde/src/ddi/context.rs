//! Where we are: the CPU, the time, the privileges of a caller.

use super::{Errno, check};
use illumos_sys_hdrs as sys;
use opte_core::Instant;

/// Monotonic time since the system booted.
pub(crate) fn now() -> Instant {
    // SAFETY: may be called from any context.
    let nanos = unsafe { sys::gethrtime() };
    Instant::from_nanos(nanos.unsigned_abs())
}

/// A number that threads on different CPUs hardly share. The thread may be on
/// another CPU when it uses it, so it is a hint and no more.
pub(crate) fn cpu_hint() -> usize {
    // SAFETY: reads the CPU that we are on. What it points to isn't looked at.
    let cpu = unsafe { sys::curcpup() };
    // CPU structures are some 2 KiB large and allocated one by one.
    let address = cpu.addr() >> 6;
    address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48
}

/// CPUs that there may be.
pub(crate) fn cpus_max() -> usize {
    // SAFETY: set when the system boots, before modules are loaded.
    let cpus = unsafe { sys::max_ncpus };
    usize::try_from(cpus).unwrap_or(1).max(1)
}

/// Whether this is an interrupt thread, which must not sleep.
pub(crate) fn is_interrupt() -> bool {
    // SAFETY: looks at the thread that calls.
    let servicing = unsafe { sys::servicing_interrupt() };
    servicing != 0
}

/// Waits for a clock tick. Not from an interrupt thread.
pub(crate) fn pause() {
    debug_assert!(!is_interrupt());
    // SAFETY: callers may sleep, as this function asks for.
    unsafe { sys::delay(1) }
}

/// A secret that nobody can guess.
pub(crate) fn random_seed() -> Result<u64, Errno> {
    let mut bytes = [0_u8; 8];
    // SAFETY: writes so many bytes to an array of as many.
    let result = unsafe { sys::random_get_pseudo_bytes(bytes.as_mut_ptr(), bytes.len()) };
    check(result)?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Who calls us, for as long as the call lasts.
#[derive(Clone, Copy)]
pub(crate) struct Credentials<'c>(&'c sys::cred_t);

impl<'c> Credentials<'c> {
    /// The credentials that an entry point was given.
    pub(crate) fn new(cred: &'c sys::cred_t) -> Self {
        Self(cred)
    }

    /// Whether the caller may administer datalinks.
    pub(crate) fn may_administer(self) -> Result<(), Errno> {
        // SAFETY: the reference is to live credentials.
        let result = unsafe { sys::secpolicy_dl_config(self.0) };
        check(result)
    }
}
