//! Time: clocks, timers and the structures that carry instants and durations.

use std::time::Duration;

use bitflags::bitflags;

use crate::macros::{abi_consts, abi_enum, abi_structs};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: i64 = 1_000_000_000;
/// Microseconds in a second.
pub const USEC_PER_SEC: i64 = 1_000_000;
/// What `times(2)` and `/proc` count in: ticks in a second.
pub const USER_HZ: u64 = 100;

abi_consts! { i64;
    /// `tv_nsec` of `utimensat(2)`: the current time.
    UTIME_NOW = 0x3fff_ffff;
    /// `tv_nsec` of `utimensat(2)`: leave it as it is.
    UTIME_OMIT = 0x3fff_fffe;
}

abi_structs! {
    /// `struct timespec`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Timespec: 16 {
        /// Seconds.
        pub tv_sec: i64,
        /// Nanoseconds.
        pub tv_nsec: i64,
    }

    /// `struct timeval`.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct Timeval: 16 {
        /// Seconds.
        pub tv_sec: i64,
        /// Microseconds.
        pub tv_usec: i64,
    }

    /// `struct itimerspec`: `timer_settime(2)`, `timerfd_settime(2)`.
    pub struct Itimerspec: 32 {
        /// The period; zero for one shot.
        pub it_interval: Timespec,
        /// The next expiry; zero disarms.
        pub it_value: Timespec,
    }

    /// `struct itimerval`: `setitimer(2)`.
    pub struct Itimerval: 32 {
        /// The period; zero for one shot.
        pub it_interval: Timeval,
        /// The next expiry; zero disarms.
        pub it_value: Timeval,
    }

    /// `struct timezone`: `gettimeofday(2)`.
    pub struct Timezone: 8 {
        /// Minutes west of Greenwich.
        pub tz_minuteswest: i32,
        /// Which daylight saving rule.
        pub tz_dsttime: i32,
    }

    /// `struct tms`: `times(2)`, in ticks of [`USER_HZ`].
    pub struct Tms: 32 {
        /// User time of the process.
        pub tms_utime: i64,
        /// System time of the process.
        pub tms_stime: i64,
        /// User time of waited-for children.
        pub tms_cutime: i64,
        /// System time of waited-for children.
        pub tms_cstime: i64,
    }

    /// `struct utimbuf`: `utime(2)`, in seconds.
    pub struct Utimbuf: 16 {
        /// Access time.
        pub actime: i64,
        /// Modification time.
        pub modtime: i64,
    }

    /// `struct timex`: `adjtimex(2)`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Timex: 208 {
        pub modes: u32,
        pub __pad0: u32,
        pub offset: i64,
        pub freq: i64,
        pub maxerror: i64,
        pub esterror: i64,
        pub status: i32,
        pub __pad1: u32,
        pub constant: i64,
        pub precision: i64,
        pub tolerance: i64,
        pub time: Timeval,
        pub tick: i64,
        pub ppsfreq: i64,
        pub jitter: i64,
        pub shift: i32,
        pub __pad2: u32,
        pub stabil: i64,
        pub jitcnt: i64,
        pub calcnt: i64,
        pub errcnt: i64,
        pub stbcnt: i64,
        pub tai: i32,
        pub __pad3: [u32; 11],
    }
}

impl Timespec {
    /// Zero.
    pub const ZERO: Self = Self { tv_sec: 0, tv_nsec: 0 };

    /// This many seconds and nanoseconds.
    pub const fn new(tv_sec: i64, tv_nsec: i64) -> Self {
        Self { tv_sec, tv_nsec }
    }

    /// Whether Linux accepts it as a duration or an instant: no negative second, nanoseconds below a second.
    pub const fn is_valid(self) -> bool {
        self.tv_sec >= 0 && self.tv_nsec >= 0 && self.tv_nsec < NSEC_PER_SEC
    }

    /// The duration, if [`Timespec::is_valid`].
    pub const fn to_duration(self) -> Option<Duration> {
        if self.is_valid() { Some(Duration::new(self.tv_sec as u64, self.tv_nsec as u32)) } else { None }
    }

    /// The duration; beyond the largest `tv_sec` it stays there.
    pub const fn from_duration(duration: Duration) -> Self {
        let seconds = duration.as_secs();
        let tv_sec = if seconds > i64::MAX as u64 { i64::MAX } else { seconds as i64 };
        Self { tv_sec, tv_nsec: duration.subsec_nanos() as i64 }
    }

    /// Nanoseconds, for instants before the epoch too.
    pub const fn to_nanoseconds(self) -> i128 {
        self.tv_sec as i128 * NSEC_PER_SEC as i128 + self.tv_nsec as i128
    }

    /// This many nanoseconds from the epoch; `tv_nsec` is never negative.
    pub const fn from_nanoseconds(nanoseconds: i64) -> Self {
        Self { tv_sec: nanoseconds.div_euclid(NSEC_PER_SEC), tv_nsec: nanoseconds.rem_euclid(NSEC_PER_SEC) }
    }
}

impl Timeval {
    /// Zero.
    pub const ZERO: Self = Self { tv_sec: 0, tv_usec: 0 };

