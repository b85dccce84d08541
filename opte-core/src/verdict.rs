//! What becomes of a frame, and frames that the engine makes itself.

use crate::DropReason;
use crate::api::PortId;

/// An underlay link's number on its host: its position in the underlay
/// configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u16);

/// What the shell has to do with the frame that it handed in. The frame has
/// been edited in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Send it on this underlay link.
    Link(LinkId),
    /// Hand it to this port's guest.
    Port(PortId),
    /// Nothing: it was answered, or taken into account; replies went to
    /// [`Output`].
    Consumed,
    /// Nothing: a copy waits for its next hop to be found and goes to
    /// [`Output`] then.
    Held,
    /// Free it. The drop is counted already.
    Dropped(DropReason),
}

/// A frame that a device didn't take after the engine had decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It was for this port's guest.
    ToPort(PortId),
    /// It came from this port's guest and was for a link.
    FromPort(PortId),
    /// It was for a link, and the engine's own or from another link.
    ToLink,
}

/// Where frames go that the engine makes, or that it kept.
pub trait Output {
    /// Hands a frame to a port's guest.
    fn to_port(&mut self, port: PortId, frame: &[u8]);

    /// Sends a frame on an underlay link.
    fn to_link(&mut self, link: LinkId, frame: &[u8]);
}

/// Throws away what it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Discard;

impl Output for Discard {
    fn to_port(&mut self, _: PortId, _: &[u8]) {}
    fn to_link(&mut self, _: LinkId, _: &[u8]) {}
}
