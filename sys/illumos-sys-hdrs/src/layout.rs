//! Types: scalars, structs by their layout, and what is only seen by pointer.

use core::ffi::{c_char, c_int, c_uint, c_void};

pub type boolean_t = c_int;
pub type caddr_t = *mut c_char;
pub type datalink_id_t = u32;
pub type ddi_info_cmd_t = c_int;
pub type ddi_periodic_t = *mut c_void;
pub type dev_t = u64;
pub type hrtime_t = i64;
pub type link_state_t = c_int;
pub type mac_capab_t = c_int;
pub type mac_client_handle_t = *mut c_void;
pub type mac_client_promisc_type_t = c_int;
pub type mac_handle_t = *mut c_void;
pub type mac_prop_id_t = c_int;
pub type mac_prop_info_handle_t = *mut c_void;
pub type mac_promisc_handle_t = *mut c_void;
pub type mac_resource_handle_t = *mut c_void;
pub type mac_tx_cookie_t = usize;
pub type mac_tx_notify_handle_t = *mut c_void;
pub type mac_tx_notify_t = unsafe extern "C" fn(*mut c_void, mac_tx_cookie_t);
pub type minor_t = u32;
pub type zoneid_t = c_int;

pub type mac_rx_t =
    unsafe extern "C" fn(*mut c_void, mac_resource_handle_t, *mut mblk_t, boolean_t);

opaque! {
    bus_ops
    cpu_t
    cred_t
    dblk_rest
    dev_info_t
    kthread_t
    mod_ops
    modinfo
    pollhead
    proc_t
    queue_t
    streamtab
    uio_t
}

