//! What the end of a process undoes of its semaphore operations (`semop(2)`, `SEM_UNDO`).

use std::sync::{Arc, Weak};

use super::SemaphoreSet;
use crate::kernel::{CurrentTask, Task};
use crate::sync::{LockClass, Mutex};

/// The sets in which tasks that share this have adjustments (`struct sem_undo_list`); the adjustments are with the sets.
#[derive(Debug)]
pub struct UndoList {
    id: u64,
    sets: Mutex<Vec<Weak<SemaphoreSet>>>,
}

impl UndoList {
    pub(super) fn new(id: u64) -> Self {
        Self { id, sets: Mutex::new(LockClass::Table, Vec::new()) }
    }

    /// By what the sets know it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Notes that `set` has adjustments of this list.
    pub(super) fn add(&self, set: &Arc<SemaphoreSet>) {
        let mut sets = self.sets.lock();
        if sets.len().is_power_of_two() {
            sets.retain(|set| set.strong_count() > 0);
        }
        sets.push(Arc::downgrade(set));
    }
}

impl CurrentTask {
    /// The list of undo operations of this task; made when there is none.
    pub fn undo_list(&self) -> Arc<UndoList> {
        let mut list = self.semaphore_undo();
        Arc::clone(list.get_or_insert_with(|| self.ipc().new_undo_list()))
    }
}

impl Task {
    /// Leaves the list of undo operations; the last one that has it undoes them (`exit_sem`).
    pub fn release_undo_list(&self) {
        let list = self.semaphore_undo().take();
        let Some(list) = list.and_then(Arc::into_inner) else { return };
        for set in list.sets.into_inner().iter().filter_map(Weak::upgrade) {
            set.undo(list.id, self.pid());
        }
    }
}
