//! Getting data to where it lasts, and advice about it: `fsync(2)`, `sync(2)`, `sync_file_range(2)`, `posix_fadvise(2)`,
//! `readahead(2)`, `fallocate(2)`.

use bartizan_abi::process::Resource;
use bartizan_abi::signal::Signal;
use bartizan_abi::{Errno, Fadvice, FallocateFlags, FileType, InotifyMask, SyncFileRangeFlags};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::vfs::{FdNumber, notify};

/// `fsync(2)`.
pub fn fsync(task: &CurrentTask, fd: FdNumber) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    if !matches!(file.inode().kind(), FileType::Regular | FileType::Directory | FileType::BlockDevice) {
        return Err(Errno::EINVAL.into());
    }
    Ok(file.ops().sync(&file)?)
}

/// `fdatasync(2)`.
pub fn fdatasync(task: &CurrentTask, fd: FdNumber) -> SysResult<()> {
    fsync(task, fd)
}

/// `sync(2)`.
pub fn sync(task: &CurrentTask) -> SysResult<()> {
    for mount in task.fs_context().namespace().mounts() {
        // As on Linux, nobody is told of a failure.
        let _unreported = mount.filesystem().ops().sync();
    }
    Ok(())
}

/// `syncfs(2)`.
pub fn syncfs(task: &CurrentTask, fd: FdNumber) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    Ok(file.inode().filesystem().ops().sync()?)
}

/// `sync_file_range(2)`: what was written is in the host's hands already.
pub fn sync_file_range(
    task: &CurrentTask,
    fd: FdNumber,
    offset: i64,
    length: i64,
    flags: u32,
) -> SysResult<()> {
    SyncFileRangeFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if offset < 0 || length < 0 || offset.checked_add(length).is_none() {
        return Err(Errno::EINVAL.into());
    }
    let file = task.fd_table().get(fd)?;
    match file.inode().kind() {
        FileType::Regular | FileType::Directory | FileType::BlockDevice | FileType::Symlink => Ok(()),
        _ => Err(Errno::ESPIPE.into()),
    }
}

/// `posix_fadvise(2)`: checked, and taken as known.
pub fn fadvise64(task: &CurrentTask, fd: FdNumber, _offset: i64, length: i64, advice: u32) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    if file.inode().kind() == FileType::Fifo {
        return Err(Errno::ESPIPE.into());
    }
    let known = Fadvice::from_raw(advice).is_some();
    if known && length >= 0 { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// `readahead(2)`: the host reads ahead by itself.
pub fn readahead(task: &CurrentTask, fd: FdNumber, _offset: i64, _count: usize) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    if !file.flags().readable() {
        return Err(Errno::EBADF.into());
    }
    let readable = matches!(file.inode().kind(), FileType::Regular | FileType::BlockDevice);
    if readable { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// `fallocate(2)`.
pub fn fallocate(task: &CurrentTask, fd: FdNumber, mode: u32, offset: i64, length: i64) -> SysResult<()> {
    let (Ok(start), Ok(bytes)) = (u64::try_from(offset), u64::try_from(length)) else {
        return Err(Errno::EINVAL.into());
    };
    if bytes == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mode = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
    let punches = mode.contains(FallocateFlags::FALLOC_FL_PUNCH_HOLE);
    let keeps = mode.contains(FallocateFlags::FALLOC_FL_KEEP_SIZE);
    if punches && (!keeps || mode.contains(FallocateFlags::FALLOC_FL_ZERO_RANGE)) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    let file = task.fd_table().get(fd)?;
    if !file.flags().writable() {
        return Err(Errno::EBADF.into());
    }
    match file.inode().kind() {
        FileType::Regular => {}
        FileType::Fifo => return Err(Errno::ESPIPE.into()),
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset.checked_add(length).ok_or(Errno::EFBIG)?.cast_unsigned();
    if !keeps && end > task.group().limits().soft(Resource::RLIMIT_FSIZE) {
        task.send_self(Signal::SIGXFSZ);
        return Err(Errno::EFBIG.into());
    }
    file.ops().allocate(&file, mode, start, bytes)?;
    notify::on_file(file.path(), InotifyMask::IN_MODIFY);
    Ok(())
}
