//! Periodic router advertisements to guests (RFC 4861 section 6.2.4).

use super::Host;
use crate::event::Observer;
use crate::hairpin;
use crate::port::{Env, Policy, Port};
use crate::verdict::Output;
use core::sync::atomic::Ordering;
use lock_api::RawMutex;

/// The first three come quickly (MAX_INITIAL_RTR_ADVERT_INTERVAL).
const INITIAL_MS: u64 = 16_000;
const INITIAL_COUNT: u64 = 3;
/// Then one every 200 to 600 seconds (MinRtrAdvInterval, MaxRtrAdvInterval).
const LEAST_MS: u64 = 200_000;
const SPREAD_MS: u64 = 400_000;

impl<R: RawMutex, O: Observer> Host<R, O> {
    /// Advertises the gateway to a guest when it is time to.
    pub(super) fn advertise(
        &self,
        env: &Env<'_, R, O>,
        port: &Port<R>,
        policy: &Policy,
        out: &mut impl Output,
    ) {
        let now = env.now.as_millis();
        let (count, due) = port.advertise.due();
        if policy.spec.ipv6.is_none() || now < due {
            return;
        }
        let wait = match count < INITIAL_COUNT {
            true => INITIAL_MS,
            false => LEAST_MS.wrapping_add(self.choice.hash((port.id.0, count)) % SPREAD_MS),
        };
        port.advertise.next(now.saturating_add(wait));
        if let Some(frame) = hairpin::advertisement(&policy.hairpin) {
            out.to_port(port.id, &frame);
        }
    }
}

/// When a port's next advertisement is due.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    count: core::sync::atomic::AtomicU64,
    due_ms: core::sync::atomic::AtomicU64,
}

impl Schedule {
    /// How many there were, and when the next is due.
    fn due(&self) -> (u64, u64) {
        (
            self.count.load(Ordering::Relaxed),
            self.due_ms.load(Ordering::Relaxed),
        )
    }

    fn next(&self, due_ms: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.due_ms.store(due_ms, Ordering::Relaxed);
    }
}
