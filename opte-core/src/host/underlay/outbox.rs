//! What a call has to tell and to send once it has given the lock back.
//!
//! A shell may hand a frame that we send straight back to us, and an observer
//! may ask us something: neither may find the lock taken.

use super::presence::Presence;
use crate::event::{Observer, Probe, observe};
use crate::verdict::{LinkId, Output};
use crate::{Direction, DropReason};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// Frames and facts, in the order in which they came up.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Whether anybody wants to hear of next hops.
    pub(super) watched: bool,
    posts: Vec<Post>,
}

#[derive(Debug)]
enum Post {
    Frame(LinkId, Box<[u8]>),
    GivenUp(DropReason, usize),
    Looked(Looked),
}

/// The next hop of a tunnel end point, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) dst: Ipv6Addr,
    pub(super) gateway: Ipv6Addr,
    pub(super) link: LinkId,
    pub(super) resolved: bool,
}

impl Looked {
    /// Fires the probe.
    pub(super) fn fire(self, seen: &impl Observer) {
        observe!(
            seen,
            NextHop {
                dst: self.dst.octets(),
                gateway: self.gateway.octets(),
                link: self.link.0,
                resolved: self.resolved,
            }
        );
    }
}

impl Outbox {
    /// An empty one, for the observer's wishes.
    pub(super) fn new(seen: &impl Observer) -> Self {
        Self {
            watched: seen.enabled(Probe::NextHop),
            posts: Vec::new(),
        }
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, link: LinkId, frame: Box<[u8]>) {
        self.posts.push(Post::Frame(link, frame));
    }

    /// Drops frames that had waited.
    pub(super) fn give_up(&mut self, reason: DropReason, frames: usize) {
        if frames > 0 {
            self.posts.push(Post::GivenUp(reason, frames));
        }
    }

    /// Tells of a next hop.
    pub(super) fn looked(&mut self, looked: Looked) {
        self.posts.push(Post::Looked(looked));
    }

    /// Does it all, without the lock.
    pub(super) fn flush(self, presence: &Presence, out: &mut impl Output, seen: &impl Observer) {
        for post in self.posts {
            match post {
                Post::Frame(link, frame) => {
                    presence.count_tx(link, frame.len());
                    out.to_link(link, &frame);
                }
                Post::GivenUp(reason, frames) => {
                    for _ in 0..frames {
                        presence.count_drop(reason);
                        dropped(seen, reason);
                    }
                }
                Post::Looked(looked) => looked.fire(seen),
            }
        }
    }
}

/// Fires the drop probe for a frame that had waited; which port it came from
/// is no longer known.
fn dropped(seen: &impl Observer, reason: DropReason) {
    observe!(
        seen,
        Drop {
            port: None,
            dir: Direction::Out,
            layer: None,
            rule: 0,
            reason,
            key: None,
        }
    );
}
