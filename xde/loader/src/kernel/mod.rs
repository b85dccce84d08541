//! The kernel that a module sees.
//!
//! One file for each group of functions; each function finds its sled by the
//! thread (`context`), says what is wrong with the call as a violation, and
//! does what it is for in the simplest way.

pub(crate) mod callback;
pub(crate) mod client;
mod copy;
mod ddi;
mod kmem;
mod kstat;
pub(crate) mod mac;
pub(crate) mod mblk;
mod mutex;
pub(crate) mod nic;
mod order;
#[cfg(test)]
mod tests;
mod thread;

use crate::context;
use crate::probe::Fired;
pub(crate) use copy::FKIOCTL;
pub use ddi::DIP;
pub(crate) use ddi::{detach, operations};
use illumos_sys_hdrs as sys;
pub(crate) use kstat::read as read_kstat;
use order::Order;
pub(crate) use order::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, c_char, c_int};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Instant;

/// What a name refers to.
pub(crate) enum Export {
    /// A function of ours.
    Function(u64),
    /// Bytes of a variable.
    Data(&'static [u8]),
}

/// Takes a frame to a port's guest or to a link, by name.
pub(crate) type Outlet = Box<dyn Fn(&str, &[u8]) + Send + Sync>;

/// Everything that the kernel has, as one piece: a double needs no speed.
pub(crate) struct Kernel {
    state: Mutex<State>,
    /// Held while the periodic handler runs.
    handler: Mutex<()>,
    /// Who waits for whom.
    order: Mutex<Order>,
    /// Nanoseconds since boot.
    pub(crate) time: AtomicU64,
    /// When the clock was made to go by itself.
    pub(crate) started: OnceLock<Instant>,
    /// Where what the module sends goes, instead of being kept.
    pub(crate) outlet: OnceLock<Outlet>,
    /// What `random_get_pseudo_bytes` gives.
    pub(crate) seed: AtomicU64,
    /// Whether callers may administer datalinks.
    pub(crate) privileged: AtomicBool,
    /// Allocations that may fail and still succeed before one fails.
    pub(crate) memory_left: AtomicU64,
    /// Allocations that may fail since the module was loaded.
    pub(crate) memory_asked: AtomicU64,
    /// Which of them fails, by itself.
    pub(crate) memory_fault: AtomicU64,
    /// Steps (of MAC, DLS and DDI) that still succeed before one fails.
    pub(crate) steps_left: AtomicU64,
}

/// What the kernel keeps.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) violations: Vec<String>,
    pub(crate) console: Vec<String>,
    pub(crate) memory: HashMap<usize, usize>,
    /// Memory that isn't a process's, besides the module's.
    pub(crate) kernel_memory: Vec<Range<usize>>,
    pub(crate) messages: HashMap<usize, ()>,
    pub(crate) kstats: BTreeMap<String, kstat::Shown>,
    pub(crate) periodic: Option<(u64, u64)>,
    pub(crate) nodes: Vec<String>,
    pub(crate) linkage: u64,
    pub(crate) ops: u64,
    pub(crate) attached: bool,
    /// Times that the node was opened since it was closed.
    pub(crate) opened: usize,
    pub(crate) probes: Vec<Fired>,
    pub(crate) probe_names: Vec<String>,
    pub(crate) net: mac::Net,
    /// MACs in whose perimeter somebody is.
    pub(crate) perimeters: BTreeSet<u64>,
}

impl Default for Kernel {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            handler: Mutex::default(),
            order: Mutex::default(),
            time: AtomicU64::new(1_000_000_000),
            started: OnceLock::new(),
            outlet: OnceLock::new(),
            seed: AtomicU64::new(1),
            privileged: AtomicBool::new(true),
            memory_left: AtomicU64::new(u64::MAX),
            memory_asked: AtomicU64::new(0),
            memory_fault: AtomicU64::new(u64::MAX),
            steps_left: AtomicU64::new(u64::MAX),
        }
    }
}

impl Kernel {
    /// What the kernel keeps. Never while the module is called.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock();
        state.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The periodic handler's turn, which is one after another.
    pub(crate) fn handler_turn(&self) -> MutexGuard<'_, ()> {
        let turn = self.handler.lock();
        turn.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether the handler isn't running.
    pub(crate) fn is_handler_idle(&self) -> bool {
        self.handler.try_lock().is_ok()
    }

    /// The module broke a rule.
    pub(crate) fn violated(&self, what: impl Into<String>) {
        let (what, mut state) = (what.into(), self.state());
        // Once is enough.
        if !state.violations.contains(&what) {
            state.violations.push(what);
        }
    }

