//! Descriptor tables.

use bitflags::bitflags;

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
