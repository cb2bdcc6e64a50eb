//! The timers of a process: `setitimer(2)` and `timer_create(2)`.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use bartizan_abi::process::{RLIM_INFINITY, Resource};
use bartizan_abi::{Errno, IntervalTimer, SigInfo, Signal};

use super::cpu::{CpuClock, CpuTimer};
use super::limit::ProcessorLimit;
use super::posix::{PosixReport, PosixTimer};
use super::{Alarm, Ring, Schedule, TimerSetting, Timers};
use crate::kernel::signal::{Sender, Target};
use crate::kernel::{Task, ThreadGroup};
use crate::sync::{LockClass, Mutex};

/// Most POSIX timers of one process, whatever its limit of pending signals.
const MOST_TIMERS: usize = 65_536;

/// The timers of one process; part of [`ThreadGroup`].
#[derive(Debug)]
pub struct ProcessTimers {
    real: OnceLock<(Arc<IntervalSignal>, Arc<Alarm>)>,
    user: OnceLock<(Arc<IntervalSignal>, Arc<CpuTimer>)>,
    cpu: OnceLock<(Arc<IntervalSignal>, Arc<CpuTimer>)>,
    posix: Mutex<PosixTimers>,
    /// `RLIMIT_CPU`, once there is one.
    limit: OnceLock<Arc<ProcessorLimit>>,
}

#[derive(Debug, Default)]
struct PosixTimers {
    next: i32,
    timers: BTreeMap<i32, Arc<PosixTimer>>,
}

/// Sends the signal of an interval timer.
#[derive(Debug)]
struct IntervalSignal {
    group: Weak<ThreadGroup>,
    signal: Signal,
}

impl Ring for IntervalSignal {
    fn ring(&self, _count: u64) {
        if let Some(group) = self.group.upgrade() {
            group.send_from_timer(SigInfo::kernel(self.signal), None);
        }
    }
}

impl Default for ProcessTimers {
    fn default() -> Self {
        Self {
            real: OnceLock::new(),
            user: OnceLock::new(),
            cpu: OnceLock::new(),
            posix: Mutex::new(LockClass::Alarm, PosixTimers::default()),
            limit: OnceLock::new(),
        }
    }
}

impl ProcessTimers {
    fn real(&self, timers: &Timers, group: &Arc<ThreadGroup>) -> &Arc<Alarm> {
        let (_, alarm) = self.real.get_or_init(|| {
            let target = interval_signal(group, Signal::SIGALRM);
            let alarm = Alarm::new(timers, weak(&target));
            (target, alarm)
        });
        alarm
    }

    fn by_cpu_time(&self, timers: &Timers, group: &Arc<ThreadGroup>, which: IntervalTimer) -> &Arc<CpuTimer> {
        let (slot, signal, clock) = match which {
            IntervalTimer::ITIMER_VIRTUAL => {
                (&self.user, Signal::SIGVTALRM, CpuClock::ProcessUser(Arc::downgrade(group)))
            }
            _ => (&self.cpu, Signal::SIGPROF, CpuClock::Process(Arc::downgrade(group))),
        };
        let (_, timer) = slot.get_or_init(|| {
            let target = interval_signal(group, signal);
            let timer = CpuTimer::new(timers, clock, weak(&target));
            (target, timer)
        });
        timer
    }

    /// What an interval timer of `group`, which this belongs to, is set to.
    pub fn interval(&self, timers: &Timers, group: &Arc<ThreadGroup>, which: IntervalTimer) -> TimerSetting {
        match which {
            IntervalTimer::ITIMER_REAL => self.real(timers, group).get(),
            which => self.by_cpu_time(timers, group, which).get(),
        }
    }

