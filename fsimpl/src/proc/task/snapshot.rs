//! What the files of a task tell, collected in one go, so that formatting takes no locks.

use std::sync::Arc;

use bartizan_abi::{DeviceNumber, SigSet};
use bartizan_sentry::kernel::{CpuSet, Credentials, Scheduling};
use bartizan_sentry::mm::{Layout, MemorySizes};

/// What a task is doing, as `ps` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Running or ready.
    Running,
    /// Waiting for something.
    Sleeping,
    /// Stopped by a signal.
    Stopped,
    /// Standing still for its tracer.
    Traced,
    /// Ended, and not waited for yet.
    Zombie,
}

impl State {
    /// The letter of `stat`.
    pub fn letter(self) -> char {
        match self {
            Self::Running => 'R',
            Self::Sleeping => 'S',
            Self::Stopped => 'T',
            Self::Traced => 't',
            Self::Zombie => 'Z',
        }
    }

    /// The word of `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Stopped => "stopped",
            Self::Traced => "tracing stop",
            Self::Zombie => "zombie",
        }
    }
}

/// Signals of a task and its process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals {
    /// Pending for the task.
    pub pending: SigSet,
    /// Pending for the process.
    pub shared_pending: SigSet,
    /// Blocked by the task.
    pub blocked: SigSet,
    /// Ignored by the process.
    pub ignored: SigSet,
    /// With a handler.
    pub caught: SigSet,
    /// How many are queued.
    pub queued: usize,
    /// How many may be queued.
    pub limit: u64,
}

/// CPU times in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    /// In guest code.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// In guest code, of children that were waited for.
    pub children_user: u64,
    /// In the kernel, of children that were waited for.
    pub children_system: u64,
    /// When it started, after boot.
    pub start: u64,
}

/// A task as it is now.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The name, at most 15 bytes.
    pub name: Vec<u8>,
    /// What it does.
    pub state: State,
    /// The process.
    pub pid: i32,
    /// The task.
    pub tid: i32,
    /// The parent process, or zero.
    pub parent: i32,
    /// The task that traces it, or zero.
    pub tracer: i32,
    /// The process group.
    pub process_group: i32,
    /// The session.
    pub session: i32,
    /// The controlling terminal, and the process group in its foreground.
    pub terminal: Option<(DeviceNumber, i32)>,
    /// How many tasks the process has.
    pub threads: usize,
    /// How it ended, as `wait` tells it.
    pub exit_code: i32,
    /// Who it is.
    pub credentials: Arc<Credentials>,
    /// The mode of `seccomp(2)` and how many filters there are.
    pub seccomp: (u32, usize),
    /// The umask, while it has one.
    pub umask: Option<u32>,
    /// How many descriptors its table has room for.
    pub descriptors: usize,
    /// Signals.
    pub signals: Signals,
    /// CPU times.
    pub times: Times,
    /// Sizes of its memory, while it has some.
    pub memory: Option<(MemorySizes, Layout)>,
    /// How it is scheduled.
    pub scheduling: Scheduling,
    /// The processors that it may run on.
    pub processors: CpuSet,
    /// How often it has given up the processor.
    pub switches: u64,
    /// `RLIMIT_RSS`.
    pub resident_limit: u64,
}
