//! Envelopes by ioctl, on illumos: what the tool hands to the kernel module.
//!
//! The tool passes the address of a [`Transfer`]. The module copies it in,
//! checks version and lengths, copies the request in, answers with `serve`,
//! copies the response out and then the [`Transfer`] with `response_len` set.
//! The room for the response is always `RESPONSE_BYTES_MAX`, so no command is
//! ever repeated because its answer didn't fit.

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

const _: () = {
    assert!(size_of::<Transfer>() == 48);
    assert!(core::mem::offset_of!(Transfer, request) == 8);
    assert!(core::mem::offset_of!(Transfer, response_len) == 40);
};
