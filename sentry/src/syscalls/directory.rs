//! Directories and their entries: `getdents64(2)`, `mkdir(2)`, `rename(2)`, `link(2)`, `unlink(2)`, `chdir(2)`.

use bartizan_abi::process::Capability;
use bartizan_abi::{
    AT_FDCWD, AtFlags, DeviceNumber, Errno, FileMode, FileType, InotifyMask, LINUX_DIRENT_HEADER_SIZE,
    LINUX_DIRENT64_HEADER_SIZE, RenameFlags,
};

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::create::{NewEntry, Removal, create, link as make_link, remove, rename as move_entry};
use crate::vfs::permission::{May, owns};
use crate::vfs::{Admission, DirectorySink, FdNumber, FollowLast, FsStr, Path, notify, touch_accessed};

/// The largest buffer that is filled in one call, bytes: the guest's may be any size.
const MOST_AT_ONCE: usize = 64 << 10;

/// How entries are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `struct linux_dirent64`.
    Large,
    /// `struct linux_dirent`.
    Old,
}

/// Collects entries as the guest gets them.
struct Entries<'a> {
    task: &'a CurrentTask,
    layout: Layout,
    bytes: Vec<u8>,
    room: usize,
    full: bool,
}

impl DirectorySink for Entries<'_> {
    fn reader(&self) -> Option<&CurrentTask> {
        Some(self.task)
    }

    fn entry(&mut self, name: &FsStr, inode: u64, kind: FileType, next_offset: u64) -> bool {
        let kind = kind.dirent_type();
        // Name, terminator, and the type, which the old layout has at its very end.
        let length = match self.layout {
            Layout::Large => LINUX_DIRENT64_HEADER_SIZE + name.len() + 1,
            Layout::Old => LINUX_DIRENT_HEADER_SIZE + name.len() + 2,
        };
        let length = length.next_multiple_of(8);
        if self.bytes.len() + length > self.room {
            self.full = true;
            return false;
        }
        let end = self.bytes.len() + length;
        self.bytes.extend_from_slice(&inode.to_ne_bytes());
        self.bytes.extend_from_slice(&next_offset.to_ne_bytes());
        self.bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        if self.layout == Layout::Large {
            self.bytes.push(kind);
        }
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        if self.layout == Layout::Old {
            self.bytes[end - 1] = kind;
        }
        true
    }
}

fn read_entries(
    task: &CurrentTask,
    fd: FdNumber,
    address: UserAddr,
    count: u32,
    layout: Layout,
) -> SysResult<usize> {
    let file = task.fd_table().get(fd)?;
    if file.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    if !file.path().dentry.is_linked() && file.path().dentry.parent().is_some() {
        return Err(Errno::ENOENT.into());
    }
    let room = (count as usize).min(MOST_AT_ONCE);
    let mut entries = Entries { task, layout, bytes: Vec::new(), room, full: false };
    let mut offset = file.offset();
    let next = file.ops().read_directory(&file, &mut entries, *offset)?;
    notify::on_file(file.path(), InotifyMask::IN_ACCESS);
    touch_accessed(file.path(), file.flags());
    if entries.bytes.is_empty() && entries.full {
        return Err(Errno::EINVAL.into());
    }
    task.write_bytes(address, &entries.bytes)?;
    *offset = next;
    Ok(entries.bytes.len())
}

/// `getdents64(2)`.
pub fn getdents64(task: &CurrentTask, fd: FdNumber, address: UserAddr, count: u32) -> SysResult<usize> {
    read_entries(task, fd, address, count, Layout::Large)
}

/// `getdents(2)`.
pub fn getdents(task: &CurrentTask, fd: FdNumber, address: UserAddr, count: u32) -> SysResult<usize> {
    read_entries(task, fd, address, count, Layout::Old)
}

fn make(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    entry: NewEntry<'_>,
    mode: FileMode,
) -> SysResult<()> {
    let path = path.read(task)?;
    Ok(task.walk(fd, &path, |walker| {
        let parent = walker.resolve_parent(&path)?;
        create(walker, &parent, entry, mode).map(drop)
    })?)
}

