//! Timers by processor time.
//!
//! No host timer tells what a guest has used, so while such a timer is armed the timer thread looks from time to time: when the process can
//! have used enough at the earliest, and less and less often while it uses nothing.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bartizan_abi::Errno;

use super::{Expire, Ring, TimerKey, TimerSetting, Timers};
use crate::kernel::{Task, ThreadGroup};
use crate::sync::{LockClass, Mutex};

/// The shortest and the longest time between two looks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Whose processor time.
#[derive(Debug, Clone)]
pub enum CpuClock {
    /// All of a process.
    Process(Weak<ThreadGroup>),
    /// User time of a process.
    ProcessUser(Weak<ThreadGroup>),
    /// All of a task.
    Task(Weak<Task>),
    /// User time of a task.
    TaskUser(Weak<Task>),
    /// All of a task since it last waited; nothing is left to be told of one that has ended.
    TaskStretch(Weak<Task>),
}

impl CpuClock {
    /// What has been used so far; none if there is nobody any more.
    fn now(&self) -> Option<Duration> {
        let sum = |(user, system): (u64, u64)| user.saturating_add(system);
        let nanoseconds = match self {
            Self::Process(group) => sum(group.upgrade()?.used_time()),
            Self::ProcessUser(group) => group.upgrade()?.used_time().0,
            Self::Task(task) => sum(task.upgrade()?.usage().times()),
            Self::TaskUser(task) => task.upgrade()?.usage().times().0,
            Self::TaskStretch(task) => task.upgrade().filter(|task| !task.has_ended())?.usage().stretch(),
        };
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// A timer by processor time. Lock: class `Alarm`.
#[derive(Debug)]
pub struct CpuTimer {
    this: Weak<Self>,
    timers: Timers,
    clock: CpuClock,
    target: Weak<dyn Ring>,
    state: Mutex<Option<Armed>>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    /// The next expiry, on the clock.
    next: Duration,
    interval: Duration,
    key: TimerKey,
    /// What the clock showed at the last look, and how long the pause before it was.
    seen: Duration,
    pause: Duration,
}

impl CpuTimer {
    /// A timer that is not armed.
    pub fn new(timers: &Timers, clock: CpuClock, target: Weak<dyn Ring>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            timers: timers.clone(),
            clock,
            target,
            state: Mutex::new(LockClass::Alarm, None),
        })
    }

    /// Has it expire when so much more time has been used, or disarms it; gives what it was set to.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn set(&self, new: TimerSetting) -> Result<TimerSetting, Errno> {
        let now = self.clock.now().unwrap_or_default();
        self.set_at(now.saturating_add(new.remaining), new)
    }

    /// As [`set`](Self::set), for the time `next` of the clock.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread.
    pub fn set_at(&self, next: Duration, new: TimerSetting) -> Result<TimerSetting, Errno> {
        // The clock is looked at before the lock is taken: it has locks of its own.
        let now = self.clock.now().unwrap_or_default();
        let mut state = self.state.lock();
        let armed = if new.remaining.is_zero() {
            None
        } else {
            let pause = pause(next.saturating_sub(now));
            let key = self.schedule(pause)?;
            Some(Armed { next, interval: new.interval, key, seen: now, pause })
        };
        let old = std::mem::replace(&mut *state, armed);
        if let Some(old) = old {
            self.timers.cancel(old.key);
        }
        Ok(old.map_or_else(TimerSetting::default, |old| old.setting(now)))
    }

    /// What it is set to.
    pub fn get(&self) -> TimerSetting {
        let now = self.clock.now().unwrap_or_default();
        self.state.lock().map_or_else(TimerSetting::default, |armed| armed.setting(now))
    }

    fn schedule(&self, pause: Duration) -> Result<TimerKey, Errno> {
        self.timers.schedule(Instant::now() + pause, self.this.clone())
    }
}

/// How long it takes at least until `left` more has been used.
fn pause(left: Duration) -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
    (left / u32::try_from(processors).unwrap_or(u32::MAX)).max(SHORTEST_PAUSE)
}

impl Armed {
    fn setting(self, now: Duration) -> TimerSetting {
        let remaining = self.next.saturating_sub(now).max(Duration::from_nanos(1));
        TimerSetting { remaining, interval: self.interval }
    }
}

impl Expire for CpuTimer {
    fn expire(&self) {
        let Some(now) = self.clock.now() else { return };
        let count = {
            let mut state = self.state.lock();
            let Some(mut armed) = *state else { return };
            let mut count = 0;
            if now >= armed.next {
                let periods = (now - armed.next).as_nanos().checked_div(armed.interval.as_nanos());
                count =
                    periods.map_or(1, |periods| u64::try_from(periods).unwrap_or(u64::MAX).saturating_add(1));
                let behind = armed.interval.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
                armed.next = armed.next.saturating_add(behind);
            }
            let shortest = pause(armed.next.saturating_sub(now));
            let idle = now == armed.seen;
            armed.pause = if idle { (armed.pause * 2).min(LONGEST_PAUSE).max(shortest) } else { shortest };
            armed.seen = now;
            let goes_on = count == 0 || !armed.interval.is_zero();
            // The thread runs already, so that nothing can fail.
            *state =
                goes_on.then(|| self.schedule(armed.pause).ok()).flatten().map(|key| Armed { key, ..armed });
            count
        };
        if count > 0
            && let Some(target) = self.target.upgrade()
        {
            target.ring(count);
        }
    }
}

impl Drop for CpuTimer {
    fn drop(&mut self) {
        if let Some(armed) = *self.state.get_mut() {
            self.timers.cancel(armed.key);
        }
    }
}
