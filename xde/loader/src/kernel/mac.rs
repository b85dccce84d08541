//! MAC and DLS: ports that the module registers. What it opens is in `client`.
//!
//! Rules     M1  MAC asks for capabilities before a MAC is known to others, and
//!               somebody may use it before `mac_register` has returned: here
//!               that always happens.
//!           M2  `mac_unregister`, and DLS when a datalink goes, wait for
//!               callbacks that are under way, and take the perimeter.

use super::client::Client;
use super::nic::Nic;
use super::{Kernel, Resource, callback};
use crate::context;
use illumos_sys_hdrs as sys;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr;

/// Datalinks and who uses them.
#[derive(Default)]
pub(crate) struct Net {
    /// dlmgmtd's numbers.
    pub(crate) numbers: BTreeMap<String, u32>,
    /// MACs of the module, by handle.
    pub(crate) providers: BTreeMap<u64, Provider>,
    /// Datalinks of others: hardware address and MTU.
    pub(crate) links: BTreeMap<String, ([u8; 6], u32)>,
    /// The module's handles of them.
    pub(crate) clients: BTreeMap<u64, Client>,
    /// Whether datalink ids and NICs of every name are there.
    pub(crate) open_world: bool,
    next: u64,
    /// Numbers of the perimeters of others' datalinks.
    perimeters: BTreeMap<String, u64>,
    /// What went to guests and to links, in order.
    pub(crate) sent: Vec<(String, Vec<u8>)>,
    /// Structures of `mac_alloc`.
    registers: usize,
    /// What links have room for, where it isn't any number of packets.
    nics: BTreeMap<String, Nic>,
    /// Packets that links had no room for.
    pub(crate) dropped: usize,
}

/// A MAC of the module.
pub(crate) struct Provider {
    pub(crate) callbacks: usize,
    pub(crate) argument: u64,
    pub(crate) number: Option<u32>,
    pub(crate) up: bool,
    pub(crate) in_use: bool,
    /// Whether somebody has a hold of the datalink, of which the module isn't told.
    pub(crate) held: bool,
    /// Calls of `mac_rx` that are under way.
    receiving: usize,
    /// Callbacks that are under way.
    pub(crate) calls: usize,
    pub(crate) mtu: u32,
    /// Its hardware address.
    pub(crate) address: [u8; 6],
    /// Messages that the module gave back.
    pub(crate) kept: Vec<usize>,
    /// Whether it said since that there is room.
    pub(crate) resumed: bool,
}

impl Net {
    pub(super) fn new_handle(&mut self) -> u64 {
        self.next += 1;
        // Addresses that nobody may look behind.
        0x7000_0000 + self.next * 16
    }

    /// Makes what is asked for, where everything is there.
    pub(super) fn imagine(&mut self, name: &str) {
        if self.open_world {
            let number = u32::try_from(self.numbers.len()).unwrap_or(0) + 1;
            self.numbers.entry(name.to_owned()).or_insert(number);
            let nic = ([2, 0, 0, 0, 0, 1], 9_000);
            self.links.entry(name.to_owned()).or_insert(nic);
        }
    }

    /// The number of the perimeter of a link.
    pub(super) fn perimeter(&mut self, link: &str) -> u64 {
        if let Some(number) = self.perimeters.get(link) {
            return *number;
        }
        let number = self.new_handle();
        self.perimeters.insert(link.to_owned(), number);
        number
    }

    /// The NIC of a link.
    pub(crate) fn nic(&mut self, link: &str) -> &mut Nic {
        self.nics.entry(link.to_owned()).or_default()
    }

    /// Whether a link is full.
    pub(crate) fn is_any_full(&self) -> bool {
        self.nics.values().any(Nic::is_full)
    }

    /// The name that dlmgmtd has for a number.
    fn name_of(&self, number: u32) -> Option<String> {
        let mut numbers = self.numbers.iter();
        numbers
            .find(|(_, n)| **n == number)
            .map(|(name, _)| name.clone())
    }

