//! What ends guests that cannot be interrupted.
//!
//! A guest can make its thread return from the stub's signal handler with a frame of its own making, in which all signals are blocked;
//! no kick reaches it any more, and nothing of its own process can end it if it makes no call. So interrupts of running guests are watched: one that is not
//! served while its thread blocks the kick and uses processor time belongs to such a guest, whose process is ended. The thread of the watchdog
//! starts at the first such interrupt, and sleeps while there is none to be watched.
//!
//! Locks: `thread` is a leaf.

use std::fs;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::interrupter::SystrapInterrupter;
use super::pool::lock;
use super::stub::KICK;

/// How often interrupts are looked at.
const TICK: Duration = Duration::from_millis(200);
/// After how many looks at nothing a context is not watched any more.
const QUIET_LOOKS: u32 = 5;
/// How much processor time a thread may use with the kick blocked: the handler uses a microsecond.
const MOST_BLOCKED: Duration = Duration::from_millis(300);

/// See the module.
#[derive(Debug, Default)]
pub struct Watchdog {
    thread: Mutex<Option<Thread>>,
}

#[derive(Debug)]
struct Thread {
    /// Dropped to let the thread end.
    watched: Sender<Weak<SystrapInterrupter>>,
    handle: JoinHandle<()>,
}

impl Watchdog {
    /// Watches the interrupts of a context until there are none any more.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn watch(&self, interrupter: Weak<SystrapInterrupter>) -> std::io::Result<()> {
        let mut thread = lock(&self.thread);
        if let Some(thread) = &*thread {
            let _ended = thread.watched.send(interrupter);
            return Ok(());
        }
        let (watched, watching) = mpsc::channel();
        let handle = std::thread::Builder::new()
            .name("bartizan-watch".to_owned())
            .stack_size(64 << 10)
            .spawn(move || watch(&watching))?;
        let _ended = watched.send(interrupter);
        *thread = Some(Thread { watched, handle });
        Ok(())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(Thread { watched, handle }) = lock(&self.thread).take() {
            drop(watched);
            // One that panicked has nothing left to clean up.
            let _panicked = handle.join();
        }
    }
}

/// A context whose interrupts are watched.
struct Watched {
    interrupter: Weak<SystrapInterrupter>,
    /// How many times guest code had stopped at the last look.
    stops: u64,
    /// Processor time of the thread when it was first seen to block the kick.
    blocked_since: Option<Duration>,
    quiet: u32,
}

/// The thread's life.
fn watch(watching: &Receiver<Weak<SystrapInterrupter>>) {
    let mut all: Vec<Watched> = Vec::new();
    let mut next_look = Instant::now();
    loop {
        let message = if all.is_empty() {
            watching.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            watching.recv_timeout(next_look.saturating_duration_since(Instant::now()))
        };
        match message {
            Ok(interrupter) => {
                if all.is_empty() {
                    next_look = Instant::now() + TICK;
                }
                all.push(Watched { interrupter, stops: 0, blocked_since: None, quiet: 0 });
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                all.retain_mut(Watched::look);
                next_look = Instant::now() + TICK;
            }
        }
    }
}

impl Watched {
    /// Looks whether an interrupt is not served. False if there is no need to look again.
    fn look(&mut self) -> bool {
        let Some(interrupter) = self.interrupter.upgrade() else { return false };
        let stops = interrupter.stops();
        let unserved = interrupter.unserved().filter(|_| stops == self.stops);
        self.stops = stops;
        let Some(stub) = unserved else {
            self.blocked_since = None;
            self.quiet += 1;
            return self.quiet < QUIET_LOOKS || !interrupter.end_watch();
        };
        self.quiet = 0;
        let Some(now) = interrupter.thread().and_then(|(_, thread)| time_with_kick_blocked(thread)) else {
            self.blocked_since = None;
            interrupter.kick();
            return true;
        };
        let since = *self.blocked_since.get_or_insert(now);
        if now.saturating_sub(since) > MOST_BLOCKED {
            // The thread that waits for the guest sees the end and reports it.
            let _reported = stub.broken("the guest blocked the signal that interrupts it");
        }
        true
    }
}

/// The processor time that thread `tid` has used, if it blocks the kick.
fn time_with_kick_blocked(tid: i32) -> Option<Duration> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
    let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
    let times = fs::read_to_string(format!("/proc/{tid}/schedstat")).ok()?;
    let time = times.split_whitespace().next()?.parse().ok()?;
    (mask >> (KICK - 1) & 1 != 0).then_some(Duration::from_nanos(time))
}
