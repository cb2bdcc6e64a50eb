//! Timers: one thread for each kernel, started at the first timer, which sleeps until the next is due and costs nothing
//! while none is.
//!
//! Locks: class `Alarm` for the state of one timer, then class `Timers` for the queue. Timers are told without either.

mod alarm;
mod cpu;
mod descriptor;
mod limit;
mod posix;
mod process;
mod real_time;
mod schedule;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use bartizan_abi::Errno;

use super::Parker;
use crate::sync::{LockClass, Mutex};

pub use alarm::{Alarm, Ring};
pub use cpu::CpuClock;
pub use descriptor::Timerfd;
pub use posix::{PosixClock, PosixNotice, PosixReport, PosixTimer};
pub use process::ProcessTimers;
pub use real_time::RealTimeLimit;
pub use schedule::{Schedule, TimerSetting};

/// Bytes of stack of the timer thread.
const STACK_SIZE: usize = 256 << 10;

/// Something that happens at an instant.
pub trait Expire: Send + Sync + Debug {
    /// The instant has come. Called on the timer thread, without locks; must not wait.
    fn expire(&self);
}

/// Names one entry of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    when: Instant,
    number: u64,
}

/// The timers of one kernel; copies share them. Its thread ends with the last copy.
#[derive(Debug, Clone)]
pub struct Timers(Arc<Owner>);

/// Ends the thread when it is dropped. The thread itself holds [`Shared`] alone.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    parker: Parker,
}

#[derive(Debug, Default)]
struct Queue {
    entries: BTreeMap<TimerKey, Weak<dyn Expire>>,
    next_number: u64,
    stopped: bool,
}

impl Default for Timers {
    fn default() -> Self {
        Self(Arc::new(Owner {
            shared: Arc::new(Shared {
                queue: Mutex::new(LockClass::Timers, Queue::default()),
                parker: Parker::new(),
            }),
            thread: Mutex::new(LockClass::Timers, None),
        }))
    }
}

impl Timers {
    /// Has `target` told when `when` has come. The entry goes when that has been done, or when it is cancelled.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn schedule(&self, when: Instant, target: Weak<dyn Expire>) -> Result<TimerKey, Errno> {
        self.0.start()?;
        let (key, is_first) = {
            let mut queue = self.0.shared.queue.lock();
            let key = TimerKey { when, number: queue.next_number };
            queue.next_number += 1;
            let is_first = queue.entries.first_key_value().is_none_or(|(first, _)| key < *first);
            queue.entries.insert(key, target);
            (key, is_first)
        };
        if is_first {
            self.0.shared.parker.unpark();
        }
        Ok(key)
    }

    /// Takes an entry out, if it is still there.
    pub fn cancel(&self, key: TimerKey) {
        let target = self.0.shared.queue.lock().entries.remove(&key);
        drop(target);
    }
}

impl Owner {
    fn start(&self) -> Result<(), Errno> {
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let builder = std::thread::Builder::new().name("bartizan-timer".into()).stack_size(STACK_SIZE);
            *thread = Some(builder.spawn(move || shared.run()).map_err(|_| Errno::EAGAIN)?);
        }
        Ok(())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue.lock().stopped = true;
        self.shared.parker.unpark();
        // What a timer tells may have dropped the last reference to the kernel: then this is the thread itself.
        if let Some(thread) = self.thread.get_mut().take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        self.parker.adopt();
        loop {
            let (due, next) = {
                let mut queue = self.queue.lock();
                if queue.stopped {
                    return;
                }
                (queue.take_due(Instant::now()), queue.entries.keys().next().map(|key| key.when))
            };
            if due.is_empty() {
                self.parker.park(next);
            }
            for target in due.iter().filter_map(Weak::upgrade) {
                target.expire();
            }
        }
    }
}

impl Queue {
    fn take_due(&mut self, now: Instant) -> Vec<Weak<dyn Expire>> {
        let mut due = Vec::new();
        while let Some(entry) = self.entries.first_entry()
            && entry.key().when <= now
        {
            due.push(entry.remove());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use super::*;

    #[derive(Debug)]
    struct Tell(Sender<u32>, u32);

    impl Expire for Tell {
        fn expire(&self) {
            let _gone = self.0.send(self.1);
        }
    }

    #[test]
    fn timers_expire_in_order_and_cancelled_ones_do_not() {
        let timers = Timers::default();
        let (sender, receiver) = channel();
        let now = Instant::now();
        let targets: Vec<Arc<dyn Expire>> =
            (0..4).map(|number| Arc::new(Tell(sender.clone(), number)) as Arc<dyn Expire>).collect();
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        let schedule =
            |number: usize, when| timers.schedule(when, Arc::downgrade(&targets[number])).expect("a thread");
        schedule(0, at(30));
        schedule(1, at(10));
        let cancelled = schedule(2, at(20));
        schedule(3, at(10));
        timers.cancel(cancelled);
        let seen: Vec<u32> = receiver.iter().take(3).collect();
        assert_eq!(seen, [1, 3, 0]);
        assert!(Instant::now() >= at(30));
    }

    #[test]
    fn dropping_ends_the_thread() {
        let timers = Timers::default();
        let (sender, _receiver) = channel();
        let target: Arc<dyn Expire> = Arc::new(Tell(sender, 0));
        timers
            .schedule(Instant::now() + Duration::from_secs(1000), Arc::downgrade(&target))
            .expect("a thread");
        let shared = Arc::clone(&timers.0.shared);
        drop(timers);
        assert_eq!(Arc::strong_count(&shared), 1);
    }
}
