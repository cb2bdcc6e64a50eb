//! Making a context leave guest code, without losing an interrupt.
//!
//! Locks: `stub` is a leaf.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use super::pool::lock;
use super::stub_process::StubProcess;
use super::watchdog::Watchdog;
use crate::Interrupter;

/// What a context shares with those who interrupt it.
#[derive(Debug)]
pub struct SystrapInterrupter {
    pending: AtomicBool,
    /// Process id in the upper, thread id in the lower half; 0 while no guest code runs.
    target: AtomicU64,
    /// How many times guest code has stopped.
    stops: AtomicU64,
    /// The stub of the thread in use.
    stub: Mutex<Weak<StubProcess>>,
    watched: AtomicBool,
    watchdog: Weak<Watchdog>,
    this: Weak<Self>,
}

impl SystrapInterrupter {
    /// One that nobody has used.
    pub fn new(watchdog: &Arc<Watchdog>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            pending: AtomicBool::new(false),
            target: AtomicU64::new(0),
            stops: AtomicU64::new(0),
            stub: Mutex::default(),
            watched: AtomicBool::new(false),
            watchdog: Arc::downgrade(watchdog),
            this: Weak::clone(this),
        })
    }

    /// Tells whose thread is used from now on.
    pub fn aim_at(&self, stub: &Arc<StubProcess>) {
        *lock(&self.stub) = Arc::downgrade(stub);
    }

    /// Called before guest code runs in thread `(process, thread)`.
    pub fn enter(&self, (process, thread): (i32, i32)) {
        let target = u64::from(process.cast_unsigned()) << 32 | u64::from(thread.cast_unsigned());
        self.target.store(target, Ordering::SeqCst);
    }

    /// Called when guest code does not run any more.
    pub fn leave(&self) {
        self.target.store(0, Ordering::SeqCst);
        // Nobody else writes it.
        self.stops.store(self.stops.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether there was an interrupt, which is served herewith.
    pub fn take(&self) -> bool {
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// How many times guest code has stopped, by and by.
    pub fn stops(&self) -> u64 {
        self.stops.load(Ordering::Relaxed)
    }

    /// The thread that runs guest code now, and its process.
    pub fn thread(&self) -> Option<(i32, i32)> {
        let target = self.target.load(Ordering::SeqCst);
        let half = |value: u64| (value as u32).cast_signed();
        (target != 0).then(|| (half(target >> 32), half(target)))
    }

    /// The stub whose guest code runs although it was interrupted.
    pub fn unserved(&self) -> Option<Arc<StubProcess>> {
        if !self.pending.load(Ordering::SeqCst) {
            return None;
        }
        let (process, _) = self.thread()?;
        lock(&self.stub).upgrade().filter(|stub| stub.pid() == process)
    }

    /// Ends being watched; false if there is reason to go on.
    pub fn end_watch(&self) -> bool {
        self.watched.store(false, Ordering::SeqCst);
        // Whoever interrupted a moment ago relied on it.
        !self.pending.load(Ordering::SeqCst) || self.watched.swap(true, Ordering::SeqCst)
    }

    /// Sends the running thread into its handler.
    pub fn kick(&self) {
        if let Some(thread) = self.thread() {
            super::kick(thread);
        }
    }
}

impl Interrupter for SystrapInterrupter {
    fn interrupt(&self) {
        self.pending.store(true, Ordering::SeqCst);
        if self.thread().is_none() {
            return;
        }
        self.kick();
        if !self.watched.swap(true, Ordering::SeqCst)
            && let Some(watchdog) = self.watchdog.upgrade()
        {
            let watching = watchdog.watch(Weak::clone(&self.this));
            // Without a thread now, the next interrupt tries again.
            self.watched.store(watching.is_ok(), Ordering::SeqCst);
        }
    }
}
