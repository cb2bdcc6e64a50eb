//! The clock that guests and the sentry share.
//!
//! Guests read `CLOCK_REALTIME`, `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` in the vDSO, from the time stamp counter and a straight line
//! through it ([`Parameters`]). The sentry answers `clock_gettime(2)` for these clocks from the *same line*, so that
//! both agree to the nanosecond, whatever the order in which a guest asks.
//!
//! # How the line follows the host
//! A line holds for [`MAX_AGE`] at most. After that the vDSO makes the system call, and the sentry draws a new line: there is no
//! thread and no timer, and a guest that does not look at the clock costs nothing.
//!
//! - A new line starts at the host's time, but never below what the old line has shown last: then it starts there, and goes so
//!   much slower that it meets the host's time after half of its life (at half speed at most). So no clock steps backwards but by a
//!   step of the host's own wall clock.
//! - Its slope is that between two samples of (counter, host time) which lie at least [`SLOPE_BASE`] apart, so that the host's
//!   slewing by NTP is followed with one line's delay. Before there are such samples, a line holds only for as long as its two samples lie
//!   apart: the error of a sample (some ten nanoseconds) is then not magnified.
//! - The difference of wall clock and monotonic clock is constant on the host except for steps; it is taken over when it
//!   differs by more than [`STEP`], so that noise of the samples does not shake the wall clock.
//!
//! Where the counter is no clock the parameters never hold, and every call comes to the sentry, which asks the host.

use std::time::Duration;

use bartizan_abi::{ClockId, Timespec};
use rustix::time::ClockId as HostClock;

use super::parameters::{CpuNumber, ParameterPage, Parameters};
use super::tsc;
use crate::sync::{LockClass, Mutex};

/// How long a line holds. A change of the host's rate by 500 ppm, the most that NTP slews, makes an error of 125 µs in it; the usual
/// changes are a thousandth of that.
const MAX_AGE: Duration = Duration::from_millis(250);
/// How far apart the samples are that make a slope.
const SLOPE_BASE: Duration = Duration::from_millis(100);
/// The shortest distance of samples from which a first line is drawn.
const FIRST_BASE: Duration = Duration::from_millis(2);
/// A wall clock that differs by more than this was set.
const STEP: Duration = Duration::from_micros(2);

/// A clock that the vDSO knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedClock {
    /// Wall clock; also `CLOCK_REALTIME_COARSE`.
    Realtime,
    /// Since the host's boot; also `CLOCK_MONOTONIC_COARSE`.
    Monotonic,
    /// The same with suspension.
    Boottime,
}

impl SharedClock {
    /// The clock that `id` reads, if it is one of these.
    pub fn from_id(id: ClockId) -> Option<Self> {
        Some(match id {
            ClockId::CLOCK_REALTIME | ClockId::CLOCK_REALTIME_COARSE => Self::Realtime,
            ClockId::CLOCK_MONOTONIC | ClockId::CLOCK_MONOTONIC_COARSE => Self::Monotonic,
            ClockId::CLOCK_BOOTTIME => Self::Boottime,
            _ => return None,
        })
    }
}

/// Whether guests read the time stamp counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSource {
    /// They do; it is the host's.
    Counter,
    /// They make system calls.
    Syscall,
}

impl TimeSource {
    /// What this machine allows, for platforms that run guests with the host's counter.
    pub fn detect() -> Self {
        if tsc::is_reliable() { Self::Counter } else { Self::Syscall }
    }
}

/// The clock of one sandbox. Its lock has the class `Table`.
#[derive(Debug)]
pub struct SharedClocks {
    source: TimeSource,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    page: ParameterPage,
    /// The line that guests use now.
    line: Parameters,
    /// The latest sample, and one at least [`SLOPE_BASE`] before it as soon as there is one.
    latest: Sample,
    earlier: Sample,
}

/// What counter and host clocks showed at one instant.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    tsc: u64,
    monotonic: u64,
    realtime_offset: i64,
    boottime_offset: i64,
}

