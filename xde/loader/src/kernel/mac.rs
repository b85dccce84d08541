//! MAC and DLS: ports that the module registers, links that it opens.

use super::Kernel;
use super::nic::Nic;
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
    pub(crate) mtu: u32,
    /// Its hardware address.
    pub(crate) address: [u8; 6],
    /// Messages that the module gave back.
    pub(crate) kept: Vec<usize>,
    /// Whether it said since that there is room.
    pub(crate) resumed: bool,
}

/// A client of the module.
pub(crate) struct Client {
    pub(crate) link: String,
    pub(crate) client: bool,
    pub(crate) callback: Option<(u64, u64)>,
    /// What it wants to have called when there is room.
    pub(crate) notification: Option<(u64, u64)>,
}

impl Net {
    fn new_handle(&mut self) -> u64 {
        self.next += 1;
        // Addresses that nobody may look behind.
        0x7000_0000 + self.next * 16
    }

    /// Makes what is asked for, where everything is there.
    fn imagine(&mut self, name: &str) {
        if self.open_world {
            let number = u32::try_from(self.numbers.len()).unwrap_or(0) + 1;
            self.numbers.entry(name.to_owned()).or_insert(number);
            let nic = ([2, 0, 0, 0, 0, 1], 9_000);
            self.links.entry(name.to_owned()).or_insert(nic);
        }
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

fn pointer(handle: u64) -> *mut c_void {
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

pub(super) unsafe extern "C" fn mac_getinfo(
    _: *mut c_void,
    _: c_int,
    _: *mut c_void,
    _: *mut *mut c_void,
) -> c_int {
    sys::DDI_FAILURE
}

pub(super) unsafe extern "C" fn mac_private_minor() -> u32 {
    0x2_0000
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
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let mut state = kernel.state();
    let handle = state.net.new_handle();
    let provider = Provider {
        callbacks: fields.m_callbacks.expose_provenance(),
        argument: fields.m_driver.expose_provenance() as u64,
        number: None,
        up: false,
        in_use: false,
        held: false,
        receiving: 0,
        mtu: fields.m_max_sdu,
        // SAFETY: an Ethernet address, as the plugin's are.
        address: unsafe { fields.m_src_addr.cast::<[u8; 6]>().read() },
        kept: Vec::new(),
        resumed: false,
    };
    state.net.providers.insert(handle, provider);
    // SAFETY: the module's place for the handle.
    unsafe { place.write(pointer(handle)) };
    0
}

pub(super) unsafe extern "C" fn mac_unregister(mh: *mut c_void) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_unregister");
    let provider = kernel.state().net.providers.remove(&handle(mh));
    match provider {
        None => kernel.violated("mac_unregister of what isn't registered"),
        Some(provider) if provider.number.is_some() => {
            kernel.violated("mac_unregister before dls_devnet_destroy");
        }
        Some(provider) => {
            if provider.receiving != 0 {
                kernel.violated("mac_unregister while mac_rx is under way");
            }
            for message in provider.kept {
                kernel.free_message(ptr::with_exposed_provenance_mut(message));
            }
        }
    }
    0
}

pub(super) unsafe extern "C" fn dls_mgmt_get_linkid(name: *const c_char, place: *mut u32) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("dls_mgmt_get_linkid");
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
    kernel.sleeps("dls_devnet_create");
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let mut state = kernel.state();
    if state
        .net
        .providers
        .values()
        .any(|p| p.number == Some(number))
    {
        return sys::EEXIST;
    }
    let known = state.net.name_of(number).is_some();
    if let Some(provider) = state.net.providers.get_mut(&handle(mh)).filter(|_| known) {
        provider.number = Some(number);
        return 0;
    }
    drop(state);
    kernel.violated("dls_devnet_create of what isn't there");
    sys::ENOENT
}

pub(super) unsafe extern "C" fn dls_devnet_destroy(
    mh: *mut c_void,
    place: *mut u32,
    _: c_int,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("dls_devnet_destroy");
    let mut state = kernel.state();
    let Some(provider) = state.net.providers.get_mut(&handle(mh)) else {
        drop(state);
        kernel.violated("dls_devnet_destroy of what isn't registered");
        return sys::ENOENT;
    };
    if provider.in_use || provider.held {
        return sys::EBUSY;
    }
    let Some(number) = provider.number.take() else {
        return sys::ENOENT;
    };
    // SAFETY: the module's place for the number.
    unsafe { place.write(number) };
    0
}

pub(super) unsafe extern "C" fn mac_link_update(mh: *mut c_void, state: c_int) {
    let kernel = context::kernel();
    if let Some(provider) = kernel.state().net.providers.get_mut(&handle(mh)) {
        provider.up = state == sys::LINK_STATE_UP;
    }
}

pub(super) unsafe extern "C" fn mac_maxsdu_update(mh: *mut c_void, sdu: c_uint) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_maxsdu_update");
    if let Some(provider) = kernel.state().net.providers.get_mut(&handle(mh)) {
        provider.mtu = sdu;
    }
    0
}

