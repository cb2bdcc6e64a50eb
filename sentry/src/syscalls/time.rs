//! Clocks and sleeping: `clock_gettime` and its kin, `gettimeofday`, `time`, `nanosleep`, `clock_nanosleep`, `adjtimex`.

use std::time::Instant;

use bartizan_abi::{ClockId, Errno, NSEC_PER_SEC, TimerFlags, Timespec, Timeval, Timex, Timezone};
use rustix::time::ClockId as HostClock;

use crate::kernel::{CurrentTask, RestartBlock, WaitClock, deadline_after, host_time, realtime};
use crate::loader::vdso::SharedClock;
use crate::mm::UserPtr;
use crate::{Restart, SysError, SysResult, WaitError};

/// Resolution of the clocks that go by the tick, nanoseconds: `CONFIG_HZ=250`.
const TICK: i64 = 4_000_000;
/// `TIME_ERROR` and `STA_UNSYNC`: nobody has synchronised the clock.
const TIME_ERROR: i32 = 5;
const STA_UNSYNC: i32 = 0x40;
/// Microseconds in a tick of `adjtimex`.
const ADJTIMEX_TICK: i64 = 10_000;

/// A clock as `clock_gettime(2)` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// One of the machine.
    Machine(ClockId),
    /// Processor time of a process; 0 is the caller's.
    Process(i32, CpuTime),
    /// Processor time of a task; 0 is the caller.
    Thread(i32, CpuTime),
}

/// Which processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CpuTime {
    /// User and system time.
    All,
    /// User time.
    User,
}

impl Clock {
    /// The clock with this number.
    ///
    /// # Errors
    /// `EINVAL` if there is none.
    pub(super) fn from_raw(raw: i32) -> Result<Self, Errno> {
        if raw >= 0 {
            return match ClockId::from_raw(raw).ok_or(Errno::EINVAL)? {
                ClockId::CLOCK_PROCESS_CPUTIME_ID => Ok(Self::Process(0, CpuTime::All)),
                ClockId::CLOCK_THREAD_CPUTIME_ID => Ok(Self::Thread(0, CpuTime::All)),
                clock => Ok(Self::Machine(clock)),
            };
        }
        // Negative numbers: the complement of the task in the upper bits, a mark for tasks, and which time in the lowest two.
        let number = !(raw >> 3);
        let time = match raw & 3 {
            0 | 2 => CpuTime::All,
            1 => CpuTime::User,
            // A descriptor of a clock device.
            _ => return Err(Errno::EINVAL),
        };
        Ok(if raw & 4 == 0 { Self::Process(number, time) } else { Self::Thread(number, time) })
    }

    /// The clock to wait on, for those that can be.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for clocks of the machine that nobody can wait for, `EINVAL` for processor time.
    pub(super) fn waitable(self) -> Result<WaitClock, Errno> {
        match self {
            Self::Machine(ClockId::CLOCK_REALTIME | ClockId::CLOCK_REALTIME_ALARM) => Ok(WaitClock::Realtime),
            Self::Machine(ClockId::CLOCK_MONOTONIC) => Ok(WaitClock::Monotonic),
            Self::Machine(ClockId::CLOCK_BOOTTIME | ClockId::CLOCK_BOOTTIME_ALARM) => Ok(WaitClock::Boottime),
            Self::Machine(ClockId::CLOCK_TAI) => Ok(WaitClock::Tai),
            Self::Machine(_) => Err(Errno::EOPNOTSUPP),
            Self::Process(..) | Self::Thread(..) => Err(Errno::EINVAL),
        }
    }

    /// What it shows.
    ///
    /// # Errors
    /// `EINVAL` for processor time of somebody who does not exist.
    pub(super) fn now(self, task: &CurrentTask) -> Result<Timespec, Errno> {
        match self {
            Self::Machine(clock) => Ok(machine_time(task, clock)),
            Self::Process(number, time) => {
                let pid = if number == 0 { task.pid() } else { number };
                Ok(cpu_time(task.kernel().process_time(pid).ok_or(Errno::EINVAL)?, time))
            }
            Self::Thread(0, time) => Ok(cpu_time(task.usage().times(), time)),
            Self::Thread(number, time) => {
                let other = task.kernel().tree().task(number).cloned().ok_or(Errno::EINVAL)?;
                if other.pid() != task.pid() {
                    return Err(Errno::EINVAL);
                }
                Ok(cpu_time(other.usage().times(), time))
            }
        }
    }
}

fn cpu_time((user, system): (u64, u64), time: CpuTime) -> Timespec {
    let nanoseconds = match time {
        CpuTime::All => user.saturating_add(system),
        CpuTime::User => user,
    };
    Timespec::from_nanoseconds(i64::try_from(nanoseconds).unwrap_or(i64::MAX))
}

