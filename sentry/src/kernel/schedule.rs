//! How a task asks to be scheduled: policy, priority, nice value, processors, I/O priority.
//!
//! All of it is kept, inherited, guarded by the rules of `sched(7)` and told back; the host decides who really runs.

use bartizan_abi::Errno;
use bartizan_abi::process::{Capability, Resource, SchedPolicy};

use super::{Credentials, Task};

/// Nice values, best first.
pub const NICE: std::ops::RangeInclusive<i32> = -20..=19;
/// The highest real-time priority.
pub const MOST_PRIORITY: u32 = 99;
/// How late timers may be by default, nanoseconds.
pub const TIMER_SLACK: u64 = 50_000;

/// Bits of a [`CpuSet`].
const CPUS: usize = 1024;

/// A set of processors, as `cpu_set_t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuSet([u8; CPUS / 8]);

impl CpuSet {
    /// No processor.
    pub const EMPTY: Self = Self([0; CPUS / 8]);

    /// The processors on which this thread may run; at least one.
    pub fn of_host() -> Self {
        let mut set = Self::EMPTY;
        match rustix::thread::sched_getaffinity(None) {
            Ok(host) => (0..CPUS.min(rustix::thread::CpuSet::MAX_CPU))
                .filter(|&cpu| host.is_set(cpu))
                .for_each(|cpu| set.insert(cpu)),
            // More processors than the set has room for, or a host that forbids the question.
            Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from).min(CPUS))
                .for_each(|cpu| set.insert(cpu)),
        }
        if set == Self::EMPTY {
            set.insert(0);
        }
        set
    }

    /// The set that starts with these bytes; what is beyond them is empty, what is too much is cut.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut set = Self::EMPTY;
        for (to, from) in set.0.iter_mut().zip(bytes) {
            *to = *from;
        }
        set
    }

    /// Its bytes up to the last word with a processor, at least one word: what a kernel for that many has.
    pub fn to_bytes(&self) -> &[u8] {
        const WORD: usize = 8;
        let used = self.0.iter().rposition(|&byte| byte != 0).map_or(WORD, |last| (last / WORD + 1) * WORD);
        &self.0[..used]
    }

    /// Adds a processor below [`CPUS`]; others are no member of any set.
    fn insert(&mut self, cpu: usize) {
        if let Some(byte) = self.0.get_mut(cpu / 8) {
            *byte |= 1 << (cpu % 8);
        }
    }

    /// The processors that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] & other.0[index]))
    }

    /// Whether no processor is in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }
}

/// What a task has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheduling {
    /// The policy.
    pub policy: SchedPolicy,
    /// The real-time priority, 1 to [`MOST_PRIORITY`]; 0 with the other policies.
    pub priority: u32,
    /// The nice value.
    pub nice: i32,
    /// Whether children start with the usual policy (`SCHED_RESET_ON_FORK`).
    pub reset_on_fork: bool,
    /// On which processors it may run; `None` for all.
    pub processors: Option<CpuSet>,
    /// Class and level for input and output (`ioprio_set(2)`), 0 for those that the nice value gives.
    pub io_priority: u16,
    /// How late its timers may be, nanoseconds, and what that was when it was made.
    pub timer_slack: u64,
    /// What `PR_SET_TIMERSLACK` with 0 comes back to.
    pub default_timer_slack: u64,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self {
            policy: SchedPolicy::SCHED_NORMAL,
            priority: 0,
            nice: 0,
            reset_on_fork: false,
            processors: None,
            io_priority: 0,
            timer_slack: TIMER_SLACK,
            default_timer_slack: TIMER_SLACK,
        }
    }
}

impl Scheduling {
    /// With what a child of the task starts (`sched_fork`).
    pub fn for_child(&self) -> Self {
        let mut child = Self { reset_on_fork: false, default_timer_slack: self.timer_slack, ..*self };
        if self.reset_on_fork {
            if is_realtime(self.policy) {
                child = Self { policy: SchedPolicy::SCHED_NORMAL, priority: 0, nice: 0, ..child };
            }
            child.nice = child.nice.max(0);
        }
        child
    }

    /// Checks whether `credentials` let a caller change a task with these to `new`.
    ///
    /// `own` says whether the task is the caller's, `real_time_limit` and `nice_limit` are the task's limits.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_NICE` for what `sched(7)` reserves.
    pub fn check_change(&self, new: &Self, by: &Changer<'_>) -> Result<(), Errno> {
        let real_time = is_realtime(new.policy)
            && (new.policy != self.policy && by.real_time_limit == 0
                || new.priority > self.priority && u64::from(new.priority) > by.real_time_limit);
        let nicer = is_fair(new.policy) && new.nice < self.nice && !by.nice_allowed(new.nice);
        let leaves_idle = self.policy == SchedPolicy::SCHED_IDLE
            && new.policy != SchedPolicy::SCHED_IDLE
            && !by.nice_allowed(self.nice);
        let keeps_less = self.reset_on_fork && !new.reset_on_fork;
        let reserved = real_time || nicer || leaves_idle || keeps_less || !by.owns;
        let deadline = new.policy == SchedPolicy::SCHED_DEADLINE;
        if (reserved || deadline) && !by.credentials.has_capability(Capability::CAP_SYS_NICE) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }
}

