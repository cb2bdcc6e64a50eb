//! Extended attributes (`xattr(7)`): `getxattr(2)`, `setxattr(2)`, `listxattr(2)`, `removexattr(2)` and their kin.

use bartizan_abi::{
    AT_FDCWD, AtFlags, Capability, Errno, FileMode, FileType, InotifyMask, XATTR_LIST_MAX, XATTR_NAME_MAX,
    XATTR_SIZE_MAX, XattrFlags,
};

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::acl::{self, AclKind};
use crate::vfs::permission::{May, owns};
use crate::vfs::{FdNumber, FollowLast, FsString, Path, notify};

/// `getxattr(2)`.
pub fn getxattr(
    task: &CurrentTask,
    path: UserPath,
    name: UserPath,
    value: UserAddr,
    size: usize,
) -> SysResult<usize> {
    get(task, &at(task, path, FollowLast::Yes)?, name, value, size)
}

/// `lgetxattr(2)`.
pub fn lgetxattr(
    task: &CurrentTask,
    path: UserPath,
    name: UserPath,
    value: UserAddr,
    size: usize,
) -> SysResult<usize> {
    get(task, &at(task, path, FollowLast::No)?, name, value, size)
}

/// `fgetxattr(2)`.
pub fn fgetxattr(
    task: &CurrentTask,
    fd: FdNumber,
    name: UserPath,
    value: UserAddr,
    size: usize,
) -> SysResult<usize> {
    get(task, &open(task, fd)?, name, value, size)
}

/// `setxattr(2)`.
pub fn setxattr(
    task: &CurrentTask,
    path: UserPath,
    name: UserPath,
    value: UserAddr,
    size: usize,
    flags: XattrFlags,
) -> SysResult<()> {
    set(task, &at(task, path, FollowLast::Yes)?, name, (value, size), flags)
}

/// `lsetxattr(2)`.
pub fn lsetxattr(
    task: &CurrentTask,
    path: UserPath,
    name: UserPath,
    value: UserAddr,
    size: usize,
    flags: XattrFlags,
) -> SysResult<()> {
    set(task, &at(task, path, FollowLast::No)?, name, (value, size), flags)
}

/// `fsetxattr(2)`.
pub fn fsetxattr(
    task: &CurrentTask,
    fd: FdNumber,
    name: UserPath,
    value: UserAddr,
    size: usize,
    flags: XattrFlags,
) -> SysResult<()> {
    set(task, &open(task, fd)?, name, (value, size), flags)
}

/// `listxattr(2)`.
pub fn listxattr(task: &CurrentTask, path: UserPath, list: UserAddr, size: usize) -> SysResult<usize> {
    give_list(task, &at(task, path, FollowLast::Yes)?, list, size)
}

/// `llistxattr(2)`.
pub fn llistxattr(task: &CurrentTask, path: UserPath, list: UserAddr, size: usize) -> SysResult<usize> {
    give_list(task, &at(task, path, FollowLast::No)?, list, size)
}

/// `flistxattr(2)`.
pub fn flistxattr(task: &CurrentTask, fd: FdNumber, list: UserAddr, size: usize) -> SysResult<usize> {
    give_list(task, &open(task, fd)?, list, size)
}

/// `removexattr(2)`.
pub fn removexattr(task: &CurrentTask, path: UserPath, name: UserPath) -> SysResult<()> {
    remove(task, &at(task, path, FollowLast::Yes)?, name)
}

/// `lremovexattr(2)`.
pub fn lremovexattr(task: &CurrentTask, path: UserPath, name: UserPath) -> SysResult<()> {
    remove(task, &at(task, path, FollowLast::No)?, name)
}

/// `fremovexattr(2)`.
pub fn fremovexattr(task: &CurrentTask, fd: FdNumber, name: UserPath) -> SysResult<()> {
    remove(task, &open(task, fd)?, name)
}

fn at(task: &CurrentTask, path: UserPath, follow: FollowLast) -> Result<Path, Errno> {
    let path = path.read(task)?;
    task.resolve_at(FdNumber(AT_FDCWD), &path, AtFlags::empty(), follow)
}

fn open(task: &CurrentTask, fd: FdNumber) -> Result<Path, Errno> {
    Ok(task.fd_table().get(fd)?.path().clone())
}

/// The name of an attribute: `ERANGE` if it is empty or too long.
pub(super) fn read_name(task: &CurrentTask, name: UserPath) -> Result<FsString, Errno> {
    match task.read_c_string(name.0, XATTR_NAME_MAX + 1) {
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        result => result,
    }
}

