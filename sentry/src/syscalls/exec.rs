//! `execve(2)`, `execveat(2)`.

use bartizan_abi::{AT_FDCWD, AtFlags, Errno};

use super::UserPath;
use crate::SysResult;
use crate::kernel::{CurrentTask, Execution};
use crate::loader::{AfterExec, ArgumentBudget, Arguments, MAX_ARG_STRLEN};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, FollowLast, FsString, open_program};

/// `execve(2)`.
pub fn execve(task: &CurrentTask, path: UserPath, argv: UserPtr<u64>, envp: UserPtr<u64>) -> SysResult<u64> {
    execveat(task, FdNumber(AT_FDCWD), path, argv, envp, AtFlags::empty())
}

/// `execveat(2)`. On success the result register is the new program's.
pub fn execveat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    argv: UserPtr<u64>,
    envp: UserPtr<u64>,
    flags: AtFlags,
) -> SysResult<u64> {
    if !(AtFlags::AT_EMPTY_PATH | AtFlags::AT_SYMLINK_NOFOLLOW).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    if path.is_empty() && !flags.contains(AtFlags::AT_EMPTY_PATH) {
        return Err(Errno::ENOENT.into());
    }
    let found = task.resolve_at(fd, &path, flags, FollowLast::Yes)?;
    if found.inode().kind() == bartizan_abi::FileType::Symlink {
        return Err(Errno::ELOOP.into());
    }
    let file = open_program(&found, &task.credentials())?;
    let (path, after_exec) = shown_path(task, fd, path)?;
    let mut budget = ArgumentBudget::new(task.group().limits().memory().stack);
    let arguments = Arguments {
        argv: read_strings(task, argv, &mut budget)?,
        envp: read_strings(task, envp, &mut budget)?,
    };
    task.execute(Execution { file, path, after_exec, arguments })?;
    Ok(task.registers().rax)
}

/// The path that the new program sees, and whether an interpreter of a script could open it.
fn shown_path(task: &CurrentTask, fd: FdNumber, path: FsString) -> SysResult<(FsString, AfterExec)> {
    if fd.0 == AT_FDCWD || path.first() == Some(&b'/') {
        return Ok((path, AfterExec::Reachable));
    }
    let closes = task.fd_table().flags(fd)?.contains(crate::vfs::FdFlags::CLOEXEC);
    let mut shown = format!("/dev/fd/{}", fd.0).into_bytes();
    if !path.is_empty() {
        shown.push(b'/');
        shown.extend_from_slice(&path);
    }
    Ok((shown, if closes { AfterExec::Unreachable } else { AfterExec::Reachable }))
}

/// The strings of a null-terminated array; a null array is empty, as Linux has it.
fn read_strings(
    task: &CurrentTask,
    array: UserPtr<u64>,
    budget: &mut ArgumentBudget,
) -> SysResult<Vec<FsString>> {
    let mut strings = Vec::new();
    if array.is_null() {
        return Ok(strings);
    }
    for index in 0.. {
        let pointer = task.read_value(array.element(index)?)?;
        if pointer == 0 {
            break;
        }
        let string = match task.read_c_string(UserAddr(pointer), MAX_ARG_STRLEN) {
            Err(Errno::ENAMETOOLONG) => return Err(Errno::E2BIG.into()),
            string => string?,
        };
        budget.take(string.len())?;
        strings.push(string);
    }
    Ok(strings)
}
