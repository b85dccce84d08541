//! Where a thread is: which sled, and what it may do there (rule V1).

use crate::kernel::{Kernel, Resource};
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
    static HELD: RefCell<Vec<Resource>> = const { RefCell::new(Vec::new()) };
    static ROLE: RefCell<Role> = const { RefCell::new(Role::NONE) };
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

/// On whose behalf a thread works.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    /// What those have who wait for the thread.
    had: Vec<Resource>,
    /// Whether it is the periodic handler.
    timer: bool,
}

impl Role {
    const NONE: Self = Self {
        had: Vec::new(),
        timer: false,
    };

    /// The role of a thread that this one makes and waits for.
    pub(crate) fn of_child() -> Self {
        Self {
            had: held(),
            timer: is_timer(),
        }
    }

    /// The role of the periodic handler.
    pub(crate) fn timer() -> Self {
        Self {
            had: Vec::new(),
            timer: true,
        }
    }

    /// Does something in this role.
    pub(crate) fn play<T>(self, work: impl FnOnce() -> T) -> T {
        let outer = ROLE.replace(self);
        let result = work();
        ROLE.set(outer);
        result
    }
}

/// Whether this is the periodic handler, or a thread that it waits for.
pub(crate) fn is_timer() -> bool {
    ROLE.with_borrow(|role| role.timer)
}

/// This thread has something from now on.
pub(crate) fn hold(it: Resource) {
    HELD.with_borrow_mut(|held| held.push(it));
}

/// This thread lets go of something.
pub(crate) fn let_go(it: Resource) {
    HELD.with_borrow_mut(|held| {
        if let Some(at) = held.iter().rposition(|other| *other == it) {
            held.remove(at);
        }
    });
}

/// Whether this thread itself has something.
pub(crate) fn has(it: Resource) -> bool {
    HELD.with_borrow(|held| held.contains(&it))
}

/// What this thread has, and those who wait for it.
pub(crate) fn held() -> Vec<Resource> {
    let mut all = ROLE.with_borrow(|role| role.had.clone());
    HELD.with_borrow(|held| all.extend(held));
    all
}

/// How many mutexes they are.
pub(crate) fn locks() -> usize {
    let is_lock = |it: &Resource| matches!(it, Resource::Mutex(_));
    held().into_iter().filter(is_lock).count()
}
