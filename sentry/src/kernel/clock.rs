//! The clocks of a sandbox. They are the host's: reading them costs no system call.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bartizan_abi::Timespec;

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
