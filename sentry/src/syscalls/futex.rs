//! Futexes: `futex`, `futex_waitv`, `futex_wait`, `futex_wake`, `futex_requeue`.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::{
    ClockId, Errno, FUTEX_BITSET_MATCH_ANY, FUTEX_WAITV_MAX, Futex2Flags, FutexCommand, FutexOperation,
    FutexOptions, FutexWaitv, Timespec,
};

use super::argument::Argument;
use crate::kernel::futex::{ClaimRequeue, LockMode, Ownership, Requeue, WaitRequest, Waited, WakeOperation};
use crate::kernel::{CurrentTask, RestartBlock, Task, WaitClock, deadline_after};
use crate::mm::{FutexScope, UserAddr, UserPtr};
use crate::{Restart, SysError, SysResult};

/// Until when a call waits, as far as it waits; whether it was given in absolute time.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    /// When; `None` is for ever.
    instant: Option<Instant>,
    /// Whether there was a time at all.
    given: bool,
}

/// The argument that is a count or a time-out, as the command says.
type Fourth = u64;

/// `futex(2)`.
pub fn futex(
    task: &CurrentTask,
    address: UserAddr,
    operation: FutexOperation,
    value: u32,
    fourth: Fourth,
    other: UserAddr,
    third_value: u32,
) -> SysResult<usize> {
    let FutexOperation { command, options } = operation;
    let scope = scope_of(options.contains(FutexOptions::FUTEX_PRIVATE_FLAG));
    let realtime = options.contains(FutexOptions::FUTEX_CLOCK_REALTIME);
    if realtime && !allows_realtime(command) {
        return Err(Errno::ENOSYS.into());
    }
    match command {
        FutexCommand::FUTEX_WAIT => {
            let deadline = deadline(task, command, realtime, UserPtr::new(UserAddr(fourth)))?;
            wait(task, address, scope, value, FUTEX_BITSET_MATCH_ANY, deadline)
        }
        FutexCommand::FUTEX_WAIT_BITSET => {
            let deadline = deadline(task, command, realtime, UserPtr::new(UserAddr(fourth)))?;
            wait(task, address, scope, value, third_value, deadline)
        }
        FutexCommand::FUTEX_WAKE => wake(task, address, scope, value, FUTEX_BITSET_MATCH_ANY),
        FutexCommand::FUTEX_WAKE_BITSET => wake(task, address, scope, value, third_value),
        FutexCommand::FUTEX_REQUEUE => {
            requeue(task, (address, other), (scope, scope), (value, low(fourth)), None)
        }
        FutexCommand::FUTEX_CMP_REQUEUE => {
            requeue(task, (address, other), (scope, scope), (value, low(fourth)), Some(third_value))
        }
        FutexCommand::FUTEX_WAKE_OP => {
            wake_operation(task, (address, other), scope, (value, low(fourth)), third_value)
        }
        FutexCommand::FUTEX_LOCK_PI | FutexCommand::FUTEX_LOCK_PI2 => {
            let deadline = deadline(task, command, realtime, UserPtr::new(UserAddr(fourth)))?;
            lock_ownership(task, address, scope, LockMode::Wait, deadline.instant)
        }
        FutexCommand::FUTEX_TRYLOCK_PI => lock_ownership(task, address, scope, LockMode::Try, None),
        FutexCommand::FUTEX_UNLOCK_PI => unlock_ownership(task, address, scope),
        FutexCommand::FUTEX_WAIT_REQUEUE_PI => {
            let deadline = deadline(task, command, realtime, UserPtr::new(UserAddr(fourth)))?;
            wait_for_claim(task, (address, other), scope, value, deadline.instant)
        }
        FutexCommand::FUTEX_CMP_REQUEUE_PI => {
            requeue_claims(task, (address, other), scope, (value, low(fourth)), third_value)
        }
        FutexCommand::FUTEX_FD => Err(Errno::ENOSYS.into()),
    }
}

impl Argument for FutexOperation {
    fn decode(raw: u64) -> Result<Self, Errno> {
        Self::from_raw(low(raw)).ok_or(Errno::ENOSYS)
    }

    fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
        let Some(operation) = Self::from_raw(low(raw)) else {
            return out.push_str(&format!("{raw:#x}"));
        };
        out.push_str(operation.command.name());
        for (name, _) in operation.options.iter_names() {
            out.push('|');
            out.push_str(name);
        }
    }
}

/// The low half of a register.
fn low(raw: u64) -> u32 {
    (raw & u64::from(u32::MAX)) as u32
}

fn scope_of(private: bool) -> FutexScope {
    if private { FutexScope::Private } else { FutexScope::Shared }
}

/// Which commands have a choice of clocks.
fn allows_realtime(command: FutexCommand) -> bool {
    matches!(
        command,
        FutexCommand::FUTEX_WAIT_BITSET
            | FutexCommand::FUTEX_WAIT_REQUEUE_PI
            | FutexCommand::FUTEX_LOCK_PI
            | FutexCommand::FUTEX_LOCK_PI2
    )
}

/// Until when `command` waits: a duration for `FUTEX_WAIT`, else an instant; of wall-clock time in any case for `FUTEX_LOCK_PI`.
fn deadline(
    task: &CurrentTask,
    command: FutexCommand,
    realtime: bool,
    pointer: UserPtr<Timespec>,
) -> SysResult<Deadline> {
    let Some(pointer) = pointer.optional() else { return Ok(Deadline { instant: None, given: false }) };
    let time = task.read_value(pointer)?;
    let duration = time.to_duration().ok_or(Errno::EINVAL)?;
    let instant = match command {
        FutexCommand::FUTEX_WAIT => deadline_after(duration),
        FutexCommand::FUTEX_LOCK_PI => WaitClock::Realtime.instant_at(time),
        _ if realtime => WaitClock::Realtime.instant_at(time),
        _ => WaitClock::Monotonic.instant_at(time),
    };
    Ok(Deadline { instant, given: true })
}

fn wait(
    task: &CurrentTask,
    address: UserAddr,
    scope: FutexScope,
    expected: u32,
    bitset: u32,
    deadline: Deadline,
) -> SysResult<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = task.mm().futex_key(address, scope)?;
    let request = WaitRequest { key, address, expected, bitset };
    match task.kernel().futexes().wait(task, &[request], deadline.instant)? {
        Waited::Woken(_) => Ok(0),
        Waited::TimedOut => Err(Errno::ETIMEDOUT.into()),
        Waited::Interrupted if deadline.given => Err(task.continue_with(RestartBlock::Futex {
            address,
            scope,
            expected,
            bitset,
            deadline: deadline.instant,
        })),
        Waited::Interrupted => Err(SysError::Restart(Restart::IfAsked)),
    }
}

/// Continues a wait with a time-out that was interrupted.
pub(super) fn continue_wait(
    task: &CurrentTask,
    address: UserAddr,
    scope: FutexScope,
    expected: u32,
    bitset: u32,
    instant: Option<Instant>,
) -> SysResult<usize> {
    wait(task, address, scope, expected, bitset, Deadline { instant, given: true })
}

fn wake(
    task: &CurrentTask,
    address: UserAddr,
    scope: FutexScope,
    count: u32,
    bitset: u32,
) -> SysResult<usize> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = task.mm().futex_key(address, scope)?;
    Ok(task.kernel().futexes().wake(&key, wake_count(count), bitset)?)
}

/// How many `FUTEX_WAKE` wakes: as Linux, one at least.
fn wake_count(count: u32) -> usize {
    usize::try_from(count.cast_signed()).unwrap_or(1).max(1)
}

/// A count that must not be negative.
fn count_of(count: u32) -> Result<usize, Errno> {
    usize::try_from(count.cast_signed()).map_err(|_| Errno::EINVAL)
}

fn requeue(
    task: &CurrentTask,
    (from, to): (UserAddr, UserAddr),
    (from_scope, to_scope): (FutexScope, FutexScope),
    (wake, requeue): (u32, u32),
    expected: Option<u32>,
) -> SysResult<usize> {
    let mm = task.mm();
    let request = Requeue {
        wake: count_of(wake)?,
        requeue: count_of(requeue)?,
        from: &mm.futex_key(from, from_scope)?,
        to: &mm.futex_key(to, to_scope)?,
        expected: expected.map(|value| (from, value)),
    };
    Ok(task.kernel().futexes().requeue(&mm, &request)?)
}

