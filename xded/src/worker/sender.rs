//! Sends what the engine decides and makes, and remembers what failed.

use crate::device::{BURST_FRAMES, Batch, Source, Table};
use opte_core::api::PortId;
use opte_core::limits::PORTS_MAX;
use opte_core::verdict::{LinkId, Lost, Output};
use std::io;
use std::ops::Range;

/// A worker's sending side; lives as long as the worker.
#[derive(Debug)]
pub(crate) struct Sender {
    failed: Failures,
    parked: Vec<Parked>,
}

/// Frames that weren't taken, as sums: however many fail in one burst, each is
/// counted, and nothing is allocated.
#[derive(Debug)]
struct Failures {
    /// By the number of the port that they were for.
    to_port: Box<[u64]>,
    /// By the number of the port that they came from.
    from_port: Box<[u64]>,
    to_link: u64,
    /// What has a sum other than zero.
    kinds: Vec<Lost>,
}

/// A frame of the batch that waits for its burst to end.
#[derive(Clone, Debug)]
struct Parked {
    link: LinkId,
    /// Which frame of the batch, and where its bytes are.
    index: usize,
    place: Range<usize>,
}

/// The sending side for one call into the engine.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    table: &'a Table,
    failed: &'a mut Failures,
    parked: &'a mut Vec<Parked>,
}

impl Sender {
    /// Nothing sent, nothing failed.
    pub(crate) fn new() -> Self {
        Self {
            failed: Failures::new(),
            parked: Vec::with_capacity(BURST_FRAMES),
        }
    }

    /// Sends to the devices of `table`.
    pub(crate) fn with<'a>(&'a mut self, table: &'a Table) -> Sending<'a> {
        Sending {
            table,
            failed: &mut self.failed,
            parked: &mut self.parked,
        }
    }

    /// Sends what is parked; all of it came `from` one source.
    pub(crate) fn flush(&mut self, table: &Table, batch: &Batch, from: Option<Source>) {
        let mut parked = std::mem::take(&mut self.parked);
        // The index keeps the frames of a link in their order.
        parked.sort_unstable_by_key(|parked| (parked.link, parked.index));
        let mut sending = self.with(table);
        for group in parked.chunk_by(|one, other| one.link == other.link) {
            let Some(link) = group.first().map(|parked| parked.link) else {
                continue;
            };
            let frames = group
                .iter()
                .map(|parked| batch.bytes(parked.index, parked.place.start, parked.place.end));
            sending.send_all(Source::Link(link), frames, from);
        }
        // Its memory is for the next burst.
        parked.clear();
        self.parked = parked;
    }

    /// The frames that failed since the last call, and how many of each kind.
    pub(crate) fn take_failed(&mut self) -> impl Iterator<Item = (Lost, u64)> {
        self.failed.take()
    }
}

impl Failures {
    fn new() -> Self {
        let none = || vec![0; PORTS_MAX].into_boxed_slice();
        Self {
            to_port: none(),
            from_port: none(),
            to_link: 0,
            kinds: Vec::with_capacity(PORTS_MAX.saturating_mul(2).saturating_add(1)),
        }
    }

    /// One more of this kind.
    fn add(&mut self, lost: Lost) {
        if let Some(sum) = self.sum(lost) {
            *sum = sum.saturating_add(1);
            if *sum == 1 {
                // There are as many places as kinds: it doesn't grow.
                self.kinds.push(lost);
            }
        }
    }

    /// Each kind and its sum, which starts again.
    fn take(&mut self) -> impl Iterator<Item = (Lost, u64)> {
        std::iter::from_fn(|| {
            let lost = self.kinds.pop()?;
            let sum = self.sum(lost).map(std::mem::take);
            Some((lost, sum.unwrap_or_default()))
        })
    }

