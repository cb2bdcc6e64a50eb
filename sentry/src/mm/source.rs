//! What file mappings map: the contract between files and memory management.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::{Access, BackingFile};

use super::{Attachment, MappingSet};

/// The pages of a file that can be mapped. All mappings of one file share one source, by which they are known.
///
/// Callers may hold the locks `Mappings` and `Pages` of an address space; implementations take only locks from
/// `MappingSet` on.
pub trait PageSource: Send + Sync + Debug {
    /// What backs the file from byte `offset` on (page-aligned): at least one page, at most `length` bytes
    /// (page-aligned). With [`Access::WRITE`] pages are made that are not there yet, so that they can be changed;
    /// without it a source may give a shared page of zeros for a hole.
    ///
    /// Each page of the answer carries one reference ([`BackingFile::retain`]) that the caller owns.
    ///
    /// # Errors
    /// [`PageError::BeyondEnd`] when no byte of the file is in the page at `offset`.
    fn pages(&self, offset: u64, length: u64, access: Access) -> Result<PageRun, PageError>;

    /// Who maps this file; kept up to date by memory management, used by the file when it is truncated.
    fn mappings(&self) -> &MappingSet;

    /// Whether shared mappings may be written through to the file at all (`EACCES` by `mmap` and `mprotect` otherwise is decided
    /// by the open mode; this is about the file system being read-only).
    fn writable(&self) -> bool {
        true
    }

    /// Makes a hole of `range` (`madvise(MADV_REMOVE)`), for sources without a file; files are asked through
    /// [`FileOps::allocate`](crate::vfs::FileOps::allocate).
    fn remove(&self, _range: Range<u64>) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Device and inode number, as `/proc/[pid]/maps` shows them.
    fn identity(&self) -> (u64, u64);

    /// Counts one more area, for sources that want to know of them.
    fn attach(&self) -> Option<Attachment> {
        None
    }

    /// What `/proc/[pid]/maps` calls it where there is no file.
    fn label(&self) -> Option<String> {
        None
    }
}

/// A run of pages of a backing file.
#[derive(Debug, Clone)]
pub struct PageRun {
    /// Where the pages are.
    pub file: Arc<dyn BackingFile>,
    /// Which bytes of `file`; page-aligned, not empty.
    pub range: Range<u64>,
    /// What may be done with these pages in place: without [`Access::WRITE`] a write asks again (a hole, a file
    /// that tracks changes).
    pub access: Access,
}

/// Why a page of a file cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageError {
    /// The page lies behind the end of the file: `SIGBUS`.
    BeyondEnd,
    /// No memory is left in the sandbox.
    OutOfMemory,
    /// The file could not be read: `SIGBUS`.
    Io,
}