    /// Sets an interval timer; gives what it was set to.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn set_interval(
        &self,
        timers: &Timers,
        group: &Arc<ThreadGroup>,
        which: IntervalTimer,
        new: TimerSetting,
    ) -> Result<TimerSetting, Errno> {
        match which {
            IntervalTimer::ITIMER_REAL => {
                let next = if new.remaining.is_zero() { None } else { Some(new.remaining) };
                let next = next.and_then(crate::kernel::deadline_after);
                let schedule = next.map(|next| Schedule { next, interval: new.interval });
                self.real(timers, group).set(schedule)
            }
            which => self.by_cpu_time(timers, group, which).set(new),
        }
    }

    /// Heeds the limit of processor time of `group`, which this belongs to, after it has changed or was inherited.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn heed_processor_limit(&self, timers: &Timers, group: &Arc<ThreadGroup>) -> Result<(), Errno> {
        let limit = group.limits().get(Resource::RLIMIT_CPU);
        if limit.rlim_cur == RLIM_INFINITY && self.limit.get().is_none() {
            return Ok(());
        }
        self.limit.get_or_init(|| ProcessorLimit::new(timers, group)).watch(limit)
    }

    /// Adds a POSIX timer that `make` makes for its number; gives the number.
    ///
    /// # Errors
    /// `EAGAIN` for more than `limit`.
    pub fn add(&self, limit: u64, make: impl FnOnce(i32) -> Arc<PosixTimer>) -> Result<i32, Errno> {
        let mut posix = self.posix.lock();
        if posix.timers.len() as u64 >= limit || posix.timers.len() >= MOST_TIMERS {
            return Err(Errno::EAGAIN);
        }
        let mut id = posix.next;
        while posix.timers.contains_key(&id) {
            id = id.checked_add(1).unwrap_or(0);
        }
        posix.next = id.checked_add(1).unwrap_or(0);
        posix.timers.insert(id, make(id));
        Ok(id)
    }

    /// The POSIX timer `id`.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn get(&self, id: i32) -> Result<Arc<PosixTimer>, Errno> {
        self.posix.lock().timers.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// What is told of the POSIX timers to others, in the order of their numbers.
    pub fn reports(&self) -> Vec<PosixReport> {
        self.posix.lock().timers.values().map(|timer| timer.report()).collect()
    }

    /// Takes the POSIX timer `id` out; it is disarmed when it is dropped.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub fn remove(&self, id: i32) -> Result<Arc<PosixTimer>, Errno> {
        self.posix.lock().timers.remove(&id).ok_or(Errno::EINVAL)
    }

    /// Takes all POSIX timers out (`execve`).
    pub fn remove_all(&self) {
        let timers = std::mem::take(&mut self.posix.lock().timers);
        drop(timers);
    }

    /// Disarms everything: the process has ended.
    pub fn stop(&self) {
        self.remove_all();
        // Disarming needs no thread, so that nothing can fail.
        if let Some((_, alarm)) = self.real.get() {
            let _old = alarm.set(None);
        }
        for (_, timer) in [&self.user, &self.cpu].into_iter().filter_map(OnceLock::get) {
            let _old = timer.set(TimerSetting::default());
        }
        if let Some(limit) = self.limit.get() {
            let _never = limit.stop();
        }
    }
}

fn interval_signal(group: &Arc<ThreadGroup>, signal: Signal) -> Arc<IntervalSignal> {
    Arc::new(IntervalSignal { group: Arc::downgrade(group), signal })
}

fn weak<T: Ring + 'static>(target: &Arc<T>) -> Weak<dyn Ring> {
    let target: Arc<dyn Ring> = Arc::clone(target) as Arc<dyn Ring>;
    Arc::downgrade(&target)
}

impl ThreadGroup {
    /// Sends a signal of a timer to task `tid`, or to the process.
    pub(super) fn send_from_timer(&self, info: SigInfo, tid: Option<i32>) {
        if let Some(task) = self.task_for_signal(tid) {
            // A real-time signal that does not fit is lost, as in Linux; the next one counts it.
            let _lost = self.send_to(&task, info, tid);
        }
    }

    /// Task `tid`, or one that takes signals of the process.
    pub(in crate::kernel) fn task_for_signal(&self, tid: Option<i32>) -> Option<Arc<Task>> {
        let signals = self.signals();
        let tasks = &signals.tasks;
        let chosen = match tid {
            Some(tid) => tasks.get(&tid),
            None => tasks.get(&self.pid()).or_else(|| tasks.values().next()),
        };
        chosen.and_then(|task| task.owner.upgrade())
    }

    /// Sends a signal of the kernel to `task`, or with no `tid` to its process.
    ///
    /// # Errors
    /// `EAGAIN` for a real-time signal that does not fit.
    pub(in crate::kernel) fn send_to(
        &self,
        task: &Arc<Task>,
        info: SigInfo,
        tid: Option<i32>,
    ) -> Result<(), Errno> {
        let target = if tid.is_some() { Target::Task } else { Target::Process };
        task.send_signal(info, target, Sender::Kernel)
    }
}
