//! Descriptor tables.

use std::sync::Arc;

use bartizan_abi::Errno;
use bitflags::bitflags;

use super::File;

/// A descriptor as the guest numbers it; never negative once it has been looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FdNumber(pub i32);

bitflags! {
    /// Flags of a descriptor, not shared by its duplicates.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct FdFlags: u8 {
        /// Closed by `execve`.
        const CLOEXEC = 1 << 0;
    }
}

/// The descriptors of a process.
#[derive(Debug)]
pub struct FdTable {}

impl FdTable {
    /// The description that `fd` refers to, `EBADF` if it is not open or was opened with `O_PATH`.
    pub fn get(&self, _fd: FdNumber) -> Result<Arc<File>, Errno> {
        Err(Errno::EBADF)
    }
}
