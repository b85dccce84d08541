//! The contract between `opteadm` and the drivers.
//!
//! Purpose   carries `opte_core::api` commands and answers as bytes, so that a
//!           tool and a driver of different versions understand each other or
//!           say exactly why they don't. Every shell answers with [`serve()`].
//!
//! Terms     envelope     a fixed header (magic, versions, number, flags, id,
//!                        length) and a payload, see [`envelope`]
//!           number       what the payload is, see [`command`] and [`response`]
//!           version      how a driver answers; a sender states the range that
//!                        it understands and the driver picks from it
//!           capability   a numbered feature, see [`hello`]
//!           frame        an envelope with its length before it, on a stream
//!
//! Flow      opteadm                                      driver
//!           client::Client::call
//!             command::encode -> envelope --------------> serve
//!                                                           command::decode
//!                                                           handler (Host::command)
//!             response::decode <----------- envelope <--    response::encode
//!
//! Rules     C1  Numbers (commands, responses, status codes, capabilities) are
//!               append-only and never change their meaning. A number is an
//!               integer until its table knows it.
//!           C2  The payload of a number never changes, not by a field and not
//!               by a variant that an older reader may meet. What needs more
//!               gets a new number, and the old one is still understood.
//!               `tests/golden.txt` holds the bytes of every message to that.
//!           C3  [`envelope`]'s headers, the [`hello`] exchange and a refusal's
//!               payload (`ConfigError`) are the same in every version: tools
//!               of any age can ask who is there and print why not.
//!           C4  Every length is checked against a limit and against what is
//!               there before anything is allocated for it; lists in payloads
//!               have their own bounds, and all of them together take up
//!               `REQUEST_MEMORY_MAX` at most. No bytes make the decoder panic, and
//!               bytes after the end are refused.
//!           C5  A command is carried out once per request. A response always
//!               fits `RESPONSE_BYTES_MAX`: long listings come in pages
//!               (`opte_core::api::page`), which the handler fills with a
//!               `Pager`.
//!
//! Failure   the driver refuses with status and sentence (`ConfigError`); a
//!           request without a readable header is refused with id zero.
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

#[cfg(any(feature = "stream", feature = "setup-file", test))]
extern crate std;

#[cfg(feature = "client")]
pub mod client;
pub mod command;
pub mod device;
pub mod envelope;
pub mod frame;
pub mod hello;
mod meter;
#[cfg(feature = "stream")]
pub mod patient;
pub mod response;
mod serve;
#[cfg(feature = "setup-file")]
pub mod setup_file;
mod table;

pub use envelope::{VERSION_MAX, VERSION_MIN};
pub use serve::{Driver, refuse, serve, serve_observed};
