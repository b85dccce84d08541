//! The kernel's interfaces, made safe to call.
//!
//! Rules     K1  what a function hands out is owned, and its `Drop` gives it
//!               back; what it takes by value it consumes.
//!           K2  an error is the kernel's errno.
//!           K3  addresses of user memory are numbers and never pointers.

pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod kmem;
pub(crate) mod kstat;
pub(crate) mod log;
pub(crate) mod mac;
pub(crate) mod mblk;
pub(crate) mod mutex;
pub(crate) mod payload;
pub(crate) mod periodic;
pub(crate) mod probe;
pub(crate) mod thread;

use core::ffi::c_int;
use core::num::NonZero;

/// An errno.
pub(crate) type Errno = NonZero<c_int>;

/// Turns a result of the kernel's functions into one of Rust's (rule K2).
pub(crate) fn check(result: c_int) -> Result<(), Errno> {
    Errno::new(result).map_or(Ok(()), Err)
}
