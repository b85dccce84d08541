//! Where the kernel calls us (rule L6).

pub(crate) mod device;
pub(crate) mod mac;
mod module;

pub use module::{_fini, _info, _init};
