//! A shell's devices at one moment, and how its threads see them.
//!
//! Purpose   packets find their device without a lock, while commands add and
//!           remove devices.
//!
//! Flow      command -> [`Shared::update`] -> a new [`Table`]
//!           packet: [`View::refresh`], then look-ups in the view's table
//!
//! Rules     T1  a table is never changed, only replaced.
//!           T2  a view takes the lock only when the generation moved.
//!           T3  whoever replaces the table has the new one ready before it takes
//!               the lock that views wait for: it may wait for memory first.

use crate::api::PortId;
use crate::limits::{LINKS_MAX, PORTS_MAX};
use crate::verdict::LinkId;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use lock_api::{Mutex, RawMutex};

/// Where a frame came from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// A guest.
    Port(PortId),
    /// An underlay link.
    Link(LinkId),
}

impl Source {
    /// Which of `workers` workers reads from this source.
    #[must_use]
    pub fn worker(self, workers: usize) -> usize {
        let number = match self {
            Self::Port(PortId(id)) => usize::try_from(id).unwrap_or_default(),
            Self::Link(LinkId(id)) => usize::from(id),
        };
        number.checked_rem(workers).unwrap_or_default()
    }
}

/// Devices by number. The engine gives out the lowest free numbers.
#[derive(Debug)]
pub struct Table<D> {
    ports: Vec<Option<Arc<D>>>,
    links: Vec<Option<Arc<D>>>,
}

impl<D> Default for Table<D> {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            links: Vec::new(),
        }
    }
}

impl<D> Clone for Table<D> {
    fn clone(&self) -> Self {
        Self {
            ports: self.ports.clone(),
            links: self.links.clone(),
        }
    }
}

impl<D> Table<D> {
    /// The device of a source.
    #[must_use]
    pub fn get(&self, source: Source) -> Option<&Arc<D>> {
        let (place, index) = match source {
            Source::Port(PortId(id)) => (&self.ports, usize::try_from(id).ok()?),
            Source::Link(LinkId(id)) => (&self.links, usize::from(id)),
        };
        place.get(index)?.as_ref()
    }

    /// The devices of ports.
    pub fn ports(&self) -> impl Iterator<Item = &Arc<D>> {
        self.ports.iter().flatten()
    }

    /// Puts `device` in the source's place and returns what was there.
    ///
    /// # Errors
    ///
    /// Gives the device back when the number is beyond the engine's limit.
    pub fn set(
        &mut self,
        source: Source,
        device: Option<Arc<D>>,
    ) -> Result<Option<Arc<D>>, Option<Arc<D>>> {
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
            Some(slot) => Ok(core::mem::replace(slot, device)),
            None => Err(device),
        }
    }
}

/// The current table, for every thread.
pub struct Shared<R: RawMutex, D> {
    /// Moves when `table` is replaced; read without the lock.
    generation: AtomicU64,
    table: Mutex<R, Arc<Table<D>>>,
    /// Held by whoever replaces it.
    writer: Mutex<R, ()>,
}

impl<R: RawMutex, D> Default for Shared<R, D> {
    fn default() -> Self {
        Self {
            generation: AtomicU64::new(0),
            table: Mutex::new(Arc::default()),
            writer: Mutex::new(()),
        }
    }
}

impl<R: RawMutex, D: fmt::Debug> fmt::Debug for Shared<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.table).finish()
    }
}

impl<R: RawMutex, D> Shared<R, D> {
    /// Replaces the table by a changed copy.
    pub fn update<T>(&self, change: impl FnOnce(&mut Table<D>) -> T) -> T {
        let _writer = self.writer.lock();
        let mut table = Table::clone(&self.table());
        let result = change(&mut table);
        let table = Arc::new(table); // T3
        let old = core::mem::replace(&mut *self.table.lock(), table);
        // Release: who sees the new generation and then locks sees the table.
        self.generation.fetch_add(1, Ordering::Release);
        drop(old);
        result
    }

    /// The current table.
    pub fn table(&self) -> Arc<Table<D>> {
        Arc::clone(&self.table.lock())
    }

    /// A view of the current table.
    pub fn view(self: &Arc<Self>) -> View<R, D> {
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
pub struct View<R: RawMutex, D> {
    generation: u64,
    table: Arc<Table<D>>,
    shared: Arc<Shared<R, D>>,
}

impl<R: RawMutex, D: fmt::Debug> fmt::Debug for View<R, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("View").field(&self.table).finish()
    }
}

impl<R: RawMutex, D> View<R, D> {
    /// Takes the current table if this one is old. One load when it isn't.
    pub fn refresh(&mut self) {
        let generation = self.shared.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.table = self.shared.table();
            self.generation = generation;
        }
    }

    /// The table.
    pub fn table(&self) -> &Table<D> {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Raw = parking_lot::RawMutex;

    /// Who replaces the table may wait for memory, and nobody waits for it then.
    #[test]
    fn the_table_is_there_while_it_is_replaced() {
        let shared = Shared::<Raw, &str>::default();
        let port = Source::Port(PortId(1));
        let placed = shared.update(|table| {
            let now = shared.table.try_lock().map(|now| now.get(port).is_some());
            assert_eq!(now, Some(false));
            table.set(port, Some(Arc::new("g1")))
        });
        assert!(placed.is_ok() && shared.table().get(port).is_some());
    }

    #[test]
    fn a_view_changes_when_it_is_refreshed() {
        let shared = Arc::new(Shared::<Raw, &str>::default());
        let mut view = shared.view();
        let source = Source::Port(PortId(3));
        let a = || Some(Arc::new("a"));
        assert_eq!(shared.update(|table| table.set(source, a())), Ok(None));
        assert!(view.table().get(source).is_none());
        view.refresh();
        assert_eq!(view.table().get(source), a().as_ref());
        assert_eq!(shared.update(|table| table.set(source, None)), Ok(a()));
        view.refresh();
        assert!(view.table().get(source).is_none());
    }

    #[test]
    fn numbers_beyond_the_limits_are_refused() {
        let mut table = Table::default();
        for source in [Source::Port(PortId(u32::MAX)), Source::Link(LinkId(16))] {
            assert!(table.set(source, Some(Arc::new("x"))).is_err());
            assert!(table.get(source).is_none());
        }
    }
}
