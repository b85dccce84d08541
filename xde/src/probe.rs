//! The engine's events as SDT probes: `sdt:xde::uft-hit` and so on.
//!
//! Rules     T1  a site is a `call` of a function that isn't there; krtld makes
//!               five NOPs of it and tells DTrace, which puts another byte into
//!               them while somebody watches. Each probe has one site, which
//!               is a function of its own (`ddi::probe`).
//!           T2  a kernel has no way to ask whether a probe is watched, but the
//!               site shows it: a load and a test. Arguments are put together
//!               only then: integers and addresses of what exists anyway.
//!
//! What the probes are is declared in [`opte_core::event`] and nowhere else.

use crate::ddi::{context, probe};
use opte_core::event::{Event, Observer, Probe};

/// Fires SDT probes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probes;

impl Observer for Probes {
    #[inline(always)]
    fn enabled(&self, probe: Probe) -> bool {
        probe::is_watched(probe)
    }

    fn clock_ns(&self) -> u64 {
        context::now().as_nanos()
    }

    #[cold]
    #[inline(never)]
    fn event(&self, event: &Event<'_>) {
        // The tracer reads what the compiler thinks that nobody does.
        let event = core::hint::black_box(event);
        probe::fire(event.probe(), event.raw());
    }
}
