//! Resource limits: `getrlimit`, `setrlimit`, `prlimit64`.

use std::sync::Arc;

use bartizan_abi::{Capability, Errno, Resource, Rlimit64};

use crate::SysResult;
use crate::kernel::{CurrentTask, LimitPrivilege, ThreadGroup};
use crate::mm::UserPtr;

/// `getrlimit(2)`.
pub fn getrlimit(task: &CurrentTask, resource: u32, pointer: UserPtr<Rlimit64>) -> SysResult<()> {
    let limit = task.group().limits().get(Resource::try_from(resource)?);
    Ok(task.write_value(pointer, &limit)?)
}

/// `setrlimit(2)`.
pub fn setrlimit(task: &CurrentTask, resource: u32, pointer: UserPtr<Rlimit64>) -> SysResult<()> {
    let new = task.read_value(pointer)?;
    set(task, task.group(), Resource::try_from(resource)?, new)
}

/// `prlimit64(2)`.
pub fn prlimit64(
    task: &CurrentTask,
    pid: i32,
    resource: u32,
    new: UserPtr<Rlimit64>,
    old: UserPtr<Rlimit64>,
) -> SysResult<()> {
    let resource = Resource::try_from(resource)?;
    let new = new.optional().map(|new| task.read_value(new)).transpose()?;
    let group = group_of(task, pid)?;
    let before = group.limits().get(resource);
    if let Some(new) = new {
        set(task, &group, resource, new)?;
    }
    if let Some(old) = old.optional() {
        task.write_value(old, &before)?;
    }
    Ok(())
}

/// The process of task `pid`, 0 being the caller's, if the caller may see and change its limits.
fn group_of(task: &CurrentTask, pid: i32) -> Result<Arc<ThreadGroup>, Errno> {
    if pid == 0 {
        return Ok(Arc::clone(task.group()));
    }
    let other = task.kernel().tree().task(pid).cloned().ok_or(Errno::ESRCH)?;
    let credentials = task.credentials();
    let same_process = Arc::ptr_eq(other.group(), task.group());
    let theirs = other.credentials();
    if !same_process
        && !credentials.matches(&theirs)
        && !credentials.has_capability_in(Capability::CAP_SYS_RESOURCE, &theirs.user_namespace)
    {
        return Err(Errno::EPERM);
    }
    Ok(Arc::clone(other.group()))
}

fn set(task: &CurrentTask, group: &Arc<ThreadGroup>, resource: Resource, new: Rlimit64) -> SysResult<()> {
    let privilege = match task.credentials().has_capability(Capability::CAP_SYS_RESOURCE) {
        true => LimitPrivilege::Unbound,
        false => LimitPrivilege::Bound,
    };
    group.limits().set(resource, new, privilege)?;
    if resource == Resource::RLIMIT_CPU {
        group.timers().heed_processor_limit(task.kernel().timers(), group)?;
    }
    if resource == Resource::RLIMIT_RTTIME {
        group.heed_real_time_limit()?;
    }
    // Memory management keeps a copy of those that it heeds.
    let memory = match Arc::ptr_eq(group, task.group()) {
        true => Some(task.mm()),
        false => task.kernel().tree().task(group.pid()).and_then(|leader| leader.memory()),
    };
    if let Some(memory) = memory {
        memory.set_limits(group.limits().memory());
    }
    Ok(())
}
