//! Namespaces: `unshare(2)`, `setns(2)`.

use bartizan_abi::Errno;
use bartizan_abi::process::CloneFlags;

use crate::SysResult;
use crate::kernel::{CurrentTask, NamespaceFile, Pidfd};
use crate::vfs::FdNumber;

/// `unshare(2)`.
pub fn unshare(task: &CurrentTask, flags: u64) -> SysResult<()> {
    Ok(task.unshare(flags)?)
}

/// `setns(2)`.
pub fn setns(task: &CurrentTask, fd: FdNumber, kinds: u32) -> SysResult<()> {
    let file = task.fd_table().get(fd)?;
    let kinds = CloneFlags::from_bits_retain(u64::from(kinds));
    if let Some(open) = file.downcast::<NamespaceFile>() {
        return Ok(task.join_namespace(open.namespace(), kinds)?);
    }
    let process = file.downcast::<Pidfd>().ok_or(Errno::EINVAL)?;
    Ok(task.join_namespaces_of(process, kinds)?)
}
