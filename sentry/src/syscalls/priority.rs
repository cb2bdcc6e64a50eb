//! Nice values and priorities for input and output: `getpriority(2)`, `setpriority(2)`, `ioprio_get(2)`, `ioprio_set(2)`.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::{Capability, IoPriorityClass, PriorityWhich, SchedPolicy};

use crate::SysResult;
use crate::kernel::{Changer, CurrentTask, IdKind, NICE, Scheduling, Task, is_realtime};

/// The bits of an I/O priority below its class.
const IO_CLASS_SHIFT: u32 = 13;
/// The level of an I/O priority.
const IO_LEVEL: u16 = 7;

/// The living tasks that a call means; `who` 0 is the caller, its process group or its real user.
///
/// # Errors
/// `ESRCH` when there is none.
fn targets(task: &CurrentTask, which: PriorityWhich, who: i32) -> Result<Vec<Arc<Task>>, Errno> {
    if (which, who) == (PriorityWhich::PRIO_PROCESS, 0) {
        return Ok(vec![Arc::clone(task.task())]);
    }
    let tree = task.kernel().tree();
    let of_processes = |meant: &dyn Fn(&crate::kernel::Process) -> bool| -> Vec<Arc<Task>> {
        let processes = tree.processes().filter(|(_, process)| meant(process));
        processes.flat_map(|(_, process)| process.tasks.iter().cloned()).collect()
    };
    let found = match which {
        PriorityWhich::PRIO_PROCESS => tree.task(who).cloned().into_iter().collect(),
        PriorityWhich::PRIO_PGRP => {
            let own = tree.process(task.pid()).map_or(0, |process| process.process_group);
            let group = if who == 0 { own } else { who };
            of_processes(&|process| process.process_group == group)
        }
        PriorityWhich::PRIO_USER => {
            let credentials = task.credentials();
            let user = match who {
                0 => Some(credentials.uid),
                who => credentials.user_namespace.resolve(IdKind::User, who.cast_unsigned()),
            };
            let mut all = of_processes(&|_| true);
            all.retain(|task| Some(task.credentials().uid) == user);
            all
        }
    };
    if found.is_empty() { Err(Errno::ESRCH) } else { Ok(found) }
}

/// `getpriority(2)`: 20 less the nice value, so that no result looks like an error.
pub fn getpriority(task: &CurrentTask, which: i32, who: i32) -> SysResult<i32> {
    let tasks = targets(task, PriorityWhich::try_from(which)?, who)?;
    Ok(20 - tasks.iter().map(|task| task.scheduling().nice).min().unwrap_or(0))
}

/// `setpriority(2)`. All tasks that may be changed are, whatever becomes of the others; the last refusal is the result.
pub fn setpriority(task: &CurrentTask, which: i32, who: i32, nice: i32) -> SysResult<()> {
    let which = PriorityWhich::try_from(which)?;
    let nice = nice.clamp(*NICE.start(), *NICE.end());
    let credentials = task.credentials();
    let mut result = Ok(());
    for target in targets(task, which, who)? {
        let by = Changer::new(&credentials, &target);
        let theirs = target.credentials();
        let real_owner = credentials.euid == theirs.uid;
        let privileged = credentials.has_capability_in(Capability::CAP_SYS_NICE, &theirs.user_namespace);
        if !real_owner && !by.owns && !privileged {
            result = Err(Errno::EPERM);
            continue;
        }
        let changed = target.change_scheduling(|own| {
            let allowed = nice >= own.nice || by.may_nice(nice);
            if allowed {
                own.nice = nice;
            }
            allowed
        });
        if !changed {
            result = Err(Errno::EACCES);
        }
    }
    Ok(result?)
}

/// `which` of the `ioprio` calls, whose numbers are one higher than those of the others.
fn io_which(which: i32) -> Result<PriorityWhich, Errno> {
    PriorityWhich::try_from(which.checked_sub(1).ok_or(Errno::EINVAL)?)
}

/// The class and the level of an I/O priority.
fn io_parts(value: u16) -> (Option<IoPriorityClass>, u16) {
    (IoPriorityClass::from_raw(value >> IO_CLASS_SHIFT), value & IO_LEVEL)
}

/// `ioprio_set(2)`.
pub fn ioprio_set(task: &CurrentTask, which: i32, who: i32, value: i32) -> SysResult<()> {
    let value = u16::try_from(value).map_err(|_| Errno::EINVAL)?;
    let credentials = task.credentials();
    let nice_allowed = credentials.has_capability(Capability::CAP_SYS_NICE);
    match io_parts(value) {
        (Some(IoPriorityClass::IOPRIO_CLASS_RT), _)
            if !nice_allowed && !credentials.has_capability(Capability::CAP_SYS_ADMIN) =>
        {
            return Err(Errno::EPERM.into());
        }
        (None, _) => return Err(Errno::EINVAL.into()),
        (Some(IoPriorityClass::IOPRIO_CLASS_NONE), level) if level != 0 => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    for target in targets(task, io_which(which)?, who)? {
        let uid = target.credentials().uid;
        if uid != credentials.euid && uid != credentials.uid && !nice_allowed {
            return Err(Errno::EPERM.into());
        }
        target.change_scheduling(|own| own.io_priority = value);
    }
    Ok(())
}

/// `ioprio_get(2)`: of one task what was set, of several the best that counts.
pub fn ioprio_get(task: &CurrentTask, which: i32, who: i32) -> SysResult<u32> {
    let which = io_which(which)?;
    let tasks = targets(task, which, who)?;
    let priorities = tasks.iter().map(|task| task.scheduling()).map(|own| match which {
        PriorityWhich::PRIO_PROCESS => own.io_priority,
        _ => effective_io_priority(&own),
    });
    Ok(priorities.min().unwrap_or(0).into())
}

/// What counts: what was set, else what policy and nice value give (`__get_task_ioprio`).
fn effective_io_priority(own: &Scheduling) -> u16 {
    if io_parts(own.io_priority).0 != Some(IoPriorityClass::IOPRIO_CLASS_NONE) {
        return own.io_priority;
    }
    let class = match own.policy {
        SchedPolicy::SCHED_IDLE => IoPriorityClass::IOPRIO_CLASS_IDLE,
        policy if is_realtime(policy) => IoPriorityClass::IOPRIO_CLASS_RT,
        _ => IoPriorityClass::IOPRIO_CLASS_BE,
    };
    let level = u16::try_from((own.nice - NICE.start()) / 5).unwrap_or(IO_LEVEL);
    class.raw() << IO_CLASS_SHIFT | level
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nice_values_become_io_priorities() {
        let with = |nice| effective_io_priority(&Scheduling { nice, ..Scheduling::default() });
        let best_effort = 2 << 13;
        assert_eq!([with(-20), with(0), with(19)], [best_effort, best_effort | 4, best_effort | 7]);
        let set = Scheduling { io_priority: 1 << 13 | 3, ..Scheduling::default() };
        assert_eq!(effective_io_priority(&set), 1 << 13 | 3);
    }

    #[test]
    fn io_calls_count_from_one() {
        assert_eq!(io_which(1), Ok(PriorityWhich::PRIO_PROCESS));
        assert_eq!(io_which(3), Ok(PriorityWhich::PRIO_USER));
        assert_eq!(io_which(0), Err(Errno::EINVAL));
        assert_eq!(io_which(i32::MIN), Err(Errno::EINVAL));
    }
}
