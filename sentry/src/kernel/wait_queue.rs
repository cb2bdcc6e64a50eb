//! The one way to wait: queues of those who want to hear of events.
//!
//! A waiter registers, tries, and sleeps if there is nothing; whoever changes something notifies. Since the try comes
//! after the registration, no event is lost.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bartizan_abi::PollEvents;
use smallvec::SmallVec;

use crate::sync::{LockClass, Mutex};

/// Hears of events.
pub trait Wake: Send + Sync + Debug {
    /// Something of `events` happened. Called without locks of the queue, perhaps once more after unregistering.
    fn wake(&self, events: PollEvents);

    /// As [`wake`](Self::wake), for one of several who wait exclusively. Whether it sees to the events; if not, the next one is woken.
    fn wake_exclusively(&self, events: PollEvents) -> bool {
        self.wake(events);
        true
    }
}

/// Those who wait for events of one object.
#[derive(Debug)]
pub struct WaitQueue {
    /// How many entries there are, so that nobody waiting costs one load.
    count: AtomicUsize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    next_key: u64,
    list: SmallVec<[Entry; 2]>,
}

impl Entries {
    /// The first who waits exclusively for any of `events`, of those with keys from `least` on.
    fn exclusive_from(&self, least: u64, events: PollEvents) -> Option<(u64, Arc<dyn Wake>)> {
        let mut entries = self.list.iter().filter(|entry| entry.exclusive && entry.key >= least);
        let found = entries.find(|entry| entry.interest.intersects(events))?;
        Some((found.key, Arc::clone(&found.waker)))
    }
}

#[derive(Debug)]
struct Entry {
    key: u64,
    interest: PollEvents,
    exclusive: bool,
    waker: Arc<dyn Wake>,
}

/// Names one registration in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitKey(u64);

/// Errors and hang-ups are told to everybody.
const ALWAYS: PollEvents = PollEvents::POLLERR.union(PollEvents::POLLHUP);

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// A queue in which nobody waits.
    pub fn new() -> Self {
        Self { count: AtomicUsize::new(0), entries: Mutex::new(LockClass::WaitQueue, Entries::default()) }
    }

    /// Adds a waiter for `interest`, errors and hang-ups.
    pub fn register(&self, waker: Arc<dyn Wake>, interest: PollEvents) -> WaitKey {
        self.add(waker, interest, false)
    }

    /// Adds a waiter of which one notification wakes only the first (`EPOLLEXCLUSIVE`, `accept`).
    pub fn register_exclusive(&self, waker: Arc<dyn Wake>, interest: PollEvents) -> WaitKey {
        self.add(waker, interest, true)
    }

    fn add(&self, waker: Arc<dyn Wake>, interest: PollEvents, exclusive: bool) -> WaitKey {
        let mut entries = self.entries.lock();
        let key = entries.next_key;
        entries.next_key += 1;
        entries.list.push(Entry { key, interest: interest | ALWAYS, exclusive, waker });
        self.count.store(entries.list.len(), Ordering::SeqCst);
        WaitKey(key)
    }

    /// Removes a waiter; removing it twice is harmless.
    pub fn unregister(&self, key: WaitKey) {
        let mut entries = self.entries.lock();
        entries.list.retain(|entry| entry.key != key.0);
        self.count.store(entries.list.len(), Ordering::SeqCst);
    }

    /// Tells everybody who is interested in any of `events`, and the first of those who wait exclusively that sees to them.
    pub fn notify(&self, events: PollEvents) {
        // Pairs with the store in `add`: whoever registered before our change became visible is seen here, and whoever
        // registers later sees the change when it tries.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (wakers, mut exclusive) = {
            let entries = self.entries.lock();
            let interested = entries.list.iter().filter(|entry| entry.interest.intersects(events));
            let all = interested.filter(|entry| !entry.exclusive).map(|entry| Arc::clone(&entry.waker));
            (all.collect::<SmallVec<[Arc<dyn Wake>; 8]>>(), entries.exclusive_from(0, events))
        };
        for waker in wakers {
            waker.wake(events);
        }
        while let Some((key, waker)) = exclusive {
            if waker.wake_exclusively(events) {
                return;
            }
            exclusive = self.entries.lock().exclusive_from(key + 1, events);
        }
    }

    /// Whether anybody waits.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}
