//! Resource limits (`getrlimit(2)`).

use std::sync::atomic::{AtomicU64, Ordering};

use bartizan_abi::Errno;
use bartizan_abi::process::{RLIM_INFINITY, Resource, Rlimit64};

use crate::mm::MemoryLimits;

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
            Resource::RLIMIT_NOFILE => (1024, 1 << 20),
            Resource::RLIMIT_MEMLOCK => (8 << 20, 8 << 20),
            Resource::RLIMIT_MSGQUEUE => (819_200, 819_200),
            Resource::RLIMIT_NICE | Resource::RLIMIT_RTPRIO => (0, 0),
            _ => (RLIM_INFINITY, RLIM_INFINITY),
        };
        Self {
            values: Resource::ALL.map(|resource| {
                let (soft, hard) = defaults(resource);
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

    /// Replaces both limits. Only a `privileged` caller may raise the hard one.
    ///
    /// # Errors
    /// `EINVAL` for a soft limit above the hard one, `EPERM`.
    pub fn set(&self, resource: Resource, new: Rlimit64, privileged: bool) -> Result<(), Errno> {
        if new.rlim_cur > new.rlim_max {
            return Err(Errno::EINVAL);
        }
        if resource == Resource::RLIMIT_NOFILE && new.rlim_max > 1 << 20 {
            return Err(Errno::EPERM);
        }
        let (soft, hard) = self.value(resource);
        if new.rlim_max > hard.load(Ordering::Relaxed) && !privileged {
            return Err(Errno::EPERM);
        }
        soft.store(new.rlim_cur, Ordering::Relaxed);
        hard.store(new.rlim_max, Ordering::Relaxed);
        Ok(())
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
