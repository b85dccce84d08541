//! Who waits for whom, and who sleeps with what.
//!
//! Terms     resource   what a thread has and others wait for: a mutex, the
//!                      perimeter of a MAC, a callback until it has returned
//!           order      two resources: a thread asked for the second while it
//!                      had the first
//!           busy lock  a mutex that packets, interrupts or the timer take
//!
//! Rules     W1  the orders make no circle. A circle is a deadlock of threads
//!               that come at the same time, also if they didn't here.
//!           W2  nobody sleeps with a busy lock held, also not with one that
//!               turns out to be busy later: neither for memory (`KM_SLEEP`)
//!               nor in a call that may wait for a process, a perimeter or a
//!               callback. illumos lets an adaptive mutex be held meanwhile;
//!               but an interrupt thread that wants it waits as long. Every
//!               other mutex may be held: in the module those of commands and
//!               of the instance, which only threads take that may sleep. A
//!               mutex that the timer tries and doesn't wait for isn't busy.
//!           W3  who has the kernel make a thread waits for it, as the module
//!               does: the thread counts as having what its maker has.
//!
//! Failure   a violation that names the calls. What really waits for longer than
//!           anything takes here is a violation too, and goes on.

use super::Kernel;
use crate::context::{self, Context};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a thread has and others wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Resource {
    /// A mutex, by its address.
    Mutex(usize),
    /// The perimeter of a MAC, by the number of it.
    Perimeter(u64),
    /// Callbacks of a MAC of the module, by its handle.
    Callbacks(u64),
    /// The callback for packets of a client of the module, by its handle.
    Receiver(u64),
    /// Its notification of room.
    Notification(u64),
    /// The update of statistics, by their address.
    Update(usize),
    /// The periodic handler.
    Handler,
}

/// What is known of resources.
#[derive(Default)]
pub(crate) struct Order {
    /// Behind each resource those that were asked for, and by which call.
    behind: BTreeMap<Resource, BTreeMap<Resource, &'static str>>,
    /// The same, seen from those.
    before: BTreeMap<Resource, BTreeSet<Resource>>,
    /// Busy locks, and whose they are.
    busy: BTreeMap<usize, &'static str>,
    /// Locks that somebody slept with, and in which call.
    slept: BTreeMap<usize, &'static str>,
}

impl Order {
    /// Somebody who has `had` asks for `wanted`; the circle that this closes.
    fn ask(&mut self, had: Resource, wanted: Resource, call: &'static str) -> Option<String> {
        let behind = self.behind.entry(had).or_default();
        if behind.insert(wanted, call).is_some() {
            return None;
        }
        self.before.entry(wanted).or_default().insert(had);
        let mut steps = vec![format!("{call} for {wanted:x?} with {had:x?}")];
        let way = self.way(wanted, had, &mut BTreeSet::new())?;
        steps.extend(way);
        Some(steps.join(", "))
    }

    /// The calls by which somebody with `from` comes to wait for `to`.
    fn way(
        &self,
        from: Resource,
        to: Resource,
        seen: &mut BTreeSet<Resource>,
    ) -> Option<Vec<String>> {
        for (next, call) in self.behind.get(&from)? {
            let step = format!("{call} for {next:x?} with {from:x?}");
            if *next == to {
                return Some(vec![step]);
            }
            if seen.insert(*next)
                && let Some(mut rest) = self.way(*next, to, seen)
            {
                rest.insert(0, step);
                return Some(rest);
            }
        }
        None
    }

    /// A lock is busy; the call that somebody slept in with it.
    fn use_up(&mut self, lock: usize, whose: &'static str) -> Option<&'static str> {
        match self.busy.insert(lock, whose) {
            None => self.slept.get(&lock).copied(),
            Some(_) => None,
        }
    }

    /// A resource is gone, and another one may have its name one day.
    fn forget(&mut self, gone: Resource) {
        for next in self.behind.remove(&gone).into_iter().flatten() {
            if let Some(before) = self.before.get_mut(&next.0) {
                before.remove(&gone);
            }
        }
        for before in self.before.remove(&gone).into_iter().flatten() {
            if let Some(behind) = self.behind.get_mut(&before) {
                behind.remove(&gone);
            }
        }
        if let Resource::Mutex(lock) = gone {
            self.busy.remove(&lock);
            self.slept.remove(&lock);
        }
    }
}

/// Longer than anything takes that ends.
const PATIENCE: Duration = Duration::from_secs(20);

impl Kernel {
    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This thread asks for something in a call, and waits until it gets it;
    /// false when it never would, as it has it (rule W1).
    pub(crate) fn asks(&self, wanted: Resource, call: &'static str) -> bool {
        let held = context::held();
        let circles: Vec<String> = {
            let mut order = self.order();
            let others = held.iter().filter(|had| **had != wanted);
            others
                .filter_map(|had| order.ask(*had, wanted, call))
                .collect()
        };
        for circle in circles {
            self.violated(format!("a deadlock: {circle}"));
        }
        let has = held.contains(&wanted);
        if has {
            self.violated(format!(
                "a deadlock: {call} for {wanted:x?}, which waits for it"
            ));
        }
        !has
    }