    /// The MAC of the datalink of a name.
    pub(crate) fn provider(&self, name: &str) -> Option<(u64, &Provider)> {
        let number = self.numbers.get(name)?;
        let mut providers = self.providers.iter();
        let found = providers.find(|(_, provider)| provider.number == Some(*number));
        found.map(|(handle, provider)| (*handle, provider))
    }
}

pub(super) fn handle(address: *mut c_void) -> u64 {
    address.addr() as u64
}

pub(super) fn pointer(handle: u64) -> *mut c_void {
    ptr::without_provenance_mut(usize::try_from(handle).unwrap_or(0))
}

pub(super) unsafe extern "C" fn mac_init_ops(ops: *mut sys::dev_ops, _: *const c_char) {
    context::kernel().state().ops = ops.addr() as u64;
}

pub(super) unsafe extern "C" fn mac_fini_ops(ops: *mut sys::dev_ops) {
    let kernel = context::kernel();
    if ops.is_null() || kernel.state().ops != ops.addr() as u64 {
        kernel.violated("mac_fini_ops without mac_init_ops");
    }
    kernel.state().ops = 0;
}

/// What this kernel's MAC answers for its own nodes.
pub const MAC_INSTANCE: u64 = 4_711;

pub(super) unsafe extern "C" fn mac_getinfo(
    _: *mut c_void,
    command: c_int,
    argument: *mut c_void,
    place: *mut *mut c_void,
) -> c_int {
    let minor = argument.addr() & 0xffff_ffff;
    if minor >= PRIVATE_MINOR {
        context::kernel().violated("mac_getinfo of a node that isn't MAC's");
    }
    if command != sys::DDI_INFO_DEVT2INSTANCE {
        return sys::DDI_FAILURE;
    }
    // SAFETY: the caller's place for the answer.
    unsafe { place.write(pointer(MAC_INSTANCE)) };
    sys::DDI_SUCCESS
}

/// The first number of a driver's own nodes.
pub(crate) const PRIVATE_MINOR: usize = 0x2_0000;

pub(super) unsafe extern "C" fn mac_private_minor() -> u32 {
    PRIVATE_MINOR as u32
}

pub(super) unsafe extern "C" fn mac_alloc(version: c_uint) -> *mut sys::mac_register_t {
    let kernel = context::kernel();
    kernel.sleeps("mac_alloc");
    if version != sys::MAC_VERSION || kernel.step_fails() {
        return ptr::null_mut();
    }
    kernel.state().net.registers += 1;
    // SAFETY: all fields of it may be zero.
    let mut register: Box<sys::mac_register_t> = Box::new(unsafe { std::mem::zeroed() });
    register.m_version = version;
    Box::into_raw(register)
}

pub(super) unsafe extern "C" fn mac_free(register: *mut sys::mac_register_t) {
    context::kernel().state().net.registers -= 1;
    // SAFETY: made by `mac_alloc`.
    drop(unsafe { Box::from_raw(register) });
}

pub(super) unsafe extern "C" fn mac_register(
    register: *mut sys::mac_register_t,
    place: *mut *mut c_void,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_register");
    // SAFETY: made by `mac_alloc`.
    let fields = unsafe { &*register };
    // SAFETY: the module's callbacks, which are there for ever.
    let callbacks = unsafe { &*fields.m_callbacks };
    let complete = callbacks.mc_getstat.is_some()
        && callbacks.mc_start.is_some()
        && callbacks.mc_stop.is_some()
        && callbacks.mc_setpromisc.is_some()
        && callbacks.mc_multicst.is_some()
        && callbacks.mc_unicst.is_some()
        && callbacks.mc_tx.is_some();
    let good = complete && !fields.m_src_addr.is_null() && fields.m_max_sdu > fields.m_min_sdu;
    if !good || kernel.state().ops == 0 {
        kernel.violated("mac_register of something incomplete");
        return sys::EINVAL;
    }
    let handle = kernel.state().net.new_handle();
    let argument = fields.m_driver.expose_provenance() as u64;
    // What MAC asks for by itself (rule M1).
    callback::capabilities(&kernel, handle, callbacks, argument);
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let provider = Provider {
        callbacks: fields.m_callbacks.expose_provenance(),
        argument,
        number: None,
        up: false,
        in_use: false,
        held: false,
        receiving: 0,
        calls: 0,
        mtu: fields.m_max_sdu,
        // SAFETY: an Ethernet address, as the plugin's are.
        address: unsafe { fields.m_src_addr.cast::<[u8; 6]>().read() },
        kept: Vec::new(),
        resumed: false,
    };
    kernel.state().net.providers.insert(handle, provider);
    callback::use_at_once(&kernel, handle);
    // SAFETY: the module's place for the handle.
    unsafe { place.write(pointer(handle)) };
    0
}