structs! { LAYOUTS:
    kmutex_t = 8 align 8 {
        0 _opaque: [u64; 1],
    }
    ksema_t = 16 align 8 {
        0 _opaque: [u64; 2],
    }
    mblk_t = 64 align 8 {
        0 b_next: *mut mblk_t,
        8 b_prev: *mut mblk_t,
        16 b_cont: *mut mblk_t,
        24 b_rptr: *mut u8,
        32 b_wptr: *mut u8,
        40 b_datap: *mut dblk_t,
        48 b_band: u8,
        49 b_tag: u8,
        50 b_flag: u16,
        56 b_queue: *mut queue_t,
    }
    modlinkage = 64 align 8 {
        0 ml_rev: c_int,
        8 ml_linkage: [*mut c_void; 7],
    }
    modldrv = 24 align 8 {
        0 drv_modops: *const mod_ops,
        8 drv_linkinfo: *const c_char,
        16 drv_dev_ops: *mut dev_ops,
    }
    dev_ops = 88 align 8 {
        0 devo_rev: c_int,
        4 devo_refcnt: c_int,
        8 devo_getinfo: Option<
            unsafe extern "C" fn(
                *mut dev_info_t,
                ddi_info_cmd_t,
                *mut c_void,
                *mut *mut c_void,
            ) -> c_int,
        >,
        16 devo_identify: Option<unsafe extern "C" fn() -> c_int>,
        24 devo_probe: Option<unsafe extern "C" fn() -> c_int>,
        32 devo_attach: Option<unsafe extern "C" fn(*mut dev_info_t, c_int) -> c_int>,
        40 devo_detach: Option<unsafe extern "C" fn(*mut dev_info_t, c_int) -> c_int>,
        48 devo_reset: Option<unsafe extern "C" fn() -> c_int>,
        56 devo_cb_ops: *mut cb_ops,
        64 devo_bus_ops: *mut bus_ops,
        72 devo_power: Option<unsafe extern "C" fn() -> c_int>,
        80 devo_quiesce: Option<unsafe extern "C" fn(*mut dev_info_t) -> c_int>,
    }
    cb_ops = 136 align 8 {
        0 cb_open:
            Option<unsafe extern "C" fn(*mut dev_t, c_int, c_int, *mut cred_t) -> c_int>,
        8 cb_close: Option<unsafe extern "C" fn(dev_t, c_int, c_int, *mut cred_t) -> c_int>,
        16 cb_strategy: Option<unsafe extern "C" fn() -> c_int>,
        24 cb_print: Option<unsafe extern "C" fn() -> c_int>,
        32 cb_dump: Option<unsafe extern "C" fn() -> c_int>,
        40 cb_read: Option<unsafe extern "C" fn() -> c_int>,
        48 cb_write: Option<unsafe extern "C" fn() -> c_int>,
        56 cb_ioctl: Option<
            unsafe extern "C" fn(dev_t, c_int, isize, c_int, *mut cred_t, *mut c_int) -> c_int,
        >,
        64 cb_devmap: Option<unsafe extern "C" fn() -> c_int>,
        72 cb_mmap: Option<unsafe extern "C" fn() -> c_int>,
        80 cb_segmap: Option<unsafe extern "C" fn() -> c_int>,
        88 cb_chpoll: Option<
            unsafe extern "C" fn(dev_t, i16, c_int, *mut i16, *mut *mut pollhead) -> c_int,
        >,
        96 cb_prop_op: Option<
            unsafe extern "C" fn(
                dev_t,
                *mut dev_info_t,
                c_int,
                c_int,
                *mut c_char,
                caddr_t,
                *mut c_int,
            ) -> c_int,
        >,
        104 cb_str: *mut streamtab,
        112 cb_flag: c_int,
        116 cb_rev: c_int,
        120 cb_aread: Option<unsafe extern "C" fn() -> c_int>,
        128 cb_awrite: Option<unsafe extern "C" fn() -> c_int>,
    }
    mac_register_t = 112 align 8 {
        0 m_version: c_uint,
        8 m_type_ident: *const c_char,
        16 m_driver: *mut c_void,
        24 m_dip: *mut dev_info_t,
        32 m_instance: c_uint,
        40 m_src_addr: *mut u8,
        48 m_dst_addr: *mut u8,
        56 m_callbacks: *const mac_callbacks_t,
        64 m_min_sdu: c_uint,
        68 m_max_sdu: c_uint,
        72 m_pdata: *mut c_void,
        80 m_pdata_size: usize,
        88 m_priv_props: *mut *mut c_char,
        96 m_margin: u32,
        100 m_v12n: u32,
        104 m_multicast_sdu: c_uint,
    }
    mac_callbacks_t = 128 align 8 {
        0 mc_callbacks: c_uint,
        8 mc_getstat: Option<unsafe extern "C" fn(*mut c_void, c_uint, *mut u64) -> c_int>,
        16 mc_start: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
        24 mc_stop: Option<unsafe extern "C" fn(*mut c_void)>,
        32 mc_setpromisc: Option<unsafe extern "C" fn(*mut c_void, boolean_t) -> c_int>,
        40 mc_multicst:
            Option<unsafe extern "C" fn(*mut c_void, boolean_t, *const u8) -> c_int>,
        48 mc_unicst: Option<unsafe extern "C" fn(*mut c_void, *const u8) -> c_int>,
        56 mc_tx: Option<unsafe extern "C" fn(*mut c_void, *mut mblk_t) -> *mut mblk_t>,
        64 mc_reserved: *mut c_void,
        72 mc_ioctl: Option<unsafe extern "C" fn(*mut c_void, *mut queue_t, *mut mblk_t)>,
        80 mc_getcapab:
            Option<unsafe extern "C" fn(*mut c_void, mac_capab_t, *mut c_void) -> boolean_t>,
        88 mc_open: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
        96 mc_close: Option<unsafe extern "C" fn(*mut c_void)>,
        104 mc_setprop: Option<
            unsafe extern "C" fn(
                *mut c_void,
                *const c_char,
                mac_prop_id_t,
                c_uint,
                *const c_void,
            ) -> c_int,
        >,
        112 mc_getprop: Option<
            unsafe extern "C" fn(
                *mut c_void,
                *const c_char,
                mac_prop_id_t,
                c_uint,
                *mut c_void,
            ) -> c_int,
        >,
        120 mc_propinfo: Option<
            unsafe extern "C" fn(
                *mut c_void,
                *const c_char,
                mac_prop_id_t,
                mac_prop_info_handle_t,
            ),
        >,
    }
    kstat_t = 184 align 8 {
        0 ks_crtime: hrtime_t,
        8 ks_next: *mut kstat_t,
        16 ks_kid: c_int,
        20 ks_module: [c_char; 31],
        51 ks_resv: u8,
        52 ks_instance: c_int,
        56 ks_name: [c_char; 31],
        87 ks_type: u8,
        88 ks_class: [c_char; 31],
        119 ks_flags: u8,
        120 ks_data: *mut c_void,
        128 ks_ndata: c_uint,
        136 ks_data_size: usize,
        144 ks_snaptime: hrtime_t,
        152 ks_update: Option<unsafe extern "C" fn(*mut kstat_t, c_int) -> c_int>,
        160 ks_private: *mut c_void,
        168 ks_snapshot: Option<unsafe extern "C" fn(*mut kstat_t, *mut c_void, c_int) -> c_int>,
        176 ks_lock: *mut c_void,
    }
    kstat_named_t = 48 align 8 {
        0 name: [c_char; 31],
        31 data_type: u8,
        32 value: [u64; 2],
    }
}

/// The start of a data block: only these fields are the same in every kernel
/// (the Oxide fork's is longer), so it is only ever seen by pointer (S2).
#[repr(C)]
pub struct dblk_t {
    pub db_frtnp: *mut c_void,
    pub db_base: *mut u8,
    pub db_lim: *mut u8,
    pub db_ref: u8,
    pub db_type: u8,
    rest: dblk_rest,
}

/// The fields of a struct that is laid out in part: name, offset, size.
pub type Part = (&'static str, &'static [(&'static str, usize, usize)]);

/// Every struct that is laid out in part.
pub const PARTS: &[Part] = &[(
    "dblk_t",
    &[
        ("db_frtnp", core::mem::offset_of!(dblk_t, db_frtnp), 8),
        ("db_base", core::mem::offset_of!(dblk_t, db_base), 8),
        ("db_lim", core::mem::offset_of!(dblk_t, db_lim), 8),
        ("db_ref", core::mem::offset_of!(dblk_t, db_ref), 1),
        ("db_type", core::mem::offset_of!(dblk_t, db_type), 1),
    ],
)];
