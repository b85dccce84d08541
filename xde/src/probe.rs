//! The engine's events as SDT probes: `sdt:xde::uft-hit` and so on.
//!
//! Rules     T1  a site is a `call` of a function that isn't there; krtld makes
//!               five NOPs of it and tells DTrace. So it is written as such:
//!               the compiler must neither make a jump of it nor take the
//!               function's address.
//!           T2  arguments are numbers and addresses of values that exist
//!               anyway; with nobody watching, a probe costs putting them into
//!               registers.
//!
//! What the arguments are is said at the events (`opte_core::event`); names are
//! given as an address and a length, what isn't there as zero or all ones.

use opte_core::event::{Event, Observer, Probe};

/// Fires SDT probes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probes;

impl Observer for Probes {
    #[inline(always)]
    fn enabled(&self, _: Probe) -> bool {
        cfg!(all(target_os = "illumos", target_arch = "x86_64"))
    }

    #[inline(always)]
    fn event(&self, event: &Event<'_>) {
        crate::ddi::probe::fire(event);
    }
}
