//! `RLIMIT_CPU`: `SIGXCPU` at the soft limit and each second from there on, `SIGKILL` at the hard one (`getrlimit(2)`).

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bartizan_abi::process::{RLIM_INFINITY, Resource, Rlimit64};
use bartizan_abi::{Errno, SigInfo, Signal};

use super::cpu::{CpuClock, CpuTimer};
use super::{Ring, TimerSetting, Timers};
use crate::kernel::ThreadGroup;

/// Watches what a process uses, from the time on when it has a limit.
#[derive(Debug)]
pub(super) struct ProcessorLimit {
    group: Weak<ThreadGroup>,
    timer: OnceLock<Arc<CpuTimer>>,
}

impl ProcessorLimit {
    /// One that does not watch yet.
    pub fn new(timers: &Timers, group: &Arc<ThreadGroup>) -> Arc<Self> {
        let limit = Arc::new(Self { group: Arc::downgrade(group), timer: OnceLock::new() });
        let target = Arc::downgrade(&limit);
        let clock = CpuClock::Process(Arc::downgrade(group));
        let _once = limit.timer.set(CpuTimer::new(timers, clock, target));
        limit
    }

    /// Looks again when `limit` may be reached.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn watch(&self, limit: Rlimit64) -> Result<(), Errno> {
        let Some(timer) = self.timer.get() else { return Ok(()) };
        if limit.rlim_cur == RLIM_INFINITY {
            return self.stop();
        }
        let setting = TimerSetting { remaining: Duration::from_nanos(1), interval: Duration::ZERO };
        timer.set_at(Duration::from_secs(limit.rlim_cur.min(limit.rlim_max)), setting).map(|_old| ())
    }

    /// Watches no more.
    ///
    /// # Errors
    /// None in fact: disarming needs no thread.
    pub fn stop(&self) -> Result<(), Errno> {
        let Some(timer) = self.timer.get() else { return Ok(()) };
        timer.set(TimerSetting::default()).map(|_old| ())
    }
}

impl Ring for ProcessorLimit {
    fn ring(&self, _count: u64) {
        let Some(group) = self.group.upgrade() else { return };
        let (user, system) = group.used_time();
        let used = Duration::from_nanos(user.saturating_add(system));
        let limit = group.limits().get(Resource::RLIMIT_CPU);
        let reached = |limit: u64| limit != RLIM_INFINITY && used >= Duration::from_secs(limit);
        if reached(limit.rlim_max) && limit.rlim_cur != RLIM_INFINITY {
            group.send_from_timer(SigInfo::kernel(Signal::SIGKILL), None);
            return;
        }
        if reached(limit.rlim_cur) {
            group.limits().raise_processor_time(limit.rlim_cur + 1);
            group.send_from_timer(SigInfo::kernel(Signal::SIGXCPU), None);
        }
        // The thread runs already, so that nothing can fail.
        let _never = self.watch(group.limits().get(Resource::RLIMIT_CPU));
    }
}
