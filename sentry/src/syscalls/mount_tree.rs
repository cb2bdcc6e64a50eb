//! Trees of mounts by descriptor: `open_tree(2)`, `move_mount(2)`, `mount_setattr(2)`.

use std::sync::Arc;

use bartizan_abi::process::Capability;
use bartizan_abi::{
    AtFlags, Errno, MountAttr, MountAttributes, MountFlags as Request, MoveMountFlags, OpenFlags,
    OpenTreeFlags,
};
use bartizan_platform::memory::PAGE_SIZE;

use super::UserPath;
use super::anonymous::install;
use super::mount::{check_privilege, propagation};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::{FdNumber, File, FlagChanges, FollowLast, MountFlags, Path, Side, open_place};

/// The size of `struct mount_attr` when it was new.
const MOUNT_ATTR_SIZE_VER0: usize = 32;

/// `open_tree(2)`.
pub fn open_tree(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: u32) -> SysResult<FdNumber> {
    let (file, flags) = open(task, fd, path, flags)?;
    install(task, file, flags)
}

/// `open_tree_attr(2)`: [`open_tree`] and [`mount_setattr`] in one step.
pub fn open_tree_attr(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: u32,
    attributes: UserAddr,
    size: usize,
) -> SysResult<FdNumber> {
    if attributes.is_null() && size != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (file, open_flags) = open(task, fd, path, flags)?;
    if !attributes.is_null()
        && let Some(changes) = read_changes(task, attributes, size)?
    {
        let recursive = flags & OpenTreeFlags::AT_RECURSIVE.bits() != 0;
        task.fs_context().namespace().change_flags(file.path(), &changes, recursive)?;
    }
    install(task, file, open_flags)
}

/// Opens a place, or a copy of the tree there; with it the flags for its number.
fn open(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: u32) -> SysResult<(Arc<File>, OpenFlags)> {
    let flags = OpenTreeFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let clones = flags.contains(OpenTreeFlags::OPEN_TREE_CLONE);
    let recursive = flags.contains(OpenTreeFlags::AT_RECURSIVE);
    if recursive && !clones {
        return Err(Errno::EINVAL.into());
    }
    if clones {
        check_privilege(task)?;
    }
    let at = AtFlags::from_bits_truncate(flags.bits());
    let found = resolve(task, fd, path, at & (AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH))?;
    let close = flags.contains(OpenTreeFlags::OPEN_TREE_CLOEXEC);
    let close = if close { OpenFlags::O_CLOEXEC } else { OpenFlags::empty() };
    let file = if clones {
        let (tree, top) = task.fs_context().namespace().clone_detached(&found, recursive)?;
        File::new(Box::new(tree), top, OpenFlags::O_PATH)
    } else {
        open_place(found)
    };
    Ok((file, close))
}

/// The place that a path leads to. An empty one may be null.
fn resolve(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: AtFlags) -> Result<Path, Errno> {
    let path = if path.0.is_null() && flags.contains(AtFlags::AT_EMPTY_PATH) {
        Vec::new()
    } else {
        path.read(task)?
    };
    task.resolve_at(fd, &path, flags, FollowLast::Yes)
}

