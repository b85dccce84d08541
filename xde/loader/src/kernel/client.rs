//! MAC: datalinks of others that the module opens.
//!
//! Rules     C1  opening and closing take the perimeter of the datalink.
//!           C2  to remove a callback is to wait for its calls.

use super::mac::{handle, pointer};
use super::{Kernel, Resource};
use crate::context;
use illumos_sys_hdrs as sys;
use std::ffi::{c_char, c_int, c_uint, c_void};

/// A client of the module.
pub(crate) struct Client {
    pub(crate) link: String,
    /// The number of the datalink's perimeter.
    perimeter: u64,
    pub(crate) client: bool,
    pub(crate) callback: Option<(u64, u64)>,
    /// What it wants to have called when there is room.
    pub(crate) notification: Option<(u64, u64)>,
    /// Calls of the callback, and of the notification, that are under way.
    pub(crate) calls: [usize; 2],
    /// Calls of `mac_tx` that are under way.
    pub(super) sending: usize,
}

/// A callback of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// For what arrives.
    Receiver = 0,
    /// For when there is room again.
    Notification = 1,
}

impl Kind {
    fn resource(self, handle: u64) -> Resource {
        match self {
            Self::Receiver => Resource::Receiver(handle),
            Self::Notification => Resource::Notification(handle),
        }
    }
}

impl Client {
    fn callback(&mut self, kind: Kind) -> &mut Option<(u64, u64)> {
        match kind {
            Kind::Receiver => &mut self.callback,
            Kind::Notification => &mut self.notification,
        }
    }
}

impl Kernel {
    /// Calls a client's callback on a link by `call`, as long as there is one;
    /// `None` if there isn't.
    pub(crate) fn with_callback<T>(
        &self,
        link: &str,
        kind: Kind,
        call: impl FnOnce((u64, u64)) -> T,
    ) -> Option<T> {
        let (handle, callback) = {
            let mut state = self.state();
            let mut clients = state.net.clients.iter_mut();
            let (handle, client) = clients.find(|(_, client)| client.link == link)?;
            let callback = (*client.callback(kind))?;
            client.calls[kind as usize] += 1;
            (*handle, callback)
        };
        let result = self.having(kind.resource(handle), || call(callback));
        if let Some(client) = self.state().net.clients.get_mut(&handle) {
            client.calls[kind as usize] -= 1;
        }
        Some(result)
    }

    /// Takes a callback away from a client, and waits for its calls (rule C2);
    /// false when there was none.
    fn remove_callback(&self, handle: u64, kind: Kind, call: &'static str) -> bool {
        let client = |work: &dyn Fn(&mut Client) -> bool| {
            let mut state = self.state();
            state.net.clients.get_mut(&handle).is_some_and(work)
        };
        let was_there = client(&|client| client.callback(kind).take().is_some());
        self.wait_for(kind.resource(handle), call, || {
            client(&|client| client.calls[kind as usize] != 0)
        });
        was_there
    }

    /// Does something with a client, in the perimeter of its datalink.
    fn with_perimeter<T>(
        &self,
        mh: *mut c_void,
        call: &'static str,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        let perimeter = with_client(self, mh, |client| client.perimeter)?;
        Some(self.in_perimeter(perimeter, call, work))
    }
}

