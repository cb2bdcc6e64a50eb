//! Processes and their signals as descriptors: `pidfd_open`, `pidfd_send_signal`, `pidfd_getfd`, `signalfd`, `signalfd4`.

use std::sync::Arc;

use bartizan_abi::{Errno, OpenFlags, PidfdFlags, SigCode, SigInfo, SigSet, Signal, SignalfdFlags};

use super::anonymous::{self, AnonymousKind};
use crate::SysResult;
use crate::kernel::ptrace::AccessMode;
use crate::kernel::signal::{Sender, Target, may_signal};
use crate::kernel::{CurrentTask, Pidfd, Signalfd, ThreadGroup};
use crate::mm::UserPtr;
use crate::vfs::{FdNumber, File};

/// `pidfd_open(2)`.
pub fn pidfd_open(task: &CurrentTask, pid: i32, flags: PidfdFlags) -> SysResult<FdNumber> {
    if pid <= 0 || flags.contains(PidfdFlags::PIDFD_THREAD) {
        return Err(Errno::EINVAL.into());
    }
    let group = {
        let tree = task.kernel().tree();
        match (tree.process(pid), tree.task(pid)) {
            (Some(process), _) => Arc::clone(&process.group),
            // A task that does not lead its process.
            (None, Some(_)) => return Err(Errno::ENOENT.into()),
            (None, None) => return Err(Errno::ESRCH.into()),
        }
    };
    let ops = Box::new(Pidfd::new(task.kernel(), group));
    let nonblocking = OpenFlags::from_bits_truncate(flags.bits()) & OpenFlags::O_NONBLOCK;
    let flags = nonblocking | OpenFlags::O_CLOEXEC | OpenFlags::O_RDWR;
    anonymous::open_descriptor(task, AnonymousKind::Pidfd, ops, flags)
}

/// Gives the caller a descriptor of the process `group`, a child of its, and puts its number to `pointer` (`CLONE_PIDFD`).
///
/// # Errors
/// `EMFILE`, `EFAULT`.
pub fn install_pidfd(task: &CurrentTask, group: &Arc<ThreadGroup>, pointer: UserPtr<i32>) -> SysResult<()> {
    let ops = Box::new(Pidfd::new(task.kernel(), Arc::clone(group)));
    let flags = OpenFlags::O_CLOEXEC | OpenFlags::O_RDWR;
    let fd = anonymous::open_descriptor(task, AnonymousKind::Pidfd, ops, flags)?;
    Ok(task.write_value(pointer, &fd.0)?)
}

fn pidfd_of(file: &Arc<File>) -> Result<&Pidfd, Errno> {
    file.downcast::<Pidfd>().ok_or(Errno::EBADF)
}

/// The process that descriptor `fd` refers to.
///
/// # Errors
/// `EBADF`.
pub fn pid_of(task: &CurrentTask, fd: FdNumber) -> Result<i32, Errno> {
    let file = task.fd_table().get(fd)?;
    pidfd_of(&file).map(Pidfd::pid)
}

/// `pidfd_send_signal(2)`.
pub fn pidfd_send_signal(
    task: &CurrentTask,
    fd: FdNumber,
    signal: i32,
    info: UserPtr<SigInfo>,
    flags: u32,
) -> SysResult<()> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    // `get_any`: a directory of `/proc` may be open as a mere path.
    let file = task.fd_table().get_any(fd)?;
    let directory = file.inode().ops().process().map(|group| Pidfd::new(task.kernel(), group));
    let pidfd = match &directory {
        Some(pidfd) => pidfd,
        None => pidfd_of(&file)?,
    };
    let info = info.optional().map(|info| task.read_value(info)).transpose()?;
    let own = pidfd.pid() == task.pid();
    if let Some(info) = &info {
        if info.si_signo != signal {
            return Err(Errno::EINVAL.into());
        }
        // What only the kernel says of itself, others may not be told.
        if !own && (info.si_code >= 0 || info.code() == SigCode::SI_TKILL) {
            return Err(Errno::EPERM.into());
        }
    }
    // A process that has ended but was not waited for takes any signal.
    let Some(target) = pidfd.task()? else { return Ok(()) };
    if !own && !may_signal(&task.credentials(), &target.credentials()) {
        return Err(Errno::EPERM.into());
    }
    if signal == 0 {
        return Ok(());
    }
    let signal = Signal::try_from(signal)?;
    let sender = SigInfo::kill(signal, SigCode::SI_USER, task.pid(), task.credentials().uid);
    Ok(target.send_signal(info.unwrap_or(sender), Target::Process, Sender::Guest)?)
}

/// `pidfd_getfd(2)`.
pub fn pidfd_getfd(task: &CurrentTask, fd: FdNumber, target: FdNumber, flags: u32) -> SysResult<FdNumber> {
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = task.fd_table().get(fd)?;
    let other = pidfd_of(&file)?.task()?.ok_or(Errno::ESRCH)?;
    if !task.may_trace(&other, AccessMode::Real) {
        return Err(Errno::EPERM.into());
    }
    let wanted = other.files().ok_or(Errno::ESRCH)?.get_any(target)?;
    anonymous::install(task, wanted, OpenFlags::O_CLOEXEC)
}

/// `signalfd(2)`, the call without flags.
pub fn signalfd(task: &CurrentTask, fd: FdNumber, mask: UserPtr<SigSet>, size: u64) -> SysResult<FdNumber> {
    signalfd4(task, fd, mask, size, SignalfdFlags::empty())
}

/// `signalfd4(2)`.
pub fn signalfd4(
    task: &CurrentTask,
    fd: FdNumber,
    mask: UserPtr<SigSet>,
    size: u64,
    flags: SignalfdFlags,
) -> SysResult<FdNumber> {
    if size != SigSet::SIZE {
        return Err(Errno::EINVAL.into());
    }
    let mask = task.read_value(mask)?;
    if fd.0 != -1 {
        let file = task.fd_table().get(fd)?;
        file.downcast::<Signalfd>().ok_or(Errno::EINVAL)?.set_mask(mask);
        return Ok(fd);
    }
    let flags = OpenFlags::from_bits_truncate(flags.bits()) | OpenFlags::O_RDWR;
    anonymous::open_descriptor(task, AnonymousKind::Signalfd, Box::new(Signalfd::new(task, mask)), flags)
}
