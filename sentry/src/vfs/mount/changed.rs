//! Telling of changes: who polls `/proc/[pid]/mountinfo` hears of those of its namespace.

use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::PollEvents;

use crate::kernel::WaitQueue;

/// How often a tree has changed, and who waits for that.
#[derive(Debug)]
pub struct TreeChanges {
    count: AtomicU64,
    queue: WaitQueue,
}

impl Default for TreeChanges {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), queue: WaitQueue::new() }
    }
}

impl TreeChanges {
    /// How often it has changed so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Told `POLLERR` and `POLLPRI` after each change.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// It has changed. Called without locks.
    pub(super) fn tell(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.queue.notify(PollEvents::POLLERR | PollEvents::POLLPRI);
    }
}
