//! Numbers and names.

use core::ffi::{CStr, c_int, c_uint};

constants! { CONSTANTS:
    KM_SLEEP: c_int = 0;
    KM_NOSLEEP: c_int = 1;
    MUTEX_DRIVER: c_int = 4;
    SEMA_DRIVER: c_int = 1;
    TS_RUN: c_int = 2;
    BPRI_HI: c_uint = 3;
    CE_CONT: c_int = 0;
    CE_NOTE: c_int = 1;
    CE_WARN: c_int = 2;
    DDI_SUCCESS: c_int = 0;
    DDI_FAILURE: c_int = -1;
    DDI_ATTACH: c_int = 0;
    DDI_DETACH: c_int = 0;
    DDI_INFO_DEVT2DEVINFO: c_int = 0;
    DDI_INFO_DEVT2INSTANCE: c_int = 1;
    DDI_IPL_0: c_int = 0;
    S_IFCHR: c_int = 0x2000;
    OTYP_CHR: c_int = 2;
    DEVO_REV: c_int = 4;
    CB_REV: c_int = 1;
    D_MP: c_int = 0x20;
    D_64BIT: c_int = 0x200;
    MODREV_1: c_int = 1;
    MAC_VERSION: c_uint = 1;
    MC_GETCAPAB: c_uint = 4;
    MC_SETPROP: c_uint = 32;
    MC_GETPROP: c_uint = 64;
    MC_PROPINFO: c_uint = 128;
    MAC_PROP_MTU: c_int = 6;
    MAC_PROP_PERM_READ: c_int = 1;
    LINK_STATE_UP: c_int = 1;
    MAC_CLIENT_PROMISC_ALL: c_int = 0;
    MAC_PROMISC_FLAGS_NO_TX_LOOP: u16 = 1;
    MAC_OPEN_FLAGS_NO_UNICAST_ADDR: u16 = 64;
    MAC_DROP_ON_NO_DESC: u16 = 1;
    MAC_CAPAB_HCKSUM: c_int = 1;
    MAC_CAPAB_LSO: c_int = 8;
    HCKSUM_INET_PARTIAL: u32 = 2;
    HCK_PARTIALCKSUM: u32 = 2;
    HW_LSO: u32 = 16;
    LSO_TX_BASIC_TCP_IPV4: u32 = 1;
    LSO_TX_BASIC_TCP_IPV6: u32 = 2;
    MAC_STAT_IFSPEED: c_uint = 1_000;
    MAC_STAT_IERRORS: c_uint = 1_006;
    MAC_STAT_OERRORS: c_uint = 1_009;
    MAC_STAT_RBYTES: c_uint = 1_011;
    MAC_STAT_IPACKETS: c_uint = 1_012;
    MAC_STAT_OBYTES: c_uint = 1_013;
    MAC_STAT_OPACKETS: c_uint = 1_014;
    MAC_STAT_NORCVBUF: c_uint = 1_005;
    ETHER_STAT_LINK_DUPLEX: c_uint = 2_045;
    LINK_DUPLEX_FULL: u64 = 2;
    KSTAT_TYPE_NAMED: u8 = 1;
    KSTAT_DATA_UINT64: u8 = 4;
    KSTAT_READ: c_int = 0;
    KSTAT_STRLEN: usize = 31;
    VLAN_TAGSZ: u32 = 4;
    GLOBAL_ZONEID: c_int = 0;
    B_TRUE: c_int = 1;
    B_FALSE: c_int = 0;
    EPERM: c_int = 1;
    ENOENT: c_int = 2;
    ENXIO: c_int = 6;
    EAGAIN: c_int = 11;
    ENOMEM: c_int = 12;
    EACCES: c_int = 13;
    EFAULT: c_int = 14;
    EBUSY: c_int = 16;
    EEXIST: c_int = 17;
    EINVAL: c_int = 22;
    ENOTTY: c_int = 25;
    ENOTSUP: c_int = 48;
    MAXLINKNAMELEN: usize = 32;
}

/// Every string that is declared here.
pub const STRINGS: &[(&str, &CStr)] = &[
    ("DDI_PSEUDO", DDI_PSEUDO),
    ("MAC_PLUGIN_IDENT_ETHER", MAC_PLUGIN_IDENT_ETHER),
];
pub const DDI_PSEUDO: &CStr = c"ddi_pseudo";
pub const MAC_PLUGIN_IDENT_ETHER: &CStr = c"mac_ether";
