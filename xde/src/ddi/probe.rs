//! SDT sites (rules T of `crate::probe`).

use opte_core::event::{ARGS_MAX, Probe};

/// The first two bytes of a site that nobody watches: NOPs.
#[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
const UNWATCHED: [u8; 2] = [0x90; 2];

/// Makes the sites of the declaration of probes.
macro_rules! sites {
    ($($(#[doc = $doc:literal])+ $variant:ident = $probe:ident $name:literal { $($(#[doc = $fdoc:literal])+ $field:ident: $ty:ty,)* },)+) => {
        #[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
        mod site {
            $(
                #[doc = concat!("The site of `", $name, "`.")]
                #[unsafe(naked)]
                pub(super) extern "C" fn $probe(_: u64, _: u64, _: u64, _: u64, _: u64, _: u64) {
                    unsafe extern "C" {
                        #[link_name = concat!("__dtrace_probe_", stringify!($probe))]
                        fn absent();
                    }
                    // Five NOPs, or a trap that puts every register back (rule T1).
                    core::arch::naked_asm!("call {absent}", "ret", absent = sym absent)
                }
            )+
        }

        /// Whether somebody watches the probe (rule T2).
        #[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
        #[inline(always)]
        pub(crate) fn is_watched(probe: Probe) -> bool {
            let site: extern "C" fn(u64, u64, u64, u64, u64, u64) = match probe {
                $(Probe::$variant => site::$probe,)+
            };
            let bytes = site as *const [u8; 2];
            // SAFETY: a site is at least six bytes of the module's text, which
            // stays as long as the module. DTrace writes single bytes of it at
            // any time, hence the volatile read.
            unsafe { bytes.read_volatile() != UNWATCHED }
        }

        /// Fires a probe; this is the only place where it is.
        #[cfg(all(target_os = "illumos", target_arch = "x86_64"))]
        pub(crate) fn fire(probe: Probe, [a, b, c, d, e, f]: [u64; ARGS_MAX]) {
            match probe {
                $(Probe::$variant => site::$probe(a, b, c, d, e, f),)+
            }
        }
    };
}

opte_core::each_probe!(sites);

/// Elsewhere there are no sites.
#[cfg(not(all(target_os = "illumos", target_arch = "x86_64")))]
pub(crate) const fn is_watched(_: Probe) -> bool {
    false
}

/// Nothing to fire.
#[cfg(not(all(target_os = "illumos", target_arch = "x86_64")))]
pub(crate) const fn fire(_: Probe, _: [u64; ARGS_MAX]) {}
