//! Profiles: what the tasks of a sandbox spent their time on, for performance work.
//!
//! A [`Profiler`] is given to the kernel; each task then keeps its own record, without locks, and hands it in when it ends. The
//! record counts every system call, page fault and run of guest code in histograms, and keeps each with its time as a [`Span`], until the profiler's
//! bound is reached; what is not kept is counted. Times are of the clock on the wall: a call that waits takes as long as it waits.
//!
//! Locks: `records` is a leaf.

mod histogram;
mod report;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bartizan_abi::Sysno;
use bartizan_platform::Exit;

use super::Task;
use crate::sync::{LockClass, Mutex};
use histogram::Histogram;

/// How many spans are kept at most, of 24 bytes each.
const MOST_SPANS: usize = 4 << 20;
/// How many of them a task takes at a time.
const PORTION: usize = 4096;

/// Collects the profile of one sandbox. Clones are the same profiler.
#[derive(Clone)]
pub struct Profiler {
    shared: Arc<Shared>,
}

struct Shared {
    start: Instant,
    /// How many spans may still be kept.
    room: AtomicUsize,
    /// Of tasks that have ended.
    records: Mutex<Vec<Record>>,
}

impl fmt::Debug for Profiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Profiler").finish_non_exhaustive()
    }
}

impl Default for Profiler {
    fn default() -> Self {
        Self::new()
    }
}

/// What a task did for some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Activity {
    /// It ran guest code.
    Guest,
    /// It made the system call with this number.
    Call(u32),
    /// It brought a page in.
    Fault,
    /// It handled another exception of the guest.
    Trap,
    /// It had been interrupted.
    Interrupt,
}

impl fmt::Display for Activity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => formatter.write_str("(guest code)"),
            Self::Fault => formatter.write_str("(page fault)"),
            Self::Trap => formatter.write_str("(exception)"),
            Self::Interrupt => formatter.write_str("(interrupt)"),
            Self::Call(number) => match Sysno::from_raw(u64::from(*number)) {
                Some(call) => formatter.write_str(call.name()),
                None => write!(formatter, "syscall_{number:#x}"),
            },
        }
    }
}

/// One thing that a task did; times in nanoseconds from the profiler's start.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    length: u64,
    activity: Activity,
}

/// What one task did.
#[derive(Debug)]
struct Record {
    pid: i32,
    tid: i32,
    name: Vec<u8>,
    spans: Vec<Span>,
    /// How many spans are not there.
    dropped: u64,
    counts: BTreeMap<Activity, Histogram>,
}

impl Profiler {
    /// One that has seen nothing.
    pub fn new() -> Self {
        let records = Mutex::new(LockClass::Table, Vec::new());
        Self {
            shared: Arc::new(Shared { start: Instant::now(), room: AtomicUsize::new(MOST_SPANS), records }),
        }
    }

    /// The record of a task that begins.
    pub(super) fn begin(&self, task: &Arc<Task>) -> TaskProfile {
        let record = Record {
            pid: task.pid(),
            tid: task.tid(),
            name: Vec::new(),
            spans: Vec::new(),
            dropped: 0,
            counts: BTreeMap::new(),
        };
        TaskProfile { profiler: self.clone(), task: Arc::clone(task), record, room: 0 }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Takes room for some more spans; how many.
    fn take_room(&self) -> usize {
        let take = |room: usize| room.checked_sub(PORTION);
        let taken = self.shared.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        if taken.is_ok() { PORTION } else { 0 }
    }
}

/// The record of a task that runs. Dropped, it is handed in.
#[derive(Debug)]
pub(super) struct TaskProfile {
    profiler: Profiler,
    task: Arc<Task>,
    record: Record,
    /// How many spans may be added before the profiler is asked.
    room: usize,
}

impl TaskProfile {
    /// Now, in nanoseconds.
    pub fn now(&self) -> u64 {
        self.profiler.now()
    }

    /// Notes that guest code ran from `start` to `left`, and that what it left for, call `number` if it was one, took until now.
    pub fn note(&mut self, start: u64, left: u64, exit: Exit, number: u64) {
        self.add(Activity::Guest, start, left);
        let activity = match exit {
            Exit::Syscall => Activity::Call(u32::try_from(number).unwrap_or(u32::MAX)),
            Exit::Fault(_) => Activity::Fault,
            Exit::Trap(_) => Activity::Trap,
            Exit::Interrupted => Activity::Interrupt,
        };
        self.add(activity, left, self.now());
    }

    fn add(&mut self, activity: Activity, start: u64, end: u64) {
        let length = end.saturating_sub(start);
        self.record.counts.entry(activity).or_default().add(length);
        if self.room == 0 {
            self.room = self.profiler.take_room();
        }
        if self.room == 0 {
            self.record.dropped += 1;
            return;
        }
        self.room -= 1;
        self.record.spans.push(Span { start, length, activity });
    }
}

impl Drop for TaskProfile {
    fn drop(&mut self) {
        self.profiler.shared.room.fetch_add(self.room, Ordering::Relaxed);
        let record = Record {
            name: self.task.name(),
            spans: std::mem::take(&mut self.record.spans),
            counts: std::mem::take(&mut self.record.counts),
            ..self.record
        };
        self.profiler.shared.records.lock().push(record);
    }
}
