//! Used time, scheduling and priorities: `getrusage(2)`, `times(2)`, `sched_*(2)`, `getpriority(2)`, `getcpu(2)`.

use bartizan_abi::process::{Capability, PriorityWhich, Resource, Rusage, RusageWho};
use bartizan_abi::time::Tms;
use bartizan_abi::{Errno, Timespec, Timeval, USER_HZ};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::{UserAddr, UserPtr};

const NANOSECONDS: u64 = 1_000_000_000;

/// Nanoseconds as seconds and microseconds.
pub(super) fn timeval(nanoseconds: u64) -> Timeval {
    Timeval {
        tv_sec: i64::try_from(nanoseconds / NANOSECONDS).unwrap_or(i64::MAX),
        tv_usec: i64::try_from(nanoseconds % NANOSECONDS / 1000).unwrap_or(0),
    }
}

/// Time that the caller's process has used: user and system, nanoseconds.
fn process_times(task: &CurrentTask) -> (u64, u64) {
    let living: Vec<_> = {
        let tree = task.kernel().tree();
        tree.process(task.pid()).map(|process| process.tasks.clone()).unwrap_or_default()
    };
    living
        .iter()
        .map(|task| task.usage().times())
        .fold(task.group().ended_time(), |sum, times| (sum.0 + times.0, sum.1 + times.1))
}

/// `getrusage(2)`.
pub fn getrusage(task: &CurrentTask, who: i32, usage: UserPtr<Rusage>) -> SysResult<()> {
    let (user, system) = match RusageWho::try_from(who)? {
        RusageWho::RUSAGE_SELF => process_times(task),
        RusageWho::RUSAGE_CHILDREN => task.group().children_time(),
        RusageWho::RUSAGE_THREAD => task.usage().times(),
    };
    let peak = task.mm().sizes().resident_peak / 1024;
    let told = Rusage {
        ru_utime: timeval(user),
        ru_stime: timeval(system),
        ru_maxrss: i64::try_from(peak).unwrap_or(i64::MAX),
        ..Rusage::default()
    };
    Ok(task.write_value(usage, &told)?)
}

/// Nanoseconds in ticks of `USER_HZ`.
fn ticks(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / (NANOSECONDS / USER_HZ)).unwrap_or(i64::MAX)
}

/// `times(2)`.
pub fn times(task: &CurrentTask, buffer: UserPtr<Tms>) -> SysResult<i64> {
    if !buffer.is_null() {
        let (own, children) = (process_times(task), task.group().children_time());
        let told = Tms {
            tms_utime: ticks(own.0),
            tms_stime: ticks(own.1),
            tms_cutime: ticks(children.0),
            tms_cstime: ticks(children.1),
        };
        task.write_value(buffer, &told)?;
    }
    let uptime = task.kernel().started().elapsed().as_nanos();
    Ok(ticks(u64::try_from(uptime).unwrap_or(u64::MAX)))
}

/// `sched_yield(2)`.
pub fn sched_yield(_task: &CurrentTask) -> SysResult<()> {
    std::thread::yield_now();
    Ok(())
}

/// `ESRCH` for a task that is not there; 0 is the caller.
fn check_task(task: &CurrentTask, tid: i32) -> Result<(), Errno> {
    match tid {
        0 => Ok(()),
        tid if tid < 0 => Err(Errno::EINVAL),
        tid => task.kernel().tree().task(tid).map(drop).ok_or(Errno::ESRCH),
    }
}

/// How many processors guests see.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `sched_getaffinity(2)`: all processors.
pub fn sched_getaffinity(task: &CurrentTask, tid: i32, size: u32, mask: UserAddr) -> SysResult<usize> {
    check_task(task, tid)?;
    let bytes = processors().div_ceil(64) * 8;
    if (size as usize) < bytes || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let mut bits = vec![0u8; bytes];
    for processor in 0..processors() {
        bits[processor / 8] |= 1 << (processor % 8);
    }
    task.write_bytes(mask, &bits)?;
    Ok(bytes)
}

