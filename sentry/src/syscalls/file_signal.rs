//! `fcntl(2)`, "Managing signals": who is told of a file, and by which signal.

use std::sync::Arc;

use bartizan_abi::{
    Capability, DirectoryNotifyFlags, Errno, FcntlCommand, FileOwner, FileOwnerType, FileType, LeaseType,
    OpenFlags,
};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::leases::leases_of;
use crate::vfs::locks::LockKind;
use crate::vfs::{FdNumber, File};

/// Has the owner of `file` told when it is ready, or no longer. Whether such a file can tell.
pub(super) fn set_asynchronous(task: &CurrentTask, file: &Arc<File>, fd: FdNumber, on: bool) -> bool {
    if on == file.flags().contains(OpenFlags::FASYNC) {
        return true;
    }
    let can = file.signals(task.kernel()).is_some_and(|signals| signals.watch(file, fd.0, on));
    if can {
        let flag = OpenFlags::FASYNC;
        file.set_flags(if on { flag } else { OpenFlags::empty() }, flag);
    }
    can
}

/// `F_SETLEASE` and `F_GETLEASE`.
pub(super) fn lease(
    task: &CurrentTask,
    file: &Arc<File>,
    fd: FdNumber,
    command: FcntlCommand,
    argument: u64,
) -> SysResult<u64> {
    let leases = leases_of(file);
    if command == FcntlCommand::F_GETLEASE {
        let kind = leases.get(file).map_or(LeaseType::F_UNLCK, |kind| match kind {
            LockKind::Shared => LeaseType::F_RDLCK,
            LockKind::Exclusive => LeaseType::F_WRLCK,
        });
        return Ok(kind.raw());
    }
    let attributes = file.inode().attributes()?;
    let credentials = task.credentials();
    if credentials.fsuid != attributes.uid && !credentials.has_capability(Capability::CAP_LEASE) {
        return Err(Errno::EACCES.into());
    }
    if file.inode().kind() != FileType::Regular {
        return Err(Errno::EINVAL.into());
    }
    let signals = file.signals(task.kernel()).ok_or(Errno::EINVAL)?;
    let kind = match LeaseType::from_raw(argument & 0xffff_ffff).ok_or(Errno::EINVAL)? {
        LeaseType::F_RDLCK => LockKind::Shared,
        LeaseType::F_WRLCK => LockKind::Exclusive,
        LeaseType::F_UNLCK => {
            leases.remove(file)?;
            signals.forget();
            return Ok(0);
        }
    };
    leases.set(file, signals.lease_holder(), fd.0, kind)?;
    signals.own_if_free(task);
    Ok(0)
}

/// The commands that concern signals.
pub(super) fn fcntl(
    task: &CurrentTask,
    file: &Arc<File>,
    fd: FdNumber,
    command: FcntlCommand,
    argument: u64,
) -> SysResult<u64> {
    let signals = file.signals(task.kernel()).ok_or(Errno::EINVAL)?;
    let number = ((argument & 0xffff_ffff) as u32).cast_signed();
    let pointer = UserAddr(argument);
    match command {
        FcntlCommand::F_SETOWN if number < 0 => {
            // The most negative number has no opposite.
            let group = number.checked_neg().ok_or(Errno::EINVAL)?;
            signals.set_owner(task, FileOwnerType::F_OWNER_PGRP, group)?;
        }
        FcntlCommand::F_SETOWN => signals.set_owner(task, FileOwnerType::F_OWNER_PID, number)?,
        FcntlCommand::F_GETOWN => {
            let (kind, number) = signals.owner();
            let told = if kind == FileOwnerType::F_OWNER_PGRP { -number } else { number };
            return Ok(i64::from(told).cast_unsigned());
        }
        FcntlCommand::F_SETOWN_EX => {
            let owner: FileOwner = task.read_value(UserPtr::new(pointer))?;
            signals.set_owner(task, FileOwnerType::try_from(owner.owner_type)?, owner.pid)?;
        }
        FcntlCommand::F_GETOWN_EX => {
            let (kind, pid) = signals.owner();
            task.write_value(UserPtr::new(pointer), &FileOwner { owner_type: kind.raw(), pid })?;
        }
        FcntlCommand::F_GETOWNER_UIDS => {
            let (uid, euid) = signals.set_by();
            let ids = task.user_namespace();
            task.write_value(UserPtr::new(pointer), &[uid, euid].map(|id| ids.uid(id)))?;
        }
        FcntlCommand::F_SETSIG => {
            let signal = i32::try_from(argument).map_err(|_| Errno::EINVAL)?;
            signals.set_signal(signal)?;
        }
        FcntlCommand::F_NOTIFY => {
            let flags = DirectoryNotifyFlags::from_bits_truncate(number.cast_unsigned());
            signals.watch_directory(task, file, fd.0, flags)?;
        }
        FcntlCommand::F_GETSIG => return Ok(u64::from(signals.signal().unsigned_abs())),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
