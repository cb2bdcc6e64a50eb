//! What a sandbox counts for its operator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::{LockClass, Mutex};

/// Counters of one sandbox.
#[derive(Debug)]
pub struct Statistics {
    /// How often calls that are not implemented were made, by number.
    unimplemented: Mutex<BTreeMap<u64, u64>>,
    /// How many processes were ended because the sandbox's memory was used up.
    out_of_memory: AtomicU64,
    /// What tasks that have ended have used, in nanoseconds, and how often they have slept.
    ended_user: AtomicU64,
    ended_nice: AtomicU64,
    ended_system: AtomicU64,
    ended_switches: AtomicU64,
}

/// What tasks that have ended have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndedTasks {
    /// User time, nanoseconds.
    pub user: u64,
    /// User time of those that let others go first, which is not in `user`.
    pub nice: u64,
    /// System time, nanoseconds.
    pub system: u64,
    /// How often they have given up the processor.
    pub switches: u64,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            unimplemented: Mutex::new(LockClass::Table, BTreeMap::new()),
            out_of_memory: AtomicU64::new(0),
            ended_user: AtomicU64::new(0),
            ended_nice: AtomicU64::new(0),
            ended_system: AtomicU64::new(0),
            ended_switches: AtomicU64::new(0),
        }
    }
}

impl Statistics {
    /// Counts a process that was ended because the sandbox's memory was used up.
    pub fn count_out_of_memory(&self) {
        self.out_of_memory.fetch_add(1, Ordering::Relaxed);
    }

    /// How many processes were ended because the sandbox's memory was used up.
    pub fn out_of_memory(&self) -> u64 {
        self.out_of_memory.load(Ordering::Relaxed)
    }

    /// Adds what a task that has ended has used.
    pub fn count_ended_task(&self, used: EndedTasks) {
        self.ended_user.fetch_add(used.user, Ordering::Relaxed);
        self.ended_nice.fetch_add(used.nice, Ordering::Relaxed);
        self.ended_system.fetch_add(used.system, Ordering::Relaxed);
        self.ended_switches.fetch_add(used.switches, Ordering::Relaxed);
    }

    /// What all tasks that have ended have used.
    pub fn ended_tasks(&self) -> EndedTasks {
        EndedTasks {
            user: self.ended_user.load(Ordering::Relaxed),
            nice: self.ended_nice.load(Ordering::Relaxed),
            system: self.ended_system.load(Ordering::Relaxed),
            switches: self.ended_switches.load(Ordering::Relaxed),
        }
    }

    /// Counts a call that is not implemented. Numbers that Linux does not know either are counted as one.
    pub fn count_unimplemented(&self, number: u64) {
        let known = bartizan_abi::Sysno::from_raw(number).map_or(u64::MAX, |_| number);
        *self.unimplemented.lock().entry(known).or_insert(0) += 1;
    }

    /// The calls that were made but are not implemented, by number, with how often; `u64::MAX` stands for all unknown numbers.
    pub fn unimplemented(&self) -> BTreeMap<u64, u64> {
        self.unimplemented.lock().clone()
    }
}
