//! Watching files: `inotify_init(2)`, `inotify_add_watch(2)`, `inotify_rm_watch(2)`.

use bartizan_abi::{AT_FDCWD, AtFlags, Errno, FileType, InotifyInitFlags, InotifyMask, OpenFlags};

use super::UserPath;
use super::anonymous::{self, AnonymousKind};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::vfs::notify::Inotify;
use crate::vfs::permission::May;
use crate::vfs::{Admission, FdNumber, FollowLast};

/// `inotify_init(2)`.
pub fn inotify_init(task: &CurrentTask) -> SysResult<FdNumber> {
    inotify_init1(task, InotifyInitFlags::empty())
}

/// `inotify_init1(2)`.
pub fn inotify_init1(task: &CurrentTask, flags: InotifyInitFlags) -> SysResult<FdNumber> {
    let flags = OpenFlags::from_bits_truncate(flags.bits());
    let inotify = Inotify::new(task.kernel().settings());
    anonymous::open_descriptor(task, AnonymousKind::Inotify, Box::new(inotify), flags)
}

/// `inotify_add_watch(2)`. Unknown bits are ignored, as Linux does, where there are known ones.
pub fn inotify_add_watch(task: &CurrentTask, fd: FdNumber, path: UserPath, mask: u32) -> SysResult<i32> {
    let mask = InotifyMask::from_bits_truncate(mask);
    if mask.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let file = task.fd_table().get(fd)?;
    if mask.contains(InotifyMask::IN_MASK_ADD | InotifyMask::IN_MASK_CREATE) {
        return Err(Errno::EINVAL.into());
    }
    let inotify = file.downcast::<Inotify>().ok_or(Errno::EINVAL)?;
    let follow = if mask.contains(InotifyMask::IN_DONT_FOLLOW) { FollowLast::No } else { FollowLast::Yes };
    let found = task.resolve_at(FdNumber(AT_FDCWD), &path.read(task)?, AtFlags::empty(), follow)?;
    if mask.contains(InotifyMask::IN_ONLYDIR) && found.inode().kind() != FileType::Directory {
        return Err(Errno::ENOTDIR.into());
    }
    found.inode().admit(Some(task), Admission::Use(May::READ))?;
    found.check(&task.credentials(), May::READ)?;
    Ok(inotify.add(found.inode(), mask)?)
}

/// `inotify_rm_watch(2)`.
pub fn inotify_rm_watch(task: &CurrentTask, fd: FdNumber, watch: i32) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    Ok(file.downcast::<Inotify>().ok_or(Errno::EINVAL)?.remove(watch)?)
}
