//! Putting one task's thread to sleep and waking it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use bartizan_abi::PollEvents;

use super::Wake;

/// Where the thread of one task sleeps. Any number of wake-ups before a sleep make that one sleep end at once.
#[derive(Debug, Default)]
pub struct Parker {
    thread: OnceLock<Thread>,
    woken: AtomicBool,
}

impl Parker {
    /// A parker that no thread uses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes this the calling thread's parker. To be called once, by the thread that will sleep.
    pub fn adopt(&self) {
        let _already = self.thread.set(std::thread::current());
    }

    /// Sleeps until somebody calls [`unpark`](Self::unpark), or until `deadline`; returns whether it was woken.
    pub fn park(&self, deadline: Option<Instant>) -> bool {
        crate::sync::assert_none_held("sleeping");
        loop {
            if self.woken.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline {
                None => std::thread::park(),
                Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                    None | Some(Duration::ZERO) => return false,
                    Some(rest) => std::thread::park_timeout(rest),
                },
            }
        }
    }

    /// Ends the current sleep, or the next one.
    pub fn unpark(&self) {
        if !self.woken.swap(true, Ordering::Release)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Wake for Parker {
    fn wake(&self, _events: PollEvents) {
        self.unpark();
    }
}
