//! The resource limits that memory management heeds (`getrlimit(2)`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Limits of one process in bytes; `u64::MAX` is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimits {
    /// `RLIMIT_AS`.
    pub address_space: u64,
    /// `RLIMIT_DATA`.
    pub data: u64,
    /// `RLIMIT_STACK`.
    pub stack: u64,
    /// `RLIMIT_MEMLOCK`.
    pub locked: u64,
}

impl Default for MemoryLimits {
    /// What Linux gives to its first process.
    fn default() -> Self {
        Self { address_space: u64::MAX, data: u64::MAX, stack: 8 << 20, locked: 8 << 20 }
    }
}

/// Whether `RLIMIT_MEMLOCK` binds the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockPrivilege {
    /// It does.
    Limited,
    /// It does not: `CAP_IPC_LOCK`.
    Unlimited,
}

/// [`MemoryLimits`] that any thread may read and replace.
#[derive(Debug)]
pub(super) struct SharedLimits {
    address_space: AtomicU64,
    data: AtomicU64,
    stack: AtomicU64,
    locked: AtomicU64,
}

impl SharedLimits {
    pub fn new(limits: MemoryLimits) -> Self {
        Self {
            address_space: limits.address_space.into(),
            data: limits.data.into(),
            stack: limits.stack.into(),
            locked: limits.locked.into(),
        }
    }

    pub fn get(&self) -> MemoryLimits {
        MemoryLimits {
            address_space: self.address_space.load(Ordering::Relaxed),
            data: self.data.load(Ordering::Relaxed),
            stack: self.stack.load(Ordering::Relaxed),
            locked: self.locked.load(Ordering::Relaxed),
        }
    }

    pub fn set(&self, limits: MemoryLimits) {
        self.address_space.store(limits.address_space, Ordering::Relaxed);
        self.data.store(limits.data, Ordering::Relaxed);
        self.stack.store(limits.stack, Ordering::Relaxed);
        self.locked.store(limits.locked, Ordering::Relaxed);
    }
}
