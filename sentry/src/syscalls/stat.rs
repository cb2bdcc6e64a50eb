//! What is told about files: `stat(2)`, `statx(2)`, `access(2)`, `readlink(2)`, `getcwd(2)`.

use bartizan_abi::{
    AT_FDCWD, AccessRequest, AtFlags, Errno, FileType, Stat, Statx, StatxMask, StatxTimestamp, Timespec,
};

use super::UserPath;
use crate::SysResult;
use crate::kernel::{CurrentTask, UserNamespace};
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::permission::May;
use crate::vfs::{Admission, Attributes, FdNumber, FollowLast, MountFlags, Path, link_text};

/// `struct stat` of what is at `path`, for a task.
fn stat_of(task: &CurrentTask, path: &Path) -> Result<Stat, Errno> {
    path.inode().admit(Some(task), Admission::Tell)?;
    let ids = task.user_namespace();
    let attributes = path.inode().attributes()?;
    Ok(Stat {
        st_dev: path.inode().filesystem().device.to_u64(),
        st_ino: path.inode().number(),
        st_nlink: u64::from(attributes.links),
        st_mode: attributes.mode.with_type(attributes.kind),
        st_uid: ids.uid(attributes.uid),
        st_gid: ids.gid(attributes.gid),
        st_rdev: attributes.device.to_u64(),
        st_size: i64::try_from(attributes.size).unwrap_or(i64::MAX),
        st_blksize: i64::from(attributes.block_size),
        st_blocks: i64::try_from(attributes.blocks).unwrap_or(i64::MAX),
        st_atim: attributes.accessed,
        st_mtim: attributes.modified,
        st_ctim: attributes.changed,
        ..Stat::default()
    })
}

/// `stat(2)`.
pub fn stat(task: &CurrentTask, path: UserPath, status: UserPtr<Stat>) -> SysResult<()> {
    newfstatat(task, FdNumber(AT_FDCWD), path, status, AtFlags::empty())
}