pub(super) unsafe extern "C" fn mac_unregister(mh: *mut c_void) -> c_int {
    let kernel = context::kernel();
    let call = "mac_unregister";
    kernel.sleeps(call);
    let handle = handle(mh);
    let known = {
        let state = kernel.state();
        let provider = state.net.providers.get(&handle);
        provider.map(|provider| (provider.number.is_some(), provider.receiving != 0))
    };
    let Some((published, receiving)) = known else {
        kernel.violated("mac_unregister of what isn't registered");
        return sys::EINVAL;
    };
    if published {
        kernel.violated("mac_unregister before dls_devnet_destroy");
    }
    if receiving {
        kernel.violated("mac_unregister while mac_rx is under way");
    }
    if kernel.step_fails() {
        return sys::EBUSY;
    }
    let gone = kernel.in_perimeter(handle, call, || {
        let mut gone = None;
        // Nobody calls back any more when it is taken away.
        kernel.wait_for(Resource::Callbacks(handle), call, || {
            let mut state = kernel.state();
            let calls = state.net.providers.get(&handle).map(|it| it.calls);
            if calls == Some(0) {
                gone = state.net.providers.remove(&handle);
            }
            calls.is_some() && gone.is_none()
        });
        gone
    });
    for message in gone.into_iter().flat_map(|provider| provider.kept) {
        kernel.free_message(ptr::with_exposed_provenance_mut(message));
    }
    0
}

pub(super) unsafe extern "C" fn dls_mgmt_get_linkid(name: *const c_char, place: *mut u32) -> c_int {
    let kernel = context::kernel();
    kernel.asks_a_process("dls_mgmt_get_linkid");
    // SAFETY: a C string of the module's.
    let name = unsafe { super::text(name) };
    kernel.state().net.imagine(&name);
    let Some(number) = kernel.state().net.numbers.get(&name).copied() else {
        return sys::ENOENT;
    };
    // SAFETY: the module's place for the number.
    unsafe { place.write(number) };
    0
}

pub(super) unsafe extern "C" fn dls_devnet_create(mh: *mut c_void, number: u32, _: c_int) -> c_int {
    let kernel = context::kernel();
    let call = "dls_devnet_create";
    kernel.asks_a_process(call);
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let handle = handle(mh);
    let created = kernel.in_perimeter(handle, call, || {
        let mut state = kernel.state();
        let mut providers = state.net.providers.values();
        if providers.any(|provider| provider.number == Some(number)) {
            return sys::EEXIST;
        }
        let known = state.net.name_of(number).is_some();
        match state.net.providers.get_mut(&handle).filter(|_| known) {
            Some(provider) => provider.number = Some(number),
            None => return sys::ENOENT,
        }
        drop(state);
        // DLS is a client of it, and asks as any other.
        callback::ask(&kernel, handle);
        0
    });
    if created == sys::ENOENT {
        kernel.violated("dls_devnet_create of what isn't there");
    }
    created
}

