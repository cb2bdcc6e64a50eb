//! Who watches an inode, or anything in a file system.

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use super::inotify::Event;
use crate::sync::{LockClass, Mutex};

/// Hears of what happens to an inode.
pub(super) trait Listener: Send + Sync + Debug {
    /// Tells of `event`, if it was asked for.
    fn tell(&self, event: &Event<'_>);

    /// Ends the watch, of which its reader hears.
    fn end(&self);
}

/// A set of watches; its lock (class `Notify`) is held for the copying and changing of the list alone.
#[derive(Debug)]
pub(in crate::vfs) struct Watches {
    /// How many there are, so that to find none costs one load.
    count: AtomicUsize,
    list: Mutex<Vec<Weak<dyn Listener>>>,
}

impl Default for Watches {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), list: Mutex::new(LockClass::Notify, Vec::new()) }
    }
}

impl Watches {
    /// Whether there is none.
    #[inline]
    pub(in crate::vfs) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(super) fn add(&self, watch: Weak<dyn Listener>) {
        let mut list = self.list.lock();
        list.push(watch);
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Takes the watch at `address` out.
    pub(super) fn remove(&self, address: usize) {
        let mut list = self.list.lock();
        list.retain(|other| other.as_ptr().cast::<()>().addr() != address);
        self.count.store(list.len(), Ordering::Relaxed);
    }

    /// Those that live.
    pub(super) fn list(&self) -> SmallVec<[Arc<dyn Listener>; 4]> {
        self.list.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
