//! MAC: datalinks that we provide, and datalinks that we use.
//!
//! Flow      provider: register -> publish -> .. -> withdraw (rules P)
//!           client:   open -> .. -> drop (rules C)
//!
//! Rules     P1  `mac_register`, then `dls_devnet_create`, then link state;
//!               back in the opposite order, DLS before MAC, because DLS has a
//!               reference to the MAC.
//!           P2  callbacks may start before `mac_register` returns, and have
//!               all ended when `mac_unregister` has succeeded.
//!           C1  opened: MAC, client, notification, promiscuous callback; closed the other
//!               way round. Removing the callback waits for calls of it, so a
//!               link isn't closed from one.
//!               So does removing the notification of room.
//!           C2  all of it may sleep and takes the perimeter of the datalink
//!               below: never from a callback of MAC (rules L3, L5).

use super::mblk::Chain;
use super::{Errno, check};
use core::ffi::{CStr, c_char, c_uint, c_void};
use core::num::NonZeroUsize;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use illumos_sys_hdrs as sys;
use opte_core::wire::MacAddr;

/// This driver's instance, as the kernel knows it.
#[derive(Clone, Copy)]
pub(crate) struct DeviceInfo(*mut sys::dev_info_t);

// SAFETY: a name for the instance; all functions that take one lock for themselves.
unsafe impl Send for DeviceInfo {}
// SAFETY: as above.
unsafe impl Sync for DeviceInfo {}

impl DeviceInfo {
    /// What `attach` was given.
    pub(crate) const fn new(dip: *mut sys::dev_info_t) -> Self {
        Self(dip)
    }

    /// For the kernel.
    pub(crate) const fn as_ptr(self) -> *mut sys::dev_info_t {
        self.0
    }
}

/// The number of a datalink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkNumber(sys::datalink_id_t);

/// The number that dlmgmtd has for a name. Sleeps; asks a process.
pub(crate) fn find_datalink(name: &CStr) -> Result<LinkNumber, Errno> {
    let mut number = 0;
    // SAFETY: a C string, and a place for the answer.
    let result = unsafe { sys::dls_mgmt_get_linkid(name.as_ptr(), &raw mut number) };
    check(result).map(|()| LinkNumber(number))
}

/// A MAC that we provide.
#[derive(Debug)]
pub(crate) struct Provider {
    handle: sys::mac_handle_t,
    /// Only commands, one at a time, publish and withdraw.
    published: AtomicBool,
}

// SAFETY: MAC's functions lock for themselves.
unsafe impl Send for Provider {}
// SAFETY: as above.
unsafe impl Sync for Provider {}

impl Provider {
    /// Registers a MAC whose callbacks are given `argument`.
    ///
    /// # Safety
    ///
    /// `argument` is what `callbacks` expect, until [`Provider::withdraw`] has
    /// succeeded.
    pub(crate) unsafe fn register(
        instance: DeviceInfo,
        callbacks: &'static sys::mac_callbacks_t,
        argument: *mut c_void,
        mac: MacAddr,
        mtu: u16,
    ) -> Result<Self, Errno> {
        // SAFETY: may sleep, as this function may.
        let register = unsafe { sys::mac_alloc(sys::MAC_VERSION) };
        // SAFETY: `mac_alloc` gives a structure that is ours, or null.
        let Some(fields) = (unsafe { register.as_mut() }) else {
            return Err(NO_MEMORY);
        };
        let mut address = mac.0;
        fields.m_type_ident = sys::MAC_PLUGIN_IDENT_ETHER.as_ptr();
        fields.m_driver = argument;
        fields.m_dip = instance.as_ptr();
        // MAC chooses a minor number, and makes no node of its own.
        fields.m_instance = c_uint::MAX;
        fields.m_src_addr = address.as_mut_ptr();
        fields.m_callbacks = callbacks;
        fields.m_min_sdu = 0;
        fields.m_max_sdu = mtu.into();
        fields.m_margin = sys::VLAN_TAGSZ;
        let mut handle = ptr::null_mut();
        // SAFETY: all that the structure points to outlives the call, and the
        // callbacks are there for ever.
        let result = unsafe { sys::mac_register(register, &raw mut handle) };
        // SAFETY: allocated above; MAC has copied what it needs.
        unsafe { sys::mac_free(register) };
        check(result).map(|()| Self {
            handle,
            published: AtomicBool::new(false),
        })
    }

