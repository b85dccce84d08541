//! The illumos kernel interfaces that `xde` uses.
//!
//! Purpose   types, constants and declarations of amd64 kernels, laid out by
//!           hand: no C compiler and no headers are needed to build.
//! Terms     facts   `facts.json`: what the real headers say, measured with a
//!                   C compiler; where from and when is written in it
//! Rules     S1  sizes, offsets and constants are asserted at compile time
//!               here and compared with the facts by `tests/facts.rs`.
//!           S2  what a struct of the kernel has behind the fields that we use
//!               isn't laid out: such a struct is only ever seen by pointer.
//!           S3  nothing in here is safe to call; `xde::ddi` wraps it.
//! Failure   a layout that differs from the facts doesn't compile or fails a
//!           test; a name that the kernel doesn't have fails
//!           `cargo xtask kmod --check`.
//!
//! Declarations need no kernel to be compiled, so this crate builds on every
//! 64-bit system; only the module links against the names.
#![no_std]
#![expect(
    non_camel_case_types,
    missing_docs,
    reason = "names are the headers'; their manual pages document them"
)]

#[macro_use]
mod declare;

mod constant;
mod function;
mod layout;

pub use constant::*;
pub use function::*;
pub use layout::*;

/// A struct as it is laid out here: name, size, alignment, fields.
pub type Layout = (
    &'static str,
    usize,
    usize,
    &'static [(&'static str, usize, usize)],
);
