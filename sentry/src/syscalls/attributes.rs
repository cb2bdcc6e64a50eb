//! Changing what files are like: `chmod(2)`, `chown(2)`, `umask(2)`, `truncate(2)`, `utimensat(2)`.

use bartizan_abi::process::{Capability, Resource};
use bartizan_abi::signal::Signal;
use bartizan_abi::time::{UTIME_NOW, UTIME_OMIT, Utimbuf};
use bartizan_abi::{AT_FDCWD, AtFlags, Errno, FileMode, FileType, OpenFlags, Timespec, Timeval};

use super::UserPath;
use super::directory::check_owner;
use crate::SysResult;
use crate::kernel::{CurrentTask, IdKind, realtime};
use crate::mm::UserPtr;
use crate::vfs::leases::break_leases;
use crate::vfs::permission::May;
use crate::vfs::{AttributeChanges, Attributes, FdNumber, FollowLast, Path, notify, writing};

/// Makes `changes` to what is at `path`, on a mount that allows it.
fn change(path: &Path, changes: AttributeChanges) -> SysResult<()> {
    if path.mount.is_read_only() {
        return Err(Errno::EROFS.into());
    }
    let changes = AttributeChanges { changed: realtime(), ..changes };
    path.inode().ops().set_attributes(path.inode(), &changes)?;
    notify::on_change(path, &changes);
    Ok(())
}

fn change_mode(task: &CurrentTask, path: &Path, mode: u32) -> SysResult<()> {
    if path.mount.is_read_only() {
        return Err(Errno::EROFS.into());
    }
    if path.inode().kind() == FileType::Symlink {
        return Err(Errno::EOPNOTSUPP.into());
    }
    check_owner(task, path)?;
    let mut mode = FileMode::new(mode);
    let credentials = task.credentials();
    let Attributes { uid, gid, .. } = path.inode().attributes()?;
    if !credentials.in_group(gid) && !credentials.has_capability_over(Capability::CAP_FSETID, uid, gid) {
        mode -= FileMode::S_ISGID;
    }
    change(path, AttributeChanges { mode: Some(mode), ..AttributeChanges::default() })
}

/// `chmod(2)`.
pub fn chmod(task: &CurrentTask, path: UserPath, mode: u32) -> SysResult<()> {
    fchmodat(task, FdNumber(AT_FDCWD), path, mode)
}

/// `fchmod(2)`.
pub fn fchmod(task: &CurrentTask, fd: FdNumber, mode: u32) -> SysResult<()> {
    change_mode(task, task.fd_table().get(fd)?.path(), mode)
}

/// `fchmodat(2)`, as the system call has it: without flags.
pub fn fchmodat(task: &CurrentTask, fd: FdNumber, path: UserPath, mode: u32) -> SysResult<()> {
    fchmodat2(task, fd, path, mode, AtFlags::empty())
}