/// `mkdir(2)`.
pub fn mkdir(task: &CurrentTask, path: UserPath, mode: u32) -> SysResult<()> {
    mkdirat(task, FdNumber(AT_FDCWD), path, mode)
}

/// `mkdirat(2)`.
pub fn mkdirat(task: &CurrentTask, fd: FdNumber, path: UserPath, mode: u32) -> SysResult<()> {
    make(task, fd, path, NewEntry::Directory, FileMode::new(mode & 0o1777))
}

/// `mknod(2)`.
pub fn mknod(task: &CurrentTask, path: UserPath, mode: u32, device: u32) -> SysResult<()> {
    mknodat(task, FdNumber(AT_FDCWD), path, mode, device)
}

/// `mknodat(2)`.
pub fn mknodat(task: &CurrentTask, fd: FdNumber, path: UserPath, mode: u32, device: u32) -> SysResult<()> {
    let kind = match mode & bartizan_abi::S_IFMT {
        0 => FileType::Regular,
        _ => FileType::from_mode(mode).ok_or(Errno::EINVAL)?,
    };
    let device = match kind {
        FileType::Directory => return Err(Errno::EPERM.into()),
        FileType::Symlink => return Err(Errno::EINVAL.into()),
        FileType::CharacterDevice | FileType::BlockDevice => {
            let device = DeviceNumber::decode(device);
            // A whiteout of overlayfs stands for no device.
            let whiteout = kind == FileType::CharacterDevice && device == DeviceNumber::NONE;
            if !whiteout && !task.credentials().has_capability(Capability::CAP_MKNOD) {
                return Err(Errno::EPERM.into());
            }
            device
        }
        FileType::Regular | FileType::Fifo | FileType::Socket => DeviceNumber::NONE,
    };
    make(task, fd, path, NewEntry::Node(kind, device), FileMode::new(mode))
}

/// `symlink(2)`.
pub fn symlink(task: &CurrentTask, target: UserPath, path: UserPath) -> SysResult<()> {
    symlinkat(task, target, FdNumber(AT_FDCWD), path)
}

/// `symlinkat(2)`.
pub fn symlinkat(task: &CurrentTask, target: UserPath, fd: FdNumber, path: UserPath) -> SysResult<()> {
    let target = target.read(task)?;
    if target.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let path = path.read(task)?;
    Ok(task.walk(fd, &path, |walker| {
        let parent = walker.resolve_parent(&path)?;
        create(walker, &parent, NewEntry::Symlink(&target), FileMode::new(0o777)).map(drop)
    })?)
}

/// `link(2)`.
pub fn link(task: &CurrentTask, old: UserPath, new: UserPath) -> SysResult<()> {
    let cwd = FdNumber(AT_FDCWD);
    linkat(task, cwd, old, cwd, new, AtFlags::empty())
}

