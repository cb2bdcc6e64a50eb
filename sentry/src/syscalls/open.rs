//! Opening and closing: `open(2)`, `openat2(2)`, `close(2)`, `close_range(2)`.

use std::sync::Arc;

use bartizan_abi::process::Resource;
use bartizan_abi::{AT_FDCWD, CloseRangeFlags, Errno, FileMode, OPEN_HOW_SIZE_VER0, OpenFlags, ResolveFlags};

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::{FdFlags, FdNumber, File, FsStr, OpenHow};

/// The descriptor flags that `flags` of an open ask for.
pub fn fd_flags(flags: OpenFlags) -> FdFlags {
    if flags.contains(OpenFlags::O_CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() }
}

/// Gives the caller a descriptor for `file`.
///
/// # Errors
/// `EMFILE`.
pub fn install(task: &CurrentTask, file: Arc<File>, flags: FdFlags) -> Result<FdNumber, Errno> {
    task.fd_table().add(file, flags, task.group().limits().soft(Resource::RLIMIT_NOFILE))
}

fn open_how(
    task: &CurrentTask,
    fd: FdNumber,
    path: &FsStr,
    how: OpenHow,
    resolve: ResolveFlags,
) -> SysResult<FdNumber> {
    // As every 64-bit program that does not only want a place.
    let path_only = how.flags.contains(OpenFlags::O_PATH);
    let large = if path_only { OpenFlags::empty() } else { OpenFlags::O_LARGEFILE };
    let how = OpenHow { flags: how.flags | large, ..how };
    let file = if resolve.is_empty() {
        task.walk(fd, path, |walker| walker.open(path, how))?
    } else {
        task.walk_resolving(fd, path, resolve, |walker| walker.open(path, how))?
    };
    Ok(install(task, file, fd_flags(how.flags))?)
}

/// `open(2)`.
pub fn open(task: &CurrentTask, path: UserPath, flags: OpenFlags, mode: u32) -> SysResult<FdNumber> {
    openat(task, FdNumber(AT_FDCWD), path, flags, mode)
}

/// `openat(2)`. Unknown flags are ignored, as Linux does.
pub fn openat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: OpenFlags,
    mode: u32,
) -> SysResult<FdNumber> {
    let path = path.read(task)?;
    let creates = flags.contains(OpenFlags::O_CREAT) || flags.contains(OpenFlags::O_TMPFILE);
    let mode = if creates { FileMode::new(mode) } else { FileMode::empty() };
    open_how(task, fd, &path, OpenHow { flags, mode }, ResolveFlags::empty())
}

/// `creat(2)`.
pub fn creat(task: &CurrentTask, path: UserPath, mode: u32) -> SysResult<FdNumber> {
    open(task, path, OpenFlags::O_CREAT | OpenFlags::O_WRONLY | OpenFlags::O_TRUNC, mode)
}

/// `openat2(2)`. Unknown flags are refused.
pub fn openat2(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    how: UserAddr,
    size: usize,
) -> SysResult<FdNumber> {
    if size < OPEN_HOW_SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    let how: bartizan_abi::OpenHow = task.read_versioned(how, size)?;
    let bits = u32::try_from(how.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits(bits).ok_or(Errno::EINVAL)?;
    let resolve = ResolveFlags::from_bits(how.resolve).ok_or(Errno::EINVAL)?;
    if resolve.contains(ResolveFlags::RESOLVE_BENEATH | ResolveFlags::RESOLVE_IN_ROOT) {
        return Err(Errno::EINVAL.into());
    }
    let creates = flags.contains(OpenFlags::O_CREAT) || flags.contains(OpenFlags::O_TMPFILE);
    let mode = u32::try_from(how.mode).ok().and_then(FileMode::from_bits).ok_or(Errno::EINVAL)?;
    if !creates && how.mode != 0 {
        return Err(Errno::EINVAL.into());
    }
    let path_flags =
        OpenFlags::O_PATH | OpenFlags::O_DIRECTORY | OpenFlags::O_NOFOLLOW | OpenFlags::O_CLOEXEC;
    if flags.contains(OpenFlags::O_PATH) && !path_flags.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    if resolve.contains(ResolveFlags::RESOLVE_CACHED) {
        return Err(Errno::EAGAIN.into());
    }
    open_how(task, fd, &path, OpenHow { flags, mode }, resolve)
}

/// `close(2)`.
pub fn close(task: &CurrentTask, fd: FdNumber) -> SysResult<()> {
    let file = task.fd_table().remove(fd)?;
    super::lock::on_close(task, &file);
    drop(file);
    Ok(())
}

/// `close_range(2)`.
pub fn close_range(task: &CurrentTask, first: u32, last: u32, flags: CloseRangeFlags) -> SysResult<()> {
    if first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloseRangeFlags::CLOSE_RANGE_UNSHARE) {
        task.replace_files(task.fd_table().duplicate());
    }
    let files = task.fd_table();
    if flags.contains(CloseRangeFlags::CLOSE_RANGE_CLOEXEC) {
        files.set_range_flags(first, last, FdFlags::CLOEXEC);
        return Ok(());
    }
    for file in files.remove_range(first, last) {
        super::lock::on_close(task, &file);
    }
    Ok(())
}
