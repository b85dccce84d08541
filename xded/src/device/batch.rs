//! Room for one burst of frames.

use crate::engine::{FRAME_MAX, HEADROOM};

/// Frames that one device gives in a turn: what one call on a socket takes.
pub(crate) const BURST_FRAMES: usize = crate::sys::packet::MESSAGES_MAX;

/// Bytes of a frame and what the engine may put in front of it.
const SLOT: usize = HEADROOM + FRAME_MAX;

/// One burst of frames, each with headroom. Allocated once; the memory of
/// frames that never come that large is never touched.
#[derive(Debug)]
pub(crate) struct Batch {
    memory: Box<[u8]>,
    /// Bytes of each frame that is there.
    lens: [usize; BURST_FRAMES],
    count: usize,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; SLOT * BURST_FRAMES].into_boxed_slice(),
            lens: [0; BURST_FRAMES],
            count: 0,
        }
    }

    /// Frames that are there.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Throws the frames away.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Room for frames, behind those that are there.
    pub(super) fn free(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let slots = self.memory.chunks_exact_mut(SLOT).skip(self.count);
        slots.map(|slot| slot.get_mut(HEADROOM..).unwrap_or_default())
    }

    /// The first free room holds a frame of `len` bytes now.
    pub(super) fn push(&mut self, len: usize) {
        if let Some(place) = self.lens.get_mut(self.count) {
            *place = len.min(FRAME_MAX);
            self.count = self.count.saturating_add(1);
        }
    }

    /// The memory of each frame, headroom included, and where its bytes start
    /// and end.
    pub(crate) fn frames(&mut self) -> impl Iterator<Item = (&mut [u8], usize, usize)> {
        let slots = self.memory.chunks_exact_mut(SLOT).zip(&self.lens);
        slots
            .take(self.count)
            .map(|(slot, len)| (slot, HEADROOM, HEADROOM.saturating_add(*len)))
    }

    /// Bytes in the memory of a frame.
    pub(crate) fn bytes(&self, index: usize, start: usize, end: usize) -> &[u8] {
        let slot = self.memory.chunks_exact(SLOT).nth(index);
        slot.and_then(|slot| slot.get(start..end))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_stay_where_they_were_put() {
        let mut batch = Batch::new();
        for number in 0..=BURST_FRAMES {
            if let Some(room) = batch.free().next() {
                assert_eq!(room.len(), FRAME_MAX);
                room[0] = u8::try_from(number).unwrap();
            }
            batch.push(number);
        }
        assert_eq!(batch.count(), BURST_FRAMES);
        assert!(batch.free().next().is_none());
        for (number, (slot, start, end)) in batch.frames().enumerate() {
            assert_eq!((start, end), (HEADROOM, HEADROOM + number));
            assert_eq!(usize::from(slot[start]), number);
        }
        assert_eq!(batch.frames().count(), BURST_FRAMES);
        assert_eq!(batch.bytes(7, HEADROOM, HEADROOM + 7).len(), 7);
        batch.clear();
        assert_eq!(batch.frames().count(), 0);
    }
}
