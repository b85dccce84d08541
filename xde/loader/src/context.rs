//! Where a thread is: which sled, and what it may do there (rule V1).

use crate::kernel::Kernel;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// What a thread that is in the module may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A system call or a kernel thread: it may sleep.
    Thread,
    /// A packet on its way in a thread: it shouldn't sleep.
    Packet,
    /// An interrupt thread: it must not sleep.
    Interrupt,
}

thread_local! {
    static KERNEL: RefCell<Option<Arc<Kernel>>> = const { RefCell::new(None) };
    static CONTEXT: Cell<Context> = const { Cell::new(Context::Thread) };
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// Does something in a sled and a context.
pub(crate) fn within<T>(kernel: &Arc<Kernel>, context: Context, work: impl FnOnce() -> T) -> T {
    let outer = (
        KERNEL.replace(Some(Arc::clone(kernel))),
        CONTEXT.replace(context),
    );
    let result = work();
    KERNEL.set(outer.0);
    CONTEXT.set(outer.1);
    result
}

/// The sled's kernel.
pub(crate) fn kernel() -> Arc<Kernel> {
    let kernel = KERNEL.with_borrow(Option::clone);
    kernel.expect("the module runs in threads that know their sled")
}

/// What this thread may do.
pub(crate) fn current() -> Context {
    CONTEXT.get()
}

/// A number of this thread, from one.
pub(crate) fn thread_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    }
    NUMBER.get()
}

/// This thread holds a lock from now on.
pub(crate) fn hold(lock: usize) {
    HELD.with_borrow_mut(|held| held.push(lock));
}

/// This thread lets go of a lock.
pub(crate) fn let_go(lock: usize) {
    HELD.with_borrow_mut(|held| held.retain(|other| *other != lock));
}

/// The locks that this thread holds.
pub(crate) fn held() -> Vec<usize> {
    HELD.with_borrow(Vec::clone)
}
