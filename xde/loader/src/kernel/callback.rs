//! What MAC calls a MAC of the module by.
//!
//! Rules     B1  a MAC that is called back stays registered until the call has
//!               returned: `mac_unregister` waits.
//!           B2  what changes a MAC (`mc_start`, `mc_unicst` and the like) is
//!               called in its perimeter, by one thread at a time. What asks
//!               (`mc_getstat`, `mc_getcapab`) and `mc_tx` come at any time and
//!               by many threads.
//!           B3  a callback that the module doesn't say it has isn't called.

use super::{Kernel, Resource};
use crate::call;
use crate::context::{self, Context};
use illumos_sys_hdrs as sys;
use std::cell::Cell;
use std::ffi::c_uint;
use std::sync::Arc;

/// A MAC of the module.
#[derive(Clone, Copy)]
pub(crate) struct Mac {
    pub(crate) handle: u64,
    pub(crate) callbacks: &'static sys::mac_callbacks_t,
    pub(crate) argument: u64,
}

/// What a callback gives, or what the module's panic said.
pub(crate) type Called<T> = Result<T, String>;

impl Kernel {
    /// Calls a function of the module in this thread.
    pub(crate) fn enter(&self, function: u64, arguments: &[u64]) -> Called<u64> {
        let before = context::locks();
        let result = call::module(function, arguments)?;
        if context::locks() != before {
            self.violated("a call came back with locks held");
        }
        Ok(result)
    }

    /// Calls a MAC of the module back (rule B1); `None` when it isn't registered.
    pub(crate) fn calling_back<T>(&self, handle: u64, work: impl FnOnce(Mac) -> T) -> Option<T> {
        let mac = {
            let mut state = self.state();
            let provider = state.net.providers.get_mut(&handle)?;
            provider.calls += 1;
            let callbacks = std::ptr::with_exposed_provenance(provider.callbacks);
            Mac {
                handle,
                // SAFETY: the module's, which is there as long as it is.
                callbacks: unsafe { &*callbacks },
                argument: provider.argument,
            }
        };
        let result = self.having(Resource::Callbacks(handle), || work(mac));
        if let Some(provider) = self.state().net.providers.get_mut(&handle) {
            provider.calls -= 1;
        }
        Some(result)
    }
}

/// What a place holds that the module hasn't written to.
const UNTOUCHED: u32 = 0xdead_beef;

impl Mac {
    fn has(&self, flag: c_uint) -> bool {
        self.callbacks.mc_callbacks & flag != 0
    }

    /// The words that a capability is described by, of those that are there.
    pub(crate) fn capability(&self, kernel: &Kernel, capability: i32) -> Called<Option<Vec<u32>>> {
        let function = self
            .callbacks
            .mc_getcapab
            .filter(|_| self.has(sys::MC_GETCAPAB));
        let Some(function) = function else {
            return Ok(None);
        };
        let mut words = [UNTOUCHED; 16];
        let place = words.as_mut_ptr().expose_provenance() as u64;
        let capability = u64::from(capability.cast_unsigned());
        let arguments = [self.argument, capability, place];
        let has = kernel.enter(function as *const () as u64, &arguments)?;
        // SAFETY: written by the module, behind the compiler's back.
        let words = unsafe { (&raw const words).read_volatile() };
        let written = words.into_iter().take_while(|word| *word != UNTOUCHED);
        Ok((has & 0xffff_ffff != 0).then(|| written.collect()))
    }

    /// A statistic by MAC's number, if the module has it.
    pub(crate) fn statistic(&self, kernel: &Kernel, number: u32) -> Called<Option<u64>> {
        let function = self.callbacks.mc_getstat.ok_or("no mc_getstat")?;
        let mut value = 0_u64;
        let place = (&raw mut value).expose_provenance() as u64;
        let arguments = [self.argument, number.into(), place];
        let errno = kernel.enter(function as *const () as u64, &arguments)? & 0xffff_ffff;
        // SAFETY: written by the module, behind the compiler's back.
        let value = unsafe { (&raw const value).read_volatile() };
        Ok((errno == 0).then_some(value))
    }

    /// The range of a property, if the module says what it is.
    pub(crate) fn property(&self, kernel: &Kernel, property: i32) -> Called<Option<[u32; 2]>> {
        let function = self
            .callbacks
            .mc_propinfo
            .filter(|_| self.has(sys::MC_PROPINFO));
        let Some(function) = function else {
            return Ok(None);
        };
        let mut range = [UNTOUCHED; 2];
        let place = (&raw mut range).expose_provenance();
        let outer = ASKED.replace(place);
        let property = u64::from(property.cast_unsigned());
        let arguments = [
            self.argument,
            c"".as_ptr().addr() as u64,
            property,
            place as u64,
        ];
        let result = kernel.enter(function as *const () as u64, &arguments);
        ASKED.set(outer);
        result?;
        // SAFETY: written by the module, behind the compiler's back.
        let range = unsafe { (&raw const range).read_volatile() };
        Ok((range != [UNTOUCHED; 2]).then_some(range))
    }

    /// Starts it; the errno.
    pub(crate) fn start(&self, kernel: &Kernel) -> Called<u64> {
        let function = self.callbacks.mc_start.ok_or("no mc_start")?;
        self.change(kernel, function as *const () as u64, &[])
    }