/// Whether the caller may do `may` with attribute `name` (`xattr_permission`).
///
/// # Errors
/// `EROFS`, `EPERM`, `EACCES`; `ENODATA` for what must not even be seen.
fn check(task: &CurrentTask, path: &Path, name: &[u8], may: May) -> Result<(), Errno> {
    let writes = may.contains(May::WRITE);
    if writes && path.mount.is_read_only() {
        return Err(Errno::EROFS);
    }
    let credentials = task.credentials();
    if name.starts_with(b"security.") || name.starts_with(b"system.") {
        let attributes = path.inode().attributes()?;
        let sets = |capability| credentials.has_capability_over(capability, attributes.uid, attributes.gid);
        let privileged = credentials.has_capability(Capability::CAP_SYS_ADMIN)
            || name == b"security.capability" && sets(Capability::CAP_SETFCAP)
            || name.starts_with(b"system.") && owns(&attributes, &credentials);
        return if writes && !privileged { Err(Errno::EPERM) } else { Ok(()) };
    }
    let refused = if writes { Errno::EPERM } else { Errno::ENODATA };
    if name.starts_with(b"trusted.") {
        let privileged = credentials.has_capability(Capability::CAP_SYS_ADMIN);
        return if privileged { Ok(()) } else { Err(refused) };
    }
    if name.starts_with(b"user.") {
        let attributes = path.inode().attributes()?;
        if !matches!(attributes.kind, FileType::Regular | FileType::Directory) {
            return Err(refused);
        }
        let sticky = attributes.kind == FileType::Directory && attributes.mode.contains(FileMode::S_ISVTX);
        if writes && sticky && !owns(&attributes, &credentials) {
            return Err(Errno::EPERM);
        }
    }
    path.inode().check(&credentials, may)
}

pub(super) fn get(
    task: &CurrentTask,
    path: &Path,
    name: UserPath,
    value: UserAddr,
    size: usize,
) -> SysResult<usize> {
    let name = read_name(task, name)?;
    if let Some(kind) = AclKind::of(&name) {
        return give(task, &acl::get(path, kind, &task.credentials())?, value, size);
    }
    check(task, path, &name, May::READ)?;
    let found = path.inode().ops().get_xattr(path.inode(), &name)?;
    give(task, &found, value, size)
}

/// Writes `found` to a buffer of `size` bytes; with no room at all only its length is wanted.
fn give(task: &CurrentTask, found: &[u8], buffer: UserAddr, size: usize) -> SysResult<usize> {
    if size > 0 {
        if found.len() > size {
            return Err(Errno::ERANGE.into());
        }
        task.write_bytes(buffer, found)?;
    }
    Ok(found.len())
}

pub(super) fn set(
    task: &CurrentTask,
    path: &Path,
    name: UserPath,
    (value, size): (UserAddr, usize),
    flags: XattrFlags,
) -> SysResult<()> {
    let name = read_name(task, name)?;
    if size > XATTR_SIZE_MAX {
        return Err(Errno::E2BIG.into());
    }
    let mut data = vec![0; size];
    task.read_bytes(value, &mut data)?;
    match AclKind::of(&name) {
        Some(kind) => acl::set(path, kind, Some(&data), &task.credentials())?,
        None => {
            check(task, path, &name, May::WRITE)?;
            path.inode().ops().set_xattr(path.inode(), &name, &data, flags)?;
        }
    }
    notify::on_path(path, InotifyMask::IN_ATTRIB);
    Ok(())
}

pub(super) fn give_list(task: &CurrentTask, path: &Path, list: UserAddr, size: usize) -> SysResult<usize> {
    let trusted = task.credentials().has_capability(Capability::CAP_SYS_ADMIN);
    let mut text = Vec::new();
    for name in acl::names(path)? {
        text.extend_from_slice(name);
        text.push(0);
    }
    for name in path.inode().ops().list_xattr(path.inode())? {
        if trusted || !name.starts_with(b"trusted.") {
            text.extend_from_slice(&name);
            text.push(0);
        }
    }
    if text.len() > XATTR_LIST_MAX {
        return Err(Errno::E2BIG.into());
    }
    give(task, &text, list, size)
}

pub(super) fn remove(task: &CurrentTask, path: &Path, name: UserPath) -> SysResult<()> {
    let name = read_name(task, name)?;
    match AclKind::of(&name) {
        Some(kind) => acl::set(path, kind, None, &task.credentials())?,
        None => {
            check(task, path, &name, May::WRITE)?;
            path.inode().ops().remove_xattr(path.inode(), &name)?;
        }
    }
    notify::on_path(path, InotifyMask::IN_ATTRIB);
    Ok(())
}
