//! Extended attributes relative to a directory: `setxattrat(2)`, `getxattrat(2)`, `listxattrat(2)`, `removexattrat(2)`.

use bartizan_abi::{AT_FDCWD, AtFlags, Errno, XattrArgs, XattrFlags};

use super::{UserPath, xattr};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::{FdNumber, FollowLast, FsString, Path};

/// `setxattrat(2)`.
pub fn setxattrat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: AtFlags,
    name: UserPath,
    arguments: UserAddr,
    length: usize,
) -> SysResult<()> {
    let XattrArgs { value, size, flags: how } = read_arguments(task, arguments, length)?;
    check(flags)?;
    let how = XattrFlags::from_bits(how).ok_or(Errno::EINVAL)?;
    let path = resolve(task, fd, path, flags)?;
    xattr::set(task, &path, name, (UserAddr(value), size as usize), how)
}

/// `getxattrat(2)`.
pub fn getxattrat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: AtFlags,
    name: UserPath,
    arguments: UserAddr,
    length: usize,
) -> SysResult<usize> {
    let XattrArgs { value, size, flags: reserved } = read_arguments(task, arguments, length)?;
    if reserved != 0 {
        return Err(Errno::EINVAL.into());
    }
    check(flags)?;
    xattr::get(task, &resolve(task, fd, path, flags)?, name, UserAddr(value), size as usize)
}

/// `listxattrat(2)`.
pub fn listxattrat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: AtFlags,
    list: UserAddr,
    size: usize,
) -> SysResult<usize> {
    check(flags)?;
    xattr::give_list(task, &resolve(task, fd, path, flags)?, list, size)
}

/// `removexattrat(2)`.
pub fn removexattrat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: AtFlags,
    name: UserPath,
) -> SysResult<()> {
    check(flags)?;
    xattr::remove(task, &resolve(task, fd, path, flags)?, name)
}

fn read_arguments(task: &CurrentTask, arguments: UserAddr, length: usize) -> Result<XattrArgs, Errno> {
    if length < size_of::<XattrArgs>() {
        return Err(Errno::EINVAL);
    }
    task.read_versioned(arguments, length)
}

fn check(flags: AtFlags) -> Result<(), Errno> {
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    if known.contains(flags) { Ok(()) } else { Err(Errno::EINVAL) }
}

/// The place that is meant: the descriptor itself for an empty or missing path with `AT_EMPTY_PATH`.
fn resolve(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: AtFlags) -> Result<Path, Errno> {
    let empty = flags.contains(AtFlags::AT_EMPTY_PATH);
    let path = if empty && path.0.0 == 0 { FsString::new() } else { path.read(task)? };
    if empty && path.is_empty() && fd.0 != AT_FDCWD {
        return Ok(task.fd_table().get(fd)?.path().clone());
    }
    task.resolve_at(fd, &path, flags, FollowLast::Yes)
}
