//! Epoll instances (`epoll(7)`).
//!
//! An [`Epoll`] knows the files that it watches (`Entry`), and which of them may be ready. An entry is registered at the wait queue
//! of its file and puts itself on the ready list when the file tells it something; whoever waits asks the files on that list
//! what is really ready. A file that is closed takes its entries with it ([`Watchers`]).
//!
//! Locks: `EpollNesting` of the kernel while one instance begins to watch another; `Epoll` for the entries; `EpollReady` for the
//! ready list. Files are asked without any of them.

mod nesting;
mod ready;
mod watchers;

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bartizan_abi::{Errno, PollEvents};

use super::{WaitKey, WaitQueue, Wake};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{File, FileOps};

pub use nesting::EpollNesting;
pub use ready::EpollReport;
use ready::ReadyList;
pub use watchers::Watchers;

/// What an instance watches for, and what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollInterest {
    /// Events and options.
    pub events: PollEvents,
    /// What the guest gets back with a report.
    pub data: u64,
}

/// A descriptor number with the file that it referred to when it was added. The address is valid as long as an entry holds a
/// [`Weak`] to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EntryKey {
    fd: i32,
    file: usize,
}

impl EntryKey {
    fn new(fd: i32, file: &Arc<File>) -> Self {
        Self { fd, file: Arc::as_ptr(file).addr() }
    }
}

/// One file that is watched.
#[derive(Debug)]
struct Entry {
    this: Weak<Self>,
    key: EntryKey,
    file: Weak<File>,
    epoll: Weak<Inner>,
    /// [`PollEvents`] that are watched for; none after a report with `EPOLLONESHOT`.
    interest: AtomicU32,
    options: PollEvents,
    data: u64,
    /// Whether it is on the ready list.
    listed: AtomicBool,
    /// Whether it was removed.
    removed: AtomicBool,
}

impl Entry {
    fn interest(&self) -> PollEvents {
        PollEvents::from_bits_retain(self.interest.load(Ordering::Acquire))
    }
}

impl Wake for Entry {
    fn wake(&self, events: PollEvents) {
        let interest = self.interest();
        if interest.is_empty() || !events.intersects(interest) {
            return;
        }
        if let Some(epoll) = self.epoll.upgrade()
            && let Some(this) = self.this.upgrade()
        {
            epoll.list(&this);
        }
    }

    /// Somebody has to wait at the instance; else another instance may see to it as well.
    fn wake_exclusively(&self, events: PollEvents) -> bool {
        let interested = events.intersects(self.interest());
        let waited_for = self.epoll.upgrade().is_some_and(|epoll| !epoll.events.is_empty());
        self.wake(events);
        interested && waited_for
    }
}

/// An entry with its registration at the file's queue.
#[derive(Debug)]
struct Registered {
    entry: Arc<Entry>,
    wait: WaitKey,
}

/// An epoll instance: what a descriptor of `epoll_create(2)` refers to.
#[derive(Debug)]
pub struct Epoll(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    entries: Mutex<HashMap<EntryKey, Registered>>,
    ready: ReadyList,
    /// Those who wait for reports, and instances that watch this one.
    events: WaitQueue,
    /// The file of this instance, once it watches another instance.
    own_file: OnceLock<Weak<File>>,
}

impl Default for Epoll {
    fn default() -> Self {
        Self(Arc::new(Inner {
            entries: Mutex::new(LockClass::Epoll, HashMap::new()),
            ready: ReadyList::default(),
            events: WaitQueue::new(),
            own_file: OnceLock::new(),
        }))
    }
}

impl Epoll {
    /// Begins to watch `file`, known by the number `fd`. What concerns files that are epoll instances themselves has to be checked with
    /// [`EpollNesting`] before.
    ///
    /// # Errors
    /// `EEXIST` if it is watched already, `EPERM` if it is always ready, `EINVAL` for options that do not go together.
    pub fn add(&self, fd: i32, file: &Arc<File>, interest: EpollInterest) -> Result<(), Errno> {
        let queue = file.ops().wait_queue().ok_or(Errno::EPERM)?;
        let exclusive = interest.events.contains(PollEvents::EPOLLEXCLUSIVE);
        if exclusive && !allows_exclusive(file, interest.events) {
            return Err(Errno::EINVAL);
        }
        let key = EntryKey::new(fd, file);
        let entry = {
            let mut entries = self.0.entries.lock();
            if entries.contains_key(&key) {
                return Err(Errno::EEXIST);
            }
            let entry = self.0.entry(key, file, interest);
            let wait = register(queue, &entry);
            entries.insert(key, Registered { entry: Arc::clone(&entry), wait });
            entry
        };
        file.watchers().add(&self.0);
        self.0.check(&entry, file);
        Ok(())
    }