pub(super) unsafe extern "C" fn dls_devnet_destroy(
    mh: *mut c_void,
    place: *mut u32,
    _: c_int,
) -> c_int {
    let kernel = context::kernel();
    let call = "dls_devnet_destroy";
    kernel.asks_a_process(call);
    let handle = handle(mh);
    if !kernel.state().net.providers.contains_key(&handle) {
        kernel.violated("dls_devnet_destroy of what isn't registered");
        return sys::ENOENT;
    }
    if kernel.step_fails() {
        return sys::EBUSY;
    }
    let number = kernel.in_perimeter(handle, call, || {
        let mut state = kernel.state();
        let provider = state.net.providers.get_mut(&handle).ok_or(sys::ENOENT)?;
        if provider.in_use || provider.held {
            return Err(sys::EBUSY);
        }
        provider.number.take().ok_or(sys::ENOENT)
    });
    match number {
        Ok(number) => {
            // SAFETY: the module's place for the number.
            unsafe { place.write(number) };
            0
        }
        Err(errno) => errno,
    }
}

/// Changes what is known of a MAC; a violation if there is none.
fn update(mh: *mut c_void, call: &'static str, change: impl FnOnce(&mut Provider)) {
    let kernel = context::kernel();
    let known = kernel
        .state()
        .net
        .providers
        .get_mut(&handle(mh))
        .map(change);
    if known.is_none() {
        kernel.violated(format!("{call} of what isn't registered"));
    }
}

pub(super) unsafe extern "C" fn mac_link_update(mh: *mut c_void, state: c_int) {
    let up = state == sys::LINK_STATE_UP;
    update(mh, "mac_link_update", |provider| provider.up = up);
}

pub(super) unsafe extern "C" fn mac_maxsdu_update(mh: *mut c_void, sdu: c_uint) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_maxsdu_update");
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    update(mh, "mac_maxsdu_update", |provider| provider.mtu = sdu);
    0
}

pub(super) unsafe extern "C" fn mac_unicst_update(mh: *mut c_void, address: *const u8) {
    // SAFETY: an Ethernet address of the module's.
    let address = unsafe { address.cast::<[u8; 6]>().read() };
    update(mh, "mac_unicst_update", |it| it.address = address);
}

pub(super) unsafe extern "C" fn mac_prop_info_set_range_uint32(
    place: *mut c_void,
    min: u32,
    max: u32,
) {
    if !callback::is_asked(place.addr()) {
        context::kernel().violated("what is known of a property was told after mc_propinfo");
        return;
    }
    // SAFETY: the caller's place, while it asks.
    unsafe { place.cast::<[u32; 2]>().write([min, max]) };
}

pub(super) unsafe extern "C" fn mac_rx(mh: *mut c_void, _: *mut c_void, chain: *mut sys::mblk_t) {
    let kernel = context::kernel();
    kernel.no_locks("mac_rx");
    let name = {
        let mut state = kernel.state();
        let provider = state.net.providers.get_mut(&handle(mh));
        let number = provider.and_then(|provider| {
            provider.receiving += 1;
            provider.number
        });
        number.and_then(|number| state.net.name_of(number))
    };
    if name.is_none() {
        kernel.violated("mac_rx to a port that is no datalink");
    }
    receive(&kernel, &name.unwrap_or_default(), chain);
    if let Some(provider) = kernel.state().net.providers.get_mut(&handle(mh)) {
        provider.receiving -= 1;
    }
}

/// Takes what the module sends.
pub(super) fn receive(kernel: &Kernel, to: &str, chain: *mut sys::mblk_t) {
    for message in kernel.take_apart(chain) {
        let bytes = kernel.bytes(message);
        if kernel.checksum_flags(message) != 0 {
            kernel.violated(format!("a packet to {to} that says something of checksums"));
        }
        kernel.free_message(message);
        match kernel.outlet.get() {
            Some(outlet) => outlet(to, &bytes),
            None => kernel.state().net.sent.push((to.to_owned(), bytes)),
        }
    }
}