/// `sched_setaffinity(2)`: any set with one of the processors is accepted and has no effect.
pub fn sched_setaffinity(task: &CurrentTask, tid: i32, size: u32, mask: UserAddr) -> SysResult<()> {
    check_task(task, tid)?;
    let mut bits = vec![0u8; (size as usize).min(128)];
    task.read_bytes(mask, &mut bits)?;
    let any = (0..processors())
        .any(|processor| bits.get(processor / 8).is_some_and(|byte| byte & 1 << (processor % 8) != 0));
    if any { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

/// `SCHED_OTHER`, the one policy that there is.
const SCHED_OTHER: i32 = 0;
/// The lowest and highest priority of the real-time policies `SCHED_FIFO` and `SCHED_RR`.
const REAL_TIME: (i32, i32) = (1, 99);

/// `sched_getscheduler(2)`.
pub fn sched_getscheduler(task: &CurrentTask, tid: i32) -> SysResult<i32> {
    check_task(task, tid)?;
    Ok(SCHED_OTHER)
}

/// `sched_setscheduler(2)`: real-time policies take a privilege that no guest has.
pub fn sched_setscheduler(
    task: &CurrentTask,
    tid: i32,
    policy: i32,
    priority: UserPtr<i32>,
) -> SysResult<()> {
    if priority.is_null() || policy < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = task.read_value(priority)?;
    check_task(task, tid)?;
    let (low, high) = priorities(policy)?;
    if !(low..=high).contains(&priority) {
        return Err(Errno::EINVAL.into());
    }
    if low > 0 { Err(Errno::EPERM.into()) } else { Ok(()) }
}

/// `sched_getparam(2)`.
pub fn sched_getparam(task: &CurrentTask, tid: i32, priority: UserPtr<i32>) -> SysResult<()> {
    if priority.is_null() {
        return Err(Errno::EINVAL.into());
    }
    check_task(task, tid)?;
    Ok(task.write_value(priority, &0)?)
}

/// `sched_setparam(2)`.
pub fn sched_setparam(task: &CurrentTask, tid: i32, priority: UserPtr<i32>) -> SysResult<()> {
    sched_setscheduler(task, tid, SCHED_OTHER, priority)
}

/// The lowest and highest priority of a policy.
fn priorities(policy: i32) -> Result<(i32, i32), Errno> {
    match policy {
        1 | 2 => Ok(REAL_TIME),
        0 | 3 | 5 | 6 => Ok((0, 0)),
        _ => Err(Errno::EINVAL),
    }
}

/// `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(_task: &CurrentTask, policy: i32) -> SysResult<i32> {
    Ok(priorities(policy)?.1)
}

/// `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(_task: &CurrentTask, policy: i32) -> SysResult<i32> {
    Ok(priorities(policy)?.0)
}

/// `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(task: &CurrentTask, tid: i32, interval: UserPtr<Timespec>) -> SysResult<()> {
    check_task(task, tid)?;
    Ok(task.write_value(interval, &Timespec { tv_sec: 0, tv_nsec: 4_000_000 })?)
}

/// `getcpu(2)`.
pub fn getcpu(task: &CurrentTask, processor: UserPtr<u32>, node: UserPtr<u32>) -> SysResult<()> {
    let current = u32::try_from(rustix::thread::sched_getcpu()).unwrap_or(0);
    for (pointer, value) in [(processor, current), (node, 0)] {
        if let Some(pointer) = pointer.optional() {
            task.write_value(pointer, &value)?;
        }
    }
    Ok(())
}

/// The processes that a priority call means, as (process, real user).
fn priority_targets(
    task: &CurrentTask,
    which: i32,
    who: i32,
) -> SysResult<Vec<std::sync::Arc<crate::kernel::ThreadGroup>>> {
    let which = PriorityWhich::try_from(which)?;
    let tree = task.kernel().tree();
    let own_group = tree.process(task.pid()).map_or(0, |process| process.process_group);
    let own_user = task.credentials().uid;
    let pid = if who == 0 { task.pid() } else { tree.task(who).map_or(who, |task| task.pid()) };
    let meant = |number: i32, process: &crate::kernel::Process| match which {
        PriorityWhich::PRIO_PROCESS => number == pid,
        PriorityWhich::PRIO_PGRP => process.process_group == if who == 0 { own_group } else { who },
        PriorityWhich::PRIO_USER => {
            let user = if who == 0 { own_user } else { who.cast_unsigned() };
            process.tasks.first().is_some_and(|task| task.credentials().uid == user)
        }
    };
    let found: Vec<_> = tree
        .processes()
        .filter(|(number, process)| meant(*number, process))
        .map(|(_, process)| process.group.clone())
        .collect();
    if found.is_empty() { Err(Errno::ESRCH.into()) } else { Ok(found) }
}

/// `getpriority(2)`: 20 less the nice value, so that no result looks like an error.
pub fn getpriority(task: &CurrentTask, which: i32, who: i32) -> SysResult<i32> {
    let groups = priority_targets(task, which, who)?;
    Ok(20 - groups.iter().map(|group| group.nice()).min().unwrap_or(0))
}

/// `setpriority(2)`: nice values are kept and reported; the host schedules as it likes.
pub fn setpriority(task: &CurrentTask, which: i32, who: i32, nice: i32) -> SysResult<()> {
    let nice = nice.clamp(-20, 19);
    let credentials = task.credentials();
    for group in priority_targets(task, which, who)? {
        let allowed = 20 - i32::try_from(group.limits().soft(Resource::RLIMIT_NICE).min(40)).unwrap_or(0);
        if nice < group.nice() && nice < allowed && !credentials.has_capability(Capability::CAP_SYS_NICE) {
            return Err(Errno::EACCES.into());
        }
        group.set_nice(nice);
    }
    Ok(())
}

/// `personality(2)`: only Linux's own, with flags that have no effect here kept nowhere.
pub fn personality(_task: &CurrentTask, wanted: u32) -> SysResult<u32> {
    const ASK: u32 = 0xffff_ffff;
    if wanted == ASK || wanted == 0 { Ok(0) } else { Err(Errno::EINVAL.into()) }
}