/// `linkat(2)`.
pub fn linkat(
    task: &CurrentTask,
    old_fd: FdNumber,
    old: UserPath,
    new_fd: FdNumber,
    new: UserPath,
    flags: AtFlags,
) -> SysResult<()> {
    if !(AtFlags::AT_SYMLINK_FOLLOW | AtFlags::AT_EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let old = old.read(task)?;
    let capable = task.credentials().has_own_capability(Capability::CAP_DAC_READ_SEARCH);
    if old.is_empty() && flags.contains(AtFlags::AT_EMPTY_PATH) && !capable {
        return Err(Errno::ENOENT.into());
    }
    let target = task.resolve_at(old_fd, &old, flags, FollowLast::No)?;
    let new = new.read(task)?;
    Ok(task.walk(new_fd, &new, |walker| make_link(walker, &walker.resolve_parent(&new)?, &target))?)
}

fn remove_entry(task: &CurrentTask, fd: FdNumber, path: UserPath, removal: Removal) -> SysResult<()> {
    let path = path.read(task)?;
    Ok(task.walk(fd, &path, |walker| remove(walker, &walker.resolve_parent(&path)?, removal))?)
}

/// `unlink(2)`.
pub fn unlink(task: &CurrentTask, path: UserPath) -> SysResult<()> {
    remove_entry(task, FdNumber(AT_FDCWD), path, Removal::File)
}

/// `rmdir(2)`.
pub fn rmdir(task: &CurrentTask, path: UserPath) -> SysResult<()> {
    remove_entry(task, FdNumber(AT_FDCWD), path, Removal::Directory)
}

/// `unlinkat(2)`.
pub fn unlinkat(task: &CurrentTask, fd: FdNumber, path: UserPath, flags: AtFlags) -> SysResult<()> {
    if !AtFlags::AT_REMOVEDIR.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let directory = flags.contains(AtFlags::AT_REMOVEDIR);
    remove_entry(task, fd, path, if directory { Removal::Directory } else { Removal::File })
}

/// `rename(2)`.
pub fn rename(task: &CurrentTask, old: UserPath, new: UserPath) -> SysResult<()> {
    let cwd = FdNumber(AT_FDCWD);
    renameat2(task, cwd, old, cwd, new, RenameFlags::empty())
}

/// `renameat(2)`.
pub fn renameat(
    task: &CurrentTask,
    old_fd: FdNumber,
    old: UserPath,
    new_fd: FdNumber,
    new: UserPath,
) -> SysResult<()> {
    renameat2(task, old_fd, old, new_fd, new, RenameFlags::empty())
}

/// `renameat2(2)`.
pub fn renameat2(
    task: &CurrentTask,
    old_fd: FdNumber,
    old: UserPath,
    new_fd: FdNumber,
    new: UserPath,
    flags: RenameFlags,
) -> SysResult<()> {
    let exclusive = RenameFlags::RENAME_NOREPLACE | RenameFlags::RENAME_WHITEOUT;
    if flags.contains(RenameFlags::RENAME_EXCHANGE) && flags.intersects(exclusive) {
        return Err(Errno::EINVAL.into());
    }
    let old = old.read(task)?;
    if old.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let new = new.read(task)?;
    let source = task.walk(old_fd, &old, |walker| walker.resolve_parent(&old))?;
    Ok(task.walk(new_fd, &new, |walker| {
        let target = walker.resolve_parent(&new)?;
        move_entry(walker, &source, &target, flags)
    })?)
}

/// A directory that the caller may search.
fn searchable(task: &CurrentTask, path: Path) -> Result<Path, Errno> {
    if path.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    path.inode().admit(Some(task), Admission::Use(May::EXECUTE))?;
    path.check(&task.credentials(), May::EXECUTE)?;
    Ok(path)
}

/// `chdir(2)`.
pub fn chdir(task: &CurrentTask, path: UserPath) -> SysResult<()> {
    let path = path.read(task)?;
    let found = task.walk(FdNumber(AT_FDCWD), &path, |walker| walker.resolve(&path, FollowLast::Yes))?;
    task.fs_context().set_cwd(searchable(task, found)?);
    Ok(())
}

/// `fchdir(2)`.
pub fn fchdir(task: &CurrentTask, fd: FdNumber) -> SysResult<()> {
    let found = task.fd_table().get_any(fd)?.path().clone();
    task.fs_context().set_cwd(searchable(task, found)?);
    Ok(())
}

/// `chroot(2)`.
pub fn chroot(task: &CurrentTask, path: UserPath) -> SysResult<()> {
    let path = path.read(task)?;
    let found = task.walk(FdNumber(AT_FDCWD), &path, |walker| walker.resolve(&path, FollowLast::Yes))?;
    let found = searchable(task, found)?;
    if !task.credentials().has_own_capability(Capability::CAP_SYS_CHROOT) {
        return Err(Errno::EPERM.into());
    }
    task.fs_context().set_root(found);
    Ok(())
}

/// Whether the caller owns what is at `path`, or may act as if.
pub(super) fn check_owner(task: &CurrentTask, path: &Path) -> Result<(), Errno> {
    if owns(&path.inode().attributes()?, &task.credentials()) { Ok(()) } else { Err(Errno::EPERM) }
}
