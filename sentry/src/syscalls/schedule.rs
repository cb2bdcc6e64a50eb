//! Scheduling: `sched_*(2)`, `getcpu(2)`. What is asked for is kept, guarded and told back as `sched(7)` says; the host decides who runs.

use std::sync::Arc;

use bartizan_abi::process::{
    Capability, SCHED_ATTR_SIZE_VER0, SCHED_ATTR_SIZE_VER1, SCHED_RESET_ON_FORK, SchedAttr, SchedAttrFlags,
    SchedPolicy,
};
use bartizan_abi::{Errno, Timespec};
use bartizan_platform::memory::PAGE_SIZE;
use zerocopy::{FromBytes, IntoBytes};

use crate::SysResult;
use crate::kernel::{Changer, CpuSet, CurrentTask, MOST_PRIORITY, NICE, Scheduling, Task, is_realtime};
use crate::mm::{UserAddr, UserPtr};

/// How long a task of `SCHED_RR` runs before the next, nanoseconds (`RR_TIMESLICE`).
const ROUND_ROBIN_SLICE: i64 = 100_000_000;
/// How long other tasks run before the next, nanoseconds.
const FAIR_SLICE: i64 = 4_000_000;

/// `sched_yield(2)`.
pub fn sched_yield(_task: &CurrentTask) -> SysResult<()> {
    std::thread::yield_now();
    Ok(())
}

/// Task `tid`; 0 is the caller. `ESRCH` for one that is not there.
fn find(task: &CurrentTask, tid: i32) -> Result<Arc<Task>, Errno> {
    match tid {
        0 => Ok(Arc::clone(task.task())),
        tid => task.kernel().tree().task(tid).cloned().ok_or(Errno::ESRCH),
    }
}

/// As [`find`], for calls that refuse negative numbers.
fn find_positive(task: &CurrentTask, tid: i32) -> Result<Arc<Task>, Errno> {
    if tid < 0 { Err(Errno::EINVAL) } else { find(task, tid) }
}

/// `sched_getaffinity(2)`.
pub fn sched_getaffinity(task: &CurrentTask, tid: i32, size: u32, mask: UserAddr) -> SysResult<usize> {
    let all = task.kernel().processors();
    let bytes = all.to_bytes().len();
    if (size as usize) < bytes || !size.is_multiple_of(8) {
        return Err(Errno::EINVAL.into());
    }
    let allowed = find(task, tid)?.scheduling().processors.unwrap_or(*all);
    let mut told = vec![0; bytes];
    let used = allowed.to_bytes();
    told[..used.len()].copy_from_slice(used);
    task.write_bytes(mask, &told)?;
    Ok(bytes)
}

/// `sched_setaffinity(2)`.
pub fn sched_setaffinity(task: &CurrentTask, tid: i32, size: u32, mask: UserAddr) -> SysResult<()> {
    let all = task.kernel().processors();
    let mut bytes = vec![0; (size as usize).min(all.to_bytes().len())];
    task.read_bytes(mask, &mut bytes)?;
    let target = find(task, tid)?;
    let credentials = task.credentials();
    let namespace = &target.credentials().user_namespace;
    let privileged = credentials.has_capability_in(Capability::CAP_SYS_NICE, namespace);
    if !Changer::new(&credentials, &target).owns && !privileged {
        return Err(Errno::EPERM.into());
    }
    let wanted = CpuSet::from_bytes(&bytes).intersection(all);
    if wanted.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    target.change_scheduling(|own| own.processors = (wanted != *all).then_some(wanted));
    Ok(())
}

/// What a caller asks for.
struct Request {
    /// `None` to keep the policy.
    policy: Option<SchedPolicy>,
    /// Without a policy to set, the bit stays as it is.
    reset_on_fork: bool,
    priority: u32,
    /// `None` to keep the nice value.
    nice: Option<i32>,
    deadline: Option<Deadline>,
}

/// Parameters of `SCHED_DEADLINE`, nanoseconds.
struct Deadline {
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Deadline {
    /// `__checkparam_dl`: at least 1 µs of time in each period, in order, none so long that the sign would change.
    fn is_valid(&self) -> bool {
        const SHORTEST: u64 = 1 << 10;
        let period = if self.period == 0 { self.deadline } else { self.period };
        let fits = self.deadline >> 63 == 0 && self.period >> 63 == 0;
        self.deadline != 0
            && self.runtime >= SHORTEST
            && fits
            && self.runtime <= self.deadline
            && self.deadline <= period
    }
}

impl Request {
    /// What `old` becomes.
    fn apply(&self, old: &Scheduling) -> Scheduling {
        let policy = self.policy.unwrap_or(old.policy);
        let reset_on_fork = if self.policy.is_some() { self.reset_on_fork } else { old.reset_on_fork };
        Scheduling {
            policy,
            reset_on_fork,
            priority: self.priority,
            nice: self.nice.unwrap_or(old.nice),
            ..*old
        }
    }