fn wake_operation(
    task: &CurrentTask,
    (address, changed): (UserAddr, UserAddr),
    scope: FutexScope,
    (wake, wake_changed): (u32, u32),
    raw: u32,
) -> SysResult<usize> {
    let mm = task.mm();
    let key = mm.futex_key(address, scope)?;
    let changed_key = mm.futex_key(changed, scope)?;
    let operation = WakeOperation::from_raw(raw)?;
    let woken = task.kernel().futexes().wake_operation(
        &mm,
        (&key, wake_count(wake)),
        (&changed_key, wake_count(wake_changed)),
        changed,
        operation,
    )?;
    Ok(woken)
}

fn lock_ownership(
    task: &CurrentTask,
    address: UserAddr,
    scope: FutexScope,
    mode: LockMode,
    deadline: Option<Instant>,
) -> SysResult<usize> {
    let wanted = ownership(task, address, scope)?;
    let find = |owner| find_owner(task, owner);
    let waited = task.kernel().futexes().lock_ownership(task, &wanted, (mode, deadline), find)?;
    end_of_claim(waited)
}

/// What an attempt to own a futex returns.
fn end_of_claim(waited: Waited) -> SysResult<usize> {
    match waited {
        Waited::Woken(_) => Ok(0),
        Waited::TimedOut => Err(Errno::ETIMEDOUT.into()),
        Waited::Interrupted => Err(SysError::Restart(Restart::Always)),
    }
}

/// What the caller wants to own.
fn ownership(task: &CurrentTask, address: UserAddr, scope: FutexScope) -> Result<Ownership, Errno> {
    let key = task.mm().futex_key(address, scope)?;
    Ok(Ownership { key, address, number: task.tid().cast_unsigned() })
}

/// The task whose number the word of a futex holds.
fn find_owner(task: &CurrentTask, number: u32) -> Option<Arc<Task>> {
    task.kernel().tree().task(number.cast_signed()).cloned()
}

fn unlock_ownership(task: &CurrentTask, address: UserAddr, scope: FutexScope) -> SysResult<usize> {
    let own = ownership(task, address, scope)?;
    task.kernel().futexes().unlock_ownership(task, &own)?;
    Ok(0)
}

fn wait_for_claim(
    task: &CurrentTask,
    (address, other): (UserAddr, UserAddr),
    scope: FutexScope,
    expected: u32,
    deadline: Option<Instant>,
) -> SysResult<usize> {
    if address == other {
        return Err(Errno::EINVAL.into());
    }
    let wanted = ownership(task, other, scope)?;
    let key = task.mm().futex_key(address, scope)?;
    let futexes = task.kernel().futexes();
    end_of_claim(futexes.wait_for_claim(task, (&key, address, expected), &wanted, deadline)?)
}

