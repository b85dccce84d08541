//! Mutexes of the kernel as those of `lock_api`.
//!
//! Rules     M1  the engine has a lock in each flow's record and makes millions
//!               of them as constants, so a mutex that was never given to
//!               `mutex_init` has to work. An adaptive mutex is all zeroes when
//!               it is free, and the kernel itself has static ones that nobody
//!               initialises. This isn't promised to drivers, so `_init`
//!               compares ([`is_zero_a_mutex`]) and refuses to load where it
//!               isn't so.
//!           M2  an adaptive mutex that nobody holds owns nothing, so none is
//!               destroyed, and moving a free one is moving eight zero bytes.

use core::cell::UnsafeCell;
use illumos_sys_hdrs as sys;
use lock_api::{GuardNoSend, RawMutex};

/// An adaptive mutex.
pub(crate) struct KernelMutex(UnsafeCell<sys::kmutex_t>);

// SAFETY: it is there to be used by many threads; the kernel's functions are
// the only ones that touch it.
unsafe impl Sync for KernelMutex {}
// SAFETY: a free mutex belongs to no thread (rule M2), and one that is held is
// borrowed by its guard and can't be sent.
unsafe impl Send for KernelMutex {}

impl core::fmt::Debug for KernelMutex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KernelMutex")
    }
}

// SAFETY: the kernel's mutexes exclude each other, and a guard stays with its
// thread (`GuardNoSend`), which is who has to let go.
unsafe impl RawMutex for KernelMutex {
    const INIT: Self = Self(UnsafeCell::new(sys::kmutex_t { _opaque: [0] }));

    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        // SAFETY: a mutex of ours (rule M1), below LOCK_LEVEL as everything here.
        unsafe { sys::mutex_enter(self.0.get()) }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        // SAFETY: as above.
        let got = unsafe { sys::mutex_tryenter(self.0.get()) };
        (got != 0).then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardNoSend) {
        // SAFETY: the caller holds it.
        unsafe { sys::mutex_exit(self.0.get()) }
    }

    fn is_locked(&self) -> bool {
        match self.try_lock() {
            // SAFETY: taken here.
            Some(guard) => unsafe { self.unlock(guard) },
            None => return true,
        }
        false
    }
}

/// Whether the thread that asks holds it.
pub(crate) fn is_mine<T>(mutex: &crate::Mutex<T>) -> bool {
    // SAFETY: it isn't unlocked behind its guard's back.
    let raw = unsafe { mutex.raw() };
    // SAFETY: looks at the owner.
    let owned = unsafe { sys::mutex_owned(raw.0.get()) };
    owned != 0
}

/// Whether a mutex that was initialised is all zeroes (rule M1).
pub(crate) fn is_zero_a_mutex() -> bool {
    let mut mutex = sys::kmutex_t { _opaque: [!0] };
    let none = core::ptr::null_mut();
    let at = &raw mut mutex;
    // SAFETY: a mutex on the stack that nobody else sees; a null cookie makes
    // it adaptive.
    unsafe { sys::mutex_init(at, core::ptr::null_mut(), sys::MUTEX_DRIVER, none) };
    let is_zero = mutex._opaque == [0];
    let at = &raw mut mutex;
    // SAFETY: initialised above and free.
    unsafe { sys::mutex_destroy(at) };
    is_zero
}