/// `fchmodat2(2)`.
pub fn fchmodat2(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    mode: u32,
    flags: AtFlags,
) -> SysResult<()> {
    if !(AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    change_mode(task, &task.resolve_at(fd, &path, flags, FollowLast::Yes)?, mode)
}

/// An id that stays as it is.
const UNCHANGED: u32 = u32::MAX;

fn change_owner(task: &CurrentTask, path: &Path, uid: u32, gid: u32) -> SysResult<()> {
    let named = |kind, id| match id {
        UNCHANGED => Ok(None),
        id => task.credentials().user_namespace.resolve(kind, id).map(Some).ok_or(Errno::EINVAL),
    };
    let (uid, gid) = (named(IdKind::User, uid)?, named(IdKind::Group, gid)?);
    if path.mount.is_read_only() {
        return Err(Errno::EROFS.into());
    }
    let attributes = path.inode().attributes()?;
    let credentials = task.credentials();
    let capable = credentials.has_capability_over(Capability::CAP_CHOWN, attributes.uid, attributes.gid);
    let owner = credentials.fsuid == attributes.uid;
    let uid_allowed = uid.is_none_or(|uid| capable || owner && uid == attributes.uid);
    let gid_allowed =
        gid.is_none_or(|gid| capable || owner && (gid == attributes.gid || credentials.in_group(gid)));
    if !uid_allowed || !gid_allowed {
        return Err(Errno::EPERM.into());
    }
    // Set-id bits do not survive a change of owner, whoever makes it.
    let mut mode = attributes.mode;
    if attributes.kind != FileType::Directory {
        mode -= FileMode::S_ISUID;
        if mode.contains(FileMode::S_IXGRP) {
            mode -= FileMode::S_ISGID;
        }
    }
    let mode = (mode != attributes.mode).then_some(mode);
    change(path, AttributeChanges { uid, gid, mode, ..AttributeChanges::default() })
}

/// `chown(2)`.
pub fn chown(task: &CurrentTask, path: UserPath, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(task, FdNumber(AT_FDCWD), path, uid, gid, AtFlags::empty())
}

/// `lchown(2)`.
pub fn lchown(task: &CurrentTask, path: UserPath, uid: u32, gid: u32) -> SysResult<()> {
    fchownat(task, FdNumber(AT_FDCWD), path, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// `fchown(2)`.
pub fn fchown(task: &CurrentTask, fd: FdNumber, uid: u32, gid: u32) -> SysResult<()> {
    change_owner(task, task.fd_table().get(fd)?.path(), uid, gid)
}

/// `fchownat(2)`.
pub fn fchownat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    uid: u32,
    gid: u32,
    flags: AtFlags,
) -> SysResult<()> {
    if !(AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    change_owner(task, &task.resolve_at(fd, &path, flags, FollowLast::Yes)?, uid, gid)
}

/// `umask(2)`.
pub fn umask(task: &CurrentTask, mask: u32) -> SysResult<u32> {
    Ok(task.fs_context().set_umask(FileMode::new(mask & 0o777)).bits())
}

fn change_size(task: &CurrentTask, path: &Path, size: u64) -> SysResult<()> {
    if size > task.group().limits().soft(Resource::RLIMIT_FSIZE) && size > path.inode().attributes()?.size {
        task.send_self(Signal::SIGXFSZ);
        return Err(Errno::EFBIG.into());
    }
    change(path, AttributeChanges { size: Some(size), ..AttributeChanges::default() })
}

/// `truncate(2)`.
pub fn truncate(task: &CurrentTask, path: UserPath, size: i64) -> SysResult<()> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let path = path.read(task)?;
    let found = task.walk(FdNumber(AT_FDCWD), &path, |walker| walker.resolve(&path, FollowLast::Yes))?;
    match found.inode().kind() {
        FileType::Regular => {}
        FileType::Directory => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    found.check(&task.credentials(), May::WRITE)?;
    break_leases(found.inode(), OpenFlags::O_WRONLY, Some(task))?;
    writing(found.inode(), || change_size(task, &found, size))
}

/// `ftruncate(2)`.
pub fn ftruncate(task: &CurrentTask, fd: FdNumber, size: i64) -> SysResult<()> {
    let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
    let file = task.fd_table().get(fd)?;
    if file.inode().kind() != FileType::Regular || !file.flags().writable() {
        return Err(Errno::EINVAL.into());
    }
    change_size(task, file.path(), size)
}

/// Sets access and modification time; `None` is now for both.
fn change_times(task: &CurrentTask, path: &Path, times: Option<[Timespec; 2]>) -> SysResult<()> {
    let now = realtime();
    let [accessed, modified] = times.unwrap_or([Timespec { tv_sec: 0, tv_nsec: UTIME_NOW }; 2]);
    let value = |time: Timespec| match time.tv_nsec {
        UTIME_NOW => Ok(Some(now)),
        UTIME_OMIT => Ok(None),
        0..=999_999_999 => Ok(Some(time)),
        _ => Err(Errno::EINVAL),
    };
    let (new_accessed, new_modified) = (value(accessed)?, value(modified)?);
    if new_accessed.is_none() && new_modified.is_none() {
        return Ok(());
    }
    if path.mount.is_read_only() {
        return Err(Errno::EROFS.into());
    }
    let only_now = accessed.tv_nsec == UTIME_NOW && modified.tv_nsec == UTIME_NOW;
    match check_owner(task, path) {
        Err(Errno::EPERM) if only_now => path.check(&task.credentials(), May::WRITE)?,
        result => result?,
    }
    change(
        path,
        AttributeChanges { accessed: new_accessed, modified: new_modified, ..AttributeChanges::default() },
    )
}

/// `utimensat(2)`; a null path means the descriptor itself.
pub fn utimensat(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    times: UserPtr<Timespec>,
    flags: AtFlags,
) -> SysResult<()> {
    let times = match times.optional() {
        Some(times) => Some([task.read_value(times)?, task.read_value(times.element(1)?)?]),
        None => None,
    };
    if times.is_some_and(|times| times.iter().all(|time| time.tv_nsec == UTIME_OMIT)) {
        return Ok(());
    }
    if path.0.is_null() && fd.0 != AT_FDCWD {
        if !flags.is_empty() {
            return Err(Errno::EINVAL.into());
        }
        return change_times(task, task.fd_table().get(fd)?.path(), times);
    }
    if !(AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let path = path.read(task)?;
    change_times(task, &task.resolve_at(fd, &path, flags, FollowLast::Yes)?, times)
}

/// `utime(2)`.
pub fn utime(task: &CurrentTask, path: UserPath, times: UserPtr<Utimbuf>) -> SysResult<()> {
    let times = match times.optional() {
        Some(times) => {
            let times = task.read_value(times)?;
            Some([times.actime, times.modtime].map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 }))
        }
        None => None,
    };
    change_path_times(task, FdNumber(AT_FDCWD), path, times)
}

/// `utimes(2)`.
pub fn utimes(task: &CurrentTask, path: UserPath, times: UserPtr<Timeval>) -> SysResult<()> {
    futimesat(task, FdNumber(AT_FDCWD), path, times)
}

/// `futimesat(2)`.
pub fn futimesat(task: &CurrentTask, fd: FdNumber, path: UserPath, times: UserPtr<Timeval>) -> SysResult<()> {
    let times = match times.optional() {
        Some(times) => {
            let read = |time: Timeval| match time.tv_usec {
                0..=999_999 => Ok(Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_usec * 1000 }),
                _ => Err(Errno::EINVAL),
            };
            Some([read(task.read_value(times)?)?, read(task.read_value(times.element(1)?)?)?])
        }
        None => None,
    };
    change_path_times(task, fd, path, times)
}

fn change_path_times(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    times: Option<[Timespec; 2]>,
) -> SysResult<()> {
    let path = path.read(task)?;
    change_times(task, &task.resolve_at(fd, &path, AtFlags::empty(), FollowLast::Yes)?, times)
}
