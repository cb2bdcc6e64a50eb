//! Thread groups: what all tasks of a process share for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use super::signal::GroupSignals;
use super::timer::ProcessTimers;
use super::{IoUsage, Limits, Task, WaitQueue};
use crate::sync::{LockClass, Mutex, MutexGuard};

/// What the tasks of a process share (`struct signal_struct`).
#[derive(Debug)]
pub struct ThreadGroup {
    pid: i32,
    limits: Arc<Limits>,
    signals: Mutex<GroupSignals>,
    /// Told when a signal has become pending, for those who read signals as files.
    signal_events: WaitQueue,
    timers: ProcessTimers,
    /// Told when a child ends, stops or continues.
    child_events: WaitQueue,
    /// Told when a task of the group ends, and when all have.
    end_events: WaitQueue,
    /// CPU time of tasks that have ended, nanoseconds of user and of system time.
    ended_user_time: AtomicU64,
    ended_system_time: AtomicU64,
    /// The same of children that were waited for.
    children_user_time: AtomicU64,
    children_system_time: AtomicU64,
    /// What tasks that have ended, and children that were waited for, have read and written.
    ended_io: IoUsage,
    /// `PR_SET_DUMPABLE`.
    dumpable: AtomicI32,
    /// The commands of `membarrier(2)` for which it is registered.
    barriers: AtomicU32,
    /// Whether one of its tasks executes a new program and the others have to end.
    executing: AtomicBool,
    /// Whether the host has started it and waits for its end.
    host_child: AtomicBool,
    /// The real user id that its parent is told.
    end_uid: AtomicU32,
    /// `/proc/[pid]/oom_score_adj`.
    oom_score_adj: AtomicI32,
    /// The lowest that it may be without privilege.
    oom_score_adj_min: AtomicI32,
}