/// `move_mount(2)`.
pub fn move_mount(
    task: &CurrentTask,
    from_fd: FdNumber,
    from: UserPath,
    to_fd: FdNumber,
    to: UserPath,
    flags: u32,
) -> SysResult<()> {
    check_privilege(task)?;
    let flags = MoveMountFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(MoveMountFlags::MOVE_MOUNT_BENEATH | MoveMountFlags::MOVE_MOUNT_SET_GROUP) {
        return Err(Errno::EINVAL.into());
    }
    let at = |follow, empty| {
        let mut at = AtFlags::empty();
        at.set(AtFlags::AT_SYMLINK_NOFOLLOW, !flags.contains(follow));
        at.set(AtFlags::AT_EMPTY_PATH, flags.contains(empty));
        at
    };
    let to_flags = at(MoveMountFlags::MOVE_MOUNT_T_SYMLINKS, MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);
    let to = resolve(task, to_fd, to, to_flags)?;
    let from_flags = at(MoveMountFlags::MOVE_MOUNT_F_SYMLINKS, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    let from = resolve(task, from_fd, from, from_flags)?;
    let fs = task.fs_context();
    if flags.contains(MoveMountFlags::MOVE_MOUNT_SET_GROUP) {
        return Ok(fs.namespace().copy_groups(&from, &to)?);
    }
    let beneath = flags.contains(MoveMountFlags::MOVE_MOUNT_BENEATH);
    let side = if beneath { Side::Beneath } else { Side::OnTop };
    Ok(fs.namespace().attach(&to, &from, side, &fs.root())?)
}

/// `mount_setattr(2)`.
pub fn mount_setattr(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    flags: u32,
    attributes: UserAddr,
    size: usize,
) -> SysResult<()> {
    let flags = OpenTreeFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.intersects(OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC) {
        return Err(Errno::EINVAL.into());
    }
    let Some(changes) = read_changes(task, attributes, size)? else { return Ok(()) };
    let at = AtFlags::from_bits_truncate(flags.bits());
    let found = resolve(task, fd, path, at & (AtFlags::AT_SYMLINK_NOFOLLOW | AtFlags::AT_EMPTY_PATH))?;
    let recursive = flags.contains(OpenTreeFlags::AT_RECURSIVE);
    Ok(task.fs_context().namespace().change_flags(&found, &changes, recursive)?)
}

/// The changes that a `struct mount_attr` asks for; none for one that is all zero.
fn read_changes(task: &CurrentTask, address: UserAddr, size: usize) -> Result<Option<FlagChanges>, Errno> {
    if size as u64 > PAGE_SIZE {
        return Err(Errno::E2BIG);
    }
    if size < MOUNT_ATTR_SIZE_VER0 {
        return Err(Errno::EINVAL);
    }
    if !task.credentials().has_capability(Capability::CAP_SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let asked: MountAttr = task.read_versioned(address, size)?;
    if asked == MountAttr::default()
        || asked == (MountAttr { userns_fd: asked.userns_fd, ..Default::default() })
    {
        return Ok(None);
    }
    changes_of(&asked).map(Some)
}

/// The changes that `asked` means. Mounts that map identities are refused, as where the file system cannot do that.
fn changes_of(asked: &MountAttr) -> Result<FlagChanges, Errno> {
    let propagation = match asked.propagation {
        0 => None,
        flag => {
            let request = Request::from_bits(flag).filter(|flag| Request::PROPAGATION.contains(*flag));
            Some(propagation(request.ok_or(Errno::EINVAL)?)?)
        }
    };
    let set = MountAttributes::from_bits(asked.attr_set).ok_or(Errno::EINVAL)?;
    let clear = MountAttributes::from_bits(asked.attr_clr).ok_or(Errno::EINVAL)?;
    if (set | clear).contains(MountAttributes::MOUNT_ATTR_IDMAP) {
        return Err(Errno::EINVAL);
    }
    let times = MountAttributes::MOUNT_ATTR__ATIME;
    let mut changes = FlagChanges { set: flags_of(set), clear: flags_of(clear), propagation };
    if !clear.intersects(times) {
        return if set.intersects(times) { Err(Errno::EINVAL) } else { Ok(changes) };
    }
    if !clear.contains(times) {
        return Err(Errno::EINVAL);
    }
    changes.clear |= MountFlags::RELATIME | MountFlags::NO_ATIME;
    changes.set |= times_of(set)?;
    Ok(changes)
}

/// The flags of a mount that attributes name, but for those of access times.
pub fn flags_of(attributes: MountAttributes) -> MountFlags {
    let pairs = [
        (MountAttributes::MOUNT_ATTR_RDONLY, MountFlags::READ_ONLY),
        (MountAttributes::MOUNT_ATTR_NOSUID, MountFlags::NO_SUID),
        (MountAttributes::MOUNT_ATTR_NODEV, MountFlags::NO_DEV),
        (MountAttributes::MOUNT_ATTR_NOEXEC, MountFlags::NO_EXEC),
        (MountAttributes::MOUNT_ATTR_NODIRATIME, MountFlags::NO_DIR_ATIME),
        (MountAttributes::MOUNT_ATTR_NOSYMFOLLOW, MountFlags::NO_SYMFOLLOW),
    ];
    let named = pairs.into_iter().filter(|(theirs, _)| attributes.contains(*theirs));
    named.map(|(_, ours)| ours).collect()
}

/// The flag that the field of access times means.
///
/// # Errors
/// `EINVAL` for a value that has no meaning.
pub fn times_of(attributes: MountAttributes) -> Result<MountFlags, Errno> {
    let field = attributes & MountAttributes::MOUNT_ATTR__ATIME;
    if field.is_empty() {
        Ok(MountFlags::RELATIME)
    } else if field == MountAttributes::MOUNT_ATTR_NOATIME {
        Ok(MountFlags::NO_ATIME)
    } else if field == MountAttributes::MOUNT_ATTR_STRICTATIME {
        Ok(MountFlags::empty())
    } else {
        Err(Errno::EINVAL)
    }
}
