//! One bucket: the waiters of all futexes that hash to it, real-time tasks by priority, then all others in the order of their coming.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bartizan_abi::Errno;
use smallvec::SmallVec;

use crate::kernel::{MOST_PRIORITY, Parker, Task, is_realtime};
use crate::mm::{FutexKey, MemoryManager, UserAddr};

/// [`Waiter::bucket`] of one that waits no more.
pub(super) const NOWHERE: usize = usize::MAX;

/// The futex that a waiter wants to own.
#[derive(Debug)]
pub(super) struct Claim {
    /// Who wants it.
    pub task: Arc<Task>,
    /// The number that an owner's word holds.
    pub number: u32,
    /// Which one.
    pub key: FutexKey,
    /// Where it is: the waiter's memory and the address there.
    pub memory: Arc<MemoryManager>,
    /// See `memory`.
    pub address: UserAddr,
}

/// A task that waits at one futex.
#[derive(Debug)]
pub(super) struct Waiter {
    parker: Arc<Parker>,
    bitset: u32,
    /// Its place among others: lower ones are woken first.
    rank: u32,
    /// Of a task that waits for an ownership, or to be moved to where it waits for one.
    pub(super) claim: Option<Claim>,
    /// Whether it waits for the ownership now. Changes under the locks of the buckets.
    claims: AtomicBool,
    /// The index of the bucket that it waits in, or [`NOWHERE`] once it was woken. Changes under the locks of the buckets.
    pub(super) bucket: AtomicUsize,
}

impl Waiter {
    /// One of `task` that waits for any of `bitset`, or to be moved to the futex of `claim`.
    pub(super) fn new(task: &Task, bitset: u32, claim: Option<Claim>) -> Arc<Self> {
        let scheduling = task.scheduling();
        let rank = match is_realtime(scheduling.policy) {
            true => MOST_PRIORITY.saturating_sub(scheduling.priority),
            false => MOST_PRIORITY,
        };
        Self::with_parker(task.parker(), rank, bitset, claim)
    }

    pub(super) fn with_parker(
        parker: &Arc<Parker>,
        rank: u32,
        bitset: u32,
        claim: Option<Claim>,
    ) -> Arc<Self> {
        let (claims, bucket) = (AtomicBool::new(false), AtomicUsize::new(NOWHERE));
        Arc::new(Self { parker: Arc::clone(parker), bitset, rank, claim, claims, bucket })
    }

    /// Whether it was woken; also true before it is queued.
    pub(super) fn is_woken(&self) -> bool {
        self.bucket.load(Ordering::Acquire) == NOWHERE
    }

    /// Whether it waits for the ownership.
    pub(super) fn claims(&self) -> bool {
        self.claims.load(Ordering::Acquire)
    }

    /// Notes that it waits for the ownership from now on; its bucket is locked.
    pub(super) fn start_to_claim(&self) {
        self.claims.store(true, Ordering::Release);
    }
}

/// Waiters that were taken out of their buckets and have to be woken after the locks are given up.
#[derive(Debug, Default)]
pub(super) struct Woken(SmallVec<[Arc<Waiter>; 4]>);

impl Woken {
    /// Adds one that is in no bucket any more.
    pub(super) fn push(&mut self, waiter: Arc<Waiter>) {
        waiter.bucket.store(NOWHERE, Ordering::Release);
        self.0.push(waiter);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

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
        let position = match self.entries.back() {
            Some((_, last)) if last.rank > waiter.rank => {
                self.entries.partition_point(|(_, queued)| queued.rank <= waiter.rank)
            }
            _ => self.entries.len(),
        };
        self.entries.insert(position, (key, waiter));
    }

    /// Takes out up to `count` waiters of `key` with a bit in common with `bitset`.
    ///
    /// # Errors
    /// `EINVAL` when it comes upon one that waits for an ownership; those before it are taken out nevertheless.
    pub(super) fn wake(
        &mut self,
        key: &FutexKey,
        count: usize,
        bitset: u32,
        woken: &mut Woken,
    ) -> Result<(), Errno> {
        let (mut taken, mut result) = (0, Ok(()));
        if self.entries.is_empty() {
            return result;
        }
        self.entries.retain(|(queued, waiter)| {
            if taken >= count || result.is_err() || queued != key {
                return true;
            }
            if waiter.claim.is_some() {
                result = Err(Errno::EINVAL);
                return true;
            }
            let keep = waiter.bitset & bitset == 0;
            if !keep {
                taken += 1;
                woken.push(Arc::clone(waiter));
            }
            keep
        });
        result
    }

    /// Takes out up to `count` waiters of `key` that `check` agrees to, to be queued elsewhere. What `check` refuses ends the search.
    pub(super) fn take(
        &mut self,
        key: &FutexKey,
        count: usize,
        check: impl Fn(&Waiter) -> Result<(), Errno>,
    ) -> (Vec<Arc<Waiter>>, Result<(), Errno>) {
        let (mut taken, mut result) = (Vec::new(), Ok(()));
        self.entries.retain(|(queued, waiter)| {
            if taken.len() >= count || result.is_err() || queued != key {
                return true;
            }
            result = check(waiter);
            if result.is_ok() {
                taken.push(Arc::clone(waiter));
            }
            result.is_err()
        });
        (taken, result)
    }

    /// Who is first at `key`.
    pub(super) fn first(&self, key: &FutexKey) -> Option<&Arc<Waiter>> {
        self.entries.iter().find(|(queued, _)| queued == key).map(|(_, waiter)| waiter)
    }

    /// Whether anybody waits at `key`.
    pub(super) fn has(&self, key: &FutexKey) -> bool {
        self.first(key).is_some()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_waiters_come_first() {
        let key = FutexKey::of_nobody(0x1000);
        let parker = Arc::new(Parker::new());
        let mut bucket = Bucket::default();
        let ranks = [100, 50, 100, 20, 50];
        let waiters: Vec<_> = ranks.iter().map(|&rank| Waiter::with_parker(&parker, rank, 1, None)).collect();
        for waiter in &waiters {
            bucket.push(0, key.clone(), Arc::clone(waiter));
        }
        let order = [3, 1, 4, 0, 2];
        for index in order {
            let first = bucket.first(&key).cloned().expect("somebody waits");
            assert!(Arc::ptr_eq(&first, &waiters[index]));
            assert!(bucket.remove(&first) && !bucket.remove(&first));
        }
        assert!(!bucket.has(&key));
    }
}
