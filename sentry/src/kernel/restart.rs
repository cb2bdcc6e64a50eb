//! What `restart_syscall(2)` continues.

use std::time::Instant;

use bartizan_abi::Timespec;

use super::{CurrentTask, WaitClock};
use crate::mm::{UserAddr, UserPtr};
use crate::{Restart, SysError};

/// A call that a signal without a handler interrupted, with what is left of it (`struct restart_block`). The deadline is fixed:
/// however often a call is interrupted, it ends in time.
#[derive(Debug, Clone, Copy, Default)]
pub enum RestartBlock {
    /// Nothing: `restart_syscall` gives `EINTR`.
    #[default]
    None,
    /// `nanosleep(2)`, `clock_nanosleep(2)` for a duration.
    Sleep {
        /// On which clock.
        clock: WaitClock,
        /// Until when; `None` is for ever.
        deadline: Option<Instant>,
        /// Where the time left goes when a handler runs; may be null.
        remaining: UserPtr<Timespec>,
    },
    /// `futex(2)` with a time-out.
    Futex {
        /// The futex.
        address: UserAddr,
        /// Whether it is private.
        scope: crate::mm::FutexScope,
        /// What it has to hold.
        expected: u32,
        /// Which wake-ups count.
        bitset: u32,
        /// Until when; `None` is for ever.
        deadline: Option<Instant>,
    },
    /// `poll(2)`.
    Poll {
        /// The first `struct pollfd`.
        entries: UserAddr,
        /// How many.
        count: u32,
        /// Until when; `None` is for ever.
        deadline: Option<Instant>,
    },
}

impl CurrentTask {
    /// Has the call that is being made continued by `restart_syscall(2)` unless a handler runs.
    pub fn continue_with(&self, block: RestartBlock) -> SysError {
        self.restart.set(block);
        SysError::Restart(Restart::Continue)
    }

    /// Takes what `restart_syscall(2)` has to continue.
    pub fn take_restart(&self) -> RestartBlock {
        self.restart.take()
    }
}
