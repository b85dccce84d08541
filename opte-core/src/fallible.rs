//! Memory that may not be there.
//!
//! Rules     M1  what a packet makes, and somebody's packets make more or
//!               larger the more they are, is asked for here: records and
//!               indexes of flows, fragments, copies of frames. Without memory
//!               the packet is dropped for `DropReason::NoMemory`, and nothing
//!               has changed.
//!           M2  what takes many small blocks, a report of memberships, asks
//!               first whether there are as many bytes ([`is_there`]).
//!           M3  what is left, a few small blocks for a packet that makes state
//!               of another kind or an answer, has to be there; a kernel keeps
//!               a reserve for it.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// `len` values, each made by its number; `None` without memory for them.
pub(crate) fn slice<T>(len: usize, make: impl FnMut(usize) -> T) -> Option<Box<[T]>> {
    let mut list = list(len)?;
    list.extend((0..len).map(make));
    Some(list.into_boxed_slice())
}

/// A list with room for `len` values and no more.
pub(crate) fn list<T>(len: usize) -> Option<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(len).ok()?;
    Some(list)
}

/// Whether there is so much memory now.
pub(crate) fn is_there(bytes: usize) -> bool {
    list::<u8>(bytes).is_some()
}

/// A copy of bytes behind `room` zeroes.
pub(crate) fn copy(room: usize, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut copy = list(room.checked_add(bytes.len())?)?;
    copy.resize(room, 0);
    copy.extend_from_slice(bytes);
    Some(copy)
}

/// One value in a box.
pub(crate) fn boxed<T>(value: T) -> Option<Box<[T; 1]>> {
    let mut list = list(1)?;
    list.push(value);
    Box::try_from(list.into_boxed_slice()).ok()
}