    /// Stops it.
    pub(crate) fn stop(&self, kernel: &Kernel) -> Called<()> {
        let function = self.callbacks.mc_stop.ok_or("no mc_stop")?;
        self.change(kernel, function as *const () as u64, &[])?;
        Ok(())
    }

    /// Gives it an address; the errno.
    pub(crate) fn set_address(&self, kernel: &Kernel, address: [u8; 6]) -> Called<u64> {
        let function = self.callbacks.mc_unicst.ok_or("no mc_unicst")?;
        let place = (&raw const address).expose_provenance() as u64;
        self.change(kernel, function as *const () as u64, &[place])
    }

    /// Has it hear everything, or what it is sent; the errno.
    pub(crate) fn set_promiscuous(&self, kernel: &Kernel, on: bool) -> Called<u64> {
        let function = self.callbacks.mc_setpromisc.ok_or("no mc_setpromisc")?;
        self.change(kernel, function as *const () as u64, &[on.into()])
    }

    /// Has it hear a group, or not any more; the errno.
    pub(crate) fn set_group(&self, kernel: &Kernel, group: [u8; 6], on: bool) -> Called<u64> {
        let function = self.callbacks.mc_multicst.ok_or("no mc_multicst")?;
        let place = (&raw const group).expose_provenance() as u64;
        self.change(kernel, function as *const () as u64, &[on.into(), place])
    }

    /// Calls what changes the MAC, in whose perimeter the thread is (rule B2).
    fn change(&self, kernel: &Kernel, function: u64, more: &[u64]) -> Called<u64> {
        if !context::has(Resource::Perimeter(self.handle)) {
            kernel.violated("the double calls a callback outside of its perimeter");
        }
        let mut arguments = vec![self.argument];
        arguments.extend(more);
        Ok(kernel.enter(function, &arguments)? & 0xffff_ffff)
    }

    /// Asks what somebody asks who opens it.
    fn ask(&self, kernel: &Kernel) -> Called<()> {
        for capability in CAPABILITIES {
            self.capability(kernel, capability)?;
        }
        for number in STATISTICS {
            self.statistic(kernel, number)?;
        }
        for property in PROPERTIES {
            self.property(kernel, property)?;
        }
        Ok(())
    }
}

/// What MAC asks for when a MAC is opened: checksums, rings, large segments, and
/// whether it is a VNIC.
const CAPABILITIES: [i32; 4] = [sys::MAC_CAPAB_HCKSUM, 0x10, sys::MAC_CAPAB_LSO, 0x1_0000];
/// Packets, bytes and errors, as MAC's statistics have them: those that the
/// module knows, and those next to them.
const STATISTICS: std::ops::RangeInclusive<u32> = 1_000..=1_030;
/// Every property that MAC has a number for, the MTU among them.
pub(crate) const PROPERTIES: std::ops::RangeInclusive<i32> = 0..=64;
/// A group: all nodes of IPv6.
pub(crate) const GROUP: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

thread_local! {
    /// Where an answer of `mc_propinfo` goes, while it is called.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// Whether this is the place for what `mc_propinfo` is being asked.
pub(super) fn is_asked(place: usize) -> bool {
    place != 0 && ASKED.get() == place
}

/// What `mac_register` asks for before others know the MAC.
pub(super) fn capabilities(
    kernel: &Kernel,
    handle: u64,
    callbacks: &'static sys::mac_callbacks_t,
    argument: u64,
) {
    let mac = Mac {
        handle,
        callbacks,
        argument,
    };
    let asked = kernel.in_perimeter(handle, "mac_register", || mac.ask(kernel));
    asked.unwrap_or_else(|panic| call::leave(panic));
}

/// Asks what somebody asks who opens a MAC.
pub(super) fn ask(kernel: &Kernel, handle: u64) {
    let asked = kernel.calling_back(handle, |mac| mac.ask(kernel));
    asked.transpose().unwrap_or_else(|panic| call::leave(panic));
}

/// Somebody uses a MAC as soon as it is there, and statistics are read.
pub(super) fn use_at_once(kernel: &Arc<Kernel>, handle: u64) {
    let back = |work: &dyn Fn(Mac) -> Called<()>| {
        let run = || kernel.calling_back(handle, work);
        context::within(kernel, Context::Thread, run).unwrap_or(Ok(()))
    };
    let by_user = || {
        kernel.in_perimeter(handle, "mac_client_open", || {
            back(&|mac| {
                mac.start(kernel)?;
                mac.set_group(kernel, GROUP, true)?;
                mac.set_promiscuous(kernel, true)?;
                mac.set_promiscuous(kernel, false)?;
                mac.set_group(kernel, GROUP, false)?;
                mac.stop(kernel)
            })
        })
    };
    let done = std::thread::scope(|scope| {
        let reader = scope.spawn(|| back(&|mac| mac.ask(kernel)));
        let user = scope.spawn(by_user);
        let ended = [user.join(), reader.join()];
        let ended = ended.map(|it| it.unwrap_or_else(|_| Err("a thread panicked".to_owned())));
        ended.into_iter().collect::<Called<Vec<()>>>()
    });
    done.map_or_else(|panic| call::leave(panic), drop);
}
