//! Futexes (`futex(2)`): who waits at which word of memory.
//!
//! Waiters lie in hashed buckets. A waiter compares the word with what it expects and queues under the lock of the word's
//! bucket, and whoever wakes takes that lock after the word was changed: so no wake-up is lost. While a bucket is locked, only words
//! whose pages are in place are touched; others are brought in first, without the lock.

mod bucket;
mod owners;
mod priority;
mod requeue;
mod robust;
mod wait;

use std::hash::{BuildHasher, RandomState};

use bartizan_abi::Errno;

use crate::mm::FutexKey;
use crate::sync::{LockClass, Mutex, MutexGuard};

use bucket::{Bucket, Woken};
pub use owners::FutexOwner;
use owners::Owners;
pub use priority::{ClaimRequeue, LockMode, Ownership};
pub use requeue::{Requeue, WakeOperation};
pub use wait::{WaitRequest, Waited};

/// How many buckets there are.
const BUCKETS: usize = 256;

/// All futexes of a sandbox at which somebody waits. Locks: class `Futex`; of two buckets the one with the lower index first.
#[derive(Debug)]
pub struct Futexes {
    hasher: RandomState,
    buckets: Box<[Mutex<Bucket>]>,
    /// Who owns futexes that others want to own; class `FutexOwners`, below the buckets.
    owners: Mutex<Owners>,
}

impl Default for Futexes {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(|| Mutex::new(LockClass::Futex, Bucket::default()));
        Self {
            hasher: RandomState::new(),
            buckets: buckets.take(BUCKETS).collect(),
            owners: Mutex::new(LockClass::FutexOwners, Owners::default()),
        }
    }
}

/// One or two locked buckets.
struct BucketPair<'a> {
    first: MutexGuard<'a, Bucket>,
    second: Option<MutexGuard<'a, Bucket>>,
    /// Whether `second` is the one that was asked for first.
    swapped: bool,
}

impl BucketPair<'_> {
    fn one(&mut self) -> &mut Bucket {
        match &mut self.second {
            Some(second) if self.swapped => second,
            _ => &mut self.first,
        }
    }

    fn other(&mut self) -> &mut Bucket {
        match &mut self.second {
            Some(second) if !self.swapped => second,
            _ => &mut self.first,
        }
    }
}

impl Futexes {
    fn index(&self, key: &FutexKey) -> usize {
        (self.hasher.hash_one(key) % BUCKETS as u64) as usize
    }

    fn lock(&self, key: &FutexKey) -> MutexGuard<'_, Bucket> {
        self.buckets[self.index(key)].lock()
    }

    fn lock_pair(&self, one: &FutexKey, other: &FutexKey) -> BucketPair<'_> {
        let (one, other) = (self.index(one), self.index(other));
        let first = self.buckets[one.min(other)].lock();
        let second = (one != other).then(|| self.buckets[one.max(other)].lock());
        BucketPair { first, second, swapped: one > other }
    }

    /// Wakes up to `count` waiters of `key` that wait for one of `bitset`; gives how many it woke.
    ///
    /// # Errors
    /// `EINVAL` when it comes upon one that waits for an ownership.
    pub fn wake(&self, key: &FutexKey, count: usize, bitset: u32) -> Result<usize, Errno> {
        let mut woken = Woken::default();
        let result = self.lock(key).wake(key, count, bitset, &mut woken);
        let count = woken.unpark();
        result.map(|()| count)
    }
}