pub(super) unsafe extern "C" fn mac_open_by_linkname(
    name: *const c_char,
    place: *mut *mut c_void,
) -> c_int {
    let kernel = context::kernel();
    let call = "mac_open_by_linkname";
    kernel.asks_a_process(call);
    // SAFETY: a C string of the module's.
    let link = unsafe { super::text(name) };
    kernel.state().net.imagine(&link);
    if !kernel.state().net.links.contains_key(&link) {
        return sys::ENOENT;
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let perimeter = kernel.state().net.perimeter(&link);
    let client = Client {
        link,
        perimeter,
        client: false,
        callback: None,
        notification: None,
        calls: [0; 2],
        sending: 0,
    };
    let handle = kernel.in_perimeter(perimeter, call, || {
        let mut state = kernel.state();
        let handle = state.net.new_handle();
        state.net.clients.insert(handle, client);
        handle
    });
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
    let call = "mac_client_open";
    kernel.sleeps(call);
    if name.is_null() || flags & sys::MAC_OPEN_FLAGS_NO_UNICAST_ADDR == 0 {
        kernel.violated("mac_client_open in another way than rules ask for");
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    kernel.with_perimeter(mh, call, || {
        with_client(&kernel, mh, |client| client.client = true);
    });
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
    let call = "mac_promisc_add";
    kernel.sleeps(call);
    if flags != sys::MAC_PROMISC_FLAGS_NO_TX_LOOP {
        kernel.violated("the module would hear itself");
    }
    if kernel.step_fails() {
        return super::ENOMEM;
    }
    let callback = (func as *const () as u64, arg.expose_provenance() as u64);
    let had = kernel.with_perimeter(mch, call, || {
        with_client(&kernel, mch, |client| client.callback.replace(callback))
    });
    if had.flatten().flatten().is_some() {
        kernel.violated("mac_promisc_add of a second callback, which nobody removes");
    }
    // SAFETY: the module's place for the handle.
    unsafe { place.write(mch) };
    0
}

pub(super) unsafe extern "C" fn mac_promisc_remove(mph: *mut c_void) {
    let kernel = context::kernel();
    let call = "mac_promisc_remove";
    kernel.sleeps(call);
    let removed = kernel.with_perimeter(mph, call, || {
        kernel.remove_callback(handle(mph), Kind::Receiver, call)
    });
    if removed == Some(false) {
        kernel.violated("mac_promisc_remove of what isn't there");
    }
}

pub(super) unsafe extern "C" fn mac_client_tx_notify(
    mch: *mut c_void,
    func: Option<sys::mac_tx_notify_t>,
    arg: *mut c_void,
) -> *mut c_void {
    let kernel = context::kernel();
    let call = "mac_client_tx_notify";
    kernel.sleeps(call);
    let wanted = func.map(|func| (func as *const () as u64, arg.expose_provenance() as u64));
    // What is removed is what was added, and there is one of them.
    let good = kernel.with_perimeter(mch, call, || match wanted {
        None => kernel.remove_callback(handle(mch), Kind::Notification, call) && arg == mch,
        Some(_) => {
            let add = |client: &mut Client| {
                let before = client.notification.replace(wanted?);
                (before.is_none() && client.client).then_some(())
            };
            with_client(&kernel, mch, add).flatten().is_some()
        }
    });
    if good == Some(false) {
        kernel.violated("mac_client_tx_notify of something else");
    }
    mch
}

pub(super) unsafe extern "C" fn mac_client_close(mch: *mut c_void, _: u16) {
    let kernel = context::kernel();
    let call = "mac_client_close";
    kernel.sleeps(call);
    let open = kernel.with_perimeter(mch, call, || {
        with_client(&kernel, mch, |client| {
            client.client = false;
            let listens = client.callback.is_some() || client.notification.is_some();
            (client.link.clone(), listens, client.sending != 0)
        })
    });
    let Some((link, listens, sending)) = open.flatten() else {
        return;
    };
    if listens {
        kernel.violated("mac_client_close before its callbacks are removed");
    }
    if sending {
        kernel.violated("mac_client_close while mac_tx is under way");
    }
    kernel.state().net.nic(&link).queue.clear();
}

pub(super) unsafe extern "C" fn mac_close(mh: *mut c_void) {
    let kernel = context::kernel();
    let call = "mac_close";
    kernel.sleeps(call);
    let client = kernel.with_perimeter(mh, call, || kernel.state().net.clients.remove(&handle(mh)));
    let client = client.flatten();
    if client.is_none_or(|client| client.client) {
        kernel.violated("mac_close of what isn't open, or before its client");
    }
}

pub(super) unsafe extern "C" fn mac_unicast_primary_get(mh: *mut c_void, place: *mut u8) {
    let kernel = context::kernel();
    let call = "mac_unicast_primary_get";
    kernel.sleeps(call);
    let link = || with_client(&kernel, mh, |client| client.link.clone());
    let link = kernel.with_perimeter(mh, call, link).flatten();
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