    /// `None` for a port that there can't be.
    fn sum(&mut self, lost: Lost) -> Option<&mut u64> {
        let place = |PortId(id)| usize::try_from(id).ok();
        match lost {
            Lost::ToPort(port) => self.to_port.get_mut(place(port)?),
            Lost::FromPort(port) => self.from_port.get_mut(place(port)?),
            Lost::ToLink => Some(&mut self.to_link),
        }
    }
}

impl Sending<'_> {
    /// Frame `index` of the batch goes to `link` at the next [`Sender::flush`].
    pub(crate) fn park(&mut self, link: LinkId, index: usize, place: Range<usize>) {
        self.parked.push(Parked { link, index, place });
    }

    /// Sends a frame. What isn't taken at once is lost: a guest that doesn't
    /// read must not slow down anybody else.
    pub(crate) fn send(&mut self, to: Source, frame: &[u8], from: Option<Source>) {
        self.send_all(to, std::iter::once(frame), from);
    }

    /// As [`Sending::send`], for frames that go to one device.
    fn send_all<'f>(
        &mut self,
        to: Source,
        frames: impl Iterator<Item = &'f [u8]> + Clone,
        from: Option<Source>,
    ) {
        let frame = match (to, from) {
            (Source::Port(port), _) => Lost::ToPort(port),
            (Source::Link(_), Some(Source::Port(port))) => Lost::FromPort(port),
            (Source::Link(_), _) => Lost::ToLink,
        };
        let mut lost = |why: Option<io::Error>| {
            // EIO is a TAP that is down, EAGAIN and ENOBUFS are full queues;
            // no device at all is a port or link that is being deleted.
            tracing::trace!(?to, ?why, "not delivered");
            self.failed.add(frame);
        };
        match self.table.get(to) {
            Some(device) => device.send_all(frames, |error| lost(Some(error))),
            None => frames.for_each(|_| lost(None)),
        }
    }
}

impl Output for Sending<'_> {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        self.send(Source::Port(port), frame, None);
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.send(Source::Link(link), frame, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_booked_to_whom_it_was_for_or_came_from() {
        let table = Table::default();
        let mut sender = Sender::new();
        let mut output = sender.with(&table);
        let (one, two) = (PortId(1), PortId(2));
        output.to_port(one, b"frame");
        output.to_link(LinkId(0), b"frame");
        output.send(Source::Link(LinkId(0)), b"frame", Some(Source::Port(two)));
        output.send(Source::Port(one), b"frame", Some(Source::Port(two)));
        let mut lost: Vec<_> = sender.take_failed().collect();
        lost.sort_by_key(|(_, sum)| *sum);
        assert_eq!(lost.pop(), Some((Lost::ToPort(one), 2)));
        assert!(lost.contains(&(Lost::ToLink, 1)), "{lost:?}");
        assert!(lost.contains(&(Lost::FromPort(two), 1)), "{lost:?}");
        assert_eq!(lost.len(), 2);
        assert_eq!(sender.take_failed().count(), 0);
    }

    #[test]
    fn every_failure_is_counted_however_many_there_are() {
        let table = Table::default();
        let mut sender = Sender::new();
        let room = sender.failed.kinds.capacity();
        let ports = u32::try_from(PORTS_MAX).unwrap();
        for _ in 0..3 {
            let mut output = sender.with(&table);
            for port in (0..ports).map(PortId) {
                output.to_port(port, b"frame");
                output.send(Source::Link(LinkId(0)), b"frame", Some(Source::Port(port)));
                output.to_link(LinkId(0), b"frame");
            }
        }
        let lost: Vec<_> = sender.take_failed().collect();
        let total: u64 = lost.iter().map(|(_, sum)| sum).sum();
        assert_eq!(total, u64::from(ports) * 3 * 3);
        assert_eq!(lost.len(), PORTS_MAX * 2 + 1);
        assert_eq!(sender.failed.kinds.capacity(), room);
        assert_eq!(sender.take_failed().count(), 0);
    }
}