    /// Whether one more call of this kind should succeed.
    fn succeeds(counter: &AtomicU64) -> bool {
        let spent = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            u64::MAX => Some(left),
            left => left.checked_sub(1),
        });
        spent.is_ok()
    }

    /// Whether an allocation that may fail does.
    pub(crate) fn memory_fails(&self) -> bool {
        let number = self.memory_asked.fetch_add(1, Ordering::Relaxed);
        !Self::succeeds(&self.memory_left) || number == self.memory_fault.load(Ordering::Relaxed)
    }

    /// Whether a step that may fail does.
    pub(crate) fn step_fails(&self) -> bool {
        !Self::succeeds(&self.steps_left)
    }

    /// A call of MAC that carries packets: no lock is held (rule L1 of the
    /// module).
    pub(crate) fn no_locks(&self, what: &str) {
        let held = context::locks();
        if held != 0 {
            self.violated(format!("{what} was called with {held} locks held"));
        }
    }

    /// A probe fires.
    pub(crate) extern "C" fn fire(a: u64, b: u64, c: u64, d: u64, e: u64, f: u64, number: u64) {
        let kernel = context::kernel();
        let name = usize::try_from(number)
            .ok()
            .and_then(|number| kernel.state().probe_names.get(number).cloned());
        let fired = Fired::new(name.unwrap_or_default(), [a, b, c, d, e, f]);
        kernel.state().probes.push(fired);
    }
}

/// A string of the module.
///
/// # Safety
///
/// `text` is a C string.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// `printf` of the few formats that the module has: `%s` and `%u`.
///
/// # Safety
///
/// `format` is a C string, and what stands for `%s` is too.
unsafe fn formatted(format: *const c_char, arguments: &[u64]) -> String {
    // SAFETY: the caller's promise.
    let format = unsafe { text(format) };
    let (mut out, mut rest) = (String::new(), arguments.iter());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let value = rest.next().copied().unwrap_or(0);
        match chars.next() {
            Some('s') => {
                let place = usize::try_from(value).unwrap_or(0);
                let place = std::ptr::with_exposed_provenance(place);
                // SAFETY: the caller's promise.
                out.push_str(&unsafe { text(place) });
            }
            Some('u') => out.push_str(&(value & 0xffff_ffff).to_string()),
            other => out.push_str(&format!("%{other:?}")),
        }
    }
    out
}

/// `cmn_err`; the variable arguments come in registers, as all do.
unsafe extern "C" fn cmn_err(level: c_int, format: *const c_char, a: u64, b: u64) {
    // SAFETY: the module's formats and strings.
    let line = unsafe { formatted(format, &[a, b]) };
    let kernel = context::kernel();
    kernel.state().console.push(format!("{level}: {line}"));
}

/// `panic`: ends the call into the module (rule V3).
unsafe extern "C" fn panic(format: *const c_char, a: u64, b: u64) -> ! {
    // SAFETY: as above.
    let line = unsafe { formatted(format, &[a, b]) };
    crate::call::leave(line)
}

macro_rules! functions {
    ($($module:ident: $($name:ident)+;)+) => {
        [$($((stringify!($name), $module::$name as *const () as u64)),+),+]
    };
}

/// The kernel's names.
pub(crate) fn exports() -> HashMap<&'static str, Export> {
    use self as own;
    let functions = functions! {
        own: cmn_err panic;
        libc: memcpy memmove memset memcmp strlen;
        copy: ddi_copyin ddi_copyout;
        ddi: curcpup ddi_create_minor_node ddi_periodic_add
            ddi_periodic_delete ddi_prop_op ddi_quiesce_not_needed ddi_remove_minor_node
            ddi_report_dev delay gethrtime getminor mod_info mod_install mod_remove nochpoll
            nodev nulldev random_get_pseudo_bytes secpolicy_dl_config servicing_interrupt;
        kmem: kmem_alloc kmem_free;
        kstat: kstat_create kstat_delete kstat_install kstat_named_init;
        mblk: allocb dupb freeb freemsg freemsgchain mac_hcksum_get mac_hcksum_set
            mac_lso_get;
        mutex: mutex_destroy mutex_enter mutex_exit mutex_init mutex_owned mutex_tryenter
            sema_destroy sema_init sema_p sema_v;
        thread: thread_create;
        mac: dls_devnet_create dls_devnet_destroy dls_mgmt_get_linkid mac_alloc
            mac_fini_ops mac_free mac_getinfo mac_init_ops mac_link_update mac_maxsdu_update
            mac_private_minor mac_prop_info_set_range_uint32 mac_register mac_rx
            mac_unicst_update mac_unregister;
        client: mac_client_close mac_client_open mac_client_tx_notify mac_close
            mac_open_by_linkname mac_promisc_add mac_promisc_remove mac_sdu_get
            mac_unicast_primary_get;
        nic: mac_tx mac_tx_is_flow_blocked mac_tx_update;
    };
    let functions = functions
        .into_iter()
        .map(|(name, address)| (name, Export::Function(address)));
    let data: [(&str, &[u8]); 3] = [
        ("max_ncpus", &[4, 0, 0, 0]),
        ("mod_driverops", &[0; 24]),
        ("p0", &[0; 64]),
    ];
    let data = data
        .into_iter()
        .map(|(name, bytes)| (name, Export::Data(bytes)));
    functions.chain(data).collect()
}

/// Errors that a double gives.
pub(crate) const ENOMEM: c_int = sys::ENOMEM;
