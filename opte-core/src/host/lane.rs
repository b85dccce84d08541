//! Lanes: what each CPU or thread has for itself.

use super::view::View;
use alloc::sync::Arc;
use lock_api::RawMutex;

/// One CPU's or thread's private view of a host: cached configuration, and the
/// counters that nobody else writes. Needed for every frame, so that frames on
/// different CPUs share no written memory.
#[derive(Debug)]
pub struct Lane<R: RawMutex> {
    pub(super) index: usize,
    pub(super) view: Arc<View<R>>,
}
