//! Waiting for files: `poll`, `ppoll`, `select`, `pselect6`.

use std::time::{Duration, Instant};

use bartizan_abi::{Errno, PollEvents, PollFd, Resource, SigSet, Timespec, Timeval};

use crate::kernel::poll::{PollTimeout, Watch, poll_files};
use crate::kernel::{CurrentTask, RestartBlock, deadline_after};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::FdNumber;
use crate::{Restart, SysError, SysResult, WaitError};

/// Offset of `revents` in [`PollFd`].
const REVENTS_OFFSET: u64 = 6;
/// Bits in a word of an `fd_set`.
const WORD_BITS: usize = u64::BITS as usize;

/// How long a call waits; `None` is for ever.
fn timeout(duration: Option<Duration>) -> PollTimeout {
    match duration {
        Some(Duration::ZERO) => PollTimeout::Now,
        Some(duration) => PollTimeout::Until(deadline_after(duration)),
        None => PollTimeout::Until(None),
    }
}

/// `poll(2)`.
pub fn poll(task: &CurrentTask, entries: UserAddr, count: u32, milliseconds: i32) -> SysResult<usize> {
    let duration = u64::try_from(milliseconds).ok().map(Duration::from_millis);
    poll_until(task, entries, count, timeout(duration))
}

/// Continues a `poll(2)` that was interrupted.
pub(super) fn continue_poll(
    task: &CurrentTask,
    entries: UserAddr,
    count: u32,
    deadline: Option<Instant>,
) -> SysResult<usize> {
    poll_until(task, entries, count, PollTimeout::Until(deadline))
}

fn poll_until(task: &CurrentTask, entries: UserAddr, count: u32, timeout: PollTimeout) -> SysResult<usize> {
    match poll_entries(task, UserPtr::new(entries), count, timeout)? {
        Ok(ready) => Ok(ready),
        Err(_) => {
            let deadline = match timeout {
                PollTimeout::Now => None,
                PollTimeout::Until(deadline) => deadline,
            };
            Err(task.continue_with(RestartBlock::Poll { entries, count, deadline }))
        }
    }
}

/// Waits for the files of a list and notes in it what they are ready for; how many are.
fn poll_entries(
    task: &CurrentTask,
    entries: UserPtr<PollFd>,
    count: u32,
    timeout: PollTimeout,
) -> SysResult<Result<usize, WaitError>> {
    if u64::from(count) > task.group().limits().soft(Resource::RLIMIT_NOFILE) {
        return Err(Errno::EINVAL.into());
    }
    let list = task.read_slice(entries, count as usize)?;
    let table = task.fd_table();
    let (mut watches, mut places) = (Vec::with_capacity(list.len()), Vec::with_capacity(list.len()));
    for (place, entry) in list.iter().enumerate().filter(|(_, entry)| entry.fd >= 0) {
        let file = table.get(FdNumber(entry.fd)).ok();
        watches.push(Watch { file, interest: PollEvents::from_poll(entry.events) });
        places.push(place);
    }
    drop(table);
    let ready = match poll_files(task, &watches, timeout) {
        Ok(ready) => ready,
        Err(interrupted) => return Ok(Err(interrupted)),
    };
    let mut results = vec![0_i16; list.len()];
    for (place, events) in places.into_iter().zip(ready) {
        results[place] = events.to_poll();
    }
    for (index, revents) in results.iter().enumerate() {
        let address = entries.element(index as u64)?.address().checked_add(REVENTS_OFFSET)?;
        task.write_value(UserPtr::new(address), revents)?;
    }
    Ok(Ok(results.iter().filter(|&&revents| revents != 0).count()))
}

/// A time-out that is given as a duration and gets back what is left of it.
#[derive(Debug, Clone, Copy)]
enum TimeLeft {
    /// None was given.
    Forever,
    /// `struct timespec`.
    Timespec(UserPtr<Timespec>, Option<Instant>),
    /// `struct timeval`.
    Timeval(UserPtr<Timeval>, Option<Instant>),
}

impl TimeLeft {
    fn timespec(task: &CurrentTask, pointer: UserPtr<Timespec>) -> SysResult<(Self, PollTimeout)> {
        let Some(pointer) = pointer.optional() else { return Ok((Self::Forever, timeout(None))) };
        let duration = task.read_value(pointer)?.to_duration().ok_or(Errno::EINVAL)?;
        Ok((Self::Timespec(pointer, deadline_after(duration)), timeout(Some(duration))))
    }

    fn timeval(task: &CurrentTask, pointer: UserPtr<Timeval>) -> SysResult<(Self, PollTimeout)> {
        let Some(pointer) = pointer.optional() else { return Ok((Self::Forever, timeout(None))) };
        let time = task.read_value(pointer)?;
        // Linux takes microseconds beyond a second here.
        let seconds = u64::try_from(time.tv_sec).map_err(|_| Errno::EINVAL)?;
        let microseconds = u64::try_from(time.tv_usec).map_err(|_| Errno::EINVAL)?;
        let duration = Duration::from_secs(seconds)
            .checked_add(Duration::from_micros(microseconds))
            .unwrap_or(Duration::MAX);
        Ok((Self::Timeval(pointer, deadline_after(duration)), timeout(Some(duration))))
    }

