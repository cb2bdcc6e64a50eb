//! How much processor time a task has used.
//!
//! The host does not tell what a thread of another process has used, so the sentry keeps the time that a task is in guest code and in the kernel and not
//! asleep. It includes what the host gave to others meanwhile.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Instant;

/// What a task's time counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Nothing: it waits.
    Idle,
    /// User time.
    User,
    /// System time.
    System,
}

/// Processor time of one task. Its own thread changes it, any may read it.
#[derive(Debug)]
pub struct CpuUsage {
    start: Instant,
    user: AtomicU64,
    system: AtomicU64,
    /// How often it has begun to wait.
    switches: AtomicU64,
    /// What it had used, user and system time, when it last began to wait or was told to count anew.
    stretch: AtomicU64,
    /// What it does, and since when, in nanoseconds from `start`.
    mode: AtomicU8,
    since: AtomicU64,
}

impl CpuUsage {
    /// No time yet, in the kernel.
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            user: AtomicU64::new(0),
            system: AtomicU64::new(0),
            switches: AtomicU64::new(0),
            stretch: AtomicU64::new(0),
            mode: AtomicU8::new(Mode::Idle as u8),
            since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes that the task does something else from now on.
    pub fn enter(&self, mode: Mode) {
        let now = self.now();
        let elapsed = now.saturating_sub(self.since.load(Ordering::Relaxed));
        if let Some(counter) = self.counter(self.mode.load(Ordering::Relaxed)) {
            // Only this thread writes, so that no read-modify-write is needed.
            counter.store(counter.load(Ordering::Relaxed) + elapsed, Ordering::Relaxed);
        }
        if mode == Mode::Idle {
            self.switches.store(self.switches.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            let used = self.user.load(Ordering::Relaxed) + self.system.load(Ordering::Relaxed);
            self.stretch.store(used, Ordering::Relaxed);
        }
        self.since.store(now, Ordering::Relaxed);
        // Pairs with `guest_entry`: who sees that guest code was left sees what it did.
        self.mode.store(mode as u8, Ordering::Release);
    }

    fn counter(&self, mode: u8) -> Option<&AtomicU64> {
        match mode {
            mode if mode == Mode::User as u8 => Some(&self.user),
            mode if mode == Mode::System as u8 => Some(&self.system),
            _ => None,
        }
    }

    /// Since when the task has been in guest code, as a number that differs from one stay to the next; `None` if it is not.
    pub fn guest_entry(&self) -> Option<u64> {
        let in_guest = self.mode.load(Ordering::Acquire) == Mode::User as u8;
        in_guest.then(|| self.since.load(Ordering::Relaxed))
    }

    /// How often it has given up the processor to wait. How often the host took it away is not known.
    pub fn switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Counts what [`stretch`](Self::stretch) tells from now on.
    pub fn begin_stretch(&self) {
        let (user, system) = self.times();
        self.stretch.store(user.saturating_add(system), Ordering::Relaxed);
    }

    /// User and system time since the task last began to wait, nanoseconds.
    pub fn stretch(&self) -> u64 {
        let (user, system) = self.times();
        user.saturating_add(system).saturating_sub(self.stretch.load(Ordering::Relaxed))
    }

    /// User and system time so far, nanoseconds.
    pub fn times(&self) -> (u64, u64) {
        let (mut user, mut system) = (self.user.load(Ordering::Relaxed), self.system.load(Ordering::Relaxed));
        let elapsed = self.now().saturating_sub(self.since.load(Ordering::Relaxed));
        match self.mode.load(Ordering::Relaxed) {
            mode if mode == Mode::User as u8 => user += elapsed,
            mode if mode == Mode::System as u8 => system += elapsed,
            _ => {}
        }
        (user, system)
    }
}

impl Default for CpuUsage {
    fn default() -> Self {
        Self::new()
    }
}
