//! Handles of files: `name_to_handle_at(2)`, `open_by_handle_at(2)`, as with file systems that have none.

use bartizan_abi::process::Capability;
use bartizan_abi::{AT_FDCWD, AtFlags, Errno};

use super::UserPath;
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};
use crate::vfs::{FdNumber, FollowLast};

/// The largest handle, bytes (`MAX_HANDLE_SZ`).
const MOST_BYTES: u32 = 128;

/// `name_to_handle_at(2)`.
pub fn name_to_handle_at(
    task: &CurrentTask,
    fd: FdNumber,
    path: UserPath,
    _handle: UserAddr,
    _mount: UserAddr,
    flags: AtFlags,
) -> SysResult<()> {
    if !(AtFlags::AT_SYMLINK_FOLLOW | AtFlags::AT_EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    task.resolve_at(fd, &path.read(task)?, flags, FollowLast::No)?;
    Err(Errno::EOPNOTSUPP.into())
}

/// `open_by_handle_at(2)`: no handle leads anywhere.
pub fn open_by_handle_at(task: &CurrentTask, fd: FdNumber, handle: UserAddr, _flags: u32) -> SysResult<()> {
    if fd.0 != AT_FDCWD {
        task.fd_table().get_any(fd)?;
    }
    if !task.credentials().has_capability(Capability::CAP_DAC_READ_SEARCH) {
        return Err(Errno::EPERM.into());
    }
    let bytes = task.read_value(UserPtr::<u32>::new(handle))?;
    Err(if bytes == 0 || bytes > MOST_BYTES { Errno::EINVAL } else { Errno::ESTALE }.into())
}
