//! The engine as this shell uses it: which lock, which observer, which secret.

use crate::sys::probe::Probes;
use opte_core::host::Host;
use opte_core::verdict::Lost;

/// The lock that the engine's shared state is behind.
pub(crate) type Lock = parking_lot::RawMutex;

/// The engine of `xded run`.
pub(crate) type Engine = Host<Lock, Probes>;

/// A thread's view of it.
pub(crate) type Lane = opte_core::host::Lane<Lock>;

/// Tells the engine of so many frames that were lost after it had them.
pub(crate) fn undelivered(engine: &Engine, lane: &mut Lane, lost: Lost, count: u64) {
    for _ in 0..count {
        engine.undelivered(lane, lost);
    }
}

/// Bytes in front of a frame, for the engine to put headers in.
pub(crate) const HEADROOM: usize = 128;

/// Bytes of the largest frame that a device or a capture gives: 64 KiB of IP
/// packet and an Ethernet header with tags, rounded up.
pub(crate) const FRAME_MAX: usize = 65_536 + 64;

/// Milliseconds between two ticks of the engine.
pub(crate) const TICK_MS: u64 = 100;

/// A secret for this boot, from the kernel.
pub(crate) fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    // Up to 256 bytes come whole (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