pub(super) unsafe extern "C" fn mac_unicst_update(mh: *mut c_void, address: *const u8) {
    let kernel = context::kernel();
    // SAFETY: an Ethernet address of the module's.
    let address = unsafe { address.cast::<[u8; 6]>().read() };
    let mut state = kernel.state();
    let provider = state.net.providers.get_mut(&handle(mh));
    let known = provider.map(|provider| provider.address = address);
    drop(state);
    if known.is_none() {
        kernel.violated("mac_unicst_update of what isn't registered");
    }
}

pub(super) unsafe extern "C" fn mac_prop_info_set_range_uint32(
    place: *mut c_void,
    min: u32,
    max: u32,
) {
    // SAFETY: the test's place for a range.
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

pub(super) unsafe extern "C" fn mac_open_by_linkname(
    name: *const c_char,
    place: *mut *mut c_void,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_open_by_linkname");
    // SAFETY: a C string of the module's.
    let link = unsafe { super::text(name) };
    kernel.state().net.imagine(&link);
    if !kernel.state().net.links.contains_key(&link) {
        return sys::ENOENT;
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let mut state = kernel.state();
    let handle = state.net.new_handle();
    let client = Client {
        link,
        client: false,
        callback: None,
        notification: None,
    };
    state.net.clients.insert(handle, client);
    // SAFETY: the module's place for the handle.
    unsafe { place.write(pointer(handle)) };
    0
}

/// The handles of a MAC, its client and its callback are one number here.
fn with_client<T>(
    kernel: &Kernel,
    mh: *mut c_void,
    work: impl FnOnce(&mut Client) -> T,
) -> Option<T> {
    let done = kernel.state().net.clients.get_mut(&handle(mh)).map(work);
    if done.is_none() {
        kernel.violated("a datalink that isn't open");
    }
    done
}

pub(super) unsafe extern "C" fn mac_client_open(
    mh: *mut c_void,
    place: *mut *mut c_void,
    name: *mut c_char,
    flags: u16,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_client_open");
    if name.is_null() || flags & sys::MAC_OPEN_FLAGS_NO_UNICAST_ADDR == 0 {
        kernel.violated("mac_client_open in another way than rules ask for");
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    with_client(&kernel, mh, |client| client.client = true);
    // SAFETY: the module's place for the handle.
    unsafe { place.write(mh) };
    0
}

pub(super) unsafe extern "C" fn mac_promisc_add(
    mch: *mut c_void,
    _: c_int,
    func: sys::mac_rx_t,
    arg: *mut c_void,
    place: *mut *mut c_void,
    flags: u16,
) -> c_int {
    let kernel = context::kernel();
    kernel.sleeps("mac_promisc_add");
    if flags != sys::MAC_PROMISC_FLAGS_NO_TX_LOOP {
        kernel.violated("the module would hear itself");
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let callback = (func as *const () as u64, arg.expose_provenance() as u64);
    with_client(&kernel, mch, |client| client.callback = Some(callback));
    // SAFETY: the module's place for the handle.
    unsafe { place.write(mch) };
    0
}

pub(super) unsafe extern "C" fn mac_promisc_remove(mph: *mut c_void) {
    let kernel = context::kernel();
    kernel.sleeps("mac_promisc_remove");
    with_client(&kernel, mph, |client| client.callback = None);
}

pub(super) unsafe extern "C" fn mac_client_close(mch: *mut c_void, _: u16) {
    let kernel = context::kernel();
    kernel.sleeps("mac_client_close");
    let open = with_client(&kernel, mch, |client| {
        client.client = false;
        let listens = client.callback.is_some() || client.notification.is_some();
        (client.link.clone(), listens)
    });
    let Some((link, listens)) = open else { return };
    if listens {
        kernel.violated("mac_client_close before its callbacks are removed");
    }
    kernel.state().net.nic(&link).queue.clear();
}

pub(super) unsafe extern "C" fn mac_close(mh: *mut c_void) {
    let kernel = context::kernel();
    kernel.sleeps("mac_close");
    let client = kernel.state().net.clients.remove(&handle(mh));
    if client.is_none_or(|client| client.client) {
        kernel.violated("mac_close of what isn't open, or before its client");
    }
}

pub(super) unsafe extern "C" fn mac_unicast_primary_get(mh: *mut c_void, place: *mut u8) {
    let kernel = context::kernel();
    let link = with_client(&kernel, mh, |client| client.link.clone());
    let address = link.and_then(|link| kernel.state().net.links.get(&link).map(|link| link.0));
    // SAFETY: room for an Ethernet address.
    unsafe { place.cast::<[u8; 6]>().write(address.unwrap_or_default()) };
}

pub(super) unsafe extern "C" fn mac_sdu_get(mh: *mut c_void, min: *mut c_uint, max: *mut c_uint) {
    let kernel = context::kernel();
    let link = with_client(&kernel, mh, |client| client.link.clone());
    let mtu = link.and_then(|link| kernel.state().net.links.get(&link).map(|link| link.1));
    // SAFETY: the module's places.
    unsafe { min.write(0) };
    // SAFETY: as above.
    unsafe { max.write(mtu.unwrap_or_default()) };
}