    /// Writes back what is left. A place that cannot be written changes nothing, as in Linux.
    fn store(self, task: &CurrentTask) {
        let left = |deadline: Option<Instant>| {
            deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
        };
        let _unwritable = match self {
            Self::Forever => Ok(()),
            Self::Timespec(pointer, deadline) => {
                task.write_value(pointer, &Timespec::from_duration(left(deadline)))
            }
            Self::Timeval(pointer, deadline) => {
                task.write_value(pointer, &Timeval::from_duration(left(deadline)))
            }
        };
    }
}

/// A set of signals in the guest's memory, or none for a null pointer.
///
/// # Errors
/// `EINVAL` for a set of another size, `EFAULT`.
pub(super) fn read_mask(task: &CurrentTask, mask: UserPtr<SigSet>, size: u64) -> SysResult<Option<SigSet>> {
    let Some(mask) = mask.optional() else { return Ok(None) };
    if size != SigSet::SIZE {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some(task.read_value(mask)?))
}

/// What an interrupted call with a temporary mask gives: it is repeated if no handler runs.
const INTERRUPTED: SysError = SysError::Restart(Restart::WithoutHandler);

/// `ppoll(2)`.
pub fn ppoll(
    task: &CurrentTask,
    entries: UserPtr<PollFd>,
    count: u32,
    time: UserPtr<Timespec>,
    mask: UserPtr<SigSet>,
    mask_size: u64,
) -> SysResult<usize> {
    let (left, timeout) = TimeLeft::timespec(task, time)?;
    let mask = read_mask(task, mask, mask_size)?;
    let result = task.with_temporary_mask(mask, || {
        poll_entries(task, entries, count, timeout)?.map_err(|_interrupted| INTERRUPTED)
    });
    left.store(task);
    result
}

/// `select(2)`.
pub fn select(
    task: &CurrentTask,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    time: UserPtr<Timeval>,
) -> SysResult<usize> {
    let (left, timeout) = TimeLeft::timeval(task, time)?;
    let result = select_files(task, count, [read, write, except], timeout);
    left.store(task);
    result
}

/// `pselect6(2)`; `mask` points to a pointer to the mask and its size.
pub fn pselect6(
    task: &CurrentTask,
    count: i32,
    read: UserPtr<u64>,
    write: UserPtr<u64>,
    except: UserPtr<u64>,
    time: UserPtr<Timespec>,
    mask: UserPtr<[u64; 2]>,
) -> SysResult<usize> {
    let (left, timeout) = TimeLeft::timespec(task, time)?;
    let mask = match mask.optional() {
        Some(pointer) => {
            let [address, size] = task.read_value(pointer)?;
            read_mask(task, UserPtr::new(UserAddr(address)), size)?
        }
        None => None,
    };
    let result = task.with_temporary_mask(mask, || select_files(task, count, [read, write, except], timeout));
    left.store(task);
    result
}

/// What each of the three sets of `select` waits for, and what makes a descriptor be in its result.
const SELECT_SETS: [PollEvents; 3] =
    [PollEvents::SELECT_READ, PollEvents::SELECT_WRITE, PollEvents::SELECT_EXCEPT];

fn select_files(
    task: &CurrentTask,
    count: i32,
    pointers: [UserPtr<u64>; 3],
    timeout: PollTimeout,
) -> SysResult<usize> {
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let table = task.fd_table();
    // Numbers beyond the table are not looked at.
    let count = count.min(table.size());
    let words = count.div_ceil(WORD_BITS);
    let mut sets: [Option<Vec<u64>>; 3] = Default::default();
    for (set, pointer) in sets.iter_mut().zip(pointers) {
        *set = pointer.optional().map(|pointer| task.read_slice(pointer, words)).transpose()?;
    }
    let has = |set: &Option<Vec<u64>>, fd: usize| {
        set.as_ref()
            .and_then(|set| set.get(fd / WORD_BITS))
            .is_some_and(|word| word >> (fd % WORD_BITS) & 1 != 0)
    };
    let (mut watches, mut numbers) = (Vec::new(), Vec::new());
    for fd in 0..count {
        let wanted = sets.iter().zip(SELECT_SETS).filter(|(set, _)| has(set, fd));
        let interest = wanted.fold(PollEvents::empty(), |sum, (_, events)| sum | events);
        if interest.is_empty() {
            continue;
        }
        let number = FdNumber(i32::try_from(fd).map_err(|_| Errno::EINVAL)?);
        watches.push(Watch { file: Some(table.get(number)?), interest });
        numbers.push(fd);
    }
    drop(table);
    let ready = poll_files(task, &watches, timeout).map_err(|_interrupted| INTERRUPTED)?;
    let mut total = 0;
    for ((set, pointer), events) in sets.iter().zip(pointers).zip(SELECT_SETS) {
        let Some(asked) = set else { continue };
        let mut result = vec![0_u64; asked.len()];
        for (&fd, ready) in numbers.iter().zip(&ready) {
            if has(set, fd) && ready.intersects(events) {
                result[fd / WORD_BITS] |= 1 << (fd % WORD_BITS);
                total += 1;
            }
        }
        task.write_slice(pointer, &result)?;
    }
    Ok(total)
}