impl Sample {
    /// The best of a few tries: the one that took the shortest time.
    fn take() -> Self {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..5 {
            let before = tsc::read();
            let monotonic = host(HostClock::Monotonic);
            let after = tsc::read();
            let realtime = host(HostClock::Realtime);
            let monotonic_again = host(HostClock::Monotonic);
            let boottime = host(HostClock::Boottime);
            let monotonic_last = host(HostClock::Monotonic);
            let width = after.wrapping_sub(before);
            let realtime_offset = realtime - midpoint(monotonic, monotonic_again);
            let boottime_offset = boottime - midpoint(monotonic_again, monotonic_last);
            let sample = Self {
                tsc: before.wrapping_add(width / 2),
                monotonic: u64::try_from(monotonic).unwrap_or(0),
                realtime_offset,
                // Without a suspension the two clocks are one; noise must not shake it.
                boottime_offset: if boottime_offset.unsigned_abs() < STEP.as_nanos() as u64 {
                    0
                } else {
                    boottime_offset
                },
            };
            if best.is_none_or(|(best_width, _)| width < best_width) {
                best = Some((width, sample));
            }
        }
        best.map_or_else(Self::default, |(_, sample)| sample)
    }
}

/// Nanoseconds of a host clock.
fn host(clock: HostClock) -> i64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

fn midpoint(earlier: i64, later: i64) -> i64 {
    earlier + (later - earlier) / 2
}

impl SharedClocks {
    /// The clock whose parameters guests find on `page`.
    ///
    /// # Errors
    /// The page cannot be written.
    pub fn new(page: ParameterPage, source: TimeSource) -> std::io::Result<Self> {
        let how = if source == TimeSource::Counter { tsc::cpu_number() } else { CpuNumber::Syscall };
        page.set_cpu_number(how)?;
        let first = Sample::take();
        let state = State { page, line: Parameters::default(), latest: first, earlier: first };
        Ok(Self { source, state: Mutex::new(LockClass::Table, state) })
    }

    /// Whether guests can read the time without a system call.
    pub fn is_counting(&self) -> bool {
        self.source == TimeSource::Counter
    }

    /// What `clock` shows now.
    pub fn read(&self, clock: SharedClock) -> Timespec {
        if self.source == TimeSource::Syscall {
            let clock = match clock {
                SharedClock::Realtime => HostClock::Realtime,
                SharedClock::Monotonic => HostClock::Monotonic,
                SharedClock::Boottime => HostClock::Boottime,
            };
            return Timespec::from_nanoseconds(host(clock));
        }
        let mut state = self.state.lock();
        let monotonic = match state.line.monotonic_at(tsc::read()) {
            Some(monotonic) => monotonic,
            None => state.draw(),
        };
        let offset = match clock {
            SharedClock::Realtime => state.line.realtime_offset,
            SharedClock::Monotonic => 0,
            SharedClock::Boottime => state.line.boottime_offset,
        };
        Timespec::from_nanoseconds(i64::try_from(monotonic).unwrap_or(i64::MAX).saturating_add(offset))
    }
}

impl State {
    /// Draws a new line through a new sample, and returns the time at its start.
    fn draw(&mut self) -> u64 {
        let (old, latest, earlier) = (self.line, self.latest, self.earlier);
        let mut drawn = (Parameters::default(), latest);
        let published = self.page.publish(|| {
            let sample = Sample::take();
            drawn = (next_line(&old, &earlier, &sample), sample);
            drawn.0
        });
        let (line, sample) = drawn;
        // A page that cannot be written keeps the guests out of it, as its sequence number stays odd or its parameters old; the sentry's own
        // line is right all the same.
        drop(published);
        if sample.monotonic.saturating_sub(latest.monotonic) >= SLOPE_BASE.as_nanos() as u64 {
            self.earlier = latest;
        }
        self.latest = sample;
        self.line = line;
        line.monotonic
    }
}

/// The line that follows `old`, with the slope from `earlier` to `sample`.
fn next_line(old: &Parameters, earlier: &Sample, sample: &Sample) -> Parameters {
    let last_shown =
        old.monotonic.saturating_add(old.elapsed(old.max_delta.min(sample.tsc.wrapping_sub(old.base_tsc))));
    let monotonic = sample.monotonic.max(last_shown);
    let ahead = monotonic - sample.monotonic;
    let (age, multiplier) = slope(earlier, sample).unwrap_or_default();
    let half = age / 2;
    let multiplier = if ahead == 0 || half == 0 {
        multiplier
    } else {
        let slower = (u128::from(multiplier) * u128::from(ahead.min(half / 2)) / u128::from(half)) as u64;
        multiplier - slower
    };
    Parameters {
        base_tsc: sample.tsc,
        max_delta: ticks(age, multiplier),
        multiplier,
        monotonic,
        realtime_offset: offset(old, old.realtime_offset, sample.realtime_offset),
        boottime_offset: offset(old, old.boottime_offset, sample.boottime_offset),
    }
}

