//! Vectored and positioned transfers, seeking and advice.

use bitflags::bitflags;

use crate::macros::{abi_enum, abi_structs};

/// Most elements of a vector: `readv(2)`.
pub const UIO_MAXIOV: usize = 1024;

abi_structs! {
    /// `struct iovec`: `readv(2)`.
    pub struct Iovec: 16 {
        /// Address in the guest.
        pub iov_base: u64,
        /// Bytes.
        pub iov_len: u64,
    }
}

abi_enum! {
    /// From where `lseek(2)` counts.
    pub enum Whence: u32 {
        /// The start.
        SEEK_SET = 0,
        /// The current offset.
        SEEK_CUR = 1,
        /// The end.
        SEEK_END = 2,
        /// The next data at or after the offset.
        SEEK_DATA = 3,
        /// The next hole at or after the offset.
        SEEK_HOLE = 4,
    }
}

bitflags! {
    /// Flags of `preadv2(2)` and `pwritev2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ReadWriteFlags: u32 {
        /// Poll for completion.
        const RWF_HIPRI = 0x01;
        /// As `O_DSYNC`.
        const RWF_DSYNC = 0x02;
        /// As `O_SYNC`.
        const RWF_SYNC = 0x04;
        /// Do not wait for data that is not there.
        const RWF_NOWAIT = 0x08;
        /// As `O_APPEND`.
        const RWF_APPEND = 0x10;
        /// Ignore `O_APPEND`.
        const RWF_NOAPPEND = 0x20;
        /// Not torn.
        const RWF_ATOMIC = 0x40;
        /// Drop from the cache afterwards.
        const RWF_DONTCACHE = 0x80;
    }
}

abi_enum! {
    /// Advice of `posix_fadvise(2)`.
    pub enum Fadvice: u32 {
        /// None.
        POSIX_FADV_NORMAL = 0,
        /// Random accesses.
        POSIX_FADV_RANDOM = 1,
        /// Sequential accesses.
        POSIX_FADV_SEQUENTIAL = 2,
        /// Needed soon.
        POSIX_FADV_WILLNEED = 3,
        /// Not needed soon.
        POSIX_FADV_DONTNEED = 4,
        /// Used once.
        POSIX_FADV_NOREUSE = 5,
    }
}

bitflags! {
    /// Flags of `sync_file_range(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct SyncFileRangeFlags: u32 {
        /// Wait for what is being written.
        const SYNC_FILE_RANGE_WAIT_BEFORE = 1;
        /// Start writing.
        const SYNC_FILE_RANGE_WRITE = 2;
        /// Wait for what was started.
        const SYNC_FILE_RANGE_WAIT_AFTER = 4;
    }
}
