//! Sends what the engine decides and makes, and remembers what failed.

use crate::device::{Source, Table};
use opte_core::api::PortId;
use opte_core::limits::PORTS_MAX;
use opte_core::verdict::{LinkId, Output};

/// Failures of one call into the engine that are remembered. One frame goes
/// to each port once at most.
const FAILED_MAX: usize = PORTS_MAX;

/// A worker's sending side; lives as long as the worker.
#[derive(Debug)]
pub(crate) struct Sender {
    failed: Vec<PortId>,
}

/// The sending side for one call into the engine.
#[derive(Debug)]
pub(crate) struct Sending<'a> {
    table: &'a Table,
    failed: &'a mut Vec<PortId>,
}

impl Sender {
    /// Nothing sent, nothing failed.
    pub(crate) fn new() -> Self {
        Self {
            failed: Vec::with_capacity(FAILED_MAX),
        }
    }

    /// Sends to the devices of `table`.
    pub(crate) fn with<'a>(&'a mut self, table: &'a Table) -> Sending<'a> {
        Sending {
            table,
            failed: &mut self.failed,
        }
    }

    /// The ports whose frames failed since the last call.
    pub(crate) fn take_failed(&mut self) -> impl Iterator<Item = PortId> {
        self.failed.drain(..)
    }
}

impl Sending<'_> {
    /// Writes a frame to a device. What isn't taken at once is lost: a guest
    /// that doesn't read must not slow down anybody else. The loss is booked
    /// to the port it was for, or else the one it came `from`.
    pub(crate) fn send(&mut self, to: Source, frame: &[u8], from: Option<Source>) {
        let sent = match self.table.get(to) {
            Some(device) => device.send(frame).map_err(|error| error.raw_os_error()),
            None => Err(None),
        };
        let Err(errno) = sent else { return };
        // EIO is a TAP that is down, EAGAIN and ENOBUFS are full queues; no
        // device at all is a port that is being deleted.
        tracing::trace!(?to, ?errno, len = frame.len(), "not delivered");
        let port = match (to, from) {
            (Source::Port(port), _) | (_, Some(Source::Port(port))) => port,
            _ => return,
        };
        if self.failed.len() < FAILED_MAX {
            self.failed.push(port);
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
    fn what_fails_is_booked_to_the_port_it_was_for_or_came_from() {
        let table = Table::default();
        let mut sender = Sender::new();
        let mut output = sender.with(&table);
        let (one, two) = (PortId(1), PortId(2));
        output.to_port(one, b"frame");
        output.to_link(LinkId(0), b"frame");
        output.send(Source::Link(LinkId(0)), b"frame", Some(Source::Port(two)));
        output.send(Source::Port(one), b"frame", Some(Source::Port(two)));
        assert_eq!(sender.take_failed().collect::<Vec<_>>(), [one, two, one]);
        assert_eq!(sender.take_failed().count(), 0);
    }
}