    /// Changes what is watched for.
    ///
    /// # Errors
    /// `ENOENT` if it is not watched, `EINVAL` for `EPOLLEXCLUSIVE`, before or after.
    pub fn modify(&self, fd: i32, file: &Arc<File>, interest: EpollInterest) -> Result<(), Errno> {
        if interest.events.contains(PollEvents::EPOLLEXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        let queue = file.ops().wait_queue().ok_or(Errno::EPERM)?;
        let key = EntryKey::new(fd, file);
        let entry = {
            let mut entries = self.0.entries.lock();
            let old = entries.get(&key).ok_or(Errno::ENOENT)?;
            if old.entry.options.contains(PollEvents::EPOLLEXCLUSIVE) {
                return Err(Errno::EINVAL);
            }
            old.entry.removed.store(true, Ordering::Release);
            queue.unregister(old.wait);
            self.0.ready.remove(key);
            let entry = self.0.entry(key, file, interest);
            let wait = register(queue, &entry);
            entries.insert(key, Registered { entry: Arc::clone(&entry), wait });
            entry
        };
        self.0.check(&entry, file);
        Ok(())
    }

    /// The file that is watched by the number `fd`; of several, the one with this `index`.
    pub fn watched(&self, fd: i32, index: usize) -> Option<Arc<File>> {
        let entries = self.0.entries.lock();
        let found = entries.iter().filter(|(key, _)| key.fd == fd);
        found.filter_map(|(_, registered)| registered.entry.file.upgrade()).nth(index)
    }

    /// Ends watching.
    ///
    /// # Errors
    /// `ENOENT` if it is not watched.
    pub fn remove(&self, fd: i32, file: &Arc<File>) -> Result<(), Errno> {
        let key = EntryKey::new(fd, file);
        let Some(registered) = self.0.entries.lock().remove(&key) else { return Err(Errno::ENOENT) };
        self.0.forget(&registered, file);
        let still_watched = self.0.entries.lock().keys().any(|other| other.file == key.file);
        if !still_watched {
            file.watchers().remove(&self.0);
        }
        Ok(())
    }

    /// What is ready, up to `most` reports.
    pub fn collect(&self, most: usize) -> Vec<EpollReport> {
        self.0.collect(most)
    }

    /// Told when something may have become ready.
    pub fn events(&self) -> &WaitQueue {
        &self.0.events
    }

    /// Whether something on the ready list may be ready.
    pub fn may_be_ready(&self) -> bool {
        !self.0.ready.is_empty()
    }
}

/// Registers an entry at the queue of its file.
fn register(queue: &WaitQueue, entry: &Arc<Entry>) -> WaitKey {
    let waker = Arc::clone(entry) as Arc<dyn Wake>;
    match entry.options.contains(PollEvents::EPOLLEXCLUSIVE) {
        true => queue.register_exclusive(waker, entry.interest()),
        false => queue.register(waker, entry.interest()),
    }
}

/// Whether `EPOLLEXCLUSIVE` may stand with these events (`epoll_ctl(2)`).
fn allows_exclusive(file: &File, events: PollEvents) -> bool {
    let allowed = PollEvents::POLLIN
        | PollEvents::POLLOUT
        | PollEvents::ALWAYS
        | PollEvents::EPOLLWAKEUP
        | PollEvents::EPOLLET
        | PollEvents::EPOLLEXCLUSIVE;
    allowed.contains(events) && file.downcast::<Epoll>().is_none()
}

impl Inner {
    fn entry(self: &Arc<Self>, key: EntryKey, file: &Arc<File>, interest: EpollInterest) -> Arc<Entry> {
        let options = interest.events & PollEvents::EPOLL_OPTIONS;
        let events = interest.events.difference(PollEvents::EPOLL_OPTIONS) | PollEvents::ALWAYS;
        Arc::new_cyclic(|this| Entry {
            this: this.clone(),
            key,
            file: Arc::downgrade(file),
            epoll: Arc::downgrade(self),
            interest: AtomicU32::new(events.bits()),
            options,
            data: interest.data,
            listed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        })
    }

    /// Puts an entry that is ready from the start on the list.
    fn check(&self, entry: &Arc<Entry>, file: &Arc<File>) {
        let ready = file.ops().poll(file);
        if ready.intersects(entry.interest()) {
            self.list(entry);
        }
    }

    /// Puts an entry on the ready list, and tells.
    fn list(&self, entry: &Arc<Entry>) {
        self.ready.push(entry);
        self.events.notify(PollEvents::READABLE);
    }

    /// Undoes the registration of an entry that was taken out of the map.
    fn forget(&self, registered: &Registered, file: &File) {
        registered.entry.removed.store(true, Ordering::Release);
        if let Some(queue) = file.ops().wait_queue() {
            queue.unregister(registered.wait);
        }
        self.ready.remove(registered.entry.key);
    }

    /// `file` is being closed.
    fn file_closed(&self, file: &File) {
        let address = std::ptr::from_ref(file).addr();
        let gone: Vec<Registered> = {
            let mut entries = self.entries.lock();
            entries.extract_if(|key, _| key.file == address).map(|(_, registered)| registered).collect()
        };
        for registered in &gone {
            self.forget(registered, file);
        }
    }
}

impl FileOps for Epoll {
    fn seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> PollEvents {
        if self.0.has_ready() { PollEvents::READABLE } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    fn release(&self) {
        let entries = std::mem::take(&mut *self.0.entries.lock());
        for registered in entries.values() {
            if let Some(file) = registered.entry.file.upgrade() {
                self.0.forget(registered, &file);
                file.watchers().remove(&self.0);
            }
        }
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (key, registered) in &*self.0.entries.lock() {
            let entry = &registered.entry;
            let events = (entry.interest() | entry.options).bits();
            let _infallible =
                writeln!(text, "tfd: {:8} events: {events:8x} data: {:16x} ", key.fd, entry.data);
        }
        text
    }
}
