//! Mutexes that know their owners, and semaphores.

use super::Resource;
use crate::context;
use illumos_sys_hdrs as sys;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Turns that a thread waits before it calls it a deadlock.
const PATIENCE: u64 = 200_000_000;

/// The owner's number, or zero, lies in the mutex itself.
fn owner<'m>(mp: *const sys::kmutex_t) -> &'m AtomicU64 {
    // SAFETY: eight bytes of the module's that are there to be a mutex.
    unsafe { &*mp.cast::<AtomicU64>() }
}

pub(super) unsafe extern "C" fn mutex_init(
    mp: *mut sys::kmutex_t,
    _: *mut c_char,
    kind: c_int,
    arg: *mut c_void,
) {
    if kind != sys::MUTEX_DRIVER || !arg.is_null() {
        context::kernel().violated("a mutex that isn't an adaptive one");
    }
    owner(mp).store(0, Ordering::Release);
}

pub(super) unsafe extern "C" fn mutex_destroy(mp: *mut sys::kmutex_t) {
    if owner(mp).load(Ordering::Acquire) != 0 {
        context::kernel().violated("a mutex was destroyed while it was held");
    }
}

pub(super) unsafe extern "C" fn mutex_enter(mp: *mut sys::kmutex_t) {
    let me = context::thread_number();
    if owner(mp).load(Ordering::Relaxed) == me {
        crate::call::leave("recursive mutex_enter".to_owned());
    }
    context::kernel().asks(Resource::Mutex(mp.addr()), "mutex_enter");
    let mut turns = 0;
    while !take(mp, me) {
        turns += 1;
        if turns % 64 == 0 {
            thread::yield_now();
        }
        if turns > PATIENCE {
            crate::call::leave("deadlock".to_owned());
        }
        std::hint::spin_loop();
    }
    context::kernel().locked(mp.addr(), true);
}

pub(super) unsafe extern "C" fn mutex_tryenter(mp: *mut sys::kmutex_t) -> c_int {
    let got = take(mp, context::thread_number());
    if got {
        context::kernel().locked(mp.addr(), false);
    }
    c_int::from(got)
}

pub(super) unsafe extern "C" fn mutex_exit(mp: *mut sys::kmutex_t) {
    if owner(mp).load(Ordering::Relaxed) != context::thread_number() {
        context::kernel().violated("mutex_exit by a thread that doesn't hold it");
    }
    context::let_go(Resource::Mutex(mp.addr()));
    owner(mp).store(0, Ordering::Release);
}

pub(super) unsafe extern "C" fn mutex_owned(mp: *const sys::kmutex_t) -> c_int {
    c_int::from(owner(mp).load(Ordering::Relaxed) == context::thread_number())
}

fn take(mp: *const sys::kmutex_t, me: u64) -> bool {
    let owner = owner(mp);
    owner
        .compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

/// The count of a semaphore lies in its first word.
fn count<'s>(sp: *const sys::ksema_t) -> &'s AtomicU64 {
    // SAFETY: sixteen bytes of the module's that are there to be a semaphore.
    unsafe { &*sp.cast::<AtomicU64>() }
}

pub(super) unsafe extern "C" fn sema_init(
    sp: *mut sys::ksema_t,
    value: u32,
    _: *mut c_char,
    _: c_int,
    _: *mut c_void,
) {
    count(sp).store(value.into(), Ordering::Release);
}

pub(super) unsafe extern "C" fn sema_destroy(_: *mut sys::ksema_t) {}

pub(super) unsafe extern "C" fn sema_p(sp: *mut sys::ksema_t) {
    context::kernel().sleeps("sema_p");
    let down = |count: u64| count.checked_sub(1);
    while count(sp)
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, down)
        .is_err()
    {
        thread::yield_now();
    }
}

pub(super) unsafe extern "C" fn sema_v(sp: *mut sys::ksema_t) {
    count(sp).fetch_add(1, Ordering::AcqRel);
}
