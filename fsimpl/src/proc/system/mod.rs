//! The files of `/proc` that tell about the sandbox as a whole.

pub mod cpuinfo;
pub mod meminfo;
pub mod stat;
pub mod sys;
pub mod sysvipc;
pub mod texts;
mod variables;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bartizan_abi::Errno;
use bartizan_sentry::kernel::Kernel;
use rustix::time::{ClockId, clock_gettime};

/// What the files know.
#[derive(Debug, Clone)]
pub struct System {
    kernel: Weak<Kernel>,
}

/// The time since the boot, as `CLOCK_BOOTTIME` tells it: what tasks see of the clock has to agree with when they were started.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The wall-clock time of the boot, seconds.
pub fn boot_time() -> i64 {
    let now = bartizan_sentry::kernel::realtime();
    let now = Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
    i64::try_from(now.saturating_sub(since_boot()).as_secs()).unwrap_or(0)
}

impl System {
    /// The system that `kernel` is.
    pub fn new(kernel: &Arc<Kernel>) -> Self {
        Self { kernel: Arc::downgrade(kernel) }
    }

    /// The kernel, unless it is ending.
    pub fn kernel(&self) -> Result<Arc<Kernel>, Errno> {
        self.kernel.upgrade().ok_or(Errno::ENODEV)
    }
}

pub use crate::pseudo::processors;
