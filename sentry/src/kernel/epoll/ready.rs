//! Which entries may be ready, and what of them is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bartizan_abi::PollEvents;

use super::{Entry, EntryKey, Inner};
use crate::sync::{LockClass, Mutex};

/// What one file is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollReport {
    /// Events.
    pub events: PollEvents,
    /// What the guest wanted to have with it.
    pub data: u64,
}

/// The entries that may be ready, in the order of their becoming so; each at most once. Lock: class `EpollReady`.
#[derive(Debug)]
pub(super) struct ReadyList(Mutex<VecDeque<Arc<Entry>>>);

impl Default for ReadyList {
    fn default() -> Self {
        Self(Mutex::new(LockClass::EpollReady, VecDeque::new()))
    }
}

impl ReadyList {
    pub(super) fn push(&self, entry: &Arc<Entry>) {
        let mut list = self.0.lock();
        if !entry.removed.load(Ordering::Acquire) && !entry.listed.swap(true, Ordering::AcqRel) {
            list.push_back(Arc::clone(entry));
        }
    }

    fn pop(&self) -> Option<Arc<Entry>> {
        let entry = self.0.lock().pop_front()?;
        entry.listed.store(false, Ordering::Release);
        Some(entry)
    }

    pub(super) fn remove(&self, key: EntryKey) {
        let mut list = self.0.lock();
        if let Some(position) = list.iter().position(|entry| entry.key == key)
            && let Some(entry) = list.remove(position)
        {
            entry.listed.store(false, Ordering::Release);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn len(&self) -> usize {
        self.0.lock().len()
    }

    fn snapshot(&self) -> Vec<Arc<Entry>> {
        self.0.lock().iter().cloned().collect()
    }
}

impl Entry {
    /// What it is ready for.
    fn ready(&self) -> PollEvents {
        let interest = self.interest();
        if interest.is_empty() || self.removed.load(Ordering::Acquire) {
            return PollEvents::empty();
        }
        self.file.upgrade().map_or(PollEvents::empty(), |file| file.ops().poll(&file) & interest)
    }
}

impl Inner {
    /// See [`Epoll::collect`](super::Epoll::collect).
    pub(super) fn collect(&self, most: usize) -> Vec<EpollReport> {
        let mut reports = Vec::new();
        let mut again = Vec::new();
        // Those that come back meanwhile are left for the next time.
        let mut left = self.ready.len();
        while left > 0
            && reports.len() < most
            && let Some(entry) = self.ready.pop()
        {
            left -= 1;
            let events = entry.ready();
            if events.is_empty() {
                continue;
            }
            reports.push(EpollReport { events, data: entry.data });
            if entry.options.contains(PollEvents::EPOLLONESHOT) {
                entry.interest.store(0, Ordering::Release);
            } else if !entry.options.contains(PollEvents::EPOLLET) {
                again.push(entry);
            }
        }
        for entry in &again {
            self.ready.push(entry);
        }
        if !self.ready.is_empty() {
            // Somebody else may be waiting for what is left.
            self.events.notify(PollEvents::READABLE);
        }
        reports
    }

    /// Whether one of the entries on the list is ready.
    pub(super) fn has_ready(&self) -> bool {
        self.ready.snapshot().iter().any(|entry| !entry.ready().is_empty())
    }
}