/// What a clock of the machine shows; the clocks of the vDSO show there what they show here.
fn machine_time(task: &CurrentTask, clock: ClockId) -> Timespec {
    if let Some(shared) = SharedClock::from_id(clock) {
        return task.kernel().vdso().clocks().read(shared);
    }
    match clock {
        ClockId::CLOCK_MONOTONIC_RAW => host_time(HostClock::MonotonicRaw),
        ClockId::CLOCK_BOOTTIME | ClockId::CLOCK_BOOTTIME_ALARM => WaitClock::Boottime.now(),
        _ => WaitClock::Realtime.now(),
    }
}

/// `clock_gettime(2)`.
pub fn clock_gettime(task: &CurrentTask, clock: i32, time: UserPtr<Timespec>) -> SysResult<()> {
    let now = Clock::from_raw(clock)?.now(task)?;
    Ok(task.write_value(time, &now)?)
}

/// `clock_getres(2)`.
pub fn clock_getres(task: &CurrentTask, clock: i32, resolution: UserPtr<Timespec>) -> SysResult<()> {
    let clock = Clock::from_raw(clock)?;
    clock.now(task)?;
    let nanoseconds = match clock {
        Clock::Machine(ClockId::CLOCK_REALTIME_COARSE | ClockId::CLOCK_MONOTONIC_COARSE) => TICK,
        _ => 1,
    };
    if let Some(resolution) = resolution.optional() {
        task.write_value(resolution, &Timespec::new(0, nanoseconds))?;
    }
    Ok(())
}

/// `clock_settime(2)`: the clocks are the host's, and nobody here may set them.
pub fn clock_settime(task: &CurrentTask, clock: i32, time: UserPtr<Timespec>) -> SysResult<()> {
    let clock = Clock::from_raw(clock)?;
    let time = task.read_value(time)?;
    match clock {
        Clock::Machine(ClockId::CLOCK_REALTIME) if !time.is_valid() => Err(Errno::EINVAL.into()),
        Clock::Machine(ClockId::CLOCK_REALTIME) | Clock::Process(..) | Clock::Thread(..) => {
            Err(Errno::EPERM.into())
        }
        Clock::Machine(_) => Err(Errno::EINVAL.into()),
    }
}

/// `gettimeofday(2)`.
pub fn gettimeofday(task: &CurrentTask, time: UserPtr<Timeval>, zone: UserPtr<Timezone>) -> SysResult<()> {
    if let Some(time) = time.optional() {
        let now = task.kernel().vdso().clocks().read(SharedClock::Realtime);
        task.write_value(time, &Timeval::from(now))?;
    }
    if let Some(zone) = zone.optional() {
        task.write_value(zone, &Timezone::default())?;
    }
    Ok(())
}

/// `settimeofday(2)`: see [`clock_settime`].
pub fn settimeofday(task: &CurrentTask, time: UserPtr<Timeval>, zone: UserPtr<Timezone>) -> SysResult<()> {
    if let Some(time) = time.optional() {
        task.read_value(time)?.to_duration().ok_or(Errno::EINVAL)?;
    }
    if let Some(zone) = zone.optional() {
        task.read_value(zone)?;
    }
    Err(Errno::EPERM.into())
}

/// `time(2)`.
pub fn time(task: &CurrentTask, pointer: UserPtr<i64>) -> SysResult<i64> {
    let seconds = task.kernel().vdso().clocks().read(SharedClock::Realtime).tv_sec;
    if let Some(pointer) = pointer.optional() {
        task.write_value(pointer, &seconds)?;
    }
    Ok(seconds)
}

/// `nanosleep(2)`.
pub fn nanosleep(
    task: &CurrentTask,
    duration: UserPtr<Timespec>,
    remaining: UserPtr<Timespec>,
) -> SysResult<()> {
    let duration = task.read_value(duration)?.to_duration().ok_or(Errno::EINVAL)?;
    continue_sleep(task, WaitClock::Monotonic, deadline_after(duration), remaining)
}

/// `clock_nanosleep(2)`.
pub fn clock_nanosleep(
    task: &CurrentTask,
    clock: i32,
    flags: TimerFlags,
    time: UserPtr<Timespec>,
    remaining: UserPtr<Timespec>,
) -> SysResult<()> {
    let clock = Clock::from_raw(clock)?;
    let by_others = match clock {
        Clock::Process(..) => true,
        // Nobody can sleep until he himself has used something.
        Clock::Thread(tid, _) => tid != 0 && tid != task.tid(),
        Clock::Machine(_) => false,
    };
    if by_others {
        return sleep_by_cpu_time(task, clock, flags, time, remaining);
    }
    let clock = clock.waitable()?;
    let time = task.read_value(time)?;
    let duration = time.to_duration().ok_or(Errno::EINVAL)?;
    if !flags.contains(TimerFlags::TIMER_ABSTIME) {
        return continue_sleep(task, clock, deadline_after(duration), remaining);
    }
    match task.wait_until(clock.instant_at(time), || None::<()>) {
        Ok(()) | Err(WaitError::TimedOut) => Ok(()),
        Err(WaitError::Interrupted) => Err(SysError::Restart(Restart::WithoutHandler)),
    }
}

