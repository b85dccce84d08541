//! What a call into the engine wants to have sent.
//!
//! Flow      with a lane: [`Outbox::put`], and as the engine's `Output`
//!           still with it: [`Outbox::settle`] finds the devices
//!           without it: [`Outbox::send`] (rule L1)

use crate::Engine;
use crate::ddi::mac::Full;
use crate::ddi::mblk::{Chain, Message};
use crate::device::{Datalink, Device};
use crate::lane::Lane;
use alloc::sync::Arc;
use alloc::vec::Vec;
use opte_core::api::PortId;
use opte_core::host::table::Source;
use opte_core::verdict::{LinkId, Lost, Output};

/// Places that packets of one call go to, before more memory is wanted.
const PLACES: usize = 4;

/// Packets by where they go.
pub(crate) struct Outbox {
    places: [Option<Place>; PLACES],
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
    pub(crate) fn new() -> Self {
        Self {
            places: [const { None }; PLACES],
            more: Vec::new(),
        }
    }

    /// Adds a packet.
    #[inline(always)]
    pub(crate) fn put(&mut self, to: Source, message: Message) {
        // Most of a group go where its first goes.
        match &mut self.places {
            [Some(place), ..] if place.to == to => place.chain.push(message),
            _ => self.put_elsewhere(to, message),
        }
    }

    #[inline(never)]
    fn put_elsewhere(&mut self, to: Source, message: Message) {
        for place in &mut self.places {
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
    pub(crate) fn settle(&mut self, engine: &Engine, lane: &mut Lane, from: Option<PortId>) {
        for place in self.all() {
            place.device = lane.view.table().get(place.to).map(Arc::clone);
            if place.device.is_some() {
                continue;
            }
            let lost = match (place.to, from) {
                (Source::Port(port), _) => Lost::ToPort(port),
                (Source::Link(_), Some(port)) => Lost::FromPort(port),
                (Source::Link(_), None) => Lost::ToLink,
            };
            for _ in 0..place.chain.count() {
                engine.undelivered(&mut lane.engine, lost);
            }
        }
    }

    /// Sends what has a device, on behalf of the datalink `from` if a guest
    /// caused it, which waits when a link is full (rule W2 of `room`). With no lane
    /// held.
    pub(crate) fn send(&mut self, from: Option<&Datalink>) {
        let full = from.map_or(Full::Drop, |_| Full::Tell);
        for place in self.all() {
            let chain = core::mem::replace(&mut place.chain, Chain::new());
            match place.device.take().as_deref() {
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

    fn all(&mut self) -> impl Iterator<Item = &mut Place> {
        self.places.iter_mut().flatten().chain(&mut self.more)
    }

    fn copy(&mut self, to: Source, frame: &[u8]) {
        // Without memory the frame is lost, as it would be on a busy wire.
        if let Some(message) = Message::copy_of(frame) {
            self.put(to, message);
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
}

impl Output for Outbox {
    fn to_port(&mut self, port: PortId, frame: &[u8]) {
        self.copy(Source::Port(port), frame);
    }

    fn to_link(&mut self, link: LinkId, frame: &[u8]) {
        self.copy(Source::Link(link), frame);
    }
}
