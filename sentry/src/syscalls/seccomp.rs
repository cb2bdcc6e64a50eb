//! Filters of system calls: `seccomp(2)`, `PR_SET_SECCOMP`.

use std::sync::Arc;

use bartizan_abi::seccomp::{
    BPF_MAXINSNS, SECCOMP_GET_ACTION_AVAIL, SECCOMP_GET_NOTIF_SIZES, SECCOMP_MODE_FILTER,
    SECCOMP_MODE_STRICT, SECCOMP_SET_MODE_FILTER, SECCOMP_SET_MODE_STRICT, SeccompData, SeccompFilterFlags,
    SeccompNotif, SeccompNotifResp, SeccompNotifSizes, SockFilter, SockFprog,
};
use bartizan_abi::{Capability, Errno, OpenFlags};

use super::anonymous::{self, AnonymousKind};
use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::kernel::seccomp::{
    Action, Filter, FilterRefusal, Listener, NotificationFile, Patience, Program, Scope,
};
use crate::mm::{UserAddr, UserPtr};

/// `seccomp(2)`.
pub fn seccomp(task: &CurrentTask, operation: u32, flags: u32, argument: UserAddr) -> SysResult<i32> {
    match operation {
        SECCOMP_SET_MODE_STRICT if flags == 0 && argument.0 == 0 => {
            task.set_strict()?;
            Ok(0)
        }
        SECCOMP_SET_MODE_FILTER => {
            let flags = SeccompFilterFlags::from_bits(flags.into()).ok_or(Errno::EINVAL)?;
            set_filter(task, flags, UserPtr::new(argument))
        }
        SECCOMP_GET_ACTION_AVAIL if flags == 0 => {
            let action: u32 = task.read_value(UserPtr::new(argument))?;
            if Action::is_known(action) { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
        }
        SECCOMP_GET_NOTIF_SIZES if flags == 0 => {
            let sizes = SeccompNotifSizes {
                seccomp_notif: size_of::<SeccompNotif>() as u16,
                seccomp_notif_resp: size_of::<SeccompNotifResp>() as u16,
                seccomp_data: size_of::<SeccompData>() as u16,
            };
            task.write_value(UserPtr::new(argument), &sizes)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `prctl(PR_SET_SECCOMP)`.
pub fn set_mode(task: &CurrentTask, mode: u64, argument: UserAddr) -> SysResult<()> {
    if mode == u64::from(SECCOMP_MODE_STRICT) {
        task.set_strict()?;
        return Ok(());
    }
    if mode == u64::from(SECCOMP_MODE_FILTER) {
        return set_filter(task, SeccompFilterFlags::empty(), UserPtr::new(argument)).map(drop);
    }
    Err(Errno::EINVAL.into())
}

/// Adds a filter; the answer is zero, the descriptor of a new listener, or the task that is in the way.
fn set_filter(task: &CurrentTask, flags: SeccompFilterFlags, pointer: UserPtr<SockFprog>) -> SysResult<i32> {
    let has = |flag| flags.contains(flag);
    let tells_by_error = has(SeccompFilterFlags::SECCOMP_FILTER_FLAG_TSYNC_ESRCH);
    let listens = has(SeccompFilterFlags::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    let synchronizes = has(SeccompFilterFlags::SECCOMP_FILTER_FLAG_TSYNC);
    let killable = has(SeccompFilterFlags::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    if synchronizes && listens && !tells_by_error || killable && !listens {
        return Err(Errno::EINVAL.into());
    }
    let program = read_program(task, pointer)?;
    let patience = if killable { Patience::Killable } else { Patience::Interruptible };
    let listener = listens.then(|| Listener::new(patience));
    let descriptor = match &listener {
        Some(listener) => {
            let file = Box::new(NotificationFile::new(Arc::clone(listener)));
            let flags = OpenFlags::O_RDWR | OpenFlags::O_CLOEXEC;
            Some(anonymous::open_descriptor(task, AnonymousKind::Seccomp, file, flags)?)
        }
        None => None,
    };
    let scope = if synchronizes { Scope::Process } else { Scope::Task };
    let added = task.add_filter(scope, |previous| Filter::new(program, previous, listener.as_ref()));
    let Err(refusal) = added else { return Ok(descriptor.map_or(0, |descriptor| descriptor.0)) };
    if let Some(descriptor) = descriptor {
        let _closed = task.fd_table().remove(descriptor);
    }
    match refusal {
        FilterRefusal::Diverged(_) if tells_by_error => Err(Errno::ESRCH.into()),
        FilterRefusal::Diverged(tid) => Ok(tid),
        FilterRefusal::Errno(errno) => Err(errno.into()),
    }
}

/// Copies a filter in and checks it, for a caller who may set one.
fn read_program(task: &CurrentTask, pointer: UserPtr<SockFprog>) -> Result<Program, Errno> {
    let header = task.read_value(pointer)?;
    let count = usize::from(header.len);
    if count == 0 || count > BPF_MAXINSNS {
        return Err(Errno::EINVAL);
    }
    let credentials = task.credentials();
    if !credentials.no_new_privs && !credentials.has_own_capability(Capability::CAP_SYS_ADMIN) {
        return Err(Errno::EACCES);
    }
    let filter: Vec<SockFilter> = task.read_slice(UserPtr::new(UserAddr(header.filter)), count)?;
    Program::new(&filter)
}
