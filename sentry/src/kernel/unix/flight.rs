//! Files that are under way in messages (`SCM_RIGHTS`), and sockets among them that nobody can reach any more.
//!
//! A socket that is under way in its own messages, or in those of others that are under way, keeps itself alive. When a socket
//! is closed while others are under way, [`Flights::collect`] looks for such: those to which all references are in messages
//! that wait at others of their kind. Their messages are dropped, and they go.
//!
//! Files of messages are closed one after the other by whoever is first, however deeply they are nested in each other, so that
//! no stack is long enough for a guest to overflow. Locks: class `Table` for the books, never while files or sockets are looked at.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::{UnixFile, UnixSocket};
use crate::sync::{LockClass, Mutex};
use crate::vfs::File;

/// With so many sockets under way, one in as many closed sockets lets all be looked at; with fewer, each does.
const LOOKS: usize = 64;
/// How often a collection that others disturb is tried again.
const ATTEMPTS: usize = 4;

/// Files that accompany a message. They are under way until they are taken or dropped.
#[derive(Debug, Default)]
pub struct Passengers(Option<Box<Booking>>);

/// Files, and where they are booked.
#[derive(Debug)]
struct Booking {
    files: Vec<Arc<File>>,
    flights: Arc<Flights>,
    /// The user who has sent them.
    uid: u32,
}

impl Passengers {
    /// Books `files`, which user `uid` sends.
    pub fn new(flights: &Arc<Flights>, uid: u32, files: Vec<Arc<File>>) -> Self {
        if files.is_empty() {
            return Self::default();
        }
        flights.depart(uid, &files);
        Self(Some(Box::new(Booking { files, flights: Arc::clone(flights), uid })))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn files(&self) -> &[Arc<File>] {
        self.0.as_ref().map_or(&[], |booking| &booking.files)
    }

    /// Adds those of another message; both are booked at the same place.
    pub(super) fn append(&mut self, mut other: Self) {
        match (&mut self.0, &mut other.0) {
            (Some(own), Some(more)) if own.uid == more.uid => own.files.append(&mut more.files),
            (None, _) => std::mem::swap(self, &mut other),
            // A stream gives files of one message at a time.
            _ => {}
        }
    }

    /// The files, for somebody who gives them descriptors.
    pub fn take(mut self) -> Vec<Arc<File>> {
        let Some(booking) = self.0.take() else { return Vec::new() };
        booking.flights.arrive(booking.uid, &booking.files);
        booking.files
    }
}

impl Clone for Passengers {
    fn clone(&self) -> Self {
        match &self.0 {
            Some(booking) => Self::new(&booking.flights, booking.uid, booking.files.clone()),
            None => Self::default(),
        }
    }
}

impl Drop for Passengers {
    fn drop(&mut self) {
        if let Some(booking) = self.0.take() {
            booking.flights.arrive(booking.uid, &booking.files);
            booking.flights.discard(booking.files);
        }
    }
}

/// The books of all files that are under way.
#[derive(Debug)]
pub struct Flights {
    books: Mutex<Books>,
    /// How many sockets are under way, so that nothing to do costs one load.
    sockets: AtomicUsize,
    /// Changes with each entry of the books.
    generation: AtomicU64,
    /// How many sockets were closed since the last collection.
    closed: AtomicUsize,
    /// How often a collection was asked for since none runs.
    requests: AtomicU32,
    discarded: Mutex<Discarded>,
}

#[derive(Debug, Default)]
struct Books {
    /// Sockets by the address of their file, and how often each is under way.
    sockets: HashMap<usize, (Weak<File>, usize)>,
    /// How many files of each user.
    users: HashMap<u32, u64>,
}

/// Files that nobody wants.
#[derive(Debug, Default)]
struct Discarded {
    files: Vec<Arc<File>>,
    /// Whether somebody closes them.
    busy: bool,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            books: Mutex::new(LockClass::Table, Books::default()),
            sockets: AtomicUsize::new(0),
            generation: AtomicU64::new(0),
            closed: AtomicUsize::new(0),
            requests: AtomicU32::new(0),
            discarded: Mutex::new(LockClass::Table, Discarded::default()),
        }
    }
}