/// `lstat(2)`.
pub fn lstat(task: &CurrentTask, path: UserPath, status: UserPtr<Stat>) -> SysResult<()> {
    newfstatat(task, FdNumber(AT_FDCWD), path, status, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// `fstat(2)`.
pub fn fstat(task: &CurrentTask, fd: FdNumber, status: UserPtr<Stat>) -> SysResult<()> {
    let file = task.fd_table().get_any(fd)?;
    Ok(task.write_value(status, &stat_of(task, file.path())?)?)
}

/// `fstatat(2)`.
pub fn newfstatat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    status: UserPtr<Stat>,
    flags: AtFlags,
) -> SysResult<()> {
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT | AtFlags::AT_EMPTY_PATH;
    if !known.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let found = resolve(task, fd, path, flags)?;
    Ok(task.write_value(status, &stat_of(task, &found)?)?)
}

/// The place that a path relative to `fd` leads to; with `AT_EMPTY_PATH` a null path is an empty one.
fn resolve(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: AtFlags) -> Result<Path, Errno> {
    let path = if path.0.is_null() && flags.contains(AtFlags::AT_EMPTY_PATH) {
        Vec::new()
    } else {
        path.read(task)?
    };
    task.resolve_at(fd, &path, flags, FollowLast::Yes)
}

/// `statx(2)`.
pub fn statx(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: AtFlags,
    mask: u32,
    status: UserPtr<Statx>,
) -> SysResult<()> {
    let sync = AtFlags::AT_STATX_FORCE_SYNC | AtFlags::AT_STATX_DONT_SYNC;
    let known = AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_NO_AUTOMOUNT | AtFlags::AT_EMPTY_PATH | sync;
    const RESERVED: u32 = 1 << 31;
    if !known.contains(flags) || flags.contains(sync) || mask & RESERVED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let found = resolve(task, fd, path, flags)?;
    found.inode().admit(Some(task), Admission::Tell)?;
    let attributes = found.inode().attributes()?;
    let told = statx_of(&task.user_namespace(), &found, &attributes, StatxMask::from_bits_truncate(mask));
    Ok(task.write_value(status, &told)?)
}

fn statx_of(ids: &UserNamespace, path: &Path, attributes: &Attributes, asked: StatxMask) -> Statx {
    let device = path.inode().filesystem().device;
    let unique = asked.contains(StatxMask::STATX_MNT_ID_UNIQUE);
    let mount_id = if unique { StatxMask::STATX_MNT_ID_UNIQUE } else { StatxMask::STATX_MNT_ID };
    let mut mask = StatxMask::STATX_BASIC_STATS | mount_id;
    mask.set(StatxMask::STATX_BTIME, attributes.created.is_some());
    let root = bartizan_abi::StatxAttributes::STATX_ATTR_MOUNT_ROOT.bits();
    Statx {
        stx_mask: mask.bits(),
        stx_blksize: attributes.block_size,
        stx_attributes: if path.is_mount_root() { root } else { 0 },
        stx_attributes_mask: root,
        stx_nlink: attributes.links,
        stx_uid: ids.uid(attributes.uid),
        stx_gid: ids.gid(attributes.gid),
        stx_mode: (attributes.mode.with_type(attributes.kind) & 0xffff) as u16,
        stx_ino: path.inode().number(),
        stx_size: attributes.size,
        stx_blocks: attributes.blocks,
        stx_atime: timestamp(attributes.accessed),
        stx_btime: attributes.created.map(timestamp).unwrap_or_default(),
        stx_ctime: timestamp(attributes.changed),
        stx_mtime: timestamp(attributes.modified),
        stx_rdev_major: attributes.device.major(),
        stx_rdev_minor: attributes.device.minor(),
        stx_dev_major: device.major(),
        stx_dev_minor: device.minor(),
        stx_mnt_id: if unique { path.mount.unique_id() } else { path.mount.id() },
        ..Statx::default()
    }
}

fn timestamp(time: Timespec) -> StatxTimestamp {
    StatxTimestamp {
        tv_sec: time.tv_sec,
        tv_nsec: u32::try_from(time.tv_nsec).unwrap_or(0),
        ..StatxTimestamp::default()
    }
}

/// `access(2)`.
pub fn access(task: &CurrentTask, path: UserPath, mode: AccessRequest) -> SysResult<()> {
    faccessat2(task, FdNumber(AT_FDCWD), path, mode, AtFlags::empty())
}

/// `faccessat(2)`, as the system call has it: without flags.
pub fn faccessat(task: &CurrentTask, fd: FdNumber, path: UserPath, mode: AccessRequest) -> SysResult<()> {
    faccessat2(task, fd, path, mode, AtFlags::empty())
}

/// `faccessat2(2)`: checks with the real ids unless `AT_EACCESS` is given.
pub fn faccessat2(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    mode: AccessRequest,
    flags: AtFlags,
) -> SysResult<()> {
    let known = AtFlags::AT_EACCESS | AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH;
    if !known.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    let found = task.resolve_at(fd, &path, flags - AtFlags::AT_EACCESS, FollowLast::Yes)?;
    let credentials = task.credentials();
    let credentials =
        if flags.contains(AtFlags::AT_EACCESS) { (*credentials).clone() } else { credentials.for_access() };
    let may = May::from_bits_truncate(mode.bits());
    found.inode().admit(Some(task), Admission::Use(may))?;
    let no_exec = found.mount.flags().contains(MountFlags::NO_EXEC);
    if may.contains(May::EXECUTE) && found.inode().kind() == FileType::Regular && no_exec {
        return Err(Errno::EACCES.into());
    }
    if may.is_empty() {
        return Ok(());
    }
    Ok(found.check(&credentials, may)?)
}

/// `readlink(2)`.
pub fn readlink(task: &CurrentTask, path: UserPath, buffer: UserAddr, size: i32) -> SysResult<usize> {
    readlinkat(task, FdNumber(AT_FDCWD), path, buffer, size)
}

/// `readlinkat(2)`.
pub fn readlinkat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    buffer: UserAddr,
    size: i32,
) -> SysResult<usize> {
    let size = usize::try_from(size).ok().filter(|&size| size > 0).ok_or(Errno::EINVAL)?;
    let path = path.read(task)?;
    let empty = path.is_empty();
    let flags = if empty { AtFlags::AT_EMPTY_PATH } else { AtFlags::AT_SYMLINK_NOFOLLOW };
    let found = task.resolve_at(fd, &path, flags, FollowLast::No)?;
    let text = match link_text(&found, Some(task)) {
        Err(Errno::EINVAL) if empty => return Err(Errno::ENOENT.into()),
        text => text?,
    };
    let length = text.len().min(size);
    task.write_bytes(buffer, &text[..length])?;
    Ok(length)
}

/// `getcwd(2)`.
pub fn getcwd(task: &CurrentTask, buffer: UserAddr, size: usize) -> SysResult<usize> {
    let fs = task.fs_context();
    let cwd = fs.cwd();
    if !cwd.dentry.is_linked() && cwd.dentry.parent().is_some() {
        return Err(Errno::ENOENT.into());
    }
    let mut text = cwd.text(&fs.root()).unwrap_or_else(|| b"(unreachable)/".to_vec());
    text.push(0);
    if text.len() > size {
        return Err(Errno::ERANGE.into());
    }
    task.write_bytes(buffer, &text)?;
    Ok(text.len())
}