/// Sleeps until `deadline`; a signal leaves the rest at `remaining`.
pub(super) fn continue_sleep(
    task: &CurrentTask,
    clock: WaitClock,
    deadline: Option<Instant>,
    remaining: UserPtr<Timespec>,
) -> SysResult<()> {
    match task.wait_until(deadline, || None::<()>) {
        Ok(()) | Err(WaitError::TimedOut) => Ok(()),
        Err(WaitError::Interrupted) => {
            if let Some(pointer) = remaining.optional() {
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                let left = left.map_or(Timespec::new(i64::MAX, 0), Timespec::from_duration);
                task.write_value(pointer, &left)?;
            }
            Err(task.continue_with(RestartBlock::Sleep { clock, deadline, remaining }))
        }
    }
}

/// Sleeps until a process or another task has used some processor time: looks again when it can have at the earliest.
fn sleep_by_cpu_time(
    task: &CurrentTask,
    clock: Clock,
    flags: TimerFlags,
    time: UserPtr<Timespec>,
    remaining: UserPtr<Timespec>,
) -> SysResult<()> {
    let asked = task.read_value(time)?;
    asked.to_duration().ok_or(Errno::EINVAL)?;
    let absolute = flags.contains(TimerFlags::TIMER_ABSTIME);
    let start = if absolute { Timespec::ZERO } else { clock.now(task)? };
    let target = asked.to_nanoseconds() + start.to_nanoseconds();
    loop {
        // A process that has ended uses no more.
        let now = clock.now(task)?.to_nanoseconds();
        let Ok(left) = u64::try_from(target - now) else { return Ok(()) };
        if left == 0 {
            return Ok(());
        }
        // No process runs on more processors than there are.
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let pause = std::time::Duration::from_nanos((left / processors).max(TICK.unsigned_abs()));
        if task.wait_until(deadline_after(pause), || None::<()>) == Err(WaitError::Interrupted) {
            if let (false, Some(pointer)) = (absolute, remaining.optional()) {
                let left = Timespec::from_nanoseconds(i64::try_from(left).unwrap_or(i64::MAX));
                task.write_value(pointer, &left)?;
            }
            return Err(match absolute {
                true => SysError::Restart(Restart::WithoutHandler),
                false => Errno::EINTR.into(),
            });
        }
    }
}

/// `adjtimex(2)`: tells; nobody may change anything.
pub fn adjtimex(task: &CurrentTask, pointer: UserPtr<Timex>) -> SysResult<i32> {
    let asked = task.read_value(pointer)?;
    if asked.modes != 0 {
        return Err(Errno::EPERM.into());
    }
    let now = realtime();
    let told = Timex {
        status: STA_UNSYNC,
        maxerror: NSEC_PER_SEC / 1000 * 16,
        esterror: NSEC_PER_SEC / 1000 * 16,
        constant: 2,
        precision: 1,
        tolerance: 32_768_000,
        time: now.into(),
        tick: ADJTIMEX_TICK,
        ..Timex::default()
    };
    task.write_value(pointer, &told)?;
    Ok(TIME_ERROR)
}

/// `clock_adjtime(2)`.
pub fn clock_adjtime(task: &CurrentTask, clock: i32, pointer: UserPtr<Timex>) -> SysResult<i32> {
    match Clock::from_raw(clock)? {
        Clock::Machine(ClockId::CLOCK_REALTIME) => adjtimex(task, pointer),
        _ => Err(Errno::EOPNOTSUPP.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_numbers_are_processor_clocks() {
        // `clock_getcpuclockid(3)` and `pthread_getcpuclockid(3)` make them like this.
        assert_eq!(Clock::from_raw((!7 << 3) | 2), Ok(Clock::Process(7, CpuTime::All)));
        assert_eq!(Clock::from_raw((!7 << 3) | 6), Ok(Clock::Thread(7, CpuTime::All)));
        assert_eq!(Clock::from_raw((!0 << 3) | 1), Ok(Clock::Process(0, CpuTime::User)));
        assert_eq!(Clock::from_raw((!3 << 3) | 3), Err(Errno::EINVAL));
        assert_eq!(Clock::from_raw(10), Err(Errno::EINVAL));
        assert_eq!(Clock::from_raw(2), Ok(Clock::Process(0, CpuTime::All)));
        assert_eq!(Clock::from_raw(4).and_then(Clock::waitable), Err(Errno::EOPNOTSUPP));
    }
}
