//! Descriptors: `dup(2)`, `fcntl(2)`, `ioctl(2)`.

use bartizan_abi::ioctl::{FIOASYNC, FIOCLEX, FIONBIO, FIONCLEX, FIONREAD};
use bartizan_abi::process::{Capability, Resource};
use bartizan_abi::{Errno, FD_CLOEXEC, FcntlCommand, FileType, OpenFlags, SealFlags};

use super::directory::check_owner;
use super::file_signal::set_asynchronous;
use super::open::fd_flags;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::pipe::{CapacityPrivilege, PipeEnd};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdFlags, FdNumber, File};

fn limit(task: &CurrentTask) -> u64 {
    task.group().limits().soft(Resource::RLIMIT_NOFILE)
}

/// `dup(2)`.
pub fn dup(task: &CurrentTask, fd: FdNumber) -> SysResult<FdNumber> {
    let files = task.fd_table();
    Ok(files.add(files.get_any(fd)?, FdFlags::empty(), limit(task))?)
}

/// `dup2(2)`.
pub fn dup2(task: &CurrentTask, old: FdNumber, new: FdNumber) -> SysResult<FdNumber> {
    if old == new {
        task.fd_table().get_any(old)?;
        return Ok(new);
    }
    duplicate_to(task, old, new, FdFlags::empty())
}

/// `dup3(2)`.
pub fn dup3(task: &CurrentTask, old: FdNumber, new: FdNumber, flags: OpenFlags) -> SysResult<FdNumber> {
    if !OpenFlags::O_CLOEXEC.contains(flags) || old == new {
        return Err(Errno::EINVAL.into());
    }
    duplicate_to(task, old, new, fd_flags(flags))
}

fn duplicate_to(task: &CurrentTask, old: FdNumber, new: FdNumber, flags: FdFlags) -> SysResult<FdNumber> {
    let files = task.fd_table();
    let file = files.get_any(old)?;
    if let Some(replaced) = files.replace(new, file, flags, limit(task))? {
        super::lock::on_close(task, &replaced);
    }
    Ok(new)
}

/// The status flags that `F_SETFL` changes.
const CHANGEABLE: OpenFlags =
    OpenFlags::O_APPEND.union(OpenFlags::O_NONBLOCK).union(OpenFlags::O_DIRECT).union(OpenFlags::O_NOATIME);

