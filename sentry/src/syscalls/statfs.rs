//! What is told about file systems: `statfs(2)`, `fstatfs(2)`.

use bartizan_abi::{AT_FDCWD, AtFlags, Errno, NAME_MAX, Statfs, StatfsFlags};

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserPtr;
use crate::vfs::{FdNumber, FollowLast, Mount, MountFlags};

/// `statfs(2)`.
pub fn statfs(task: &CurrentTask, path: UserPath, answer: UserPtr<Statfs>) -> SysResult<()> {
    let path = path.read(task)?;
    let found = task.resolve_at(FdNumber(AT_FDCWD), &path, AtFlags::empty(), FollowLast::Yes)?;
    Ok(task.write_value(answer, &of_mount(&found.mount)?)?)
}

/// `fstatfs(2)`.
pub fn fstatfs(task: &CurrentTask, fd: FdNumber, answer: UserPtr<Statfs>) -> SysResult<()> {
    let file = task.fd_table().get_any(fd)?;
    Ok(task.write_value(answer, &of_mount(&file.path().mount)?)?)
}

fn of_mount(mount: &Mount) -> Result<Statfs, Errno> {
    let filesystem = mount.filesystem();
    let statistics = filesystem.ops().statistics()?;
    let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Ok(Statfs {
        f_type: signed(statistics.magic),
        f_bsize: signed(statistics.block_size),
        f_blocks: statistics.blocks,
        f_bfree: statistics.blocks_free,
        f_bavail: statistics.blocks_free,
        f_files: statistics.files,
        f_ffree: statistics.files_free,
        f_fsid: [filesystem.device.encode().cast_signed(), 0],
        f_namelen: NAME_MAX as i64,
        f_frsize: signed(statistics.block_size),
        f_flags: signed(flags(mount).bits()),
        ..Statfs::default()
    })
}

fn flags(mount: &Mount) -> StatfsFlags {
    let pairs = [
        (MountFlags::NO_SUID, StatfsFlags::ST_NOSUID),
        (MountFlags::NO_DEV, StatfsFlags::ST_NODEV),
        (MountFlags::NO_EXEC, StatfsFlags::ST_NOEXEC),
        (MountFlags::NO_ATIME, StatfsFlags::ST_NOATIME),
        (MountFlags::NO_DIR_ATIME, StatfsFlags::ST_NODIRATIME),
        (MountFlags::RELATIME, StatfsFlags::ST_RELATIME),
        (MountFlags::NO_SYMFOLLOW, StatfsFlags::ST_NOSYMFOLLOW),
    ];
    let mut flags = StatfsFlags::ST_VALID;
    for (ours, theirs) in pairs {
        flags.set(theirs, mount.flags().contains(ours));
    }
    flags.set(StatfsFlags::ST_RDONLY, mount.is_read_only());
    flags
}
