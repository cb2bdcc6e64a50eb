//! A mapping of a host file into the sentry, unmapped when it is dropped.
//!
//! # Safety
//! A [`SharedMapping`] owns its addresses from `mmap` to `munmap`; nothing else unmaps or moves them. Views of it borrow
//! it, so they cannot outlive it. Its memory is shared with guests and is never seen through a reference.

#![expect(unsafe_code, reason = "mmap and munmap")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};

use super::VolatileSlice;

/// What the sentry may do with a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// Loads.
    ReadOnly,
    /// Loads and stores.
    ReadWrite,
}

/// A `MAP_SHARED` mapping of part of a file.
#[derive(Debug)]
pub(super) struct SharedMapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: the mapping is an address range of the process, not of a thread; all access to it is volatile.
unsafe impl Send for SharedMapping {}
// SAFETY: as for Send; there is no state besides the addresses, which never change.
unsafe impl Sync for SharedMapping {}

impl SharedMapping {
    /// Maps `length` bytes of `file` from `offset` (both page-aligned). Children of `fork` do not inherit it.
    pub(super) fn new(
        file: BorrowedFd<'_>,
        offset: u64,
        length: usize,
        protection: Protection,
    ) -> io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let access = match protection {
            Protection::ReadOnly => libc::PROT_READ,
            Protection::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        let offset =
            libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
        // SAFETY: the kernel chooses fresh addresses (no MAP_FIXED), so no memory of the process is replaced.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, file.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        let mapping = Self { start, length };
        // SAFETY: the range is this mapping's own; the advice changes only what `fork` copies.
        if unsafe { libc::madvise(start.as_ptr(), length, libc::MADV_DONTFORK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping)
    }

    /// Bytes of the mapping.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// `length` bytes from `offset` of the mapping, cut at its end; empty behind it.
    pub(super) fn view(&self, offset: usize, length: usize) -> VolatileSlice<'_> {
        let offset = offset.min(self.length);
        let length = length.min(self.length - offset);
        // SAFETY: `offset` is at most the length of the mapping, so the pointer stays inside it or at its end.
        let start = unsafe { self.start.cast::<u8>().add(offset) };
        // SAFETY: `length` bytes from `start` lie in this mapping, which lives as long as the borrow of `self`.
        unsafe { VolatileSlice::new(start.as_ptr(), length) }
    }

    /// Fills the page tables of `length` bytes from `offset` (page-aligned) in one go. Best effort: what is not filled is
    /// filled by the first access.
    pub(super) fn populate(&self, offset: usize, length: usize) {
        let view = self.view(offset, length);
        let start = view.ptr_guard_mut().as_ptr().cast::<c_void>();
        // SAFETY: the range is this mapping's own; populating changes no contents.
        let _best_effort = unsafe { libc::madvise(start, view.len(), libc::MADV_POPULATE_WRITE) };
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: the range was returned by `mmap` and belongs to this value alone; no view outlives it.
        let result = unsafe { libc::munmap(self.start.as_ptr(), self.length) };
        debug_assert_eq!(result, 0, "unmapping one's own mapping cannot fail");
    }
}
