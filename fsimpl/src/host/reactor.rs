//! Waiting for host descriptors without a thread for each: one thread with an epoll instance.
//!
//! The thread starts when somebody first has to wait, sleeps in the host while nothing happens, and ends with the reactor. Interest is
//! for one event at a time; whoever finds that there is nothing yet asks again.
//!
//! Lock: `watched` (`Table`), a leaf; wait queues are notified without it.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use bartizan_abi::{Errno, PollEvents};
use bartizan_sentry::kernel::WaitQueue;
use bartizan_sentry::sync::{LockClass, Mutex};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::errno;

/// The key of the event that ends the thread.
const STOP: u64 = 0;
/// Events that are fetched at a time.
const BATCH: usize = 16;
/// The thread needs little.
const STACK_SIZE: usize = 128 << 10;

/// Watches host descriptors.
#[derive(Debug)]
pub struct Reactor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    stop: OwnedFd,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    last_key: u64,
    table: HashMap<u64, Watch>,
}

#[derive(Debug)]
struct Watch {
    queue: Weak<WaitQueue>,
    /// What has been asked for and has not happened yet.
    armed: PollEvents,
}

/// Names one descriptor that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchKey(u64);

impl Reactor {
    /// A reactor that watches nothing, without a thread.
    pub fn new() -> Result<Arc<Self>, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(errno)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(errno)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN).map_err(errno)?;
        let watched = Mutex::new(LockClass::Table, Watched { last_key: STOP, table: HashMap::new() });
        let shared = Arc::new(Shared { epoll, stop, watched });
        Ok(Arc::new(Self { shared, thread: Mutex::new(LockClass::Table, None) }))
    }

    /// Tells `queue` of events of `descriptor`, once they are armed. To be [removed](Self::remove) before the descriptor is closed.
    ///
    /// # Errors
    /// `EPERM` for a descriptor that is always ready.
    pub fn add(&self, descriptor: impl AsFd, queue: &Arc<WaitQueue>) -> Result<WatchKey, Errno> {
        let mut watched = self.shared.watched.lock();
        watched.last_key += 1;
        let key = watched.last_key;
        let flags = EventFlags::ONESHOT;
        let added = epoll::add(&self.shared.epoll, &descriptor, EventData::new_u64(key), flags);
        added.map_err(errno)?;
        // Errors and hang-ups are reported unasked; the first report, which nobody waits for, disarms them.
        let watch = Watch { queue: Arc::downgrade(queue), armed: PollEvents::empty() };
        watched.table.insert(key, watch);
        Ok(WatchKey(key))
    }

    /// Stops watching `descriptor`.
    pub fn remove(&self, key: WatchKey, descriptor: impl AsFd) {
        let removed = self.shared.watched.lock().table.remove(&key.0);
        // The host may have let go of it already.
        let _gone = epoll::delete(&self.shared.epoll, &descriptor);
        drop(removed);
    }

    /// Asks for the next of `events`.
    ///
    /// # Errors
    /// `EAGAIN` or `ENOMEM` if the host cannot start the thread.
    pub fn arm(&self, key: WatchKey, descriptor: impl AsFd, events: PollEvents) -> Result<(), Errno> {
        self.start()?;
        let mut watched = self.shared.watched.lock();
        let Some(watch) = watched.table.get_mut(&key.0) else { return Ok(()) };
        watch.armed |= events;
        let bits = watch.armed.bits() & 0xffff;
        let flags = EventFlags::from_bits_retain(bits) | EventFlags::ONESHOT;
        epoll::modify(&self.shared.epoll, &descriptor, EventData::new_u64(key.0), flags).map_err(errno)
    }

    fn start(&self) -> Result<(), Errno> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("bartizan-host-io".into()).stack_size(STACK_SIZE);
            *thread = Some(builder.spawn(move || shared.run())?);
        }
        Ok(())
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let Some(thread) = self.thread.get_mut().take() else { return };
        let told = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes()).is_ok();
        // The last descriptor may be dropped by the reactor itself, while it notifies.
        if told && thread.thread().id() != std::thread::current().id() {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut buffer = [MaybeUninit::<Event>::uninit(); BATCH];
        loop {
            let events = match epoll::wait(&self.epoll, &mut buffer, None) {
                Ok((events, _)) => events,
                Err(rustix::io::Errno::INTR) => continue,
                // Only a closed or foreign descriptor gives others.
                Err(_) => return,
            };
            for event in events {
                let key = event.data.u64();
                if key == STOP {
                    return;
                }
                // The structure is packed: its fields are copied.
                let flags = event.flags;
                self.notify(key, PollEvents::from_bits_truncate(flags.bits()));
            }
        }
    }

    fn notify(&self, key: u64, events: PollEvents) {
        let queue = {
            let mut watched = self.watched.lock();
            let Some(watch) = watched.table.get_mut(&key) else { return };
            watch.armed = PollEvents::empty();
            watch.queue.upgrade()
        };
        if let Some(queue) = queue {
            // Those who wait for the other half look again and arm it again.
            queue.notify(events | PollEvents::READABLE | PollEvents::WRITABLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use bartizan_sentry::kernel::Wake;

    use super::*;

    #[derive(Debug)]
    struct Told(mpsc::Sender<PollEvents>);

    impl Wake for Told {
        fn wake(&self, events: PollEvents) {
            let _hung_up = self.0.send(events);
        }
    }

    #[test]
    fn event_is_told_once_for_each_arming() {
        let reactor = Reactor::new().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let queue = Arc::new(WaitQueue::new());
        let (sender, receiver) = mpsc::channel();
        queue.register(Arc::new(Told(sender)), PollEvents::POLLIN);
        let key = reactor.add(&reader, &queue).unwrap();
        for _ in 0..2 {
            reactor.arm(key, &reader, PollEvents::POLLIN).unwrap();
            assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
            rustix::io::write(&writer, b"x").unwrap();
            assert!(receiver.recv_timeout(Duration::from_secs(10)).unwrap().contains(PollEvents::POLLIN));
            assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
            rustix::io::read(&reader, &mut [0; 10]).unwrap();
        }
        drop(writer);
        reactor.arm(key, &reader, PollEvents::POLLIN).unwrap();
        assert!(receiver.recv_timeout(Duration::from_secs(10)).unwrap().contains(PollEvents::POLLHUP));
        reactor.remove(key, &reader);
    }

    #[test]
    fn nothing_is_left_of_a_reactor() {
        let reactor = Reactor::new().unwrap();
        let (reader, _writer) = std::io::pipe().unwrap();
        let queue = Arc::new(WaitQueue::new());
        let key = reactor.add(&reader, &queue).unwrap();
        reactor.arm(key, &reader, PollEvents::POLLIN).unwrap();
        let shared = Arc::downgrade(&reactor.shared);
        reactor.remove(key, &reader);
        drop(reactor);
        assert!(shared.upgrade().is_none(), "the thread has ended");
        let file = tempfile::tempfile().unwrap();
        assert_eq!(Reactor::new().unwrap().add(&file, &queue), Err(Errno::EPERM));
    }
}
