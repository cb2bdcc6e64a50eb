//! The tree of mounts: `mount(2)`, `umount2(2)`, `pivot_root(2)`.

use std::sync::Arc;

use bartizan_abi::process::Capability;
use bartizan_abi::{AT_FDCWD, AtFlags, Errno, FileType, MountFlags as Request, UmountFlags};
use bartizan_platform::memory::PAGE_SIZE;

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::{
    FdNumber, FilesystemRoot, FollowLast, FsString, Mount, MountFlags, NewFilesystem, Openness, Path,
    Propagation, Unmount,
};

/// The kernel's own mark of mounts that users cannot make, which no caller may give (`MS_NOUSER`).
const NO_USER: u64 = 1 << 31;

/// What says how access times are kept.
const TIMES: Request = Request::MS_NOATIME
    .union(Request::MS_NODIRATIME)
    .union(Request::MS_RELATIME)
    .union(Request::MS_STRICTATIME);

/// The flags of a mount that follow from [`TIMES`].
const OUR_TIMES: MountFlags =
    MountFlags::NO_ATIME.union(MountFlags::NO_DIR_ATIME).union(MountFlags::RELATIME);

/// `mount(2)`.
pub fn mount(
    task: &CurrentTask,
    source: UserAddr,
    target: UserPath,
    kind: UserAddr,
    flags: u64,
    data: UserAddr,
) -> SysResult<()> {
    let kind = read_text(task, kind)?;
    let source = read_text(task, source)?;
    let options = read_options(task, data)?;
    let path = target.read(task)?;
    let path = resolve(task, &path, FollowLast::Yes)?;
    let old_magic = flags & Request::MS_MGC_MSK == Request::MS_MGC_VAL;
    let flags = if old_magic { flags & !Request::MS_MGC_MSK } else { flags };
    if flags & NO_USER != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_privilege(task)?;
    let request = Request::from_bits_truncate(flags);
    if request.contains(Request::MS_REMOUNT | Request::MS_BIND) {
        return Ok(change_flags(task, &path, request)?);
    }
    if request.contains(Request::MS_REMOUNT) {
        return Ok(remount(task, &path, request, &options)?);
    }
    let source_path = || match &source {
        Some(source) if !source.is_empty() => resolve(task, source, FollowLast::Yes),
        _ => Err(Errno::EINVAL),
    };
    let fs = task.fs_context();
    if request.contains(Request::MS_BIND) {
        fs.namespace().bind(&path, &source_path()?, request.contains(Request::MS_REC))?;
    } else if request.intersects(Request::PROPAGATION) {
        let propagation = propagation(request)?;
        fs.namespace().set_propagation(&path, propagation, request.contains(Request::MS_REC))?;
    } else if request.contains(Request::MS_MOVE) {
        fs.namespace().move_mount(&path, &source_path()?)?;
    } else {
        let kind = kind.ok_or(Errno::EINVAL)?;
        let make = task.kernel().filesystem_types().find(&kind).ok_or(Errno::ENODEV)?;
        check_type(task, &kind)?;
        let resolve = |path: &[u8]| resolve(task, path, FollowLast::Yes);
        let root =
            make(&NewFilesystem { kernel: task.kernel(), task, options: &options, resolve: &resolve })?;
        if request.contains(Request::MS_RDONLY) {
            root.filesystem.set_read_only(true)?;
        }
        root.filesystem.set_owner(task.user_namespace());
        let source = source.unwrap_or_else(|| b"none".to_vec());
        let flags = visible_flags(task, &kind, &root, mount_flags(request))?;
        fs.namespace().mount(&path, root, &source, flags)?;
    }
    Ok(())
}

/// A string that may be missing: `EINVAL` if it is longer than a page.
fn read_text(task: &CurrentTask, text: UserAddr) -> Result<Option<FsString>, Errno> {
    if text.0 == 0 {
        return Ok(None);
    }
    match task.read_c_string(text, PAGE_SIZE as usize) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::ENAMETOOLONG) => Err(Errno::EINVAL),
        Err(errno) => Err(errno),
    }
}