/// Whether a policy has priorities.
pub fn is_realtime(policy: SchedPolicy) -> bool {
    matches!(policy, SchedPolicy::SCHED_FIFO | SchedPolicy::SCHED_RR)
}

/// Whether nice values mean something with a policy.
fn is_fair(policy: SchedPolicy) -> bool {
    matches!(policy, SchedPolicy::SCHED_NORMAL | SchedPolicy::SCHED_BATCH)
}

/// Who changes how a task is scheduled, and how far the task's limits let everybody go.
#[derive(Debug)]
pub struct Changer<'a> {
    /// Who the caller is.
    pub credentials: &'a Credentials,
    /// Whether the task belongs to the caller.
    pub owns: bool,
    real_time_limit: u64,
    nice_limit: u64,
}

impl<'a> Changer<'a> {
    /// A caller with `credentials` that changes `task`.
    pub fn new(credentials: &'a Credentials, task: &Task) -> Self {
        let target = task.credentials();
        let limits = task.group().limits();
        Self {
            credentials,
            owns: credentials.euid == target.euid || credentials.euid == target.uid,
            real_time_limit: limits.soft(Resource::RLIMIT_RTPRIO),
            nice_limit: limits.soft(Resource::RLIMIT_NICE),
        }
    }

    /// Whether the limit alone allows a nice value: 20 less it (`getrlimit(2)`, `RLIMIT_NICE`).
    pub fn nice_allowed(&self, nice: i32) -> bool {
        u64::try_from(20 - nice).is_ok_and(|limit| limit <= self.nice_limit)
    }

    /// Whether the limit or a capability allows a nice value that is better than the one before.
    pub fn may_nice(&self, nice: i32) -> bool {
        self.nice_allowed(nice) || self.credentials.has_capability(Capability::CAP_SYS_NICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(credentials: &Credentials, real_time_limit: u64, nice_limit: u64) -> Changer<'_> {
        Changer { credentials, owns: true, real_time_limit, nice_limit }
    }

    fn user() -> Credentials {
        Credentials {
            uid: 1000,
            euid: 1000,
            effective: bartizan_abi::CapabilitySet::EMPTY,
            ..Credentials::root()
        }
    }

    #[test]
    fn real_time_takes_a_limit_or_a_capability() {
        let usual = Scheduling::default();
        let fifo = |priority| Scheduling { policy: SchedPolicy::SCHED_FIFO, priority, ..usual };
        let nobody = user();
        assert_eq!(usual.check_change(&fifo(1), &by(&nobody, 0, 0)), Err(Errno::EPERM));
        assert_eq!(usual.check_change(&fifo(5), &by(&nobody, 5, 0)), Ok(()));
        assert_eq!(usual.check_change(&fifo(6), &by(&nobody, 5, 0)), Err(Errno::EPERM));
        assert_eq!(fifo(9).check_change(&fifo(8), &by(&nobody, 0, 0)), Ok(()), "lowering is free");
        let other = Changer { owns: false, ..by(&nobody, 99, 40) };
        assert_eq!(usual.check_change(&usual, &other), Err(Errno::EPERM));
    }

    #[test]
    fn children_of_real_time_tasks_start_as_usual_where_asked() {
        let parent = Scheduling {
            policy: SchedPolicy::SCHED_RR,
            priority: 7,
            nice: -5,
            reset_on_fork: true,
            timer_slack: 1,
            ..Scheduling::default()
        };
        let child = parent.for_child();
        assert_eq!((child.policy, child.priority, child.nice), (SchedPolicy::SCHED_NORMAL, 0, 0));
        assert_eq!((child.reset_on_fork, child.default_timer_slack), (false, 1));
        let same = Scheduling { reset_on_fork: false, ..parent }.for_child();
        assert_eq!((same.policy, same.priority, same.nice), (SchedPolicy::SCHED_RR, 7, -5));
    }

    #[test]
    fn sets_have_the_bytes_of_whole_words() {
        let mut set = CpuSet::EMPTY;
        assert!(set.is_empty() && set.to_bytes().len() == 8);
        set.insert(64);
        assert_eq!(set.to_bytes(), [[0; 8], [1, 0, 0, 0, 0, 0, 0, 0]].concat());
        assert_eq!(CpuSet::from_bytes(set.to_bytes()), set);
        assert!(!CpuSet::of_host().is_empty());
        set.insert(CPUS);
        assert!(CpuSet::from_bytes(&[1]).intersection(&set).is_empty());
    }
}
