//! Lanes: what each CPU or thread has for itself.

use super::burst::GROUP;
use super::view::View;
use crate::wire::packet::Packet;
use alloc::boxed::Box;
use alloc::sync::Arc;
use lock_api::RawMutex;

/// One CPU's or thread's private view of a host: cached configuration, and the
/// counters that nobody else writes. Needed for every frame, so that frames on
/// different CPUs share no written memory.
#[derive(Debug)]
pub struct Lane<R: RawMutex> {
    pub(super) index: usize,
    pub(super) view: Arc<View<R>>,
    /// Where the headers of a frame are parsed into, and those of a group of
    /// frames kept while their flows' memory is asked for ([`super::burst`]).
    pub(super) packets: Box<[Packet; GROUP]>,
}
