//! Functions and data of the kernel.
//!
//! A comment names the module of the functions below it; those of `unix` and
//! `genunix` need no entry in the module's list of dependencies.

use crate::layout::*;
use core::ffi::{c_char, c_int, c_uint, c_void};

/// Modules besides `unix` and `genunix` that export what is declared here, as
/// the module's list of dependencies spells them.
pub const DEPENDENCIES: &[&str] = &["misc/mac", "misc/dls"];

unsafe extern "C" {
    // genunix and unix
    pub static mod_driverops: mod_ops;
    pub static max_ncpus: c_int;
    pub static p0: proc_t;

    pub fn allocb(size: usize, pri: c_uint) -> *mut mblk_t;
    pub fn cmn_err(level: c_int, format: *const c_char, ...);
    pub fn curcpup() -> *mut cpu_t;
    pub fn ddi_copyin(from: *const c_void, to: *mut c_void, len: usize, flags: c_int) -> c_int;
    pub fn ddi_copyout(from: *const c_void, to: *mut c_void, len: usize, flags: c_int) -> c_int;
    pub fn ddi_create_minor_node(
        dip: *mut dev_info_t,
        name: *const c_char,
        kind: c_int,
        minor: minor_t,
        node_type: *const c_char,
        flag: c_int,
    ) -> c_int;
    pub fn ddi_prop_op(
        dev: dev_t,
        dip: *mut dev_info_t,
        op: c_int,
        flags: c_int,
        name: *mut c_char,
        value: caddr_t,
        len: *mut c_int,
    ) -> c_int;
    pub fn ddi_periodic_add(
        func: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        interval: hrtime_t,
        level: c_int,
    ) -> ddi_periodic_t;
    pub fn ddi_periodic_delete(req: ddi_periodic_t);
    pub fn ddi_quiesce_not_needed(dip: *mut dev_info_t) -> c_int;
    pub fn ddi_remove_minor_node(dip: *mut dev_info_t, name: *const c_char);
    pub fn ddi_report_dev(dip: *mut dev_info_t);
    pub fn delay(ticks: i64);
    pub fn dupb(mp: *mut mblk_t) -> *mut mblk_t;
    pub fn freeb(mp: *mut mblk_t);
    pub fn freemsg(mp: *mut mblk_t);
    pub fn freemsgchain(mp: *mut mblk_t);
    pub fn gethrtime() -> hrtime_t;
    pub fn getminor(dev: dev_t) -> minor_t;
    pub fn kmem_alloc(size: usize, flag: c_int) -> *mut c_void;
    pub fn kmem_free(buf: *mut c_void, size: usize);
    pub fn kstat_create(
        module: *const c_char,
        instance: c_int,
        name: *const c_char,
        class: *const c_char,
        kind: u8,
        ndata: c_uint,
        flags: u8,
    ) -> *mut kstat_t;
    pub fn kstat_delete(ksp: *mut kstat_t);
    pub fn kstat_install(ksp: *mut kstat_t);
    pub fn kstat_named_init(knp: *mut kstat_named_t, name: *const c_char, kind: u8);
    pub fn mod_info(linkage: *mut modlinkage, info: *mut modinfo) -> c_int;
    pub fn mod_install(linkage: *mut modlinkage) -> c_int;
    pub fn mod_remove(linkage: *mut modlinkage) -> c_int;
    pub fn mutex_destroy(mp: *mut kmutex_t);
    pub fn mutex_enter(mp: *mut kmutex_t);
    pub fn mutex_exit(mp: *mut kmutex_t);
    pub fn mutex_init(mp: *mut kmutex_t, name: *mut c_char, kind: c_int, arg: *mut c_void);
    pub fn mutex_owned(mp: *const kmutex_t) -> c_int;
    pub fn mutex_tryenter(mp: *mut kmutex_t) -> c_int;
    pub fn nochpoll(
        dev: dev_t,
        events: i16,
        anyyet: c_int,
        revents: *mut i16,
        head: *mut *mut pollhead,
    ) -> c_int;
    pub fn nodev() -> c_int;
    pub fn nulldev() -> c_int;
    pub fn panic(format: *const c_char, ...) -> !;
    pub fn random_get_pseudo_bytes(buf: *mut u8, len: usize) -> c_int;
    pub fn secpolicy_dl_config(cred: *const cred_t) -> c_int;
    pub fn sema_destroy(sp: *mut ksema_t);
    pub fn sema_init(
        sp: *mut ksema_t,
        value: u32,
        name: *mut c_char,
        kind: c_int,
        arg: *mut c_void,
    );
    pub fn sema_p(sp: *mut ksema_t);
    pub fn sema_v(sp: *mut ksema_t);
    pub fn servicing_interrupt() -> c_int;
    pub fn thread_create(
        stack: caddr_t,
        size: usize,
        start: unsafe extern "C" fn(*mut c_void),
        arg: *mut c_void,
        len: usize,
        process: *const proc_t,
        state: c_int,
        pri: i16,
    ) -> *mut kthread_t;

    // misc/mac
    pub fn mac_alloc(version: c_uint) -> *mut mac_register_t;
    pub fn mac_client_close(mch: mac_client_handle_t, flags: u16);
    pub fn mac_client_open(
        mh: mac_handle_t,
        mch: *mut mac_client_handle_t,
        name: *mut c_char,
        flags: u16,
    ) -> c_int;
    pub fn mac_client_tx_notify(
        mch: mac_client_handle_t,
        func: Option<mac_tx_notify_t>,
        arg: *mut c_void,
    ) -> mac_tx_notify_handle_t;
    pub fn mac_close(mh: mac_handle_t);
    pub fn mac_fini_ops(ops: *mut dev_ops);
    pub fn mac_free(register: *mut mac_register_t);
    pub fn mac_getinfo(
        dip: *mut dev_info_t,
        cmd: ddi_info_cmd_t,
        arg: *mut c_void,
        result: *mut *mut c_void,
    ) -> c_int;
    pub fn mac_hcksum_get(
        mp: *const mblk_t,
        start: *mut u32,
        stuff: *mut u32,
        end: *mut u32,
        value: *mut u32,
        flags: *mut u32,
    );
    pub fn mac_hcksum_set(
        mp: *mut mblk_t,
        start: u32,
        stuff: u32,
        end: u32,
        value: u32,
        flags: u32,
    );
    pub fn mac_init_ops(ops: *mut dev_ops, name: *const c_char);
    pub fn mac_link_update(mh: mac_handle_t, state: link_state_t);
    pub fn mac_lso_get(mp: *mut mblk_t, mss: *mut u32, flags: *mut u32);
    pub fn mac_maxsdu_update(mh: mac_handle_t, sdu: c_uint) -> c_int;
    pub fn mac_open_by_linkname(name: *const c_char, mh: *mut mac_handle_t) -> c_int;
    pub fn mac_private_minor() -> minor_t;
    pub fn mac_promisc_add(
        mch: mac_client_handle_t,
        kind: mac_client_promisc_type_t,
        func: mac_rx_t,
        arg: *mut c_void,
        mph: *mut mac_promisc_handle_t,
        flags: u16,
    ) -> c_int;
    pub fn mac_promisc_remove(mph: mac_promisc_handle_t);
    pub fn mac_prop_info_set_range_uint32(handle: mac_prop_info_handle_t, min: u32, max: u32);
    pub fn mac_register(register: *mut mac_register_t, mh: *mut mac_handle_t) -> c_int;
    pub fn mac_rx(mh: mac_handle_t, mrh: mac_resource_handle_t, chain: *mut mblk_t);
    pub fn mac_sdu_get(mh: mac_handle_t, min: *mut c_uint, max: *mut c_uint);
    pub fn mac_tx(
        mch: mac_client_handle_t,
        chain: *mut mblk_t,
        hint: usize,
        flags: u16,
        returned: *mut *mut mblk_t,
    ) -> mac_tx_cookie_t;
    pub fn mac_tx_is_flow_blocked(mch: mac_client_handle_t, cookie: mac_tx_cookie_t) -> boolean_t;
    pub fn mac_tx_update(mh: mac_handle_t);
    pub fn mac_unicast_primary_get(mh: mac_handle_t, addr: *mut u8);
    pub fn mac_unicst_update(mh: mac_handle_t, addr: *const u8);
    pub fn mac_unregister(mh: mac_handle_t) -> c_int;

    // misc/dls
    pub fn dls_devnet_create(mh: mac_handle_t, linkid: datalink_id_t, zone: zoneid_t) -> c_int;
    pub fn dls_devnet_destroy(
        mh: mac_handle_t,
        linkid: *mut datalink_id_t,
        wait: boolean_t,
    ) -> c_int;
    pub fn dls_mgmt_get_linkid(name: *const c_char, linkid: *mut datalink_id_t) -> c_int;
}