    /// Makes it a datalink and sets it up.
    pub(crate) fn publish(&self, number: LinkNumber) -> Result<(), Errno> {
        // SAFETY: registered, and not withdrawn.
        let result = unsafe { sys::dls_devnet_create(self.handle, number.0, sys::GLOBAL_ZONEID) };
        check(result)?;
        self.published.store(true, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { sys::mac_link_update(self.handle, sys::LINK_STATE_UP) };
        Ok(())
    }

    /// Takes the datalink and the MAC away. While somebody uses them this fails
    /// and may be tried again.
    pub(crate) fn withdraw(&self) -> Result<(), Errno> {
        if self.published.load(Ordering::Relaxed) {
            let mut number = 0;
            // SAFETY: published by us, and not taken away since.
            let result =
                unsafe { sys::dls_devnet_destroy(self.handle, &raw mut number, sys::B_TRUE) };
            check(result)?;
            self.published.store(false, Ordering::Relaxed);
        }
        // SAFETY: registered, and not withdrawn.
        let result = unsafe { sys::mac_unregister(self.handle) };
        check(result)
    }

    /// Says what address it has.
    pub(crate) fn set_address(&self, mac: MacAddr) {
        // SAFETY: registered, and not withdrawn; MAC copies the address.
        unsafe { sys::mac_unicst_update(self.handle, mac.0.as_ptr()) }
    }

    /// Says how large packets may be.
    pub(crate) fn set_mtu(&self, mtu: u16) -> Result<(), Errno> {
        // SAFETY: registered, and not withdrawn.
        let result = unsafe { sys::mac_maxsdu_update(self.handle, mtu.into()) };
        check(result)
    }

    /// There is room again for what `mc_tx` gave back. With no lock held
    /// (rule L1).
    pub(crate) fn has_room(&self) {
        // SAFETY: registered: the callers hold the device that this is part of.
        unsafe { sys::mac_tx_update(self.handle) }
    }

    /// Hands packets to whoever uses the datalink. With no lock held (rule L1).
    pub(crate) fn receive(&self, chain: Chain) {
        // SAFETY: the chain is given away; the callers hold the device that
        // this is part of (rule L4), so it is registered.
        unsafe { sys::mac_rx(self.handle, ptr::null_mut(), chain.into_raw()) }
    }
}

/// A datalink that we are a client of.
#[derive(Debug)]
pub(crate) struct Client {
    mac: AtomicPtr<c_void>,
    client: AtomicPtr<c_void>,
    promiscuous: AtomicPtr<c_void>,
    notification: AtomicPtr<c_void>,
}

/// MAC's name for a queue that is full.
pub(crate) type Cookie = NonZeroUsize;

/// What becomes of packets that there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// MAC frees them.
    Drop,
    /// MAC keeps them, up to its limit, and says that it is full.
    Tell,
}