    /// The duration, if no second is negative and the microseconds are below a second.
    pub const fn to_duration(self) -> Option<Duration> {
        if self.tv_sec < 0 || self.tv_usec < 0 || self.tv_usec >= USEC_PER_SEC {
            return None;
        }
        Some(Duration::new(self.tv_sec as u64, self.tv_usec as u32 * 1000))
    }

    /// The duration, nanoseconds cut off.
    pub const fn from_duration(duration: Duration) -> Self {
        let time = Timespec::from_duration(duration);
        Self { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 }
    }
}

impl From<Duration> for Timespec {
    fn from(duration: Duration) -> Self {
        Self::from_duration(duration)
    }
}

impl From<Duration> for Timeval {
    fn from(duration: Duration) -> Self {
        Self::from_duration(duration)
    }
}

/// Nanoseconds cut off.
impl From<Timespec> for Timeval {
    fn from(time: Timespec) -> Self {
        Self { tv_sec: time.tv_sec, tv_usec: time.tv_nsec / 1000 }
    }
}

abi_enum! {
    /// The clocks of `clock_gettime(2)`; negative numbers are CPU clocks of processes and threads and descriptors.
    pub enum ClockId: i32 {
        /// Wall clock.
        CLOCK_REALTIME = 0,
        /// Since boot, without suspension.
        CLOCK_MONOTONIC = 1,
        /// CPU time of the caller's process.
        CLOCK_PROCESS_CPUTIME_ID = 2,
        /// CPU time of the caller.
        CLOCK_THREAD_CPUTIME_ID = 3,
        /// As `CLOCK_MONOTONIC`, not slewed.
        CLOCK_MONOTONIC_RAW = 4,
        /// As `CLOCK_REALTIME`, by the tick.
        CLOCK_REALTIME_COARSE = 5,
        /// As `CLOCK_MONOTONIC`, by the tick.
        CLOCK_MONOTONIC_COARSE = 6,
        /// Since boot, with suspension.
        CLOCK_BOOTTIME = 7,
        /// As `CLOCK_REALTIME`; timers wake the machine.
        CLOCK_REALTIME_ALARM = 8,
        /// As `CLOCK_BOOTTIME`; timers wake the machine.
        CLOCK_BOOTTIME_ALARM = 9,
        /// Atomic time.
        CLOCK_TAI = 11,
    }
}

abi_enum! {
    /// Which timer of `setitimer(2)`.
    pub enum IntervalTimer: i32 {
        /// Wall time, `SIGALRM`.
        ITIMER_REAL = 0,
        /// User time, `SIGVTALRM`.
        ITIMER_VIRTUAL = 1,
        /// User and system time, `SIGPROF`.
        ITIMER_PROF = 2,
    }
}

bitflags! {
    /// Flags of `clock_nanosleep(2)`, `timer_settime(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TimerFlags: u32 {
        /// The time is an instant.
        const TIMER_ABSTIME = 1;
    }
}

bitflags! {
    /// Flags of `timerfd_settime(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TimerfdSetFlags: u32 {
        /// The time is an instant.
        const TFD_TIMER_ABSTIME = 1;
        /// `ECANCELED` when the clock is set.
        const TFD_TIMER_CANCEL_ON_SET = 2;
    }
}

bitflags! {
    /// Flags of `timerfd_create(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TimerfdFlags: u32 {
        /// As `O_NONBLOCK`.
        const TFD_NONBLOCK = 0o4000;
        /// As `O_CLOEXEC`.
        const TFD_CLOEXEC = 0o2_000_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_normal_times_are_durations() {
        assert_eq!(Timespec::new(1, 5).to_duration(), Some(Duration::new(1, 5)));
        assert_eq!(Timespec::new(-1, 5).to_duration(), None);
        assert_eq!(Timespec::new(1, NSEC_PER_SEC).to_duration(), None);
        assert_eq!(Timespec::new(1, UTIME_NOW).to_duration(), None);
        assert_eq!(Timeval { tv_sec: 0, tv_usec: USEC_PER_SEC }.to_duration(), None);
    }

    #[test]
    fn durations_round_trip_and_saturate() {
        let duration = Duration::new(7, 999_999_999);
        assert_eq!(Timespec::from(duration).to_duration(), Some(duration));
        assert_eq!(Timespec::from(Duration::MAX).tv_sec, i64::MAX);
        assert_eq!(Timeval::from(duration).tv_usec, 999_999);
    }

    #[test]
    fn instants_before_the_epoch_have_positive_nanoseconds() {
        assert_eq!(Timespec::from_nanoseconds(-1), Timespec::new(-1, 999_999_999));
        assert_eq!(Timespec::new(-1, 999_999_999).to_nanoseconds(), -1);
    }

    #[test]
    fn layouts_are_those_of_the_c_library() {
        assert_eq!(size_of::<Timex>(), size_of::<libc::timex>());
        assert_eq!(std::mem::offset_of!(Timex, tai), std::mem::offset_of!(libc::timex, tai));
        assert_eq!(UTIME_OMIT, libc::UTIME_OMIT);
        assert_eq!(ClockId::CLOCK_TAI.raw(), libc::CLOCK_TAI);
    }
}
