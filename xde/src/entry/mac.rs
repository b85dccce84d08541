//! MAC's callbacks: of ports, and of links.
//!
//! Rules     E1  the argument of a datalink's callbacks is the [`Datalink`] that
//!               was registered. It is in an `Arc` that the registry lets go of
//!               after `mac_unregister` has succeeded, when all callbacks have
//!               ended.
//!           E2  the argument of a link's callbacks is its [`Link`], which is
//!               let go of after they are removed, which waits for calls.

use crate::ddi::Errno;
use crate::ddi::mac::{DeviceInfo, Provider};
use crate::ddi::mblk::Received;
use crate::device::{Datalink, Link};
use crate::{packet, room};
use core::ffi::{c_char, c_int, c_uint, c_void};
use core::ptr;
use illumos_sys_hdrs as sys;
use opte_core::wire::offload::LARGE_MAX;

/// What MAC calls a port by.
static CALLBACKS: Callbacks = Callbacks(sys::mac_callbacks_t {
    mc_callbacks: sys::MC_GETCAPAB | sys::MC_PROPINFO,
    mc_getstat: Some(getstat),
    mc_start: Some(start),
    mc_stop: Some(stop),
    mc_setpromisc: Some(setpromisc),
    mc_multicst: Some(multicst),
    mc_unicst: Some(unicst),
    mc_tx: Some(tx),
    mc_reserved: ptr::null_mut(),
    mc_ioctl: None,
    mc_getcapab: Some(getcapab),
    mc_open: None,
    mc_close: None,
    mc_setprop: None,
    mc_getprop: None,
    mc_propinfo: Some(propinfo),
});

struct Callbacks(sys::mac_callbacks_t);

// SAFETY: it is never written; the pointers in it are functions.
unsafe impl Sync for Callbacks {}

/// Registers a datalink, which lives until its provider is withdrawn.
pub(crate) fn register(instance: DeviceInfo, datalink: &Datalink) -> Result<(), Errno> {
    let argument = (&raw const *datalink).cast::<c_void>().cast_mut();
    let (mac, mtu) = (datalink.mac(), datalink.mtu());
    // SAFETY: rule E1.
    let provider = unsafe { Provider::register(instance, &CALLBACKS.0, argument, mac, mtu) };
    provider.map(|provider| datalink.set_provider(provider))
}

/// Has a link's packets come to us, and what it says of room, until its client is closed.
pub(crate) fn listen(link: &Link) -> Result<(), Errno> {
    let argument = (&raw const *link).cast::<c_void>().cast_mut();
    // SAFETY: rule E2.
    unsafe { link.client.listen(receive, has_room, argument) }
}

/// The datalink of a callback.
///
/// # Safety
///
/// `argument` is what [`register`] gave to MAC, which calls back with it.
unsafe fn datalink<'d>(argument: *mut c_void) -> &'d Datalink {
    // SAFETY: rule E1.
    unsafe { &*argument.cast::<Datalink>() }
}

/// `mc_tx`: takes what a guest sends, and gives back what there is no room for
/// (rules of [`room`]).
///
/// # Safety
///
/// Called by MAC, with a chain that becomes ours.
unsafe extern "C" fn tx(argument: *mut c_void, chain: *mut sys::mblk_t) -> *mut sys::mblk_t {
    // SAFETY: MAC's callback.
    let datalink = unsafe { datalink(argument) };
    // SAFETY: the chain is ours.
    let chain = unsafe { Received::new(chain) };
    packet::from_guest(datalink, chain).into_raw()
}

/// `mac_tx_notify_t`: a link has room again. From any context below LOCK_LEVEL.
///
/// # Safety
///
/// Called by MAC, with a [`Link`].
unsafe extern "C" fn has_room(argument: *mut c_void, _: sys::mac_tx_cookie_t) {
    // SAFETY: rule E2.
    let link = unsafe { &*argument.cast::<Link>() };
    room::returned(link);
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

/// `mc_start`: somebody uses the datalink.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn start(argument: *mut c_void) -> c_int {
    // SAFETY: MAC's callback.
    unsafe { datalink(argument) }.set_in_use(true);
    0
}

/// `mc_stop`: nobody uses the datalink any more.
///
/// # Safety
///
/// Called by MAC.
unsafe extern "C" fn stop(argument: *mut c_void) {
    // SAFETY: MAC's callback.
    unsafe { datalink(argument) }.set_in_use(false);
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

/// `mc_unicst`: a datalink has the address that its port's configuration says.
///
/// # Safety
///
/// Called by MAC, with an Ethernet address.
unsafe extern "C" fn unicst(argument: *mut c_void, address: *const u8) -> c_int {
    // SAFETY: MAC's callback.
    let datalink = unsafe { datalink(argument) };
    // SAFETY: six bytes, as the medium's addresses have.
    let address = unsafe { address.cast::<[u8; 6]>().read() };
    if address == datalink.mac().0 {
        0
    } else {
        sys::ENOTSUP
    }
}

/// `mc_getcapab`: checksums and large segments (`finish`). Only the words that
/// every kernel's structures begin with are written. An IPv4 header's checksum
/// isn't offered: the engine changes it by difference.
///
/// # Safety
///
/// Called by MAC, with a place for what is known of the capability.
unsafe extern "C" fn getcapab(
    _: *mut c_void,
    capability: sys::mac_capab_t,
    place: *mut c_void,
) -> sys::boolean_t {
    match capability {
        sys::MAC_CAPAB_HCKSUM => {
            // SAFETY: the place for one word of flags.
            unsafe { place.cast::<u32>().write(sys::HCKSUM_INET_PARTIAL) };
        }
        sys::MAC_CAPAB_LSO => {
            let kinds = sys::LSO_TX_BASIC_TCP_IPV4 | sys::LSO_TX_BASIC_TCP_IPV6;
            let most = u32::from(LARGE_MAX);
            // SAFETY: the place for flags, and for a maximum of each kind.
            unsafe { place.cast::<[u32; 3]>().write([kinds, most, most]) };
        }
        _ => return sys::B_FALSE,
    }
    sys::B_TRUE
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
        let mtu = u32::from(unsafe { datalink(argument) }.mtu());
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
    let datalink = unsafe { datalink(argument) };
    let Some(number) = statistic(datalink, stat) else {
        return sys::ENOTSUP;
    };
    // SAFETY: the place for the answer.
    unsafe { value.write(number) };
    0
}

/// A statistic of a port by MAC's number.
fn statistic(datalink: &Datalink, stat: c_uint) -> Option<u64> {
    // What the guest sends goes out of the datalink for MAC.
    let name = match stat {
        sys::MAC_STAT_IPACKETS => "in_packets",
        sys::MAC_STAT_RBYTES => "in_bytes",
        sys::MAC_STAT_OPACKETS => "out_packets",
        sys::MAC_STAT_OBYTES => "out_bytes",
        sys::ETHER_STAT_LINK_DUPLEX => return Some(sys::LINK_DUPLEX_FULL),
        _ => return None,
    };
    let stats = datalink.driver.engine.counted(Some(&datalink.name))?;
    let counter = stats.counters.iter().find(|counter| counter.name == name);
    Some(counter.map_or(0, |counter| counter.value))
}
