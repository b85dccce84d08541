//! Payload of packets: summed and shared, never copied.

use super::mblk::{Message, bytes_of};
use core::ptr::{self, NonNull};
use illumos_sys_hdrs::{self as sys, mblk_t};
use opte_core::frame::Frame;
use opte_core::wire::offload::Pieces;

impl Message {
    /// The sum of `len` bytes from `start`.
    pub(crate) fn sum(&self, start: usize, len: usize) -> Pieces {
        let mut sum = Pieces::default();
        self.each_span(start, len, |_, _, bytes| {
            sum = sum.bytes(bytes);
            Some(())
        });
        sum
    }

    /// A packet of the first `headers` bytes, which are copied, and of `len`
    /// bytes from `start`, which both packets have then; `None` when there is
    /// no memory.
    pub(crate) fn part(&self, headers: usize, start: usize, len: usize) -> Option<Self> {
        let headers = self.head().get(..headers)?;
        let mut message = Self::copy_of(headers)?;
        let mut last = message.head_block();
        let mut added = 0;
        let complete = self.each_span(start, len, |block, offset, bytes| {
            // SAFETY: a block of ours, which is alive.
            let part = NonNull::new(unsafe { sys::dupb(block.as_ptr()) })?;
            // SAFETY: made here, and alive.
            let begin = unsafe { part.as_ref() }.b_rptr.wrapping_add(offset);
            // SAFETY: made here, so the window is ours; it becomes a smaller one.
            unsafe { (*part.as_ptr()).b_rptr = begin };
            // SAFETY: as above.
            unsafe { (*part.as_ptr()).b_wptr = begin.wrapping_add(bytes.len()) };
            // SAFETY: as above.
            unsafe { (*part.as_ptr()).b_cont = ptr::null_mut() };
            // SAFETY: the last block of a message of ours.
            unsafe { (*last.as_ptr()).b_cont = part.as_ptr() };
            (last, added) = (part, added + bytes.len());
            Some(())
        });
        message.grow(added);
        complete.then_some(message)
    }

    /// Calls `each` with every block that has some of `len` bytes from `start`,
    /// where in it they begin, and the bytes; ends when it says `None`. Whether
    /// all of them were there.
    fn each_span(
        &self,
        start: usize,
        len: usize,
        mut each: impl FnMut(NonNull<mblk_t>, usize, &[u8]) -> Option<()>,
    ) -> bool {
        let (mut skip, mut left) = (start, len);
        let mut next = Some(self.head_block());
        while let Some(place) = next
            && left > 0
        {
            // SAFETY: a block of our message.
            let block = unsafe { place.as_ref() };
            let bytes = bytes_of(block);
            let from = skip.min(bytes.len());
            skip -= from;
            let bytes = bytes.get(from..).unwrap_or_default();
            let bytes = bytes.get(..left).unwrap_or(bytes);
            if !bytes.is_empty() {
                if each(place, from, bytes).is_none() {
                    return false;
                }
                left -= bytes.len();
            }
            next = NonNull::new(block.b_cont);
        }
        left == 0
    }
}
