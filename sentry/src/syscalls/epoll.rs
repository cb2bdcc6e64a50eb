//! Epoll: `epoll_create`, `epoll_create1`, `epoll_ctl`, `epoll_wait`, `epoll_pwait`, `epoll_pwait2`.

use std::sync::Arc;
use std::time::Duration;

use bartizan_abi::{
    EpollCreateFlags, EpollEvent, EpollOperation, Errno, OpenFlags, PollEvents, SigSet, Timespec,
};

use super::anonymous::{self, AnonymousKind};
use super::poll::read_mask;
use crate::kernel::epoll::{Epoll, EpollInterest, EpollReport};
use crate::kernel::poll::PollTimeout;
use crate::kernel::{CurrentTask, Wake, deadline_after};
use crate::mm::UserPtr;
use crate::vfs::{FdNumber, File};
use crate::{SysError, SysResult, WaitError};

/// Most reports that one call gives: as many as fit into `INT_MAX` bytes.
const MOST_REPORTS: i32 = i32::MAX / size_of::<EpollEvent>() as i32;

/// `epoll_create(2)`; the size is a hint that only has to be positive.
pub fn epoll_create(task: &CurrentTask, size: i32) -> SysResult<FdNumber> {
    if size <= 0 {
        return Err(Errno::EINVAL.into());
    }
    epoll_create1(task, EpollCreateFlags::empty())
}

/// `epoll_create1(2)`.
pub fn epoll_create1(task: &CurrentTask, flags: EpollCreateFlags) -> SysResult<FdNumber> {
    let flags = OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::O_RDWR;
    anonymous::open_descriptor(task, AnonymousKind::Eventpoll, Box::new(Epoll::default()), flags)
}

fn epoll_of(file: &Arc<File>) -> Result<&Epoll, Errno> {
    file.downcast::<Epoll>().ok_or(Errno::EINVAL)
}

/// `epoll_ctl(2)`.
pub fn epoll_ctl(
    task: &CurrentTask,
    epoll: FdNumber,
    operation: i32,
    fd: FdNumber,
    event: UserPtr<EpollEvent>,
) -> SysResult<()> {
    let operation = EpollOperation::from_raw(operation);
    // As in Linux, the event is read before anything is looked at.
    let interest = match operation {
        Some(EpollOperation::EPOLL_CTL_DEL) => None,
        _ => Some(task.read_value(event)?).map(|event| EpollInterest {
            events: PollEvents::from_bits_retain(event.events),
            data: event.data,
        }),
    };
    let own_file = task.fd_table().get(epoll)?;
    let file = task.fd_table().get(fd)?;
    if file.ops().wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    if Arc::ptr_eq(&own_file, &file) {
        return Err(Errno::EINVAL.into());
    }
    let epoll = epoll_of(&own_file)?;
    match (operation, interest) {
        (Some(EpollOperation::EPOLL_CTL_ADD), Some(interest)) => {
            task.kernel().epoll_nesting().add((epoll, &own_file), (fd.0, &file), interest)?;
        }
        (Some(EpollOperation::EPOLL_CTL_MOD), Some(interest)) => epoll.modify(fd.0, &file, interest)?,
        (Some(EpollOperation::EPOLL_CTL_DEL), _) => epoll.remove(fd.0, &file)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// A time-out in milliseconds; negative is for ever.
fn milliseconds(time: i32) -> PollTimeout {
    match u64::try_from(time) {
        Ok(0) => PollTimeout::Now,
        Ok(time) => PollTimeout::Until(deadline_after(Duration::from_millis(time))),
        Err(_) => PollTimeout::Until(None),
    }
}

/// `epoll_wait(2)`.
pub fn epoll_wait(
    task: &CurrentTask,
    epoll: FdNumber,
    events: UserPtr<EpollEvent>,
    most: i32,
    time: i32,
) -> SysResult<usize> {
    wait(task, epoll, events, most, milliseconds(time))
}

/// `epoll_pwait(2)`.
pub fn epoll_pwait(
    task: &CurrentTask,
    epoll: FdNumber,
    events: UserPtr<EpollEvent>,
    most: i32,
    time: i32,
    mask: UserPtr<SigSet>,
    mask_size: u64,
) -> SysResult<usize> {
    let mask = read_mask(task, mask, mask_size)?;
    task.with_temporary_mask(mask, || wait(task, epoll, events, most, milliseconds(time)))
}

/// `epoll_pwait2(2)`.
pub fn epoll_pwait2(
    task: &CurrentTask,
    epoll: FdNumber,
    events: UserPtr<EpollEvent>,
    most: i32,
    time: UserPtr<Timespec>,
    mask: UserPtr<SigSet>,
    mask_size: u64,
) -> SysResult<usize> {
    let timeout = match time.optional() {
        Some(time) => match task.read_value(time)?.to_duration().ok_or(Errno::EINVAL)? {
            Duration::ZERO => PollTimeout::Now,
            duration => PollTimeout::Until(deadline_after(duration)),
        },
        None => PollTimeout::Until(None),
    };
    let mask = read_mask(task, mask, mask_size)?;
    task.with_temporary_mask(mask, || wait(task, epoll, events, most, timeout))
}

fn wait(
    task: &CurrentTask,
    epoll: FdNumber,
    events: UserPtr<EpollEvent>,
    most: i32,
    timeout: PollTimeout,
) -> SysResult<usize> {
    if most <= 0 || most > MOST_REPORTS {
        return Err(Errno::EINVAL.into());
    }
    let most_bytes = u64::from(most.cast_unsigned()) * size_of::<EpollEvent>() as u64;
    let end = task.kernel().platform().user_addresses().end;
    if events.address().0.checked_add(most_bytes).is_none_or(|last| last > end) {
        return Err(Errno::EFAULT.into());
    }
    let file = task.fd_table().get(epoll)?;
    let epoll = epoll_of(&file)?;
    let most = usize::try_from(most).map_err(|_| Errno::EINVAL)?;
    let reports = match collect(task, epoll, most, timeout) {
        Ok(reports) => reports,
        Err(WaitError::TimedOut) => return Ok(0),
        // Not even `SA_RESTART` repeats it (signal(7)).
        Err(WaitError::Interrupted) => return Err(SysError::Errno(Errno::EINTR)),
    };
    let list: Vec<EpollEvent> =
        reports.iter().map(|report| EpollEvent { events: report.events.bits(), data: report.data }).collect();
    task.write_slice(events, &list)?;
    Ok(list.len())
}

fn collect(
    task: &CurrentTask,
    epoll: &Epoll,
    most: usize,
    timeout: PollTimeout,
) -> Result<Vec<EpollReport>, WaitError> {
    let look = || Some(epoll.collect(most)).filter(|reports| !reports.is_empty());
    let PollTimeout::Until(deadline) = timeout else { return look().ok_or(WaitError::TimedOut) };
    if let Some(reports) = look() {
        return Ok(reports);
    }
    // One report wakes one of several who wait.
    let waker = Arc::clone(task.parker()) as Arc<dyn Wake>;
    let key = epoll.events().register_exclusive(waker, PollEvents::READABLE);
    let result = task.wait_until(deadline, look);
    epoll.events().unregister(key);
    if result == Err(WaitError::Interrupted) && epoll.may_be_ready() {
        // The report that came to this task is for somebody else.
        epoll.events().notify(PollEvents::READABLE);
    }
    result
}
