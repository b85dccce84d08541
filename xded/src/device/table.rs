//! All devices at one moment, and how threads see them.

use super::{Device, Source};
use opte_core::api::PortId;
use opte_core::limits::{LINKS_MAX, PORTS_MAX};
use opte_core::verdict::LinkId;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Devices by number. The engine gives out the lowest free numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    ports: Vec<Option<Arc<Device>>>,
    links: Vec<Option<Arc<Device>>>,
}

impl Table {
    /// The device of a source.
    pub(crate) fn get(&self, source: Source) -> Option<&Arc<Device>> {
        let (place, index) = match source {
            Source::Port(PortId(id)) => (&self.ports, usize::try_from(id).ok()?),
            Source::Link(LinkId(id)) => (&self.links, usize::from(id)),
        };
        place.get(index)?.as_ref()
    }

    /// Puts `device` in the source's place and returns what was there. `Err`
    /// gives the device back when the number is beyond the engine's limit.
    pub(super) fn set(
        &mut self,
        source: Source,
        device: Option<Arc<Device>>,
    ) -> Result<Option<Arc<Device>>, Option<Arc<Device>>> {
        let (place, index, limit) = match source {
            Source::Port(PortId(id)) => {
                let index = usize::try_from(id).unwrap_or(usize::MAX);
                (&mut self.ports, index, PORTS_MAX)
            }
            Source::Link(LinkId(id)) => (&mut self.links, usize::from(id), LINKS_MAX),
        };
        if index >= limit {
            return Err(device);
        }
        if index >= place.len() {
            place.resize(index.saturating_add(1), None);
        }
        match place.get_mut(index) {
            Some(slot) => Ok(std::mem::replace(slot, device)),
            None => Err(device),
        }
    }
}

/// The current table, for every thread.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Moves when `table` is replaced; read without the lock.
    generation: AtomicU64,
    table: Mutex<Arc<Table>>,
}

impl Shared {
    /// Replaces the table by a changed copy.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let result = change(Arc::make_mut(&mut table));
        // Release: who sees the new generation and then locks sees the table.
        self.generation.fetch_add(1, Ordering::Release);
        result
    }

    /// Adds a device, without anybody reading it.
    #[cfg(test)]
    pub(crate) fn put(&self, source: Source, device: Arc<Device>) {
        self.update(|table| table.set(source, Some(device)))
            .unwrap();
    }

    /// A view of the current table.
    pub(crate) fn view(self: &Arc<Self>) -> View {
        let mut view = View {
            // Not a generation, so that the first refresh takes the table.
            generation: u64::MAX,
            table: Arc::default(),
            shared: Arc::clone(self),
        };
        view.refresh();
        view
    }
}

/// One thread's sight of the devices, as fresh as its last [`View::refresh`].
#[derive(Debug)]
pub(crate) struct View {
    generation: u64,
    table: Arc<Table>,
    shared: Arc<Shared>,
}

impl View {
    /// Takes the current table if this one is old. One load when it isn't.
    pub(crate) fn refresh(&mut self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.table = Arc::clone(&self.shared.table.lock());
            self.generation = generation;
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Kind;
    use std::fs::File;

    fn device(name: &str) -> Arc<Device> {
        let null = File::open("/dev/null").unwrap();
        Arc::new(Device::new(Kind::Tap, null.into(), name))
    }

    #[test]
    fn a_view_changes_when_it_is_refreshed() {
        let shared = Arc::new(Shared::default());
        let mut view = shared.view();
        let source = Source::Port(PortId(3));
        assert!(
            shared
                .update(|table| table.set(source, Some(device("a"))))
                .unwrap()
                .is_none()
        );
        assert!(view.table().get(source).is_none());
        view.refresh();
        assert_eq!(view.table().get(source).unwrap().to_string(), "a");
        let old = shared.update(|table| table.set(source, None)).unwrap();
        assert_eq!(old.unwrap().to_string(), "a");
        view.refresh();
        assert!(view.table().get(source).is_none());
    }

    #[test]
    fn numbers_beyond_the_limits_are_refused() {
        let mut table = Table::default();
        for source in [Source::Port(PortId(u32::MAX)), Source::Link(LinkId(16))] {
            assert!(table.set(source, Some(device("x"))).is_err());
            assert!(table.get(source).is_none());
        }
    }
}
