//! System V semaphores: `semget`, `semop`, `semtimedop`, `semctl`.

use std::sync::Arc;

use bartizan_abi::ipc::{
    GETALL, GETNCNT, GETPID, GETVAL, GETZCNT, IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, IpcFlags, SEM_INFO,
    SEM_STAT, SEM_STAT_ANY, SEMAEM, SEMVMX, SETALL, SETVAL, Sembuf, SemidDs, Seminfo, SemopFlags,
};
use bartizan_abi::{Errno, Timespec};

use crate::kernel::sysv::{Applied, GetRequest, PendingOperation, SemaphoreSet, SetReport};
use crate::kernel::{CurrentTask, UserNamespace, deadline_after};
use crate::mm::{UserAddr, UserPtr};
use crate::{SysResult, WaitError};

/// Bytes of an undo structure, as `IPC_INFO` tells (`SEMUSZ`).
const SEMUSZ: i32 = 20;

/// `semget(2)`.
pub fn semget(task: &CurrentTask, key: i32, count: i32, flags: IpcFlags) -> SysResult<i32> {
    let limits = task.ipc().limits();
    let count = u64::try_from(count).ok().filter(|&count| count <= limits.semmsl).ok_or(Errno::EINVAL)?;
    let credentials = task.credentials();
    let request = GetRequest { key, flags, credentials: &credentials, limit: limits.semmni };
    let check = |set: &SemaphoreSet| {
        if count > set.count() as u64 { Err(Errno::EINVAL) } else { Ok(()) }
    };
    let id = task.ipc().semaphores.get(&request, check, |id, permissions| {
        if count == 0 {
            return Err(Errno::EINVAL);
        }
        SemaphoreSet::new(&task.ipc(), id, permissions, count as usize).map(Arc::new)
    })?;
    Ok(id)
}

/// `semop(2)`.
pub fn semop(task: &CurrentTask, id: i32, operations: UserPtr<Sembuf>, count: u32) -> SysResult<()> {
    semtimedop(task, id, operations, count, UserPtr::new(UserAddr(0)))
}

/// `semtimedop(2)`. Interrupted, it is never restarted (`signal(7)`).
pub fn semtimedop(
    task: &CurrentTask,
    id: i32,
    operations: UserPtr<Sembuf>,
    count: u32,
    timeout: UserPtr<Timespec>,
) -> SysResult<()> {
    let timeout = match timeout.optional() {
        Some(timeout) => Some(task.read_value(timeout)?),
        None => None,
    };
    if u64::from(count) > task.ipc().limits().semopm {
        return Err(Errno::E2BIG.into());
    }
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    let operations = task.read_slice(operations, count as usize)?;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let deadline = match timeout {
        Some(timeout) => deadline_after(timeout.to_duration().ok_or(Errno::EINVAL)?),
        None => None,
    };
    operate(task, id, operations, deadline)
}

fn operate(
    task: &CurrentTask,
    id: i32,
    operations: Vec<Sembuf>,
    deadline: Option<std::time::Instant>,
) -> SysResult<()> {
    let undoes =
        operations.iter().any(|one| SemopFlags::from_bits_retain(one.sem_flg).contains(SemopFlags::SEM_UNDO));
    let set = task.ipc().semaphores.find(id)?;
    let undo = undoes.then(|| task.undo_list());
    let operation = Arc::new(PendingOperation::new(operations, undo.as_deref(), task.pid(), task.parker()));
    if set.operate(&task.ipc(), &task.credentials(), &operation, undo.as_deref())? == Applied::Done {
        return Ok(());
    }
    match task.wait_until(deadline, || operation.result()) {
        Ok(result) => Ok(result?),
        Err(WaitError::Interrupted) => Ok(set.abandon(&operation, Errno::EINTR)?),
        Err(WaitError::TimedOut) => Ok(set.abandon(&operation, Errno::EAGAIN)?),
    }
}

/// `semctl(2)`.
pub fn semctl(task: &CurrentTask, id: i32, number: i32, command: i32, argument: u64) -> SysResult<i32> {
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let ipc = task.ipc();
    let sets = &ipc.semaphores;
    let credentials = task.credentials();
    let pointer = UserAddr(argument);
    match command {
        IPC_INFO | SEM_INFO => {
            task.write_value(UserPtr::new(pointer), &info(task, command))?;
            Ok(sets.highest_index())
        }
        IPC_STAT => {
            let report = sets.find(id)?.stat(&credentials)?;
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(0)
        }
        SEM_STAT | SEM_STAT_ANY => {
            let set = sets.at_index(id)?;
            let report = if command == SEM_STAT { set.stat(&credentials)? } else { set.report() };
            task.write_value(UserPtr::new(pointer), &description(&task.user_namespace(), &report))?;
            Ok(report.id)
        }
        IPC_SET => {
            let new: SemidDs = task.read_value(UserPtr::new(pointer))?;
            sets.find(id)?.change(&credentials, &new.sem_perm)?;
            Ok(0)
        }
        IPC_RMID => {
            sets.find(id)?.remove(&task.ipc(), &credentials)?;
            Ok(0)
        }
        GETVAL => Ok(sets.find(id)?.value(&credentials, number)?),
        GETPID => Ok(sets.find(id)?.last_process(&credentials, number)?),
        GETNCNT | GETZCNT => {
            let waiters = sets.find(id)?.waiters(&credentials, number, command == GETZCNT)?;
            Ok(i32::try_from(waiters).unwrap_or(i32::MAX))
        }
        GETALL => {
            let values = sets.find(id)?.values(&credentials)?;
            task.write_slice(UserPtr::new(pointer), &values)?;
            Ok(0)
        }
        SETVAL => {
            let value = argument as i32;
            if !(0..=SEMVMX as i32).contains(&value) {
                return Err(Errno::ERANGE.into());
            }
            sets.find(id)?.set_value(&credentials, number, value, task.pid())?;
            Ok(0)
        }
        SETALL => {
            let set = sets.find(id)?;
            set.check_write(&credentials)?;
            let values: Vec<u16> = task.read_slice(UserPtr::new(pointer), set.count())?;
            if values.iter().any(|&value| u64::from(value) > SEMVMX) {
                return Err(Errno::ERANGE.into());
            }
            set.set_values(&credentials, &values, task.pid())?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A limit as the structures of `IPC_INFO` hold it.
pub(super) fn limit(value: u64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn info(task: &CurrentTask, command: i32) -> Seminfo {
    let limits = task.ipc().limits();
    let mut info = Seminfo {
        semmap: limit(limits.semmns),
        semmni: limit(limits.semmni),
        semmns: limit(limits.semmns),
        semmnu: limit(limits.semmns),
        semmsl: limit(limits.semmsl),
        semopm: limit(limits.semopm),
        semume: limit(limits.semopm),
        semusz: SEMUSZ,
        semvmx: limit(SEMVMX),
        semaem: limit(SEMAEM),
    };
    if command == SEM_INFO {
        let sets = task.ipc().semaphores.all();
        info.semusz = limit(sets.len() as u64);
        info.semaem = limit(sets.iter().map(|set| set.count() as u64).sum());
    }
    info
}

fn description(ids: &UserNamespace, report: &SetReport) -> SemidDs {
    SemidDs {
        sem_perm: report.permissions.told(ids),
        sem_otime: report.operated,
        sem_ctime: report.changed,
        sem_nsems: report.count as u64,
        ..SemidDs::default()
    }
}
