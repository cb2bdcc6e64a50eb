//! The files of `/proc` that tell about the sandbox as a whole.

pub mod cpuinfo;
pub mod meminfo;
pub mod stat;
pub mod sys;
pub mod sysvipc;
pub mod texts;
mod variables;

use std::sync::{Arc, Weak};
use std::time::Instant;

use bartizan_abi::Errno;
use bartizan_sentry::kernel::Kernel;

/// What the files know.
#[derive(Debug, Clone)]
pub struct System {
    kernel: Weak<Kernel>,
    /// When the sandbox was made.
    pub booted: Instant,
    /// The same as wall-clock time, in seconds.
    pub boot_time: i64,
}

impl System {
    /// The system that `kernel` is.
    pub fn new(kernel: &Arc<Kernel>) -> Self {
        let booted = kernel.started();
        let up = i64::try_from(booted.elapsed().as_secs()).unwrap_or(0);
        let boot_time = bartizan_sentry::kernel::realtime().tv_sec - up;
        Self { kernel: Arc::downgrade(kernel), booted, boot_time }
    }

    /// The kernel, unless it is ending.
    pub fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ENODEV)
    }
}

pub use crate::pseudo::processors;
