//! `RLIMIT_RTTIME`: how long a task with a real-time policy may run without waiting. `SIGXCPU` at the soft limit and each second from there
//! on, `SIGKILL` at the hard one (`getrlimit(2)`, `sched(7)`).

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bartizan_abi::process::{RLIM_INFINITY, Resource};
use bartizan_abi::{Errno, SigInfo, Signal};

use super::cpu::{CpuClock, CpuTimer};
use super::{Ring, TimerSetting};
use crate::kernel::{Task, ThreadGroup, is_realtime};

/// Microseconds by which the soft limit rises each time it is reached.
const STEP: u64 = 1_000_000;

/// Watches one task, from the time on when it has both the limit and a real-time policy.
#[derive(Debug)]
pub struct RealTimeLimit {
    task: Weak<Task>,
    timer: OnceLock<Arc<CpuTimer>>,
}

impl RealTimeLimit {
    fn new(task: &Arc<Task>) -> Arc<Self> {
        let limit = Arc::new(Self { task: Arc::downgrade(task), timer: OnceLock::new() });
        let target = Arc::downgrade(&limit);
        let clock = CpuClock::TaskStretch(Arc::downgrade(task));
        let _once = limit.timer.set(CpuTimer::new(task.kernel().timers(), clock, target));
        limit
    }

    /// Looks again when the limit of `task` may be reached, if it has one that counts.
    fn watch(&self, task: &Task) -> Result<(), Errno> {
        let Some(timer) = self.timer.get() else { return Ok(()) };
        let Some(limit) = limit_of(task) else {
            return timer.set(TimerSetting::default()).map(|_old| ());
        };
        let setting = TimerSetting { remaining: Duration::from_nanos(1), interval: Duration::ZERO };
        timer.set_at(limit, setting).map(|_old| ())
    }
}

/// The limit at which something happens to `task`; `None` if nothing ever does.
fn limit_of(task: &Task) -> Option<Duration> {
    let limit = task.group().limits().get(Resource::RLIMIT_RTTIME);
    let counts = limit.rlim_cur != RLIM_INFINITY && is_realtime(task.scheduling().policy);
    counts.then(|| Duration::from_micros(limit.rlim_cur.min(limit.rlim_max)))
}

impl Task {
    /// Heeds `RLIMIT_RTTIME` after the limit or the policy has changed or was inherited.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn heed_real_time_limit(self: &Arc<Self>) -> Result<(), Errno> {
        let watcher = self.real_time_limit();
        if limit_of(self).is_none() {
            return watcher.get().map_or(Ok(()), |watcher| watcher.watch(self));
        }
        let watcher = watcher.get_or_init(|| RealTimeLimit::new(self));
        if watcher.timer.get().is_some_and(|timer| timer.get().remaining.is_zero()) {
            // Only what it uses while it is watched counts.
            self.usage().begin_stretch();
        }
        watcher.watch(self)
    }
}

impl ThreadGroup {
    /// Heeds `RLIMIT_RTTIME` for all tasks after the limit has changed.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn heed_real_time_limit(&self) -> Result<(), Errno> {
        let tasks: Vec<Arc<Task>> =
            self.signals().tasks.values().filter_map(|task| task.owner.upgrade()).collect();
        tasks.iter().try_for_each(Task::heed_real_time_limit)
    }
}

impl Ring for RealTimeLimit {
    fn ring(&self, _count: u64) {
        let Some(task) = self.task.upgrade() else { return };
        if limit_of(&task).is_none() {
            return;
        }
        let group = task.group();
        let used = Duration::from_nanos(task.usage().stretch());
        let limit = group.limits().get(Resource::RLIMIT_RTTIME);
        let reached = |limit: u64| limit != RLIM_INFINITY && used >= Duration::from_micros(limit);
        if reached(limit.rlim_max) {
            group.send_from_timer(SigInfo::kernel(Signal::SIGKILL), None);
            return;
        }
        if reached(limit.rlim_cur) {
            group.limits().raise_real_time(limit.rlim_cur.saturating_add(STEP));
            group.send_from_timer(SigInfo::kernel(Signal::SIGXCPU), None);
        }
        // The thread runs already, so that nothing can fail.
        let _never = self.watch(&task);
    }
}
