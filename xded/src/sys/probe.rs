//! The engine's probes as static user probes of the provider `opte`.
//!
//! Purpose   a tracer (`dtrace -n 'opte1234:::drop'`, `bpftrace -e
//!           'usdt:./xded:opte:drop ..'`) sees what the engine says. What the
//!           probes are is declared in [`opte_core::event`] and nowhere else.
//!
//! Rules     U1  whether a probe is watched is a load and a test of its
//!               semaphore, which the kernel counts up for each tracer.
//!           U2  arguments are put together only for a watched probe: integers
//!               and addresses of what exists anyway, at most six.

use opte_core::event::{ARGS_MAX, Event, Observer, Probe};
use rustix::time::ClockId;

/// Fires events as probes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Probes;

impl Observer for Probes {
    #[inline(always)]
    fn enabled(&self, probe: Probe) -> bool {
        is_watched(probe)
    }

    fn clock_ns(&self) -> u64 {
        let time = rustix::time::clock_gettime(ClockId::Monotonic);
        // Both are positive, and 64 bits of nanoseconds last for 584 years.
        let seconds = time.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000);
        seconds.wrapping_add(time.tv_nsec.cast_unsigned())
    }

    #[cold]
    #[inline(never)]
    fn event(&self, event: &Event<'_>) {
        // The tracer reads what the compiler thinks that nobody does.
        let event = std::hint::black_box(event);
        fire(event.probe(), event.raw());
    }
}

macro_rules! provider {
    ($($(#[doc = $doc:literal])+ $variant:ident = $probe:ident $name:literal { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* },)+) => {
        #[usdt::provider(provider = "opte")]
        mod opte {
            $(fn $probe($($field: u64),*) {})+
        }

        /// Whether a tracer wants the probe.
        #[inline(always)]
        fn is_watched(probe: Probe) -> bool {
            match probe {
                $(Probe::$variant => {
                    unsafe extern "C" {
                        #[link_name = concat!("__usdt_sema_opte_", stringify!($probe))]
                        static SEMAPHORE: u16;
                    }
                    // SAFETY: the semaphore is made by `opte::$probe` with this
                    // type and lives as long as the program. The kernel writes
                    // it as one aligned word, hence the volatile read.
                    unsafe { (&raw const SEMAPHORE).read_volatile() != 0 }
                })+
            }
        }

        /// Fires a probe; this is the only place where it is.
        fn fire(probe: Probe, raw: [u64; ARGS_MAX]) {
            let mut raw = raw.into_iter();
            match probe {
                $(Probe::$variant => opte::$probe!(|| ($({
                    let $field = raw.next().unwrap_or_default();
                    $field
                },)*)),)+
            }
        }
    };
}

opte_core::each_probe!(provider);

#[cfg(test)]
mod tests;
