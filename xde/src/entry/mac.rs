//! MAC's callbacks: of ports, and of links.
//!
//! Rules     E1  the argument of a port's callbacks is the [`Port`] that was
//!               registered. It is in an `Arc` that the registry lets go of
//!               after `mac_unregister` has succeeded, when all callbacks have
//!               ended.
//!           E2  the argument of a link's callback is its [`Link`], which is
//!               let go of after `mac_promisc_remove`, which waits for calls.

use crate::ddi::Errno;
use crate::ddi::mac::{DeviceInfo, Provider};
use crate::ddi::mblk::Received;
use crate::device::{Link, Port};
use crate::packet;
use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;

/// What MAC calls a port by.
static CALLBACKS: Callbacks = Callbacks(sys::mac_callbacks_t {
    mc_callbacks: sys::MC_PROPINFO,
    mc_getstat: Some(getstat),
    mc_start: Some(start),
    mc_stop: Some(stop),
    mc_setpromisc: Some(setpromisc),
    mc_multicst: Some(multicst),
    mc_unicst: Some(unicst),
    mc_tx: Some(tx),
    mc_reserved: ptr::null_mut(),
    mc_ioctl: None,
    mc_getcapab: None,
    mc_open: None,
    mc_close: None,
    mc_setprop: None,
    mc_getprop: None,
    mc_propinfo: Some(propinfo),
});

struct Callbacks(sys::mac_callbacks_t);

// SAFETY: it is never written; the pointers in it are functions.
unsafe impl Sync for Callbacks {}

/// Registers a port, which lives until its provider is withdrawn.
pub(crate) fn register(instance: DeviceInfo, port: &Port) -> Result<(), Errno> {
    let argument = (&raw const *port).cast::<c_void>().cast_mut();
    // SAFETY: rule E1.
    let provider =
        unsafe { Provider::register(instance, &CALLBACKS.0, argument, port.mac, port.mtu()) };
    provider.map(|provider| port.set_provider(provider))
}

/// Has a link's packets come to us, until its client is closed.
pub(crate) fn listen(link: &Link) -> Result<(), Errno> {
    let argument = (&raw const *link).cast::<c_void>().cast_mut();
    // SAFETY: rule E2.
    unsafe { link.client.listen(receive, argument) }
}

/// The port of a callback.
///
/// # Safety
///
/// `argument` is what [`register`] gave to MAC, which calls back with it.
unsafe fn port<'p>(argument: *mut c_void) -> &'p Port {
    // SAFETY: rule E1.
    unsafe { &*argument.cast::<Port>() }
}

/// `mc_tx`: takes what a guest sends. Everything is taken; what there is no
/// room for is dropped, as on a wire.
///
/// # Safety
///
/// Called by MAC, with a chain that becomes ours.
unsafe extern "C" fn tx(argument: *mut c_void, chain: *mut sys::mblk_t) -> *mut sys::mblk_t {
    // SAFETY: MAC's callback.
    let port = unsafe { port(argument) };
    // SAFETY: the chain is ours.
    let chain = unsafe { Received::new(chain) };
    packet::from_guest(&port.driver, port.id, chain);
    ptr::null_mut()
}

/// `mac_rx_t`: takes copies of what arrives on a link.
///
/// # Safety
///
/// Called by MAC, with a chain that becomes ours.
unsafe extern "C" fn receive(
    argument: *mut c_void,
    _: sys::mac_resource_handle_t,
    chain: *mut sys::mblk_t,
    loopback: sys::boolean_t,
) {
    // SAFETY: rule E2.
    let link = unsafe { &*argument.cast::<Link>() };
    // SAFETY: the chain is ours.
    let chain = unsafe { Received::new(chain) };
    // What others on this host send over the link isn't from the underlay.
    if loopback == sys::B_FALSE {
        packet::from_link(&link.driver, link.id, chain);
    }
}

/// `mc_start`: somebody uses the port.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn start(argument: *mut c_void) -> c_int {
    // SAFETY: MAC's callback.
    unsafe { port(argument) }.set_in_use(true);
    0
}

/// `mc_stop`: nobody uses the port any more.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn stop(argument: *mut c_void) {
    // SAFETY: MAC's callback.
    unsafe { port(argument) }.set_in_use(false);
}

/// `mc_setpromisc`: a port sees nothing but its own packets anyway.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn setpromisc(_: *mut c_void, _: sys::boolean_t) -> c_int {
    0
}

/// `mc_multicst`: the engine decides which groups reach a guest.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn multicst(_: *mut c_void, _: sys::boolean_t, _: *const u8) -> c_int {
    0
}

/// `mc_unicst`: a port has the address that its configuration says.
///
/// # Safety
///
/// Called by MAC, with an Ethernet address.
unsafe extern "C" fn unicst(argument: *mut c_void, address: *const u8) -> c_int {
    // SAFETY: MAC's callback.
    let port = unsafe { port(argument) };
    // SAFETY: six bytes, as the medium's addresses have.
    let address = unsafe { address.cast::<[u8; 6]>().read() };
    if address == port.mac.0 {
        0
    } else {
        sys::ENOTSUP
    }
}

/// `mc_propinfo`: the MTU is the port's configuration's to change.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn propinfo(
    argument: *mut c_void,
    _: *const c_char,
    property: sys::mac_prop_id_t,
    handle: sys::mac_prop_info_handle_t,
) {
    if property == sys::MAC_PROP_MTU {
        // SAFETY: MAC's callback.
        let mtu = u32::from(unsafe { port(argument) }.mtu());
        // SAFETY: the handle is for this call.
        unsafe { sys::mac_prop_info_set_range_uint32(handle, mtu, mtu) }
    }
}

/// `mc_getstat`: what the engine counted for the port.
///
/// # Safety
///
/// Called by MAC, with a place for the answer.
unsafe extern "C" fn getstat(argument: *mut c_void, stat: c_uint, value: *mut u64) -> c_int {
    // SAFETY: MAC's callback.
    let port = unsafe { port(argument) };
    let Some(number) = statistic(port, stat) else {
        return sys::ENOTSUP;
    };
    // SAFETY: the place for the answer.
    unsafe { value.write(number) };
    0
}

/// A statistic of a port by MAC's number.
fn statistic(port: &Port, stat: c_uint) -> Option<u64> {
    // What the guest sends goes out of the datalink for MAC.
    let name = match stat {
        sys::MAC_STAT_IPACKETS => "in_packets",
        sys::MAC_STAT_RBYTES => "in_bytes",
        sys::MAC_STAT_OPACKETS => "out_packets",
        sys::MAC_STAT_OBYTES => "out_bytes",
        sys::ETHER_STAT_LINK_DUPLEX => return Some(sys::LINK_DUPLEX_FULL),
        _ => return None,
    };
    let stats = port.driver.engine.counted(Some(&port.name))?;
    let counter = stats.counters.iter().find(|counter| counter.name == name);
    Some(counter.map_or(0, |counter| counter.value))
}
