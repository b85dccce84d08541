//! What a call into the engine wants to have sent.
//!
//! Flow      with a lane: [`Outbox::put`], and as the engine's `Output`
//!           still with it: [`Outbox::settle`] finds the devices
//!           without it: [`Outbox::send`] (rule L1)

use crate::Engine;
use crate::ddi::mac::Full;
use crate::ddi::mblk::{Chain, Message};
use crate::device::{Datalink, Device};
use crate::driver;
use crate::lane::Lane;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte_core::api::PortId;
use opte_core::host::table::Source;
use opte_core::verdict::{LinkId, Lost, Output};

/// Places that packets of one call go to besides the first one's, before more
/// memory is wanted.
const OTHERS: usize = 3;

/// Packets by where they go.
pub(crate) struct Outbox {
    /// Where the first goes, and most of the others with it.
    first: Option<Place>,
    /// Whether there are other places, at which nobody looks otherwise.
    is_many: bool,
    others: [Option<Place>; OTHERS],
    /// More of them: a tick's.
    more: Vec<Place>,
}

/// Packets that go to one device.
struct Place {
    to: Source,
    chain: Chain,
    /// Held from when the lane's view was looked at (rule L4).
    device: Option<Arc<Device>>,
}

impl Outbox {
    /// With nothing in it.
    #[inline]
    pub(crate) fn new() -> Self {
        Self {
            first: None,
            is_many: false,
            others: [const { None }; OTHERS],
            more: Vec::new(),
        }
    }

    /// Adds a packet.
    #[inline(always)]
    pub(crate) fn put(&mut self, to: Source, message: Message) {
        let first = self.first.get_or_insert_with(|| Place::new(to));
        if first.to == to {
            first.chain.push(message);
        } else {
            self.put_elsewhere(to, message);
        }
    }

    #[inline(never)]
    fn put_elsewhere(&mut self, to: Source, message: Message) {
        self.is_many = true;
        for place in &mut self.others {
            let place = place.get_or_insert_with(|| Place::new(to));
            if place.to == to {
                return place.chain.push(message);
            }
        }
        match self.more.last_mut() {
            Some(place) if place.to == to => place.chain.push(message),
            _ => {
                let mut place = Place::new(to);
                place.chain.push(message);
                self.more.push(place);
            }
        }
    }

    /// Finds the devices; counts what has none any more, which came `from` a
    /// port if it did.
    #[inline]
    pub(crate) fn settle(&mut self, engine: &Engine, lane: &mut Lane, from: Option<PortId>) {
        self.for_each(|place| place.settle(engine, lane, from));
    }

    /// Sends what has a device, on behalf of the datalink `from` if a guest
    /// caused it, which waits when a link is full (rule W2 of `room`). With no lane
    /// held.
    #[inline]
    pub(crate) fn send(&mut self, from: Option<&Datalink>) {
        self.for_each(|place| place.send(from));
    }

    #[inline]
    fn for_each(&mut self, mut what: impl FnMut(&mut Place)) {
        if let Some(first) = &mut self.first {
            what(first);
        }
        if self.is_many {
            let others = self.others.iter_mut().flatten();
            others.chain(&mut self.more).for_each(what);
        }
    }

    fn copy(&mut self, to: Source, frame: &[u8]) {
        match Message::copy_of(frame) {
            Some(message) => self.put(to, message),
            // It is lost, as it would be on a busy wire.
            None => driver::count_no_memory(),
        }
    }
}

impl Place {
    const fn new(to: Source) -> Self {
        Self {
            to,
            chain: Chain::new(),
            device: None,
        }
    }

    fn settle(&mut self, engine: &Engine, lane: &mut Lane, from: Option<PortId>) {
        self.device = lane.view.table().get(self.to).map(Arc::clone);
        if self.device.is_some() {
            return;
        }
        let lost = match (self.to, from) {
            (Source::Port(port), _) => Lost::ToPort(port),
            (Source::Link(_), Some(port)) => Lost::FromPort(port),
            (Source::Link(_), None) => Lost::ToLink,
        };
        for _ in 0..self.chain.count() {
            engine.undelivered(&mut lane.engine, lost);
        }
    }

    #[inline(always)]
    fn send(&mut self, from: Option<&Datalink>) {
        let full = from.map_or(Full::Drop, |_| Full::Tell);
        let chain = core::mem::replace(&mut self.chain, Chain::new());
        match self.device.take().as_deref() {
            Some(Device::Link(link)) => {
                if let (Some(cookie), Some(from)) = (link.client.send(chain, full), from) {
                    from.wait_for(link, cookie);
                }
            }
            Some(Device::Port(port)) => match port.datalink.provider() {
                Some(provider) => provider.receive(chain),
                None => drop(chain),
            },
            None => drop(chain),
        }
    }
}

impl Output for Outbox {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        self.copy(Source::Port(port), frame);
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.copy(Source::Link(link), frame);
    }
}