fn address(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

fn is_socket(file: &File) -> bool {
    file.downcast::<UnixFile>().is_some()
}

impl Flights {
    /// How many files of user `uid` are under way.
    pub fn of_user(&self, uid: u32) -> u64 {
        self.books.lock().users.get(&uid).copied().unwrap_or(0)
    }

    fn depart(&self, uid: u32, files: &[Arc<File>]) {
        let mut books = self.books.lock();
        self.generation.fetch_add(1, Ordering::SeqCst);
        *books.users.entry(uid).or_default() += files.len() as u64;
        for file in files.iter().filter(|file| is_socket(file)) {
            let entry = books.sockets.entry(address(file)).or_insert_with(|| (Arc::downgrade(file), 0));
            entry.1 += 1;
        }
        self.sockets.store(books.sockets.len(), Ordering::Release);
    }

    fn arrive(&self, uid: u32, files: &[Arc<File>]) {
        let mut gone = Vec::new();
        let mut books = self.books.lock();
        self.generation.fetch_add(1, Ordering::SeqCst);
        if let Some(count) = books.users.get_mut(&uid) {
            *count = count.saturating_sub(files.len() as u64);
            if *count == 0 {
                books.users.remove(&uid);
            }
        }
        for file in files.iter().filter(|file| is_socket(file)) {
            let Some(entry) = books.sockets.get_mut(&address(file)) else { continue };
            entry.1 -= 1;
            if entry.1 == 0 {
                gone.extend(books.sockets.remove(&address(file)));
            }
        }
        self.sockets.store(books.sockets.len(), Ordering::Release);
    }

    /// Closes files. What their closing discards in turn is closed by the first caller, one after the other.
    fn discard(&self, files: Vec<Arc<File>>) {
        {
            let mut discarded = self.discarded.lock();
            discarded.files.extend(files);
            if std::mem::replace(&mut discarded.busy, true) {
                return;
            }
        }
        loop {
            let next = {
                let mut discarded = self.discarded.lock();
                let next = discarded.files.pop();
                discarded.busy = next.is_some();
                next
            };
            match next {
                Some(file) => drop(file),
                None => return,
            }
        }
    }

    /// A socket was closed: looks for those that only keep each other alive, now and then if there are many.
    pub(super) fn socket_closed(&self) {
        let sockets = self.sockets.load(Ordering::Acquire);
        if sockets > 0 && self.closed.fetch_add(1, Ordering::Relaxed) >= sockets / LOOKS {
            self.collect();
        }
    }

    /// Finds sockets that only keep each other alive, and closes them.
    pub fn collect(&self) {
        self.closed.store(0, Ordering::Relaxed);
        if self.sockets.load(Ordering::Acquire) == 0 || self.requests.fetch_add(1, Ordering::SeqCst) > 0 {
            return;
        }
        loop {
            let seen = self.requests.load(Ordering::SeqCst);
            let garbage = (0..ATTEMPTS).find_map(|_| self.garbage()).unwrap_or_default();
            for file in &garbage {
                if let Some(file) = file.downcast::<UnixFile>() {
                    drop(file.socket().take_messages());
                }
            }
            self.discard(garbage);
            if self.requests.compare_exchange(seen, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
        }
    }

    /// The sockets that nobody can reach; `None` when others changed what there is meanwhile.
    fn garbage(&self) -> Option<Vec<Arc<File>>> {
        let generation = self.generation.load(Ordering::SeqCst);
        let candidates = self.candidates();
        let reachable = reachable(&candidates);
        // A candidate that is not reachable changes hands only by way of the books.
        let undisturbed = self.generation.load(Ordering::SeqCst) == generation;
        undisturbed.then(|| {
            let unreachable = candidates.into_iter().filter(|(at, _)| !reachable.contains(at));
            unreachable.map(|(_, (file, _))| file).collect()
        })
    }

    /// Sockets to which there are no references but from messages, with the number of these.
    fn candidates(&self) -> HashMap<usize, (Arc<File>, usize)> {
        let booked: Vec<(usize, Weak<File>, usize)> = {
            let books = self.books.lock();
            books.sockets.iter().map(|(at, (file, count))| (*at, Weak::clone(file), *count)).collect()
        };
        let living = booked.into_iter().filter_map(|(at, file, count)| Some((at, (file.upgrade()?, count))));
        // One more is the look itself. The books are read first: a reference that comes later shows in the count.
        living.filter(|(_, (file, count))| Arc::strong_count(file) == count + 1).collect()
    }
}

/// Those of `candidates` that are under way to somebody who is no candidate, and what waits at them.
fn reachable(candidates: &HashMap<usize, (Arc<File>, usize)>) -> HashSet<usize> {
    let waiting: HashMap<usize, Vec<usize>> = candidates
        .iter()
        .map(|(at, (file, _))| {
            let socket = file.downcast::<UnixFile>().map(UnixFile::socket);
            let mut files = socket.map(|socket| socket.waiting_files()).unwrap_or_default();
            files.retain(|file| candidates.contains_key(file));
            (*at, files)
        })
        .collect();
    let mut from_candidates: HashMap<usize, usize> = HashMap::new();
    for file in waiting.values().flatten() {
        *from_candidates.entry(*file).or_default() += 1;
    }
    let known = |at: &usize| from_candidates.get(at).copied().unwrap_or(0);
    let mut queue: Vec<usize> =
        candidates.iter().filter(|(at, (_, count))| *count > known(at)).map(|(at, _)| *at).collect();
    let mut reachable: HashSet<usize> = queue.iter().copied().collect();
    while let Some(at) = queue.pop() {
        for file in waiting.get(&at).into_iter().flatten() {
            if reachable.insert(*file) {
                queue.push(*file);
            }
        }
    }
    reachable
}

impl UnixSocket {
    /// The sockets' inboxes that belong to it: its own, and those of connections that nobody has accepted.
    fn inboxes(&self) -> Vec<Arc<super::inbox::Inbox>> {
        let state = self.state.lock();
        let mut inboxes = vec![Arc::clone(&self.inbox)];
        if let super::Phase::Listening { waiting, .. } = &state.phase {
            inboxes.extend(waiting.iter().map(|socket| Arc::clone(&socket.inbox)));
        }
        inboxes
    }

    /// The addresses of the files in messages that wait to be received from it.
    fn waiting_files(&self) -> Vec<usize> {
        let mut files = Vec::new();
        for inbox in self.inboxes() {
            let state = inbox.lock();
            let passengers = state.messages.iter().map(|message| &message.ancillary.files);
            files.extend(passengers.flat_map(|passengers| passengers.files()).map(address));
        }
        files
    }

    /// Takes all messages away that wait to be received from it.
    fn take_messages(&self) -> Vec<super::Message> {
        let mut messages = Vec::new();
        for inbox in self.inboxes() {
            let mut state = inbox.lock();
            messages.extend(std::iter::from_fn(|| state.pop()));
        }
        messages
    }
}