    /// Waits until something is so; false when that takes too long.
    pub(crate) fn wait(&self, call: &'static str, mut done: impl FnMut() -> bool) -> bool {
        let start = Instant::now();
        while !done() {
            if start.elapsed() > PATIENCE {
                self.violated(format!("a deadlock: {call} waits for ever"));
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    /// Asks for something that others have for as long as `is_busy` says.
    pub(crate) fn wait_for(
        &self,
        wanted: Resource,
        call: &'static str,
        mut is_busy: impl FnMut() -> bool,
    ) {
        if self.asks(wanted, call) {
            self.wait(call, || !is_busy());
        }
    }

    /// Does something while others wait for `it`.
    pub(crate) fn having<T>(&self, it: Resource, work: impl FnOnce() -> T) -> T {
        context::hold(it);
        let result = work();
        context::let_go(it);
        result
    }

    /// Does something in the perimeter of a MAC, which a thread may enter again.
    pub(crate) fn in_perimeter<T>(
        &self,
        mac: u64,
        call: &'static str,
        work: impl FnOnce() -> T,
    ) -> T {
        let perimeter = Resource::Perimeter(mac);
        if context::has(perimeter) {
            return work();
        }
        let mine =
            self.asks(perimeter, call) && self.wait(call, || self.state().perimeters.insert(mac));
        let result = self.having(perimeter, work);
        if mine {
            self.state().perimeters.remove(&mac);
        }
        result
    }

    /// A call that asks a process: not in a perimeter, which it may want.
    pub(crate) fn asks_a_process(&self, call: &'static str) {
        self.sleeps(call);
        let inside = |it: &Resource| matches!(it, Resource::Perimeter(_));
        if context::held().iter().any(inside) {
            self.violated(format!(
                "{call} asks dlmgmtd, and was called in a perimeter"
            ));
        }
    }

    /// A call that sleeps: not in a packet's context, and with no busy lock held
    /// (rule W2).
    pub(crate) fn sleeps(&self, call: &'static str) {
        if context::current() != Context::Thread {
            let context = context::current();
            self.violated(format!("{call} may sleep, and was called in {context:?}"));
        }
        for it in context::held() {
            let Resource::Mutex(lock) = it else { continue };
            let busy = {
                let mut order = self.order();
                order.slept.entry(lock).or_insert(call);
                order.busy.get(&lock).copied()
            };
            if let Some(whose) = busy {
                self.violated(format!(
                    "{call} may sleep, with a lock held that {whose} takes: {lock:#x}"
                ));
            }
        }
    }

    /// This thread has a lock from now on, which it waited for or tried.
    pub(crate) fn locked(&self, lock: usize, waited: bool) {
        context::hold(Resource::Mutex(lock));
        let whose = match context::current() {
            Context::Packet | Context::Interrupt => "a packet",
            Context::Thread if waited && context::is_timer() => "the timer",
            Context::Thread => return,
        };
        let slept = self.order().use_up(lock, whose);
        if let Some(call) = slept {
            self.violated(format!(
                "{call} may have slept with a lock held that {whose} takes: {lock:#x}"
            ));
        }
    }

    /// Mutexes in this memory are gone.
    pub(crate) fn forget_locks(&self, memory: Range<usize>) {
        let mut order = self.order();
        let Order {
            behind,
            before,
            busy,
            slept,
        } = &mut *order;
        let range = Resource::Mutex(memory.start)..Resource::Mutex(memory.end);
        let mut gone: Vec<Resource> = behind.range(range.clone()).map(|(it, _)| *it).collect();
        gone.extend(before.range(range).map(|(it, _)| *it));
        let locks = busy.range(memory.clone()).chain(slept.range(memory));
        gone.extend(locks.map(|(lock, _)| Resource::Mutex(*lock)));
        for it in gone {
            order.forget(it);
        }
    }

    /// Something else is gone.
    pub(crate) fn forget(&self, gone: Resource) {
        self.order().forget(gone);
    }
}