/// How long a line with that slope holds (nanoseconds), and the slope; `None` while the samples tell nothing, which the counter
/// running backwards (a resumed machine) also means.
fn slope(earlier: &Sample, sample: &Sample) -> Option<(u64, u64)> {
    let nanoseconds = sample.monotonic.checked_sub(earlier.monotonic)?;
    let ticks = sample.tsc.checked_sub(earlier.tsc)?;
    if nanoseconds < FIRST_BASE.as_nanos() as u64 || ticks == 0 {
        return None;
    }
    let multiplier = u64::try_from((u128::from(nanoseconds) << 32) / u128::from(ticks)).ok()?;
    // Counters run between 100 MHz and 40 GHz; anything else is a counter that was reset.
    let sane = (1 << 32) / 40..=10 << 32;
    sane.contains(&multiplier).then(|| (nanoseconds.min(MAX_AGE.as_nanos() as u64), multiplier))
}

/// Ticks in `nanoseconds`.
fn ticks(nanoseconds: u64, multiplier: u64) -> u64 {
    (u128::from(nanoseconds) << 32).checked_div(u128::from(multiplier)).map_or(0, |ticks| ticks as u64)
}

/// The offset of a clock: the old one unless the clock was set.
fn offset(old: &Parameters, before: i64, now: i64) -> i64 {
    let changed = before.abs_diff(now) > STEP.as_nanos() as u64;
    if old.monotonic == 0 || changed { now } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of a host whose counter runs at 2 GHz.
    fn sample(milliseconds: u64) -> Sample {
        Sample {
            tsc: milliseconds * 2_000_000,
            monotonic: milliseconds * 1_000_000,
            realtime_offset: 7,
            boottime_offset: 0,
        }
    }

    #[test]
    fn no_line_is_drawn_before_the_samples_are_apart() {
        let line = next_line(&Parameters::default(), &sample(1000), &sample(1001));
        assert_eq!((line.max_delta, line.monotonic), (0, 1_001_000_000));
        assert_eq!(line.monotonic_at(line.base_tsc), None);
    }

    #[test]
    fn a_line_goes_on_at_the_rate_of_its_samples() {
        let line = next_line(&Parameters::default(), &sample(1000), &sample(1100));
        assert_eq!(line.monotonic_at(line.base_tsc + 2000), Some(1_100_001_000));
        assert_eq!(line.max_delta, 200_000_000);
        assert_eq!(line.monotonic_at(line.base_tsc + line.max_delta), None);
        assert_eq!(line.monotonic_at(line.base_tsc.wrapping_sub(1)), None);
    }

    #[test]
    fn a_line_that_was_ahead_is_followed_by_a_slower_one() {
        let old = next_line(&Parameters::default(), &sample(1000), &sample(1200));
        // The host ran 0.1 % slower than the old line since.
        let mut late = sample(1399);
        late.monotonic -= 199_000;
        let line = next_line(&old, &sample(1200), &late);
        let last = old.monotonic_at(late.tsc).expect("it still holds");
        assert_eq!(line.monotonic, last);
        assert!(line.multiplier < 1 << 31);
        // Halfway through it has met the host's rate.
        let half = line.max_delta / 2;
        let host = late.monotonic + half / 2 * 999 / 1000;
        let shown = line.monotonic_at(late.tsc + half).expect("it holds");
        assert!(shown.abs_diff(host) < 1000, "{shown} against {host}");
    }

    #[test]
    fn a_line_that_was_far_ahead_still_goes_forwards() {
        let old = Parameters {
            monotonic: 10_000_000_000,
            ..next_line(&Parameters::default(), &sample(1000), &sample(1200))
        };
        let line = next_line(&old, &sample(1200), &sample(1400));
        assert!(line.monotonic >= 10_000_000_000);
        assert!(line.multiplier >= 1 << 29);
    }

    #[test]
    fn offsets_change_by_steps_alone() {
        let mut old = next_line(&Parameters::default(), &sample(1000), &sample(1200));
        old.realtime_offset = 500;
        let mut set = sample(1400);
        assert_eq!(next_line(&old, &sample(1200), &set).realtime_offset, 500);
        set.realtime_offset = 1_000_000;
        assert_eq!(next_line(&old, &sample(1200), &set).realtime_offset, 1_000_000);
    }

    #[test]
    fn a_counter_that_was_reset_makes_no_line() {
        let mut reset = sample(1400);
        reset.tsc = 5;
        assert_eq!(next_line(&Parameters::default(), &sample(1200), &reset).max_delta, 0);
    }
}
