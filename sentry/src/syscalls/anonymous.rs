//! Descriptors of files without a name: pipes, event counters, timers, sockets.

use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserPtr;
use crate::vfs::{FdFlags, FdNumber, File, FileOps};

pub use crate::kernel::AnonymousKind;

/// Opens `ops` as a file without a name.
pub fn open(
    task: &CurrentTask,
    kind: AnonymousKind,
    ops: Box<dyn FileOps>,
    flags: OpenFlags,
) -> Result<Arc<File>, Errno> {
    let files = task.kernel().anonymous_files();
    files.open(task.kernel(), &task.credentials(), kind, ops, flags)
}

/// Gives a file the lowest free number; `flags` may hold `O_CLOEXEC`.
///
/// # Errors
/// `EMFILE`.
pub fn install(task: &CurrentTask, file: Arc<File>, flags: OpenFlags) -> SysResult<FdNumber> {
    let limit = task.group().limits().soft(bartizan_abi::Resource::RLIMIT_NOFILE);
    let close = flags.contains(OpenFlags::O_CLOEXEC);
    let descriptor_flags = if close { FdFlags::CLOEXEC } else { FdFlags::empty() };
    Ok(task.fd_table().add(file, descriptor_flags, limit)?)
}

/// Opens `ops` as a file without a name and gives it a number. Of `flags`, the access mode and `O_NONBLOCK` stay with the file and
/// `O_CLOEXEC` with the number.
pub fn open_descriptor(
    task: &CurrentTask,
    kind: AnonymousKind,
    ops: Box<dyn FileOps>,
    flags: OpenFlags,
) -> SysResult<FdNumber> {
    let file = open(task, kind, ops, flags - OpenFlags::O_CLOEXEC)?;
    install(task, file, flags)
}

/// Gives two files numbers and stores these at `pointer`; neither is open if one of the steps fails.
pub fn install_pair(
    task: &CurrentTask,
    (first, second): (Arc<File>, Arc<File>),
    flags: OpenFlags,
    pointer: UserPtr<[i32; 2]>,
) -> SysResult<()> {
    let first = install(task, first, flags)?;
    let second = match install(task, second, flags) {
        Ok(second) => second,
        Err(error) => {
            let _closed = task.fd_table().remove(first);
            return Err(error);
        }
    };
    if let Err(errno) = task.write_value(pointer, &[first.0, second.0]) {
        let _closed = (task.fd_table().remove(first), task.fd_table().remove(second));
        return Err(errno.into());
    }
    Ok(())
}