/// The options of the file system: at most a page; Linux cuts what is longer.
fn read_options(task: &CurrentTask, data: UserAddr) -> Result<FsString, Errno> {
    if data.0 == 0 {
        return Ok(FsString::new());
    }
    let most = PAGE_SIZE as usize - 1;
    match task.read_c_string(data, most) {
        Err(Errno::ENAMETOOLONG) => {
            let mut text = vec![0; most];
            task.read_bytes(data, &mut text)?;
            Ok(text)
        }
        result => result,
    }
}

pub(super) fn resolve(task: &CurrentTask, path: &[u8], follow: FollowLast) -> Result<Path, Errno> {
    task.resolve_at(FdNumber(AT_FDCWD), path, AtFlags::empty(), follow)
}

pub(super) fn check_privilege(task: &CurrentTask) -> Result<(), Errno> {
    let owner = task.fs_context().namespace().owner().clone();
    match task.credentials().has_capability_in(Capability::CAP_SYS_ADMIN, &owner) {
        true => Ok(()),
        false => Err(Errno::EPERM),
    }
}

/// Whether the caller may mount the type `kind`.
pub(super) fn check_type(task: &CurrentTask, kind: &[u8]) -> Result<(), Errno> {
    let everybody = task.kernel().filesystem_types().openness(kind) != Openness::Administrator;
    let may = everybody || task.credentials().has_capability(Capability::CAP_SYS_ADMIN);
    if may { Ok(()) } else { Err(Errno::EPERM) }
}

/// The flags with which the caller may mount `root` of the type `kind`: if that shows the state of the kernel, where it is to be seen already
/// (`mount_too_revealing`).
///
/// # Errors
/// `EPERM`.
pub(super) fn visible_flags(
    task: &CurrentTask,
    kind: &[u8],
    root: &FilesystemRoot,
    flags: MountFlags,
) -> Result<MountFlags, Errno> {
    let namespace = Arc::clone(task.fs_context().namespace());
    let openness = task.kernel().filesystem_types().openness(kind);
    if openness != Openness::WhereVisible || root.filesystem.owner().is_initial() {
        return Ok(flags);
    }
    namespace.flags_where_visible(root.filesystem.ops().type_name(), flags).ok_or(Errno::EPERM)
}

/// The flags of a mount that `request` asks for.
fn mount_flags(request: Request) -> MountFlags {
    let pairs = [
        (Request::MS_RDONLY, MountFlags::READ_ONLY),
        (Request::MS_NOSUID, MountFlags::NO_SUID),
        (Request::MS_NODEV, MountFlags::NO_DEV),
        (Request::MS_NOEXEC, MountFlags::NO_EXEC),
        (Request::MS_NOATIME, MountFlags::NO_ATIME),
        (Request::MS_NODIRATIME, MountFlags::NO_DIR_ATIME),
        (Request::MS_NOSYMFOLLOW, MountFlags::NO_SYMFOLLOW),
    ];
    let mut flags = MountFlags::empty();
    for (theirs, ours) in pairs {
        flags.set(ours, request.contains(theirs));
    }
    flags.set(MountFlags::RELATIME, !request.contains(Request::MS_NOATIME));
    if request.contains(Request::MS_STRICTATIME) {
        flags.remove(MountFlags::RELATIME | MountFlags::NO_ATIME);
    }
    flags
}

/// The mount whose root is `path`; `EINVAL` if it is not one of the namespace.
fn mount_of<'a>(task: &CurrentTask, path: &'a Path) -> Result<&'a Arc<Mount>, Errno> {
    let here = path.is_mount_root() && task.fs_context().namespace().contains(&path.mount);
    if here { Ok(&path.mount) } else { Err(Errno::EINVAL) }
}

/// `MS_REMOUNT` with `MS_BIND`: the flags of this mount alone.
fn change_flags(task: &CurrentTask, path: &Path, request: Request) -> Result<(), Errno> {
    let mount = mount_of(task, path)?;
    mount.change_flags(new_flags(mount, request)?)?;
    task.fs_context().namespace().touch();
    Ok(())
}

