//! A timer that tells somebody each time that it expires.

use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bartizan_abi::Errno;

use super::{Expire, Schedule, TimerKey, TimerSetting, Timers};
use crate::sync::{LockClass, Mutex};

/// The shortest time between two wake-ups of the timer thread for one timer; what expires more often is counted.
const SHORTEST_SLEEP: Duration = Duration::from_micros(100);

/// Hears of expiries.
pub trait Ring: Send + Sync + Debug {
    /// The timer has expired `count` times since the last call. Called on the timer thread, without locks; must not wait.
    fn ring(&self, count: u64);
}

/// See the module. Lock: class `Alarm`.
#[derive(Debug)]
pub struct Alarm {
    this: Weak<Self>,
    timers: Timers,
    target: Weak<dyn Ring>,
    state: Mutex<Option<Armed>>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    schedule: Schedule,
    key: TimerKey,
}

impl Alarm {
    /// A timer that is not armed.
    pub fn new(timers: &Timers, target: Weak<dyn Ring>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            timers: timers.clone(),
            target,
            state: Mutex::new(LockClass::Alarm, None),
        })
    }

    /// Arms it, or disarms it with `None`; gives what it was set to.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread; nothing has changed then.
    pub fn set(&self, schedule: Option<Schedule>) -> Result<TimerSetting, Errno> {
        let mut state = self.state.lock();
        let armed = match schedule {
            Some(schedule) => Some(Armed { schedule, key: self.schedule(schedule.next)? }),
            None => None,
        };
        let old = std::mem::replace(&mut *state, armed);
        if let Some(old) = old {
            self.timers.cancel(old.key);
        }
        Ok(old.map_or_else(TimerSetting::default, |old| old.schedule.setting(Instant::now())))
    }

    /// What it is set to.
    pub fn get(&self) -> TimerSetting {
        let now = Instant::now();
        let armed = *self.state.lock();
        armed.map_or_else(TimerSetting::default, |armed| {
            let (_, next) = armed.schedule.advance(now);
            next.unwrap_or(armed.schedule).setting(now)
        })
    }

    fn schedule(&self, when: Instant) -> Result<TimerKey, Errno> {
        self.timers.schedule(when, self.this.clone())
    }
}

impl Expire for Alarm {
    fn expire(&self) {
        let now = Instant::now();
        let count = {
            let mut state = self.state.lock();
            let Some(armed) = *state else { return };
            let (count, next) = armed.schedule.advance(now);
            if count > 0 {
                // The thread runs already, so that nothing can fail.
                *state = next.and_then(|schedule| {
                    let key = self.schedule(schedule.next.max(now + SHORTEST_SLEEP)).ok()?;
                    Some(Armed { schedule, key })
                });
            }
            count
        };
        if count > 0
            && let Some(target) = self.target.upgrade()
        {
            target.ring(count);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(armed) = *self.state.get_mut() {
            self.timers.cancel(armed.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    #[derive(Debug)]
    struct Tell(Sender<u64>);

    impl Ring for Tell {
        fn ring(&self, count: u64) {
            let _gone = self.0.send(count);
        }
    }

    #[test]
    fn periodic_alarms_ring_until_they_are_disarmed() {
        let (sender, receiver) = channel();
        let target: Arc<dyn Ring> = Arc::new(Tell(sender));
        let alarm = Alarm::new(&Timers::default(), Arc::downgrade(&target));
        let interval = Duration::from_millis(2);
        let start = Instant::now();
        alarm.set(Some(Schedule { next: start + interval, interval })).expect("a thread");
        let rung: u64 = receiver.iter().take(5).sum();
        let periods = start.elapsed().as_millis() / interval.as_millis();
        assert!(rung >= 5 && u128::from(rung) <= periods, "{rung} in {periods}");
        assert_eq!(alarm.set(None).expect("no thread needed").interval, interval);
        assert_eq!(alarm.get(), TimerSetting::default());
    }
}
