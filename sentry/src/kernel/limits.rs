//! Resource limits (`getrlimit(2)`).

use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::Errno;
use bartizan_abi::process::{RLIM_INFINITY, Resource, Rlimit64};

use crate::mm::MemoryLimits;

/// The highest descriptor limit (`/proc/sys/fs/nr_open`).
pub const MOST_DESCRIPTORS: u64 = 1 << 20;

/// Whether hard limits bind the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitPrivilege {
    /// They may be lowered only.
    Bound,
    /// They may be raised: `CAP_SYS_RESOURCE`.
    Unbound,
}

/// The limits of one process. Reading one is one load; soft and hard limit of one resource are changed by one caller at
/// a time in practice, and a reader that sees one of two changes sees limits that were both asked for.
#[derive(Debug)]
pub struct Limits {
    values: [(AtomicU64, AtomicU64); Resource::ALL.len()],
}

impl Default for Limits {
    /// What Linux gives to its first process, with the number of processes that a machine of this size gets.
    fn default() -> Self {
        let defaults = |resource: Resource| match resource {
            Resource::RLIMIT_STACK => (8 << 20, RLIM_INFINITY),
            Resource::RLIMIT_CORE => (0, RLIM_INFINITY),
            Resource::RLIMIT_NPROC | Resource::RLIMIT_SIGPENDING => (30_000, 30_000),
            Resource::RLIMIT_NOFILE => (1024, MOST_DESCRIPTORS),
            Resource::RLIMIT_MEMLOCK => (8 << 20, 8 << 20),
            Resource::RLIMIT_MSGQUEUE => (819_200, 819_200),
            Resource::RLIMIT_NICE | Resource::RLIMIT_RTPRIO => (0, 0),
            _ => (RLIM_INFINITY, RLIM_INFINITY),
        };
        Self {
            values: std::array::from_fn(|index| {
                let (soft, hard) = defaults(Resource::ALL[index]);
                (AtomicU64::new(soft), AtomicU64::new(hard))
            }),
        }
    }
}

impl Limits {
    fn value(&self, resource: Resource) -> &(AtomicU64, AtomicU64) {
        &self.values[resource as usize]
    }

    /// The limit that counts.
    pub fn soft(&self, resource: Resource) -> u64 {
        self.value(resource).0.load(Ordering::Relaxed)
    }

    /// Both limits.
    pub fn get(&self, resource: Resource) -> Rlimit64 {
        let (soft, hard) = self.value(resource);
        Rlimit64 { rlim_cur: soft.load(Ordering::Relaxed), rlim_max: hard.load(Ordering::Relaxed) }
    }

    /// Replaces both limits.
    ///
    /// # Errors
    /// `EINVAL` for a soft limit above the hard one, `EPERM` for a hard limit that the caller may not raise so far.
    pub fn set(&self, resource: Resource, new: Rlimit64, privilege: LimitPrivilege) -> Result<(), Errno> {
        if new.rlim_cur > new.rlim_max {
            return Err(Errno::EINVAL);
        }
        if resource == Resource::RLIMIT_NOFILE && new.rlim_max > MOST_DESCRIPTORS {
            return Err(Errno::EPERM);
        }
        let (soft, hard) = self.value(resource);
        if new.rlim_max > hard.load(Ordering::Relaxed) && privilege == LimitPrivilege::Bound {
            return Err(Errno::EPERM);
        }
        soft.store(new.rlim_cur, Ordering::Relaxed);
        hard.store(new.rlim_max, Ordering::Relaxed);
        Ok(())
    }

    /// Raises the soft limit of processor time, which a process was told that it has reached, to so many seconds.
    pub fn raise_processor_time(&self, seconds: u64) {
        self.value(Resource::RLIMIT_CPU).0.store(seconds, Ordering::Relaxed);
    }

    /// Raises the soft limit of uninterrupted real-time processing, which a process was told that it has reached, to so many microseconds.
    pub fn raise_real_time(&self, microseconds: u64) {
        self.value(Resource::RLIMIT_RTTIME).0.store(microseconds, Ordering::Relaxed);
    }

    /// A copy, for a child.
    pub fn duplicate(&self) -> Self {
        Self {
            values: std::array::from_fn(|index| {
                let (soft, hard) = &self.values[index];
                (soft.load(Ordering::Relaxed).into(), hard.load(Ordering::Relaxed).into())
            }),
        }
    }

    /// Those that memory management heeds.
    pub fn memory(&self) -> MemoryLimits {
        MemoryLimits {
            address_space: self.soft(Resource::RLIMIT_AS),
            data: self.soft(Resource::RLIMIT_DATA),
            stack: self.soft(Resource::RLIMIT_STACK),
            locked: self.soft(Resource::RLIMIT_MEMLOCK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(rlim_cur: u64, rlim_max: u64) -> Rlimit64 {
        Rlimit64 { rlim_cur, rlim_max }
    }

    #[test]
    fn only_privileged_callers_raise_hard_limits() {
        let limits = Limits::default();
        let core = Resource::RLIMIT_CORE;
        assert_eq!(limits.set(core, pair(5, 10), LimitPrivilege::Bound), Ok(()));
        assert_eq!(limits.set(core, pair(5, 11), LimitPrivilege::Bound), Err(Errno::EPERM));
        assert_eq!(limits.set(core, pair(10, 10), LimitPrivilege::Bound), Ok(()));
        assert_eq!(limits.set(core, pair(11, 11), LimitPrivilege::Unbound), Ok(()));
        assert_eq!(limits.set(core, pair(12, 11), LimitPrivilege::Unbound), Err(Errno::EINVAL));
        assert_eq!(limits.get(core), pair(11, 11));
    }

    #[test]
    fn descriptors_have_a_ceiling_for_everybody() {
        let limits = Limits::default();
        let files = Resource::RLIMIT_NOFILE;
        let most = MOST_DESCRIPTORS;
        assert_eq!(limits.set(files, pair(1, most + 1), LimitPrivilege::Unbound), Err(Errno::EPERM));
        assert_eq!(limits.set(files, pair(most, most), LimitPrivilege::Bound), Ok(()));
    }

    #[test]
    fn copies_are_independent() {
        let limits = Limits::default();
        let copy = limits.duplicate();
        assert_eq!(limits.set(Resource::RLIMIT_AS, pair(1, 2), LimitPrivilege::Bound), Ok(()));
        assert_eq!(copy.soft(Resource::RLIMIT_AS), RLIM_INFINITY);
        assert_eq!(limits.memory().address_space, 1);
    }
}
