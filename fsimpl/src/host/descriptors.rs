//! `O_PATH` descriptors of nodes, of which the least recently used ones are closed beyond a bound.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bartizan_sentry::sync::{LockClass, Mutex};

/// A bounded cache of descriptors, by the id of their node.
#[derive(Debug)]
pub struct Descriptors {
    capacity: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    clock: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    descriptor: Arc<OwnedFd>,
    used: u64,
}

impl Descriptors {
    /// A cache of at most `capacity` descriptors, but at least one.
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), table: Mutex::new(LockClass::Table, Table::default()) }
    }

    /// The descriptor of node `id`, if it is open.
    pub fn get(&self, id: u64) -> Option<Arc<OwnedFd>> {
        let mut table = self.table.lock();
        table.clock += 1;
        let now = table.clock;
        let entry = table.open.get_mut(&id)?;
        entry.used = now;
        Some(Arc::clone(&entry.descriptor))
    }

    /// Keeps `descriptor` for node `id`, in place of the one that was not used for the longest time if there are too many.
    pub fn put(&self, id: u64, descriptor: &Arc<OwnedFd>) {
        let mut table = self.table.lock();
        table.clock += 1;
        let used = table.clock;
        let oldest = if table.open.len() >= self.capacity && !table.open.contains_key(&id) {
            table.open.iter().min_by_key(|(_, entry)| entry.used).map(|(&id, _)| id)
        } else {
            None
        };
        let evicted = oldest.and_then(|id| table.open.remove(&id));
        let replaced = table.open.insert(id, Entry { descriptor: Arc::clone(descriptor), used });
        drop(table);
        drop((evicted, replaced));
    }

    /// Forgets node `id`.
    pub fn remove(&self, id: u64) {
        let removed = self.table.lock().open.remove(&id);
        drop(removed);
    }

    /// How many are open.
    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.table.lock().open.len()
    }
}
