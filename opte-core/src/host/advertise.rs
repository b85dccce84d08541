//! Periodic router advertisements to guests (RFC 4861 section 6.2.4).
//!
//! The first three come quickly, when a port is made and when what they say
//! has changed.

use super::Host;
use crate::event::Observer;
use crate::hairpin;
use crate::port::{Env, Policy, Port};
use crate::verdict::Output;
use core::sync::atomic::{AtomicU64, Ordering};
use lock_api::RawMutex;

/// Milliseconds between the first ones, at most
/// (MAX_INITIAL_RTR_ADVERT_INTERVAL), and how many they are
/// (MAX_INITIAL_RTR_ADVERTISEMENTS).
const INITIAL_MS_MAX: u64 = 16_000;
const INITIAL_COUNT: u64 = 3;
/// Milliseconds between two to everybody at least (MIN_DELAY_BETWEEN_RAS).
const WAIT_MS_MIN: u64 = 3_000;

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
        // From a third of the interval to all of it, by chance
        // (MinRtrAdvInterval, MaxRtrAdvInterval).
        let most = u64::from(policy.spec.advertise.interval_s).saturating_mul(1_000);
        let least = (most / 3).max(WAIT_MS_MIN);
        let spread = most.saturating_sub(least).saturating_add(1);
        let chance = self.choice.hash((port.id.0, count)).checked_rem(spread);
        let wait = least.saturating_add(chance.unwrap_or(0));
        let wait = match count < INITIAL_COUNT {
            true => wait.min(INITIAL_MS_MAX),
            false => wait,
        };
        port.advertise.next(now.saturating_add(wait));
        if let Some(frame) = hairpin::advertisement(&policy.hairpin) {
            port.to_guest(env, &frame, out);
        }
    }
}

/// When a port's next advertisement is due.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    count: AtomicU64,
    due_ms: AtomicU64,
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

    /// Begins again: something has changed.
    pub(crate) fn restart(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.due_ms.store(0, Ordering::Relaxed);
    }
}
