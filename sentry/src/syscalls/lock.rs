//! File locks: `flock(2)`, and the record locks of `fcntl(2)`.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::{Errno, FcntlCommand, Flock, FlockOperation, PollEvents};

use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::locks::{LockKind, LockOwner, RecordLock};
use crate::vfs::{FdNumber, File, SeekSpecial};
use crate::{Restart, SysError, SysResult};

/// `l_type` of `struct flock`.
const F_RDLCK: u16 = 0;
const F_WRLCK: u16 = 1;
const F_UNLCK: u16 = 2;

/// `flock(2)`.
pub fn flock(task: &CurrentTask, fd: FdNumber, operation: u32) -> SysResult<()> {
    let operation = FlockOperation::from_bits(operation).ok_or(Errno::EINVAL)?;
    let nonblocking = operation.contains(FlockOperation::LOCK_NB);
    let kind = match operation - FlockOperation::LOCK_NB {
        FlockOperation::LOCK_UN => None,
        FlockOperation::LOCK_SH => Some(LockKind::Shared),
        FlockOperation::LOCK_EX => Some(LockKind::Exclusive),
        _ => return Err(Errno::EINVAL.into()),
    };
    let file = task.fd_table().get(fd)?;
    let locks = file.inode().extra().locks();
    let description = file.identity();
    let Some(kind) = kind else {
        locks.unlock_whole(description);
        return Ok(());
    };
    if !file.flags().readable() && !file.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    wait_for(task, &file, nonblocking, || locks.set_whole(description, kind))
}

/// Makes `attempt` until it does something else than `EAGAIN`.
fn wait_for(
    task: &CurrentTask,
    file: &File,
    nonblocking: bool,
    mut attempt: impl FnMut() -> Result<(), Errno>,
) -> SysResult<()> {
    if nonblocking {
        return Ok(attempt()?);
    }
    let events = file.inode().extra().locks().events();
    let waited = task.wait_on(events, PollEvents::POLLIN, None, || match attempt() {
        Err(Errno::EAGAIN) => None,
        result => Some(result),
    });
    match waited {
        Ok(result) => Ok(result?),
        Err(_) => Err(SysError::Restart(Restart::IfAsked)),
    }
}

/// The record locks of `fcntl(2)`.
///
/// # Errors
/// Those of `fcntl(2)`.
pub fn fcntl_lock(
    task: &CurrentTask,
    file: &Arc<File>,
    command: FcntlCommand,
    argument: UserAddr,
) -> SysResult<u64> {
    let pointer = UserPtr::<Flock>::new(argument);
    let mut asked = task.read_value(pointer)?;
    let of_description =
        matches!(command, FcntlCommand::F_OFD_GETLK | FcntlCommand::F_OFD_SETLK | FcntlCommand::F_OFD_SETLKW);
    if of_description && asked.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let owner =
        if of_description { LockOwner::Description(file.identity()) } else { LockOwner::Process(task.pid()) };
    let range = range_of(file, &asked)?;
    let locks = file.inode().extra().locks();
    if matches!(command, FcntlCommand::F_GETLK | FcntlCommand::F_OFD_GETLK) {
        let kind = kind_of(asked.l_type)?.ok_or(Errno::EINVAL)?;
        match locks.conflict(&RecordLock { owner, kind, range }) {
            None => asked.l_type = F_UNLCK,
            Some(held) => describe(&held, &mut asked),
        }
        task.write_value(pointer, &asked)?;
        return Ok(0);
    }
    let Some(kind) = kind_of(asked.l_type)? else {
        locks.unlock(owner, &range);
        return Ok(0);
    };
    let allowed = match kind {
        LockKind::Shared => file.flags().readable(),
        LockKind::Exclusive => file.flags().writable(),
    };
    if !allowed {
        return Err(Errno::EBADF.into());
    }
    let nonblocking = matches!(command, FcntlCommand::F_SETLK | FcntlCommand::F_OFD_SETLK);
    let wanted = RecordLock { owner, kind, range };
    if nonblocking {
        locks.set(&wanted)?;
    } else {
        wait_for_record(task, file, &wanted)?;
    }
    Ok(0)
}

/// `F_SETLKW` and `F_OFD_SETLKW`.
fn wait_for_record(task: &CurrentTask, file: &Arc<File>, wanted: &RecordLock) -> SysResult<()> {
    let locks = file.inode().extra().locks();
    if locks.set(wanted).is_ok() {
        return Ok(());
    }
    let waits = task.kernel().lock_waits();
    let of_process = matches!(wanted.owner, LockOwner::Process(_));
    let result = wait_for(task, file, false, || match locks.set(wanted) {
        Err(Errno::EAGAIN) if of_process => {
            waits.begin(task.tid(), file.inode(), wanted)?;
            Err(Errno::EAGAIN)
        }
        result => result,
    });
    waits.end(task.tid());
    result?;
    // Another thread may have closed the file meanwhile, and must not leave a lock behind.
    if of_process && !task.fd_table().refers_to(file) {
        locks.unlock(wanted.owner, &wanted.range);
        return Err(Errno::EBADF.into());
    }
    Ok(())
}

/// What `l_type` asks for; `None` is to unlock.
fn kind_of(kind: u16) -> Result<Option<LockKind>, Errno> {
    match kind {
        F_RDLCK => Ok(Some(LockKind::Shared)),
        F_WRLCK => Ok(Some(LockKind::Exclusive)),
        F_UNLCK => Ok(None),
        _ => Err(Errno::EINVAL),
    }
}

/// The bytes that a `struct flock` means.
fn range_of(file: &File, asked: &Flock) -> Result<Range<u64>, Errno> {
    let base = match asked.l_whence {
        0 => 0,
        1 => i64::try_from(*file.offset()).map_err(|_| Errno::EOVERFLOW)?,
        2 => i64::try_from(file.ops().seek_special(file, SeekSpecial::End, 0)?)
            .map_err(|_| Errno::EOVERFLOW)?,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(asked.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match asked.l_len {
        0 => (start, None),
        // Up to the largest position is up to the end.
        length if length > 0 => match start.checked_add(length - 1).ok_or(Errno::EOVERFLOW)? {
            i64::MAX => (start, None),
            last => (start, Some(last + 1)),
        },
        length => (start.checked_add(length).ok_or(Errno::EINVAL)?, Some(start)),
    };
    let start = u64::try_from(start).map_err(|_| Errno::EINVAL)?;
    Ok(start..end.map_or(Ok(u64::MAX), |end| u64::try_from(end).map_err(|_| Errno::EINVAL))?)
}

/// Tells the caller of `F_GETLK` about somebody's lock.
fn describe(held: &RecordLock, asked: &mut Flock) {
    asked.l_type = if held.kind == LockKind::Shared { F_RDLCK } else { F_WRLCK };
    asked.l_whence = 0;
    asked.l_start = i64::try_from(held.range.start).unwrap_or(i64::MAX);
    let length = held.range.end - held.range.start;
    asked.l_len = if held.range.end == u64::MAX { 0 } else { i64::try_from(length).unwrap_or(0) };
    asked.l_pid = match held.owner {
        LockOwner::Process(pid) => pid,
        LockOwner::Description(_) => -1,
    };
}

/// A descriptor of `file` is closed: the process loses its record locks on it, and is not told of messages any more.
pub fn on_close(task: &CurrentTask, file: &Arc<File>) {
    super::mqueue::on_close(task.pid(), file);
    if let Some(locks) = file.inode().existing_extra().and_then(|extra| extra.existing_locks()) {
        locks.unlock(LockOwner::Process(task.pid()), &(0..u64::MAX));
    }
}
