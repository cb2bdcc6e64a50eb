//! Files in memory without a name: `memfd_create(2)`.

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, Errno, FileMode, FileType, MemfdFlags, NAME_MAX, OpenFlags, SealFlags};

use super::UserPath;
use super::open::install;
use crate::SysResult;
use crate::kernel::{CurrentTask, realtime};
use crate::vfs::{Dentry, FdFlags, FdNumber, File, NewNode, OpenRequest, Path};

/// What Linux puts before the name.
const PREFIX: &[u8] = b"memfd:";

/// `memfd_create(2)`.
pub fn memfd_create(task: &CurrentTask, name: UserPath, flags: MemfdFlags) -> SysResult<FdNumber> {
    let huge = flags.intersects(MemfdFlags::MFD_HUGETLB | MemfdFlags::MFD_HUGE_MASK);
    if huge || flags.contains(MemfdFlags::MFD_EXEC | MemfdFlags::MFD_NOEXEC_SEAL) {
        return Err(Errno::EINVAL.into());
    }
    let most = NAME_MAX - PREFIX.len();
    let name = task.read_c_string(name.0, most + 1).map_err(|error| match error {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        error => error,
    })?;
    let file = create(task, &name, flags)?;
    let descriptor =
        if flags.contains(MemfdFlags::MFD_CLOEXEC) { FdFlags::CLOEXEC } else { FdFlags::empty() };
    Ok(install(task, file, descriptor)?)
}

fn create(task: &CurrentTask, name: &[u8], flags: MemfdFlags) -> Result<Arc<File>, Errno> {
    let no_exec = flags.contains(MemfdFlags::MFD_NOEXEC_SEAL);
    let seals = if no_exec {
        SealFlags::F_SEAL_EXEC
    } else if flags.contains(MemfdFlags::MFD_ALLOW_SEALING) {
        SealFlags::empty()
    } else {
        SealFlags::F_SEAL_SEAL
    };
    let credentials = task.credentials();
    let node = NewNode {
        kind: FileType::Regular,
        mode: FileMode::new(if no_exec { 0o666 } else { 0o777 }),
        uid: credentials.fsuid,
        gid: credentials.fsgid,
        device: DeviceNumber::NONE,
        now: realtime(),
    };
    let mount = task.kernel().memory_files().ok_or(Errno::ENOSYS)?;
    let directory = mount.root().inode().ok_or(Errno::ENOSYS)?;
    let inode = directory.ops().create_sealable(directory, &node, seals)?;
    let shown = [b"/", PREFIX, name, b" (deleted)"].concat();
    let path = Path::new(Arc::clone(mount), Dentry::unnamed(None, shown, inode)).ok_or(Errno::ENOENT)?;
    let flags = OpenFlags::O_RDWR | OpenFlags::O_LARGEFILE;
    let request = OpenRequest { flags, credentials: &credentials, task: Some(task), path: &path };
    let ops = path.inode().ops().open(path.inode(), &request)?;
    Ok(File::new(ops, path, flags))
}
