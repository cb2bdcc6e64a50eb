//! Timers that send signals: `alarm`, `getitimer`, `setitimer`, `timer_create` and its kin.

use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{
    ClockId, Errno, IntervalTimer, Itimerspec, Itimerval, Resource, SigEvent, SigEventNotify, Signal,
    TimerFlags, Timeval,
};

use super::time::{Clock, CpuTime};
use crate::SysResult;
use crate::kernel::timer::{CpuClock, PosixClock, PosixNotice, PosixTimer, TimerSetting};
use crate::kernel::{CurrentTask, Task, ThreadGroup};
use crate::mm::UserPtr;

/// `alarm(2)`: gives the seconds that were left of the alarm before.
pub fn alarm(task: &CurrentTask, seconds: u32) -> SysResult<u32> {
    let new = TimerSetting { remaining: Duration::from_secs(seconds.into()), interval: Duration::ZERO };
    let old = set_interval(task, IntervalTimer::ITIMER_REAL, new)?;
    let left = old.remaining.as_secs();
    // Rounded, but never to zero while an alarm is set.
    let up = left == 0 && !old.remaining.is_zero() || old.remaining.subsec_millis() >= 500;
    Ok(u32::try_from(left + u64::from(up)).unwrap_or(u32::MAX))
}

fn set_interval(task: &CurrentTask, which: IntervalTimer, new: TimerSetting) -> Result<TimerSetting, Errno> {
    task.group().timers().set_interval(task.kernel().timers(), task.group(), which, new)
}

fn itimerval(setting: TimerSetting) -> Itimerval {
    // A timer that is armed never shows zero.
    let microsecond = Duration::from_micros(1);
    let shown =
        if setting.remaining.is_zero() { setting.remaining } else { setting.remaining.max(microsecond) };
    Itimerval {
        it_interval: Timeval::from_duration(setting.interval),
        it_value: Timeval::from_duration(shown),
    }
}

/// `getitimer(2)`.
pub fn getitimer(task: &CurrentTask, which: i32, value: UserPtr<Itimerval>) -> SysResult<()> {
    let which = IntervalTimer::try_from(which)?;
    let setting = task.group().timers().interval(task.kernel().timers(), task.group(), which);
    Ok(task.write_value(value, &itimerval(setting))?)
}

/// `setitimer(2)`; as in Linux, a null pointer disarms.
pub fn setitimer(
    task: &CurrentTask,
    which: i32,
    new: UserPtr<Itimerval>,
    old: UserPtr<Itimerval>,
) -> SysResult<()> {
    let new = match new.optional() {
        Some(new) => task.read_value(new)?,
        None => Itimerval::default(),
    };
    let new = TimerSetting {
        remaining: new.it_value.to_duration().ok_or(Errno::EINVAL)?,
        interval: new.it_interval.to_duration().ok_or(Errno::EINVAL)?,
    };
    let before = set_interval(task, IntervalTimer::try_from(which)?, new)?;
    if let Some(old) = old.optional() {
        task.write_value(old, &itimerval(before))?;
    }
    Ok(())
}

/// The number of the clock of the caller's own processor time, as the kernel keeps it.
const OWN_PROCESS: i32 = -6;
/// The same of its task's.
const OWN_TASK: i32 = -2;

/// The number by which the kernel keeps a clock: the caller's own processor time is that of a process or task zero.
fn kept_number(clock: i32) -> i32 {
    match ClockId::from_raw(clock) {
        Some(ClockId::CLOCK_PROCESS_CPUTIME_ID) => OWN_PROCESS,
        Some(ClockId::CLOCK_THREAD_CPUTIME_ID) => OWN_TASK,
        _ => clock,
    }
}

