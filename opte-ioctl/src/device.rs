//! What the tool and the kernel module share on illumos: envelopes by ioctl, and
//! where statistics are.
//!
//! The tool passes the address of a [`Transfer`]. The module copies it in,
//! checks version and lengths, copies the request in, answers with `serve`,
//! copies the response out and then the [`Transfer`] with `response_len` set.
//! The room for the response is always `RESPONSE_BYTES_MAX`, so no command is
//! ever repeated because its answer didn't fit.

use core::ffi::CStr;
use opte_core::api::Name;

/// The device node.
pub const PATH: &str = "/dev/xde";

/// The one ioctl command: `('x' << 24) | ('d' << 16) | ('e' << 8) | 1`.
pub const COMMAND: i32 = 0x7864_6501;

/// Version of [`Transfer`]'s layout.
pub const TRANSFER_VERSION: u32 = 1;

/// One exchange. The same layout for 32-bit and 64-bit programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Transfer {
    /// [`TRANSFER_VERSION`].
    pub version: u32,
    /// Zero.
    pub flags: u32,
    /// Address of the request.
    pub request: u64,
    /// Bytes of the request.
    pub request_len: u64,
    /// Address of the room for the response.
    pub response: u64,
    /// Bytes of that room: `RESPONSE_BYTES_MAX`.
    pub response_room: u64,
    /// Bytes of the response; set by the module.
    pub response_len: u64,
}

impl Transfer {
    /// Reads the memory of one, as the tool laid it out; `None` when it isn't
    /// that of one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Option<Self> {
        let word = |at| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        let long = |at| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
        Some(Self {
            version: word(0)?,
            flags: word(4)?,
            request: long(8)?,
            request_len: long(16)?,
            response: long(24)?,
            response_room: long(32)?,
            response_len: long(40)?,
        })
    }

    /// Where `response_len` is in the memory of one.
    pub const RESPONSE_LEN_AT: u64 = 40;
}

const _: () = {
    assert!(size_of::<Transfer>() == 48);
    assert!(core::mem::offset_of!(Transfer, request) == 8);
    assert!(core::mem::offset_of!(Transfer, response_len) == 40);
};

/// The kstat module of the host's and the ports' counters.
pub const STATS: &CStr = c"xde";
/// The kstat module of what the layers of ports have and did.
pub const LAYER_STATS: &CStr = c"xde_layer";
/// The name of the host's counters, instance zero of [`STATS`].
pub const HOST_STATS: &CStr = c"host";

/// Characters of a kstat's name.
const KSTAT_NAME_LEN_MAX: usize = 30;

/// Instance and name of a port's kstats: zero, and the port's name. That may be a
/// character longer than kstat's: then the instance is its last character's code,
/// so that no two ports have the same. A port that has the host's name has
/// instance one, which is nobody's code.
#[must_use]
pub fn kstat_of(port: &Name) -> (u8, &str) {
    let name = port.as_str();
    let (start, end) = name
        .split_at_checked(KSTAT_NAME_LEN_MAX)
        .unwrap_or((name, ""));
    match end.bytes().next() {
        Some(code) => (code, start),
        None => (u8::from(name.as_bytes() == HOST_STATS.to_bytes()), name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use opte_core::limits::NAME_LEN_MAX;

    #[test]
    fn every_port_has_kstats_of_its_own() {
        let long = |end| format!("a_name_of_thirty_characters_is{end}");
        let cases = [
            ("g1", (0, "g1")),
            ("host", (1, "host")),
            (&long(""), (0, &long(""))),
            (&long("1"), (b'1', &long(""))),
            (&long("a"), (b'a', &long(""))),
        ];
        for (name, want) in cases {
            assert_eq!(kstat_of(&name.parse().unwrap()), want);
        }
        // Nothing is left of a name behind start and instance.
        assert_eq!(long("1").len(), NAME_LEN_MAX);
        assert_eq!(KSTAT_NAME_LEN_MAX + 1, NAME_LEN_MAX);
    }

    #[test]
    fn a_transfer_is_read_as_it_is_laid_out() {
        let mut bytes = [0; size_of::<Transfer>()];
        for (at, byte) in (0..).zip(&mut bytes) {
            *byte = at;
        }
        let long = |from: u8| u64::from_ne_bytes(core::array::from_fn(|at| from + at as u8));
        let transfer = Transfer {
            version: 0x0302_0100,
            flags: 0x0706_0504,
            request: long(8),
            request_len: long(16),
            response: long(24),
            response_room: long(32),
            response_len: long(40),
        };
        assert_eq!(Transfer::from_bytes(&bytes), Some(transfer));
    }
}