fn requeue_claims(
    task: &CurrentTask,
    (from, to): (UserAddr, UserAddr),
    scope: FutexScope,
    (wake, requeue): (u32, u32),
    expected: u32,
) -> SysResult<usize> {
    let requeue = count_of(requeue)?;
    // Whoever owns the futex lets others wait for it, so that only one can be woken.
    if from == to || wake != 1 {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    let (from_key, to_key) = (mm.futex_key(from, scope)?, mm.futex_key(to, scope)?);
    let request = ClaimRequeue { from: (&from_key, from), to: (&to_key, to), requeue, expected };
    Ok(task.kernel().futexes().requeue_claims(&mm, &request, |owner| find_owner(task, owner))?)
}

/// The scope that flags of the newer calls ask for.
///
/// # Errors
/// `EINVAL` for unknown flags and for words that are not of 32 bits.
fn scope_of_flags(flags: u32) -> Result<FutexScope, Errno> {
    let flags = Futex2Flags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let size = flags & Futex2Flags::FUTEX2_SIZE_MASK;
    if size != Futex2Flags::FUTEX2_SIZE_U32
        || flags.intersects(Futex2Flags::FUTEX2_NUMA | Futex2Flags::FUTEX2_MPOL)
    {
        return Err(Errno::EINVAL);
    }
    Ok(scope_of(flags.contains(Futex2Flags::FUTEX2_PRIVATE)))
}

/// The instant that the newer calls wait until.
fn absolute_deadline(
    task: &CurrentTask,
    pointer: UserPtr<Timespec>,
    clock: i32,
) -> SysResult<Option<Instant>> {
    let Some(pointer) = pointer.optional() else { return Ok(None) };
    let clock = match ClockId::from_raw(clock) {
        Some(ClockId::CLOCK_MONOTONIC) => WaitClock::Monotonic,
        Some(ClockId::CLOCK_REALTIME) => WaitClock::Realtime,
        _ => return Err(Errno::EINVAL.into()),
    };
    let time = task.read_value(pointer)?;
    time.to_duration().ok_or(Errno::EINVAL)?;
    Ok(clock.instant_at(time))
}

/// A value or a mask of a futex of 32 bits.
fn word(value: u64) -> Result<u32, Errno> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

/// `futex_waitv(2)`.
pub fn futex_waitv(
    task: &CurrentTask,
    waiters: UserPtr<FutexWaitv>,
    count: u32,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clock: i32,
) -> SysResult<usize> {
    let count = count as usize;
    if flags != 0 || count == 0 || count > FUTEX_WAITV_MAX || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let deadline = absolute_deadline(task, timeout, clock)?;
    let mm = task.mm();
    let mut requests = Vec::with_capacity(count);
    for waiter in task.read_slice(waiters, count)? {
        if waiter.__reserved != 0 {
            return Err(Errno::EINVAL.into());
        }
        let address = UserAddr(waiter.uaddr);
        requests.push(WaitRequest {
            key: mm.futex_key(address, scope_of_flags(waiter.flags)?)?,
            address,
            expected: word(waiter.val)?,
            bitset: FUTEX_BITSET_MATCH_ANY,
        });
    }
    finish(task.kernel().futexes().wait(task, &requests, deadline)?)
}

/// What a wait until an instant returns.
fn finish(waited: Waited) -> SysResult<usize> {
    match waited {
        Waited::Woken(index) => Ok(index),
        Waited::TimedOut => Err(Errno::ETIMEDOUT.into()),
        Waited::Interrupted => Err(SysError::Restart(Restart::IfAsked)),
    }
}

/// `futex_wait`, call 455.
pub fn futex_wait(
    task: &CurrentTask,
    address: UserAddr,
    expected: u64,
    mask: u64,
    flags: u32,
    timeout: UserPtr<Timespec>,
    clock: i32,
) -> SysResult<usize> {
    let scope = scope_of_flags(flags)?;
    let (expected, bitset) = (word(expected)?, word(mask)?);
    let deadline = absolute_deadline(task, timeout, clock)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = task.mm().futex_key(address, scope)?;
    let request = WaitRequest { key, address, expected, bitset };
    finish(task.kernel().futexes().wait(task, &[request], deadline)?)
}

/// `futex_wake`, call 454.
pub fn futex_wake(
    task: &CurrentTask,
    address: UserAddr,
    mask: u64,
    count: i32,
    flags: u32,
) -> SysResult<usize> {
    let scope = scope_of_flags(flags)?;
    let bitset = word(mask)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let key = task.mm().futex_key(address, scope)?;
    // Here, other than by `futex(2)`, none are woken for zero.
    Ok(task.kernel().futexes().wake(&key, usize::try_from(count).unwrap_or(0), bitset)?)
}

/// `futex_requeue`, call 456.
pub fn futex_requeue(
    task: &CurrentTask,
    waiters: UserPtr<FutexWaitv>,
    flags: u32,
    wake: i32,
    move_count: i32,
) -> SysResult<usize> {
    if flags != 0 || waiters.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let pair = task.read_slice(waiters, 2)?;
    let [from, to] = &pair[..] else { return Err(Errno::EINVAL.into()) };
    let scopes = (scope_of_flags(from.flags)?, scope_of_flags(to.flags)?);
    let expected = word(from.val)?;
    requeue(
        task,
        (UserAddr(from.uaddr), UserAddr(to.uaddr)),
        scopes,
        (wake.cast_unsigned(), move_count.cast_unsigned()),
        Some(expected),
    )
}
