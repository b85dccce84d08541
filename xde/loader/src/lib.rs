//! Loads the very module that ships into a process, and plays the kernel for it.
//!
//! Purpose   proves what can be proved without an illumos machine: that the
//!           module loads, attaches, carries packets, answers commands, gives
//!           back what it took, and keeps the rules of the interfaces it uses.
//!
//! Terms     sled       one kernel: a module, its memory, datalinks, users
//!           violation  a rule that the module broke; a test wants none
//!
//! Flow      [`Sled::load`]: file -> low memory -> relocations -> `_init`
//!           [`Sled::attach`], [`Sled::ioctl`], [`Sled::guest_sends`], .. call
//!           the module as the kernel would; what it calls is in `kernel`
//!
//! Rules     V1  the module runs in threads that know their sled and context
//!               (may it sleep? is it an interrupt?), so each function of the
//!               kernel can say whether it may be called there.
//!           V2  everything the module takes is counted: memory, packets,
//!               handles, statistics, handlers. [`Sled::unload`] says what it
//!               didn't give back.
//!           V3  a panic of the module ends the call that led to it, not the
//!               process.
//!
//! What it can't prove is said in `xde/README.md`.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod call;
mod context;
mod image;
mod kernel;
mod low;
mod node;
mod port;
mod probe;
mod room;
mod sled;

pub use context::Context;
pub use kernel::DIP;
pub use kernel::mac::MAC_INSTANCE;
pub use node::KernelMemory;
pub use probe::{Fired, Told};
pub use sled::{Layout, Sent, Sled};
