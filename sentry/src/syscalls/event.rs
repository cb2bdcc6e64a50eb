//! Descriptors that tell of events: `eventfd`, `timerfd_create`, `timerfd_settime`, `timerfd_gettime`.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::{Errno, EventfdFlags, Itimerspec, OpenFlags, TimerfdFlags, TimerfdSetFlags, Timespec};

use super::anonymous::{self, AnonymousKind};
use super::time::Clock;
use crate::SysResult;
use crate::kernel::timer::{Schedule, TimerSetting, Timerfd};
use crate::kernel::{CurrentTask, EventMode, Eventfd, WaitClock, deadline_after};
use crate::mm::UserPtr;
use crate::vfs::{FdNumber, File};

/// `eventfd(2)`, the call without flags.
pub fn eventfd(task: &CurrentTask, count: u32) -> SysResult<FdNumber> {
    eventfd2(task, count, EventfdFlags::empty())
}

/// `eventfd2(2)`.
pub fn eventfd2(task: &CurrentTask, count: u32, flags: EventfdFlags) -> SysResult<FdNumber> {
    let semaphore = flags.contains(EventfdFlags::EFD_SEMAPHORE);
    let mode = if semaphore { EventMode::Semaphore } else { EventMode::Counter };
    let flags = OpenFlags::from_bits_truncate((flags - EventfdFlags::EFD_SEMAPHORE).bits());
    let ops = Box::new(Eventfd::new(count.into(), mode));
    anonymous::open_descriptor(task, AnonymousKind::Eventfd, ops, flags | OpenFlags::O_RDWR)
}

/// `timerfd_create(2)`.
pub fn timerfd_create(task: &CurrentTask, clock: i32, flags: TimerfdFlags) -> SysResult<FdNumber> {
    let clock = match Clock::from_raw(clock)?.waitable() {
        Ok(WaitClock::Tai) | Err(_) => return Err(Errno::EINVAL.into()),
        Ok(clock) => clock,
    };
    let ops = Box::new(Timerfd::new(task.kernel().timers(), clock));
    let flags = OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::O_RDWR;
    anonymous::open_descriptor(task, AnonymousKind::Timerfd, ops, flags)
}

fn timer_of(file: &Arc<File>) -> Result<&Timerfd, Errno> {
    file.downcast::<Timerfd>().ok_or(Errno::EINVAL)
}

/// `timerfd_settime(2)`. Clocks are never set, so nothing is ever cancelled.
pub fn timerfd_settime(
    task: &CurrentTask,
    fd: FdNumber,
    flags: TimerfdSetFlags,
    new: UserPtr<Itimerspec>,
    old: UserPtr<Itimerspec>,
) -> SysResult<()> {
    let new = task.read_value(new)?;
    let file = task.fd_table().get(fd)?;
    let timer = timer_of(&file)?;
    let absolute = flags.contains(TimerfdSetFlags::TFD_TIMER_ABSTIME);
    let schedule = schedule(&new, absolute.then_some(timer.clock()))?;
    let setting = timer.set(schedule)?;
    if let Some(old) = old.optional() {
        task.write_value(old, &Itimerspec::from(setting))?;
    }
    Ok(())
}

/// When a timer that is set to `setting` expires: `None` if it is disarmed. With `absolute`, the first expiry is a time of that clock.
///
/// # Errors
/// `EINVAL` for times that are none.
pub(super) fn schedule(setting: &Itimerspec, absolute: Option<WaitClock>) -> Result<Option<Schedule>, Errno> {
    let interval = setting.it_interval.to_duration().ok_or(Errno::EINVAL)?;
    let value = setting.it_value.to_duration().ok_or(Errno::EINVAL)?;
    if setting.it_value == Timespec::ZERO {
        return Ok(None);
    }
    let next: Option<Instant> = match absolute {
        Some(clock) => clock.instant_at(setting.it_value),
        None => deadline_after(value),
    };
    // What is too far away to be counted is a timer that never expires but is armed; a century is as good.
    let next = next.or_else(|| deadline_after(std::time::Duration::from_secs(100 * 365 * 86_400)));
    Ok(next.map(|next| Schedule { next, interval }))
}

/// `timerfd_gettime(2)`.
pub fn timerfd_gettime(task: &CurrentTask, fd: FdNumber, pointer: UserPtr<Itimerspec>) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    let setting: TimerSetting = timer_of(&file)?.get();
    Ok(task.write_value(pointer, &Itimerspec::from(setting))?)
}
