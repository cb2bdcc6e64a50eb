//! The clocks of a sandbox. They are the host's: reading them costs no system call.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bartizan_abi::{NSEC_PER_SEC, Timespec};
use rustix::time::{ClockId as HostClock, clock_gettime};

/// A clock that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitClock {
    /// Wall-clock time: `CLOCK_REALTIME`, `CLOCK_REALTIME_ALARM`.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// Time since boot: `CLOCK_BOOTTIME`, `CLOCK_BOOTTIME_ALARM`.
    Boottime,
    /// Atomic time: `CLOCK_TAI`.
    Tai,
}

impl WaitClock {
    /// What it shows now.
    pub fn now(self) -> Timespec {
        host_time(match self {
            // As a kernel whose clock nobody has told the leap seconds.
            Self::Realtime | Self::Tai => HostClock::Realtime,
            Self::Monotonic => HostClock::Monotonic,
            Self::Boottime => HostClock::Boottime,
        })
    }

    /// When it will show `time`; now if that has passed, `None` if never. Later steps of a wall clock do not change the answer.
    pub fn instant_at(self, time: Timespec) -> Option<Instant> {
        let now = Instant::now();
        let rest = time.to_nanoseconds() - self.now().to_nanoseconds();
        now.checked_add(nanoseconds(rest))
    }

    /// What it shows at `instant`, which may be past or to come.
    pub fn time_at(self, instant: Instant) -> Timespec {
        let now = Instant::now();
        let shown = self.now().to_nanoseconds();
        let nanoseconds = match instant.checked_duration_since(now) {
            Some(ahead) => shown + ahead.as_nanos() as i128,
            None => shown - now.saturating_duration_since(instant).as_nanos() as i128,
        };
        Timespec::from_nanoseconds(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
    }
}

/// A duration of so many nanoseconds; zero for a negative number.
fn nanoseconds(count: i128) -> Duration {
    let count = u128::try_from(count).unwrap_or(0);
    let second = NSEC_PER_SEC as u128;
    match u64::try_from(count / second) {
        Ok(seconds) => Duration::new(seconds, (count % second) as u32),
        Err(_) => Duration::MAX,
    }
}

/// A clock of the host, read without a system call where its vDSO knows it.
pub fn host_time(clock: HostClock) -> Timespec {
    let time = clock_gettime(clock);
    Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec }
}

/// Wall-clock time now, as `CLOCK_REALTIME` gives it.
pub fn realtime() -> Timespec {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    timespec(now)
}

/// `duration` as the guest sees it; more seconds than it can hold become the most that it can.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// When a wait of `duration` from now ends; `None` if never.
pub fn deadline_after(duration: Duration) -> Option<Instant> {
    Instant::now().checked_add(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_times_of_a_clock_agree() {
        let soon = WaitClock::Monotonic.now().to_nanoseconds() + 1_000_000_000;
        let soon = Timespec::from_nanoseconds(i64::try_from(soon).expect("in range"));
        let instant = WaitClock::Monotonic.instant_at(soon).expect("soon");
        let back = WaitClock::Monotonic.time_at(instant).to_nanoseconds();
        assert!((back - soon.to_nanoseconds()).abs() < 100_000_000);
        assert!(
            WaitClock::Realtime.instant_at(Timespec::ZERO).is_some_and(|instant| instant <= Instant::now())
        );
    }
}