impl ThreadGroup {
    /// A group with number `pid` and no task.
    pub fn new(pid: i32, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self {
            pid,
            limits,
            signals: Mutex::new(LockClass::Signal, GroupSignals::default()),
            signal_events: WaitQueue::new(),
            timers: ProcessTimers::default(),
            child_events: WaitQueue::new(),
            end_events: WaitQueue::new(),
            ended_user_time: AtomicU64::new(0),
            ended_system_time: AtomicU64::new(0),
            children_user_time: AtomicU64::new(0),
            children_system_time: AtomicU64::new(0),
            ended_io: IoUsage::default(),
            dumpable: AtomicI32::new(1),
            barriers: AtomicU32::new(0),
            executing: AtomicBool::new(false),
            host_child: AtomicBool::new(false),
            end_uid: AtomicU32::new(0),
            oom_score_adj: AtomicI32::new(0),
            oom_score_adj_min: AtomicI32::new(0),
        })
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The resource limits.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Signal state, class `Signal`.
    pub fn signals(&self) -> MutexGuard<'_, GroupSignals> {
        self.signals.lock()
    }

    /// Told when a signal has become pending.
    pub fn signal_events(&self) -> &WaitQueue {
        &self.signal_events
    }

    /// Its timers.
    pub fn timers(&self) -> &ProcessTimers {
        &self.timers
    }

    /// User and system time of all its tasks so far, nanoseconds.
    pub fn used_time(&self) -> (u64, u64) {
        // A task's time moves from the one sum to the other under this lock, so that it is in one of them at any moment.
        let (tasks, ended): (Vec<Arc<Task>>, _) = {
            let signals = self.signals();
            (signals.tasks.values().filter_map(|task| task.owner.upgrade()).collect(), self.ended_time())
        };
        tasks.iter().fold(ended, |(user, system), task| {
            let (more_user, more_system) = task.usage().times();
            (user.saturating_add(more_user), system.saturating_add(more_system))
        })
    }

    /// Told when a child ends, stops or continues.
    pub fn child_events(&self) -> &WaitQueue {
        &self.child_events
    }

    /// Told when a task of the group ends, and when all have.
    pub fn end_events(&self) -> &WaitQueue {
        &self.end_events
    }

    /// `PR_GET_DUMPABLE`.
    pub fn dumpable(&self) -> i32 {
        self.dumpable.load(Ordering::Relaxed)
    }

    /// `PR_SET_DUMPABLE`.
    pub fn set_dumpable(&self, value: i32) {
        self.dumpable.store(value, Ordering::Relaxed);
    }

    /// The commands of `membarrier(2)` for which it is registered, as bits.
    pub fn barriers(&self) -> u32 {
        self.barriers.load(Ordering::SeqCst)
    }

    /// Registers it for commands of `membarrier(2)`.
    pub fn register_barriers(&self, commands: u32) {
        self.barriers.fetch_or(commands, Ordering::SeqCst);
    }

    /// A new program is registered for nothing.
    pub(super) fn forget_barriers(&self) {
        self.barriers.store(0, Ordering::SeqCst);
    }

    /// Whether one of its tasks executes a new program.
    pub fn is_executing(&self) -> bool {
        self.executing.load(Ordering::Acquire)
    }

    /// Claims or ends the execution of a new program; returns whether it was claimed before.
    pub fn set_executing(&self, executing: bool) -> bool {
        self.executing.swap(executing, Ordering::AcqRel)
    }

    /// Whether the host has started it and waits for its end.
    pub fn is_host_child(&self) -> bool {
        self.host_child.load(Ordering::Relaxed)
    }

    /// Sets whether the host waits for its end.
    pub fn set_host_child(&self, host_child: bool) {
        self.host_child.store(host_child, Ordering::Relaxed);
    }

    /// The real user id that its parent is told.
    pub fn end_uid(&self) -> u32 {
        self.end_uid.load(Ordering::Relaxed)
    }

    /// Sets the real user id that its parent is told.
    pub fn set_end_uid(&self, uid: u32) {
        self.end_uid.store(uid, Ordering::Relaxed);
    }

    /// How much rather, or less, it is killed when memory runs out: -1000 to 1000.
    pub fn oom_score_adj(&self) -> i32 {
        self.oom_score_adj.load(Ordering::Relaxed)
    }

    /// The lowest that it may be without privilege: the last one that somebody with privilege has set.
    pub fn oom_score_adj_min(&self) -> i32 {
        self.oom_score_adj_min.load(Ordering::Relaxed)
    }

    /// Changes that.
    pub fn set_oom_score_adj_min(&self, value: i32) {
        self.oom_score_adj_min.store(value, Ordering::Relaxed);
    }

    /// Changes how much rather, or less, it is killed.
    pub fn set_oom_score_adj(&self, value: i32) {
        self.oom_score_adj.store(value, Ordering::Relaxed);
    }

    /// What tasks that have ended, and children that were waited for, have read and written.
    pub fn ended_io(&self) -> &IoUsage {
        &self.ended_io
    }

    /// Adds the CPU time of a task that has ended.
    pub fn add_ended_time(&self, user: u64, system: u64) {
        self.ended_user_time.fetch_add(user, Ordering::Relaxed);
        self.ended_system_time.fetch_add(system, Ordering::Relaxed);
    }

    /// CPU time of tasks that have ended: user and system, nanoseconds.
    pub fn ended_time(&self) -> (u64, u64) {
        (self.ended_user_time.load(Ordering::Relaxed), self.ended_system_time.load(Ordering::Relaxed))
    }

    /// Adds the CPU time of a child that was waited for.
    pub fn add_children_time(&self, (user, system): (u64, u64)) {
        self.children_user_time.fetch_add(user, Ordering::Relaxed);
        self.children_system_time.fetch_add(system, Ordering::Relaxed);
    }

    /// CPU time of children that were waited for: user and system, nanoseconds.
    pub fn children_time(&self) -> (u64, u64) {
        (self.children_user_time.load(Ordering::Relaxed), self.children_system_time.load(Ordering::Relaxed))
    }
}