/// `MS_REMOUNT`: the flags of the mount, and the options of its file system.
fn remount(task: &CurrentTask, path: &Path, request: Request, options: &[u8]) -> Result<(), Errno> {
    let mount = mount_of(task, path)?;
    let flags = new_flags(mount, request)?;
    let read_only = flags.contains(MountFlags::READ_ONLY);
    let filesystem = mount.filesystem();
    if !task.credentials().has_capability_in(Capability::CAP_SYS_ADMIN, filesystem.owner()) {
        return Err(Errno::EPERM);
    }
    let was = filesystem.is_read_only();
    task.fs_context().namespace().set_read_only(filesystem, read_only)?;
    filesystem.ops().reconfigure(options).or_else(|errno| filesystem.set_read_only(was).and(Err(errno)))?;
    mount.set_flags(flags);
    task.fs_context().namespace().touch();
    Ok(())
}

/// The flags of `mount` after a remount: `EPERM` where they are locked.
fn new_flags(mount: &Mount, request: Request) -> Result<MountFlags, Errno> {
    let old = mount.flags();
    let mut flags = mount_flags(request) | old & MountFlags::KEPT;
    if !request.intersects(TIMES) {
        flags = (flags - OUR_TIMES) | (old & OUR_TIMES);
    }
    old.check_change(flags)?;
    Ok(flags)
}

/// The one type of propagation that `request` names.
pub(super) fn propagation(request: Request) -> Result<Propagation, Errno> {
    match request - Request::MS_REC - Request::MS_SILENT {
        Request::MS_SHARED => Ok(Propagation::Shared),
        Request::MS_PRIVATE => Ok(Propagation::Private),
        Request::MS_SLAVE => Ok(Propagation::Slave),
        Request::MS_UNBINDABLE => Ok(Propagation::Unbindable),
        _ => Err(Errno::EINVAL),
    }
}

/// `umount2(2)`.
pub fn umount2(task: &CurrentTask, target: UserPath, flags: u32) -> SysResult<()> {
    let flags = UmountFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let follow = if flags.contains(UmountFlags::UMOUNT_NOFOLLOW) { FollowLast::No } else { FollowLast::Yes };
    let path = resolve(task, &target.read(task)?, follow)?;
    check_privilege(task)?;
    let fs = task.fs_context();
    // What is meant is what is seen there last, also from a directory that has been mounted over.
    let path = fs.namespace().topmost(path);
    let mount = mount_of(task, &path)?;
    let is_root = Arc::ptr_eq(&fs.root().mount, mount);
    let lazily = flags.contains(UmountFlags::MNT_DETACH);
    if flags.contains(UmountFlags::MNT_EXPIRE) {
        if is_root || lazily || flags.contains(UmountFlags::MNT_FORCE) {
            return Err(Errno::EINVAL.into());
        }
        if !fs.namespace().is_idle(&path) {
            return Err(Errno::EBUSY.into());
        }
        if !mount.expire() {
            return Err(Errno::EAGAIN.into());
        }
    }
    if is_root && !lazily {
        // As Linux, where nothing but writing can be ended.
        mount.set_flags(mount.flags() | MountFlags::READ_ONLY);
        return Ok(());
    }
    Ok(fs.namespace().unmount(path, if lazily { Unmount::Lazily } else { Unmount::IfIdle })?)
}

/// `pivot_root(2)`.
pub fn pivot_root(task: &CurrentTask, new_root: UserPath, put_old: UserPath) -> SysResult<()> {
    check_privilege(task)?;
    let directory = |path: UserPath| {
        let found = resolve(task, &path.read(task)?, FollowLast::Yes)?;
        if found.inode().kind() == FileType::Directory { Ok(found) } else { Err(Errno::ENOTDIR) }
    };
    let new = directory(new_root)?;
    let put_old = directory(put_old)?;
    let fs = task.fs_context();
    let old = fs.root();
    fs.namespace().pivot(&old, &new, &put_old)?;
    let contexts: Vec<_> = task.kernel().tree().tasks().filter_map(|task| task.fs()).collect();
    for context in contexts {
        context.move_places(&old, &new);
    }
    Ok(())
}
