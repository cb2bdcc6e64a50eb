//! Areas: what a guest asked for with `mmap` (`struct vm_area_struct`).

use std::sync::Arc;

use bartizan_abi::ProtFlags;
use bartizan_platform::Access;
use bitflags::bitflags;

use super::{Attachment, PageSource};
use crate::vfs::File;

bitflags! {
    /// What an area is besides its protection (`VM_*`).
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub struct AreaFlags: u32 {
        /// Everybody sees what is written.
        const SHARED = 1 << 0;
        /// Accesses below it make it grow.
        const GROWS_DOWN = 1 << 1;
        /// Counted as locked.
        const LOCKED = 1 << 2;
        /// Locked as pages come in, rather than at once.
        const LOCK_ON_FAULT = 1 << 3;
        /// Not inherited by `fork`.
        const DONT_FORK = 1 << 4;
        /// Zeros in a forked child.
        const WIPE_ON_FORK = 1 << 5;
        /// Not in core dumps.
        const DONT_DUMP = 1 << 6;
        /// Not counted against what the machine could ever have.
        const NO_RESERVE = 1 << 7;
        /// `mremap` may not make it larger.
        const DONT_EXPAND = 1 << 8;
        /// Huge pages are welcome.
        const HUGE_PAGE = 1 << 9;
        /// Huge pages are not wanted.
        const NO_HUGE_PAGE = 1 << 10;
        /// Read in order.
        const SEQUENTIAL = 1 << 11;
        /// Read in no order.
        const RANDOM = 1 << 12;
        /// Equal pages may be merged.
        const MERGEABLE = 1 << 13;
    }
}

/// What a guest asked for, in one range of addresses.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Area {
    /// What the guest may do (`VM_READ`, `VM_WRITE`, `VM_EXEC`).
    pub access: Access,
    /// What `mprotect` may allow it (`VM_MAYREAD` …).
    pub may: Access,
    /// Everything else.
    pub flags: AreaFlags,
    /// Where its pages come from.
    pub backing: Backing,
    /// What `/proc/[pid]/maps` calls it: `[vdso]`.
    pub name: Option<&'static str>,
    /// What the guest calls it (`PR_SET_VMA_ANON_NAME`).
    pub given_name: Option<Arc<[u8]>>,
}

/// Where the pages of an area come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Backing {
    /// Zeros, private to the area.
    Anonymous,
    /// The pages of a file, a device or shared memory.
    Source(SourceMapping),
}

/// Which pages of a source an area shows.
#[derive(Debug, Clone)]
pub(super) struct SourceMapping {
    /// The pages.
    pub source: Arc<dyn PageSource>,
    /// The file that was mapped; shared anonymous memory has none.
    pub file: Option<Arc<File>>,
    /// Offset in the source minus address, modulo 2^64.
    pub delta: u64,
    /// That this area counts, for sources that count them.
    pub attachment: Option<Attachment>,
}

impl SourceMapping {
    /// The offset in the source that `address` shows.
    pub fn offset(&self, address: u64) -> u64 {
        address.wrapping_add(self.delta)
    }
}

impl PartialEq for SourceMapping {
    fn eq(&self, other: &Self) -> bool {
        self.delta == other.delta
            && Arc::ptr_eq(&self.source, &other.source)
            && match (&self.file, &other.file) {
                (None, None) => true,
                (Some(one), Some(two)) => Arc::ptr_eq(one, two),
                _ => false,
            }
    }
}

impl Area {
    /// Whether everybody sees what is written.
    pub fn is_shared(&self) -> bool {
        self.flags.contains(AreaFlags::SHARED)
    }

    /// Whether it is private memory without a file.
    pub fn is_private_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous)
    }

    /// What the processor allows with this protection: it cannot refuse reads of what may be written or executed.
    pub fn permission(&self) -> Access {
        permission(self.access)
    }

    /// The pages of a source that it shows, if it does.
    pub fn source(&self) -> Option<&SourceMapping> {
        match &self.backing {
            Backing::Anonymous => None,
            Backing::Source(mapping) => Some(mapping),
        }
    }

    /// The same area at another place: offsets go with the pages.
    pub fn moved(mut self, from: u64, to: u64) -> Self {
        if let Backing::Source(mapping) = &mut self.backing {
            mapping.delta = mapping.delta.wrapping_add(from).wrapping_sub(to);
        }
        self
    }
}

/// What the processor allows for a protection.
pub(super) fn permission(access: Access) -> Access {
    if access.is_empty() { access } else { access | Access::READ }
}

/// The accesses that `protection` asks for.
pub fn access_of(protection: ProtFlags) -> Access {
    let mut access = Access::empty();
    access.set(Access::READ, protection.contains(ProtFlags::PROT_READ));
    access.set(Access::WRITE, protection.contains(ProtFlags::PROT_WRITE));
    access.set(Access::EXECUTE, protection.contains(ProtFlags::PROT_EXEC));
    access
}