/// `fcntl(2)`.
pub fn fcntl(task: &CurrentTask, fd: FdNumber, command: u32, argument: u64) -> SysResult<u64> {
    let files = task.fd_table();
    let file = files.get_any(fd)?;
    let command = FcntlCommand::try_from(command).map_err(|_| Errno::EINVAL)?;
    let on_path = matches!(
        command,
        FcntlCommand::F_DUPFD
            | FcntlCommand::F_DUPFD_CLOEXEC
            | FcntlCommand::F_GETFD
            | FcntlCommand::F_SETFD
            | FcntlCommand::F_GETFL
            | FcntlCommand::F_DUPFD_QUERY
    );
    if file.is_path() && !on_path {
        return Err(Errno::EBADF.into());
    }
    let number = (argument & 0xffff_ffff) as u32;
    match command {
        FcntlCommand::F_DUPFD => duplicate_from(task, file, number, FdFlags::empty()),
        FcntlCommand::F_DUPFD_CLOEXEC => duplicate_from(task, file, number, FdFlags::CLOEXEC),
        FcntlCommand::F_GETFD => Ok(u64::from(files.flags(fd)?.bits())),
        FcntlCommand::F_SETFD => {
            let close = number & FD_CLOEXEC != 0;
            files.set_flags(fd, if close { FdFlags::CLOEXEC } else { FdFlags::empty() })?;
            Ok(0)
        }
        FcntlCommand::F_GETFL => Ok(u64::from(file.flags().bits())),
        FcntlCommand::F_SETFL => {
            let flags = OpenFlags::from_bits_truncate(number);
            if (flags - file.flags()).contains(OpenFlags::O_NOATIME) {
                check_owner(task, file.path())?;
            }
            set_asynchronous(task, &file, fd, flags.contains(OpenFlags::FASYNC));
            file.set_flags(flags, CHANGEABLE);
            Ok(0)
        }
        FcntlCommand::F_DUPFD_QUERY => {
            let other = files.get_any(FdNumber(number.cast_signed()))?;
            Ok(u64::from(std::sync::Arc::ptr_eq(&file, &other)))
        }
        FcntlCommand::F_GETPIPE_SZ | FcntlCommand::F_SETPIPE_SZ => pipe_size(task, &file, command, number),
        FcntlCommand::F_GET_SEALS => Ok(u64::from(file.inode().ops().seals(file.inode())?.bits())),
        FcntlCommand::F_ADD_SEALS => {
            if !file.flags().writable() {
                return Err(Errno::EPERM.into());
            }
            let seals = SealFlags::from_bits(number).ok_or(Errno::EINVAL)?;
            file.inode().ops().add_seals(file.inode(), seals)?;
            Ok(0)
        }
        FcntlCommand::F_GETLK
        | FcntlCommand::F_SETLK
        | FcntlCommand::F_SETLKW
        | FcntlCommand::F_OFD_GETLK
        | FcntlCommand::F_OFD_SETLK
        | FcntlCommand::F_OFD_SETLKW => super::lock::fcntl_lock(task, &file, command, UserAddr(argument)),
        FcntlCommand::F_SETOWN
        | FcntlCommand::F_GETOWN
        | FcntlCommand::F_SETOWN_EX
        | FcntlCommand::F_GETOWN_EX
        | FcntlCommand::F_GETOWNER_UIDS
        | FcntlCommand::F_SETSIG
        | FcntlCommand::F_GETSIG
        | FcntlCommand::F_NOTIFY => super::file_signal::fcntl(task, &file, fd, command, argument),
        FcntlCommand::F_SETLEASE | FcntlCommand::F_GETLEASE => {
            super::file_signal::lease(task, &file, fd, command, argument)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn duplicate_from(
    task: &CurrentTask,
    file: std::sync::Arc<File>,
    least: u32,
    flags: FdFlags,
) -> SysResult<u64> {
    let least = i32::try_from(least).map_err(|_| Errno::EINVAL)?;
    let fd = task.fd_table().add_from(least, file, flags, limit(task))?;
    Ok(u64::from(fd.0.cast_unsigned()))
}

fn pipe_size(task: &CurrentTask, file: &File, command: FcntlCommand, size: u32) -> SysResult<u64> {
    let end = file.downcast::<PipeEnd>().ok_or(Errno::EBADF)?;
    let capacity = if command == FcntlCommand::F_GETPIPE_SZ {
        end.pipe().capacity()
    } else {
        let limit = task.kernel().settings().pipe_max_size.get();
        end.pipe().set_capacity(size, usize::try_from(limit).unwrap_or(usize::MAX), privilege(task))?
    };
    Ok(capacity as u64)
}

fn privilege(task: &CurrentTask) -> CapacityPrivilege {
    if task.credentials().has_capability(Capability::CAP_SYS_RESOURCE) {
        CapacityPrivilege::Unlimited
    } else {
        CapacityPrivilege::Limited
    }
}

/// `ioctl(2)`: those that all files have; the rest is the file's.
pub fn ioctl(task: &CurrentTask, fd: FdNumber, request: u32, argument: UserAddr) -> SysResult<u64> {
    let files = task.fd_table();
    let file = files.get(fd)?;
    match request {
        FIOCLEX => files.set_flags(fd, FdFlags::CLOEXEC)?,
        FIONCLEX => files.set_flags(fd, FdFlags::empty())?,
        FIONBIO => {
            let on = task.read_value(UserPtr::<i32>::new(argument))? != 0;
            let flag = OpenFlags::O_NONBLOCK;
            file.set_flags(if on { flag } else { OpenFlags::empty() }, flag);
        }
        FIOASYNC => {
            let on = task.read_value(UserPtr::<i32>::new(argument))? != 0;
            if on != file.flags().contains(OpenFlags::FASYNC) && !set_asynchronous(task, &file, fd, on) {
                return Err(Errno::ENOTTY.into());
            }
        }
        FIONREAD if file.inode().kind() == FileType::Regular && file.ops().seekable() => {
            let size = i64::try_from(file.inode().attributes()?.size).unwrap_or(i64::MAX);
            let rest = size.saturating_sub_unsigned(*file.offset());
            let rest = i32::try_from(rest).unwrap_or(i32::MAX);
            task.write_value(UserPtr::new(argument), &rest)?;
        }
        _ => return file.ops().ioctl(&file, task, request, argument),
    }
    Ok(0)
}
