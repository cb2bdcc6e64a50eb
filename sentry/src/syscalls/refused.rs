//! Calls that are answered as by a kernel without the feature, or to a caller without the permission; the table says which and why.

use bartizan_abi::Errno;

use crate::SysResult;
use crate::kernel::CurrentTask;

/// `ENOSYS`: as a kernel that was built without it.
pub fn not_built(_task: &CurrentTask) -> SysResult<()> {
    Err(Errno::ENOSYS.into())
}

/// `EPERM`: as to a caller without the capability, or in a container.
pub fn not_permitted(_task: &CurrentTask) -> SysResult<()> {
    Err(Errno::EPERM.into())
}

/// `EOPNOTSUPP`.
pub fn not_supported(_task: &CurrentTask) -> SysResult<()> {
    Err(Errno::EOPNOTSUPP.into())
}