/// What a POSIX timer goes by.
fn posix_clock(task: &CurrentTask, clock: i32) -> Result<PosixClock, Errno> {
    let process = |pid: i32| -> Result<Arc<ThreadGroup>, Errno> {
        match pid {
            0 => Ok(Arc::clone(task.group())),
            pid => {
                let tree = task.kernel().tree();
                tree.process(pid).map(|process| Arc::clone(&process.group)).ok_or(Errno::EINVAL)
            }
        }
    };
    let thread = |tid: i32| -> Result<Arc<Task>, Errno> {
        match tid {
            0 => Ok(Arc::clone(task.task())),
            tid => {
                let found = task.kernel().tree().task(tid).cloned();
                found.filter(|found| found.pid() == task.pid()).ok_or(Errno::EINVAL)
            }
        }
    };
    Ok(match Clock::from_raw(clock)? {
        Clock::Process(pid, CpuTime::All) => {
            PosixClock::Cpu(CpuClock::Process(Arc::downgrade(&process(pid)?)))
        }
        Clock::Process(pid, CpuTime::User) => {
            PosixClock::Cpu(CpuClock::ProcessUser(Arc::downgrade(&process(pid)?)))
        }
        Clock::Thread(tid, CpuTime::All) => PosixClock::Cpu(CpuClock::Task(Arc::downgrade(&thread(tid)?))),
        Clock::Thread(tid, CpuTime::User) => {
            PosixClock::Cpu(CpuClock::TaskUser(Arc::downgrade(&thread(tid)?)))
        }
        machine @ Clock::Machine(_) => PosixClock::Machine(machine.waitable()?),
    })
}

/// Whom a timer tells.
///
/// # Errors
/// `EINVAL` for what does not exist, or a task of another process.
fn notice(task: &CurrentTask, event: &SigEvent) -> Result<PosixNotice, Errno> {
    let signal = || Signal::try_from(event.sigev_signo);
    let (value, number) = (event.sigev_value, event.sigev_signo);
    let method = SigEventNotify::try_from(event.sigev_notify)?;
    match method {
        SigEventNotify::SIGEV_NONE => Ok(PosixNotice { signal: None, tid: None, value, method, number }),
        SigEventNotify::SIGEV_SIGNAL | SigEventNotify::SIGEV_THREAD => {
            Ok(PosixNotice { signal: Some(signal()?), tid: None, value, method, number })
        }
        SigEventNotify::SIGEV_THREAD_ID => {
            let tid = event.sigev_notify_thread_id;
            let other = task.kernel().tree().task(tid).cloned();
            if other.is_none_or(|other| other.pid() != task.pid()) {
                return Err(Errno::EINVAL);
            }
            Ok(PosixNotice { signal: Some(signal()?), tid: Some(tid), value, method, number })
        }
    }
}

/// `timer_create(2)`.
pub fn timer_create(
    task: &CurrentTask,
    clock: i32,
    event: UserPtr<SigEvent>,
    timer: UserPtr<i32>,
) -> SysResult<()> {
    let event = event.optional().map(|event| task.read_value(event)).transpose()?;
    let clock = (posix_clock(task, clock)?, kept_number(clock));
    let notice = event.map(|event| notice(task, &event)).transpose()?;
    let group = task.group();
    let limit = group.limits().soft(Resource::RLIMIT_SIGPENDING);
    let timers = group.timers();
    let id = timers.add(limit, |id| PosixTimer::new(task.kernel().timers(), group, id, clock, notice))?;
    if let Err(errno) = task.write_value(timer, &id) {
        let _removed = timers.remove(id);
        return Err(errno.into());
    }
    Ok(())
}

/// `timer_settime(2)`.
pub fn timer_settime(
    task: &CurrentTask,
    timer: i32,
    flags: TimerFlags,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult<()> {
    if new.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let new = task.read_value(new)?;
    let interval = new.it_interval.to_duration().ok_or(Errno::EINVAL)?;
    new.it_value.to_duration().ok_or(Errno::EINVAL)?;
    let timer = task.group().timers().get(timer)?;
    let before = timer.set(new.it_value, interval, flags.contains(TimerFlags::TIMER_ABSTIME))?;
    if let Some(old) = old.optional() {
        task.write_value(old, &Itimerspec::from(before))?;
    }
    Ok(())
}

/// `timer_gettime(2)`.
pub fn timer_gettime(task: &CurrentTask, timer: i32, value: UserPtr<Itimerspec>) -> SysResult<()> {
    let setting = task.group().timers().get(timer)?.get();
    Ok(task.write_value(value, &Itimerspec::from(setting))?)
}

/// `timer_getoverrun(2)`.
pub fn timer_getoverrun(task: &CurrentTask, timer: i32) -> SysResult<i32> {
    Ok(task.group().timers().get(timer)?.overrun())
}

/// `timer_delete(2)`.
pub fn timer_delete(task: &CurrentTask, timer: i32) -> SysResult<()> {
    Ok(task.group().timers().remove(timer).map(drop)?)
}
