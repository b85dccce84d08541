//! What the engine needs of a buffer.
//!
//! The engine reads and edits headers in place, removes bytes in front
//! (decapsulation), puts bytes in front (encapsulation) and cuts off what isn't
//! the frame's at its end; it never touches payload (decision D1). A slice with
//! headroom, an iovec or an mblk chain can all do that, so shells implement
//! [`Frame`] for their own buffers.

/// Work that a device has left for us or that we may leave for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum holds the pseudo-header's sum only; somebody
    /// has to finish it.
    pub checksum_partial: bool,
    /// Payload bytes of each segment that this large frame has to be cut
    /// into; zero for an ordinary frame.
    pub segment_len: u16,
}

/// One Ethernet frame in a shell's buffer.
pub trait Frame {
    /// The leading bytes that lie in one piece. Everything the engine parses
    /// must be in here; the shell pulls headers up before it calls.
    fn head(&self) -> &[u8];

    /// As [`Frame::head`], to edit.
    fn head_mut(&mut self) -> &mut [u8];

    /// Bytes of the whole frame, payload included.
    fn frame_len(&self) -> usize;

    /// Removes `len` bytes in front. `len` is at most `head().len()`; a larger
    /// value removes the whole head.
    fn pop(&mut self, len: usize);

    /// Puts `len` bytes in front and returns them for the caller to fill, or
    /// `None` when the buffer can't grow.
    fn push(&mut self, len: usize) -> Option<&mut [u8]>;

    /// Cuts the frame off behind its first `len` bytes; nothing happens when it
    /// has no more.
    fn truncate(&mut self, len: usize);

    /// Brings all bytes into the head, where one of them is needed that lies
    /// elsewhere: false when that can't be. Only for frames that are answered
    /// or kept, never for those that pass.
    fn gather(&mut self) -> bool {
        self.head().len() == self.frame_len()
    }

    /// What is left to do for this frame.
    fn offload(&self) -> Offload {
        Offload::default()
    }
}

/// A frame in one slice, with room in front of it.
#[derive(Debug)]
pub struct SliceFrame<'b> {
    /// Headroom and frame.
    buffer: &'b mut [u8],
    start: usize,
    /// What is left to do for this frame.
    pub offload: Offload,
}

impl<'b> SliceFrame<'b> {
    /// The frame in `buffer[start..end]`; what lies before `start` is headroom.
    ///
    /// Out-of-range positions are cut to the buffer.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'b mut [u8], start: usize, end: usize) -> Self {
        let end = end.min(buffer.len());
        Self {
            start: start.min(end),
            buffer: buffer.get_mut(..end).unwrap_or_default(),
            offload: Offload::default(),
        }
    }

    /// Where the frame's bytes are in the buffer that it was made of.
    #[must_use]
    pub fn place(&self) -> core::ops::Range<usize> {
        self.start..self.buffer.len()
    }

    /// The frame's bytes.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

impl Frame for SliceFrame<'_> {
    #[inline]
    fn head(&self) -> &[u8] {
        self.bytes()
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..).unwrap_or_default()
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.buffer.len().saturating_sub(self.start)
    }

    #[inline]
    fn pop(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.buffer.len());
    }

    #[inline]
    fn push(&mut self, len: usize) -> Option<&mut [u8]> {
        let start = self.start.checked_sub(len)?;
        let old = core::mem::replace(&mut self.start, start);
        self.buffer.get_mut(start..old)
    }

    fn truncate(&mut self, len: usize) {
        let end = self.start.saturating_add(len).min(self.buffer.len());
        let buffer = core::mem::take(&mut self.buffer);
        self.buffer = buffer.get_mut(..end).unwrap_or_default();
    }

    #[inline]
    fn offload(&self) -> Offload {
        self.offload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_and_pop_move_the_start() {
        let mut buffer = [0, 0, 1, 2, 3, 9];
        let mut frame = SliceFrame::new(&mut buffer, 2, 5);
        assert_eq!(frame.bytes(), [1, 2, 3]);
        frame.pop(1);
        assert_eq!(frame.bytes(), [2, 3]);
        frame.push(3).unwrap().fill(7);
        assert_eq!(frame.bytes(), [7, 7, 7, 2, 3]);
        assert!(frame.push(1).is_none());
        assert_eq!(frame.frame_len(), 5);
        frame.pop(99);
        assert_eq!(frame.frame_len(), 0);
    }

    #[test]
    fn truncation_moves_the_end() {
        let mut buffer = [0, 0, 1, 2, 3, 9];
        let mut frame = SliceFrame::new(&mut buffer, 2, 6);
        for (len, left) in [(5, 4), (4, 4), (3, 3)] {
            frame.truncate(len);
            assert_eq!(frame.frame_len(), left, "{len}");
        }
        assert_eq!((frame.bytes(), frame.place()), (&[1, 2, 3][..], 2..5));
        frame.pop(9);
        frame.truncate(0);
        assert_eq!(frame.frame_len(), 0);
    }
}
