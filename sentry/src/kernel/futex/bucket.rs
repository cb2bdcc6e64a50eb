//! One bucket: the waiters of all futexes that hash to it, in the order of their coming.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

use crate::kernel::Parker;
use crate::mm::FutexKey;

/// [`Waiter::bucket`] of one that waits no more.
pub(super) const NOWHERE: usize = usize::MAX;

/// A task that waits at one futex.
#[derive(Debug)]
pub(super) struct Waiter {
    parker: Arc<Parker>,
    bitset: u32,
    /// Of a task that waits for the ownership of a priority-inheritance futex: its number.
    pub(super) owner_to_be: Option<u32>,
    /// The index of the bucket that it waits in, or [`NOWHERE`] once it was woken. Changes under the locks of the buckets.
    pub(super) bucket: AtomicUsize,
}

impl Waiter {
    pub(super) fn new(parker: &Arc<Parker>, bitset: u32, owner_to_be: Option<u32>) -> Arc<Self> {
        Arc::new(Self { parker: Arc::clone(parker), bitset, owner_to_be, bucket: AtomicUsize::new(NOWHERE) })
    }

    /// Whether it was woken; also true before it is queued.
    pub(super) fn is_woken(&self) -> bool {
        self.bucket.load(Ordering::Acquire) == NOWHERE
    }
}

/// Waiters that were taken out of their buckets and have to be woken after the locks are given up.
#[derive(Debug, Default)]
pub(super) struct Woken(SmallVec<[Arc<Waiter>; 4]>);

impl Woken {
    /// Wakes them; gives how many they are.
    pub(super) fn unpark(self) -> usize {
        for waiter in &self.0 {
            waiter.parker.unpark();
        }
        self.0.len()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    entries: VecDeque<(FutexKey, Arc<Waiter>)>,
}

impl Bucket {
    /// Adds a waiter; `index` is this bucket's.
    pub(super) fn push(&mut self, index: usize, key: FutexKey, waiter: Arc<Waiter>) {
        waiter.bucket.store(index, Ordering::Release);
        self.entries.push_back((key, waiter));
    }

    /// Takes out up to `count` ordinary waiters of `key` with a bit in common with `bitset`.
    pub(super) fn wake(&mut self, key: &FutexKey, count: usize, bitset: u32, woken: &mut Woken) -> usize {
        let mut taken = 0;
        if self.entries.is_empty() {
            return taken;
        }
        self.entries.retain(|(queued, waiter)| {
            let wanted =
                taken < count && queued == key && waiter.bitset & bitset != 0 && waiter.owner_to_be.is_none();
            if wanted {
                taken += 1;
                woken.0.push(Arc::clone(waiter));
                waiter.bucket.store(NOWHERE, Ordering::Release);
            }
            !wanted
        });
        taken
    }

    /// Takes out up to `count` ordinary waiters of `key`, to be queued elsewhere.
    pub(super) fn take(&mut self, key: &FutexKey, count: usize) -> Vec<Arc<Waiter>> {
        let mut taken = Vec::new();
        self.entries.retain(|(queued, waiter)| {
            let wanted = taken.len() < count && queued == key && waiter.owner_to_be.is_none();
            if wanted {
                taken.push(Arc::clone(waiter));
            }
            !wanted
        });
        taken
    }

    /// Whether somebody waits for the ownership of `key`.
    pub(super) fn has_owner_to_be(&self, key: &FutexKey) -> bool {
        self.first_owner_to_be(key).is_some()
    }

    /// The number of the task that is next to own `key`.
    pub(super) fn first_owner_to_be(&self, key: &FutexKey) -> Option<u32> {
        self.entries.iter().filter(|(queued, _)| queued == key).find_map(|(_, waiter)| waiter.owner_to_be)
    }

    /// Takes out the task that [`first_owner_to_be`](Self::first_owner_to_be) names.
    pub(super) fn wake_owner_to_be(&mut self, key: &FutexKey, woken: &mut Woken) {
        let wanted =
            |(queued, waiter): &(FutexKey, Arc<Waiter>)| queued == key && waiter.owner_to_be.is_some();
        if let Some(position) = self.entries.iter().position(wanted)
            && let Some((_, waiter)) = self.entries.remove(position)
        {
            waiter.bucket.store(NOWHERE, Ordering::Release);
            woken.0.push(waiter);
        }
    }

    /// Takes out `waiter`; whether it was here.
    pub(super) fn remove(&mut self, waiter: &Arc<Waiter>) -> bool {
        let position = self.entries.iter().position(|(_, queued)| Arc::ptr_eq(queued, waiter));
        if let Some(position) = position {
            self.entries.remove(position);
            waiter.bucket.store(NOWHERE, Ordering::Release);
        }
        position.is_some()
    }
}