// SAFETY: MAC's functions lock for themselves.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Opens a datalink to send on.
    pub(crate) fn open(name: &CStr, our_name: &CStr) -> Result<Self, Errno> {
        let (mut mac, mut client) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: a C string, and a place for the handle.
        let result = unsafe { sys::mac_open_by_linkname(name.as_ptr(), &raw mut mac) };
        check(result)?;
        let opened = Self {
            mac: AtomicPtr::new(mac),
            client: AtomicPtr::default(),
            promiscuous: AtomicPtr::default(),
            notification: AtomicPtr::default(),
        };
        let our_name: *mut c_char = our_name.as_ptr().cast_mut();
        let flags = sys::MAC_OPEN_FLAGS_NO_UNICAST_ADDR;
        // SAFETY: opened above; MAC copies the name. On failure `drop` closes
        // what is open.
        let result = unsafe { sys::mac_client_open(mac, &raw mut client, our_name, flags) };
        check(result)?;
        opened.client.store(client, Ordering::Relaxed);
        Ok(opened)
    }

    /// Has `room` called when there is room again after there was none, and
    /// `callback` with a copy of each packet that arrives.
    ///
    /// # Safety
    ///
    /// `argument` is what both expect, until [`Client::close`].
    pub(crate) unsafe fn listen(
        &self,
        callback: sys::mac_rx_t,
        room: sys::mac_tx_notify_t,
        argument: *mut c_void,
    ) -> Result<(), Errno> {
        // SAFETY: the caller vouches for the argument; the client is open.
        let handle = unsafe { sys::mac_client_tx_notify(self.client(), Some(room), argument) };
        self.notification.store(handle, Ordering::Relaxed);
        let mut handle = ptr::null_mut();
        // SAFETY: the caller vouches for the argument; the client is open.
        let result = unsafe {
            sys::mac_promisc_add(
                self.client(),
                sys::MAC_CLIENT_PROMISC_ALL,
                callback,
                argument,
                &raw mut handle,
                sys::MAC_PROMISC_FLAGS_NO_TX_LOOP,
            )
        };
        check(result)?;
        self.promiscuous.store(handle, Ordering::Relaxed);
        Ok(())
    }

    /// Closes what is open, when nobody else uses it (rule L4). Waits for
    /// callbacks that are under way.
    pub(crate) fn close(&self) {
        let promiscuous = self.promiscuous.swap(ptr::null_mut(), Ordering::Relaxed);
        if !promiscuous.is_null() {
            // SAFETY: added by `listen`, and removed once.
            unsafe { sys::mac_promisc_remove(promiscuous) };
        }
        let client = self.client.swap(ptr::null_mut(), Ordering::Relaxed);
        let notification = self.notification.swap(ptr::null_mut(), Ordering::Relaxed);
        if !notification.is_null() {
            // SAFETY: added by `listen`, and removed once.
            unsafe { sys::mac_client_tx_notify(client, None, notification) };
        }
        if !client.is_null() {
            // SAFETY: opened by `open`, and closed once.
            unsafe { sys::mac_client_close(client, 0) };
        }
        let mac = self.mac.swap(ptr::null_mut(), Ordering::Relaxed);
        if !mac.is_null() {
            // SAFETY: as above.
            unsafe { sys::mac_close(mac) };
        }
    }

    fn mac(&self) -> sys::mac_handle_t {
        self.mac.load(Ordering::Relaxed)
    }

    fn client(&self) -> sys::mac_client_handle_t {
        self.client.load(Ordering::Relaxed)
    }

    /// Its hardware address.
    pub(crate) fn address(&self) -> MacAddr {
        // MAC copies as many bytes as the medium's addresses have; the longest
        // there are have twenty.
        let mut address = [0; 20];
        // SAFETY: open, and room for the longest address.
        unsafe { sys::mac_unicast_primary_get(self.mac(), address.as_mut_ptr()) };
        let [a, b, c, d, e, f, ..] = address;
        MacAddr([a, b, c, d, e, f])
    }

    /// Bytes of IP packet that it carries.
    pub(crate) fn mtu(&self) -> u16 {
        let (mut min, mut max): (c_uint, c_uint) = (0, 0);
        // SAFETY: open, and places for the answers.
        unsafe { sys::mac_sdu_get(self.mac(), &raw mut min, &raw mut max) };
        u16::try_from(max).unwrap_or(u16::MAX)
    }

    /// Sends packets, those of a flow together; the queue that has no room for
    /// more, if there is one. With no lock held (rule L1).
    pub(crate) fn send(&self, mut chain: Chain, full: Full) -> Option<Cookie> {
        let flags = match full {
            Full::Drop => sys::MAC_DROP_ON_NO_DESC,
            Full::Tell => 0,
        };
        let mut cookie = None;
        while let Some(packets) = chain.take_alike(is_same_flow) {
            let hint = flow_hint(packets.first_bytes());
            let packets = packets.into_raw();
            // SAFETY: the packets are given away; the client is open.
            let said = unsafe { sys::mac_tx(self.client(), packets, hint, flags, ptr::null_mut()) };
            cookie = Cookie::new(said).or(cookie);
        }
        cookie
    }

    /// Whether a queue is full still. Any context.
    pub(crate) fn is_full(&self, cookie: Cookie) -> bool {
        // SAFETY: the client is open; what the cookie says is compared only.
        let blocked = unsafe { sys::mac_tx_is_flow_blocked(self.client(), cookie.get()) };
        blocked != sys::B_FALSE
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// Spreads flows over the rings of a NIC: the tunnel's source port, in which
/// the engine puts the flow's hash (RFC 8926 section 3.3).
fn flow_hint(frame: &[u8]) -> usize {
    let port = frame.get(54..).and_then(<[u8]>::first_chunk);
    port.map_or(0, |port| u16::from_be_bytes(*port).into())
}

/// Whether two packets are of one flow as MAC sees it, which wants no others in a
/// chain: the outer addresses and ports (or what is there of another protocol).
fn is_same_flow(one: &[u8], next: &[u8]) -> bool {
    fn flow(frame: &[u8]) -> Option<&[u8; 2 * 16 + 2 * 2]> {
        frame.get(22..)?.first_chunk()
    }
    flow(one).is_some_and(|it| flow(next) == Some(it))
}

/// There is no memory for it.
const NO_MEMORY: Errno = Errno::new(sys::ENOMEM).unwrap();
