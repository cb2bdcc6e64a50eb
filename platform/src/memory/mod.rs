//! The memory file, host files as memory, and copying that survives faults.
//!
//! Guests change their memory while the sentry reads it, so it is never seen through a Rust reference: all access
//! goes through [`VolatileSlice`] and the functions of this module.
//!
//! Locks: the one of a [`MemoryFile`] and the one of a [`HostFile`] are leaves; nothing is called under them but
//! the host's `mmap`.

mod access;
mod copy;
mod counts;
mod fault_handler;
mod frames;
mod host_file;
mod mapping;
mod memory_file;
mod transfer;

use std::fmt::Debug;
use std::os::fd::BorrowedFd;

pub use access::{
    AccessError, compare_exchange_u32, compare_exchange_u64, copy, fetch_update_u32, load_u32, load_u64,
    read, store_u32, store_u64, write, zero,
};
pub use host_file::HostFile;
pub use memory_file::{MemoryFile, OutOfMemory};
pub use transfer::{read_from_descriptor, write_to_descriptor};
pub use vm_memory::VolatileSlice;

/// Bytes in a page, on every processor that is supported.
pub const PAGE_SIZE: u64 = 4096;

/// A host file whose pages can be mapped into guests and read and written by the sentry.
pub trait BackingFile: Send + Sync + Debug {
    /// The descriptor to map.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// The sentry's own view of `length` bytes from `offset`. The slice may be shorter than asked for, and is
    /// empty only if `length` is zero. Access to it can fault (see the copy functions of this module).
    fn view(&self, offset: u64, length: usize) -> std::io::Result<VolatileSlice<'_>>;

    /// A range of bytes around `offset` (page-aligned, as is the range) that [`view`](Self::view) shows in one piece of the sentry's addresses, which
    /// stays there as long as the file lives.
    fn window(&self, offset: u64) -> std::ops::Range<u64>;

    /// Adds one reference to each page of `range` (bytes, page-aligned). Files whose pages are not counted do nothing.
    fn retain(&self, _range: std::ops::Range<u64>) {}

    /// Gives one reference to each page of `range` back; pages without references are free for reuse.
    fn release(&self, _range: std::ops::Range<u64>) {}
}
