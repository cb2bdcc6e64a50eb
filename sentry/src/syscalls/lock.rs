//! File locks.

use std::sync::Arc;

use bartizan_abi::{Errno, FcntlCommand};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserAddr;
use crate::vfs::File;

/// The record locks of `fcntl(2)`.
pub fn fcntl_lock(
    _task: &CurrentTask,
    _file: &Arc<File>,
    _command: FcntlCommand,
    _argument: UserAddr,
) -> SysResult<u64> {
    Err(Errno::ENOLCK.into())
}

/// A descriptor of `file` is closed: the process loses its record locks on it.
pub fn on_close(_task: &CurrentTask, _file: &Arc<File>) {}