    /// Changes `target` if it is valid and the caller may.
    fn carry_out(&self, task: &CurrentTask, target: &Arc<Task>) -> Result<(), Errno> {
        let credentials = task.credentials();
        let by = Changer::new(&credentials, target);
        target.change_scheduling(|own| {
            let new = self.apply(own);
            let is_deadline = new.policy == SchedPolicy::SCHED_DEADLINE;
            if new.policy == SchedPolicy::SCHED_EXT
                || new.priority > MOST_PRIORITY
                || is_realtime(new.policy) != (new.priority != 0)
                || is_deadline && !self.deadline.as_ref().is_some_and(Deadline::is_valid)
            {
                return Err(Errno::EINVAL);
            }
            own.check_change(&new, &by)?;
            if is_deadline {
                // As where all bandwidth is given away already: no deadline could be kept.
                return Err(Errno::EBUSY);
            }
            *own = new;
            Ok(())
        })?;
        target.heed_real_time_limit()
    }
}

/// `sched_setscheduler(2)`.
pub fn sched_setscheduler(
    task: &CurrentTask,
    tid: i32,
    policy: i32,
    priority: UserPtr<i32>,
) -> SysResult<()> {
    let policy = u32::try_from(policy).map_err(|_| Errno::EINVAL)?;
    set_scheduler(task, tid, Some(policy), priority)
}

/// `sched_setparam(2)`.
pub fn sched_setparam(task: &CurrentTask, tid: i32, priority: UserPtr<i32>) -> SysResult<()> {
    set_scheduler(task, tid, None, priority)
}

fn set_scheduler(task: &CurrentTask, tid: i32, policy: Option<u32>, priority: UserPtr<i32>) -> SysResult<()> {
    if priority.is_null() || tid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority = u32::try_from(task.read_value(priority)?);
    let target = find(task, tid)?;
    let request = Request {
        policy: policy.map(|raw| SchedPolicy::try_from(raw & !SCHED_RESET_ON_FORK)).transpose()?,
        reset_on_fork: policy.is_some_and(|raw| raw & SCHED_RESET_ON_FORK != 0),
        priority: priority.map_err(|_| Errno::EINVAL)?,
        nice: None,
        deadline: None,
    };
    Ok(request.carry_out(task, &target)?)
}

/// `sched_getscheduler(2)`.
pub fn sched_getscheduler(task: &CurrentTask, tid: i32) -> SysResult<u32> {
    let own = find_positive(task, tid)?.scheduling();
    Ok(own.policy.raw() | if own.reset_on_fork { SCHED_RESET_ON_FORK } else { 0 })
}

/// `sched_getparam(2)`.
pub fn sched_getparam(task: &CurrentTask, tid: i32, priority: UserPtr<u32>) -> SysResult<()> {
    if priority.is_null() {
        return Err(Errno::EINVAL.into());
    }
    let own = find_positive(task, tid)?.scheduling();
    Ok(task.write_value(priority, &own.priority)?)
}

/// `sched_setattr(2)`.
pub fn sched_setattr(task: &CurrentTask, tid: i32, pointer: UserPtr<SchedAttr>, flags: u32) -> SysResult<()> {
    if pointer.is_null() || tid < 0 || flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let asked = read_attributes(task, pointer)?;
    if asked.sched_policy.cast_signed() < 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = find(task, tid)?;
    let flags = SchedAttrFlags::from_bits(asked.sched_flags).ok_or(Errno::EINVAL)?;
    let has = |flag| flags.contains(flag);
    let current = target.scheduling();
    let keep = has(SchedAttrFlags::SCHED_FLAG_KEEP_PARAMS);
    let request = Request {
        policy: match has(SchedAttrFlags::SCHED_FLAG_KEEP_POLICY) {
            true => None,
            false => Some(SchedPolicy::try_from(asked.sched_policy)?),
        },
        reset_on_fork: has(SchedAttrFlags::SCHED_FLAG_RESET_ON_FORK),
        priority: if keep { current.priority } else { asked.sched_priority },
        nice: Some(if keep { current.nice } else { asked.sched_nice.clamp(*NICE.start(), *NICE.end()) }),
        deadline: Some(Deadline {
            runtime: asked.sched_runtime,
            deadline: asked.sched_deadline,
            period: asked.sched_period,
        }),
    };
    if flags.intersects(SchedAttrFlags::SCHED_FLAG_UTIL_CLAMP_MIN | SchedAttrFlags::SCHED_FLAG_UTIL_CLAMP_MAX)
    {
        // As without CONFIG_UCLAMP_TASK.
        return Err(Errno::EOPNOTSUPP.into());
    }
    Ok(request.carry_out(task, &target)?)
}

/// Copies a `struct sched_attr` of any size in (`sched_copy_attr`). A size that is not possible is `E2BIG`, and the caller finds the right one.
fn read_attributes(task: &CurrentTask, pointer: UserPtr<SchedAttr>) -> Result<SchedAttr, Errno> {
    let address = pointer.address();
    let size: u32 = task.read_value(UserPtr::new(address))?;
    let size = if size == 0 { SCHED_ATTR_SIZE_VER0 } else { size as usize };
    let wrong_size = || {
        task.write_value(UserPtr::new(address), &(size_of::<SchedAttr>() as u32))?;
        Err(Errno::E2BIG)
    };
    if size < SCHED_ATTR_SIZE_VER0 || size as u64 > PAGE_SIZE {
        return wrong_size();
    }
    let mut bytes = vec![0; size.max(size_of::<SchedAttr>())];
    task.read_bytes(address, &mut bytes[..size])?;
    let (attributes, beyond) = SchedAttr::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
    if beyond.iter().any(|&byte| byte != 0) {
        return wrong_size();
    }
    let clamps = SchedAttrFlags::SCHED_FLAG_UTIL_CLAMP_MIN | SchedAttrFlags::SCHED_FLAG_UTIL_CLAMP_MAX;
    if attributes.sched_flags & clamps.bits() != 0 && size < SCHED_ATTR_SIZE_VER1 {
        return Err(Errno::EINVAL);
    }
    Ok(attributes)
}

/// `sched_getattr(2)`.
pub fn sched_getattr(
    task: &CurrentTask,
    tid: i32,
    pointer: UserPtr<SchedAttr>,
    size: u32,
    flags: u32,
) -> SysResult<()> {
    let room = size as usize;
    if pointer.is_null()
        || tid < 0
        || flags != 0
        || room < SCHED_ATTR_SIZE_VER0
        || u64::from(size) > PAGE_SIZE
    {
        return Err(Errno::EINVAL.into());
    }
    let own = find(task, tid)?.scheduling();
    let known = room.min(size_of::<SchedAttr>());
    let reset = if own.reset_on_fork { SchedAttrFlags::SCHED_FLAG_RESET_ON_FORK.bits() } else { 0 };
    let told = SchedAttr {
        size: known as u32,
        sched_policy: own.policy.raw(),
        sched_flags: reset,
        sched_nice: if is_realtime(own.policy) { 0 } else { own.nice },
        sched_priority: own.priority,
        ..SchedAttr::default()
    };
    let mut bytes = vec![0; room];
    bytes[..known].copy_from_slice(&told.as_bytes()[..known]);
    Ok(task.write_bytes(pointer.address(), &bytes)?)
}

/// The lowest and highest priority of a policy.
fn priorities(policy: i32) -> Result<(u32, u32), Errno> {
    let policy = SchedPolicy::try_from(u32::try_from(policy).map_err(|_| Errno::EINVAL)?)?;
    Ok(if is_realtime(policy) { (1, MOST_PRIORITY) } else { (0, 0) })
}

/// `sched_get_priority_max(2)`.
pub fn sched_get_priority_max(_task: &CurrentTask, policy: i32) -> SysResult<u32> {
    Ok(priorities(policy)?.1)
}

/// `sched_get_priority_min(2)`.
pub fn sched_get_priority_min(_task: &CurrentTask, policy: i32) -> SysResult<u32> {
    Ok(priorities(policy)?.0)
}

/// `sched_rr_get_interval(2)`.
pub fn sched_rr_get_interval(task: &CurrentTask, tid: i32, interval: UserPtr<Timespec>) -> SysResult<()> {
    let tv_nsec = match find_positive(task, tid)?.scheduling().policy {
        SchedPolicy::SCHED_RR => ROUND_ROBIN_SLICE,
        SchedPolicy::SCHED_FIFO => 0,
        _ => FAIR_SLICE,
    };
    Ok(task.write_value(interval, &Timespec { tv_sec: 0, tv_nsec })?)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn request(policy: Option<SchedPolicy>, reset_on_fork: bool, priority: u32) -> Request {
        Request { policy, reset_on_fork, priority, nice: None, deadline: None }
    }

    #[test]
    fn what_is_not_asked_for_stays() {
        let old = Scheduling {
            policy: SchedPolicy::SCHED_RR,
            priority: 3,
            nice: 4,
            reset_on_fork: true,
            ..Scheduling::default()
        };
        let kept = request(None, false, 5).apply(&old);
        assert_eq!(kept, Scheduling { priority: 5, ..old });
        let changed = request(Some(SchedPolicy::SCHED_BATCH), false, 0).apply(&old);
        assert_eq!(
            changed,
            Scheduling { policy: SchedPolicy::SCHED_BATCH, priority: 0, reset_on_fork: false, ..old }
        );
    }

    #[test]
    fn deadlines_are_in_order() {
        let valid = |runtime, deadline, period| Deadline { runtime, deadline, period }.is_valid();
        assert!(valid(2000, 3000, 4000) && valid(2000, 3000, 0));
        assert!(!valid(2000, 1500, 4000) && !valid(2000, 5000, 4000) && !valid(0, 1, 1));
        assert!(!valid(2000, 1 << 63, 0) && !valid(2000, 3000, u64::MAX));
    }

    #[test]
    fn priorities_are_those_of_the_host() {
        for policy in [0, 1, 2, 3, 5, 6] {
            let policy_name = SchedPolicy::from_raw(policy.try_into().unwrap()).unwrap();
            assert_eq!(priorities(policy).unwrap().1, if is_realtime(policy_name) { 99 } else { 0 });
        }
        assert_eq!(priorities(4), Err(Errno::EINVAL));
        assert_eq!(priorities(-1), Err(Errno::EINVAL));
    }
}
