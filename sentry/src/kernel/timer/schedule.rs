//! When a timer is due, once or again and again.

use std::time::{Duration, Instant};

use bartizan_abi::{Itimerspec, Timespec};

/// When an armed timer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The next expiry.
    pub next: Instant,
    /// The period; zero for one shot.
    pub interval: Duration,
}

/// How long until a timer is due, and its period; both zero if it is not armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimerSetting {
    /// Until the next expiry.
    pub remaining: Duration,
    /// The period; zero for one shot.
    pub interval: Duration,
}

impl Schedule {
    /// How often it has expired up to `now`; the next expiry moves behind it, or `None` of it is left.
    pub fn advance(self, now: Instant) -> (u64, Option<Self>) {
        let Some(late) = now.checked_duration_since(self.next) else { return (0, Some(self)) };
        if self.interval.is_zero() {
            return (1, None);
        }
        let missed = late.as_nanos() / self.interval.as_nanos();
        let count = u64::try_from(missed).unwrap_or(u64::MAX).saturating_add(1);
        // What is left of the current period.
        let phase = Duration::from_nanos_u128(late.as_nanos() % self.interval.as_nanos());
        let next = now.checked_add(self.interval - phase);
        (count, next.map(|next| Self { next, ..self }))
    }

    /// What `timer_gettime(2)` tells at `now`: at least a nanosecond as long as it is armed.
    pub fn setting(self, now: Instant) -> TimerSetting {
        let remaining = self.next.saturating_duration_since(now).max(Duration::from_nanos(1));
        TimerSetting { remaining, interval: self.interval }
    }
}

impl From<TimerSetting> for Itimerspec {
    fn from(setting: TimerSetting) -> Self {
        Self {
            it_interval: Timespec::from_duration(setting.interval),
            it_value: Timespec::from_duration(setting.remaining),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_that_were_missed_are_counted_and_the_phase_is_kept() {
        let start = Instant::now();
        let milliseconds = Duration::from_millis;
        let schedule = Schedule { next: start + milliseconds(10), interval: milliseconds(10) };
        assert_eq!(schedule.advance(start), (0, Some(schedule)));
        let (count, next) = schedule.advance(start + milliseconds(45));
        assert_eq!((count, next.map(|next| next.next)), (4, Some(start + milliseconds(50))));
        let (count, next) = schedule.advance(start + milliseconds(10));
        assert_eq!((count, next.map(|next| next.next)), (1, Some(start + milliseconds(20))));
        let once = Schedule { interval: Duration::ZERO, ..schedule };
        assert_eq!(once.advance(start + milliseconds(45)), (1, None));
        assert_eq!(once.setting(start + milliseconds(45)).remaining, Duration::from_nanos(1));
    }
}
