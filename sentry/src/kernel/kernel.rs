//! One sandbox's kernel: the owner of all its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bartizan_abi::DeviceNumber;
use bartizan_platform::Platform;
use bartizan_platform::memory::MemoryFile;

use super::Statistics;
use super::services::Services;

/// The kernel of one sandbox. All its state hangs off one `Arc<Kernel>`; nothing is global.
#[derive(Debug)]
pub struct Kernel {
    platform: Arc<dyn Platform>,
    memory: Arc<MemoryFile>,
    next_device: AtomicU32,
    statistics: Statistics,
    pub(super) services: Services,
}

impl Kernel {
    /// How guest code is run.
    pub fn platform(&self) -> &Arc<dyn Platform> {
        &self.platform
    }

    /// The physical memory of the sandbox.
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// What it counts.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// A device number for a file system without a device (`st_dev`, major 0).
    pub fn allocate_device(&self) -> DeviceNumber {
        DeviceNumber::new(0, self.next_device.fetch_add(1, Ordering::Relaxed))
    }
}
