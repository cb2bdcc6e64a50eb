//! What the loader puts into a new address space besides the segments of a program.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::Access;

use super::area::AreaFlags;
use super::{MapBacking, MapPlacement, MapRequest, MemoryManager, PageSource, UserAddr};

impl MemoryManager {
    /// Maps pages of the kernel under a name of their own (`[vdso]`, `[vvar]`), read-only to the guest in all but what
    /// `access` says.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn map_special(
        &self,
        name: &'static str,
        placement: MapPlacement,
        length: u64,
        access: Access,
        source: Arc<dyn PageSource>,
    ) -> Result<UserAddr, Errno> {
        self.map(&MapRequest {
            may: access | Access::READ,
            flags: AreaFlags::DONT_EXPAND | AreaFlags::DONT_DUMP,
            backing: MapBacking::Source { source, file: None, offset: 0 },
            name: Some(name),
            ..MapRequest::anonymous(placement, length, access)
        })
    }

    /// Makes the stack: `length` bytes below `top`, growing down as far as `RLIMIT_STACK` allows.
    ///
    /// # Errors
    /// As [`map`](Self::map).
    pub fn map_stack(&self, top: UserAddr, length: u64, access: Access) -> Result<UserAddr, Errno> {
        let start = top.0.checked_sub(length).ok_or(Errno::ENOMEM)?;
        self.map(&MapRequest {
            flags: AreaFlags::GROWS_DOWN,
            ..MapRequest::anonymous(MapPlacement::FixedNoReplace(start), length, access)
        })
    }
}
