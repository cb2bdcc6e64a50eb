//! Timers that are read as files (`timerfd_create(2)`).

use std::sync::{Arc, Weak};
use std::time::Instant;

use bartizan_abi::{Errno, PollEvents};

use super::{Expire, Schedule, TimerKey, TimerSetting, Timers};
use crate::kernel::{WaitClock, WaitQueue};
use crate::sync::{LockClass, Mutex};
use crate::vfs::{DataSink, File, FileOps};

/// What a descriptor of `timerfd_create(2)` refers to.
#[derive(Debug)]
pub struct Timerfd(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    this: Weak<Self>,
    timers: Timers,
    clock: WaitClock,
    state: Mutex<State>,
    events: WaitQueue,
}

/// A periodic timer is put into the queue again when its expiry has been read, so that one that nobody reads costs nothing.
#[derive(Debug, Default)]
struct State {
    schedule: Option<Schedule>,
    /// Expiries that were taken out of the schedule and not read.
    expired: u64,
    key: Option<TimerKey>,
}

impl State {
    /// Takes what has expired up to `now` out of the schedule.
    fn collect(&mut self, now: Instant) {
        if let Some(schedule) = self.schedule {
            let (count, next) = schedule.advance(now);
            self.expired = self.expired.saturating_add(count);
            self.schedule = next;
        }
    }
}

impl Timerfd {
    /// A timer on `clock` that is not armed.
    pub fn new(timers: &Timers, clock: WaitClock) -> Self {
        Self(Arc::new_cyclic(|this| Inner {
            this: this.clone(),
            timers: timers.clone(),
            clock,
            state: Mutex::new(LockClass::Alarm, State::default()),
            events: WaitQueue::new(),
        }))
    }

    /// The clock that absolute times are of.
    pub fn clock(&self) -> WaitClock {
        self.0.clock
    }

    /// Arms it, or disarms it with `None`; gives what it was set to. Expiries that were not read are forgotten.
    ///
    /// # Errors
    /// `EAGAIN` if the host gives no thread; nothing has changed then.
    pub fn set(&self, schedule: Option<Schedule>) -> Result<TimerSetting, Errno> {
        let mut state = self.0.state.lock();
        let key = match schedule {
            Some(schedule) => Some(self.0.schedule(schedule.next)?),
            None => None,
        };
        let now = Instant::now();
        state.collect(now);
        let old = std::mem::replace(&mut *state, State { schedule, expired: 0, key });
        if let Some(key) = old.key {
            self.0.timers.cancel(key);
        }
        Ok(old.schedule.map_or_else(TimerSetting::default, |schedule| schedule.setting(now)))
    }

    /// What it is set to.
    pub fn get(&self) -> TimerSetting {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        state.collect(now);
        state.schedule.map_or_else(TimerSetting::default, |schedule| schedule.setting(now))
    }

    /// Takes the number of expiries; none when there is none.
    fn take(&self) -> Option<u64> {
        let mut state = self.0.state.lock();
        state.collect(Instant::now());
        let expired = std::mem::take(&mut state.expired);
        if expired == 0 {
            return None;
        }
        if let Some(key) = state.key.take() {
            self.0.timers.cancel(key);
        }
        // The thread runs already, so that nothing can fail.
        state.key = state.schedule.and_then(|schedule| self.0.schedule(schedule.next).ok());
        Some(expired)
    }
}

impl Inner {
    fn schedule(&self, when: Instant) -> Result<TimerKey, Errno> {
        self.timers.schedule(when, self.this.clone())
    }
}

impl Expire for Inner {
    fn expire(&self) {
        let expired = {
            let mut state = self.state.lock();
            state.collect(Instant::now());
            state.expired > 0
        };
        if expired {
            self.events.notify(PollEvents::POLLIN);
        }
    }
}

impl FileOps for Timerfd {
    fn seekable(&self) -> bool {
        false
    }

    fn read(&self, _file: &File, sink: &mut dyn DataSink, _offset: u64) -> Result<usize, Errno> {
        if sink.remaining() < size_of::<u64>() {
            return Err(Errno::EINVAL);
        }
        let expired = self.take().ok_or(Errno::EAGAIN)?;
        sink.put(&expired.to_ne_bytes())
    }

    fn poll(&self, _file: &File) -> PollEvents {
        let mut state = self.0.state.lock();
        state.collect(Instant::now());
        if state.expired > 0 { PollEvents::POLLIN } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.events)
    }

    fn release(&self) {
        if let Some(key) = std::mem::take(&mut *self.0.state.lock()).key {
            self.0.timers.cancel(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn expiries_add_up_until_they_are_read() {
        let timer = Timerfd::new(&Timers::default(), WaitClock::Monotonic);
        assert_eq!(timer.take(), None);
        let past =
            Instant::now().checked_sub(Duration::from_millis(25)).expect("the machine runs for longer");
        let interval = Duration::from_millis(10);
        timer.set(Some(Schedule { next: past, interval })).expect("a thread");
        assert!(timer.take().is_some_and(|count| count >= 3));
        assert!(timer.get().remaining <= interval);
        assert_eq!(timer.set(None).expect("no thread needed").interval, interval);
        assert_eq!((timer.take(), timer.get()), (None, TimerSetting::default()));
    }
}
