//! What is told about a file: `stat(2)`, `statx(2)`.

use bitflags::bitflags;

use crate::macros::abi_structs;
use crate::time::Timespec;

abi_structs! {
    /// `struct stat` of x86-64.
    pub struct Stat: 144 {
        /// The device that holds the file.
        pub st_dev: u64,
        /// The inode number.
        pub st_ino: u64,
        /// The number of hard links.
        pub st_nlink: u64,
        /// Type and permissions.
        pub st_mode: u32,
        /// The owner.
        pub st_uid: u32,
        /// The group.
        pub st_gid: u32,
        /// Padding.
        pub __pad0: u32,
        /// The device that this file is, if it is one.
        pub st_rdev: u64,
        /// Bytes.
        pub st_size: i64,
        /// The best size of a transfer, bytes.
        pub st_blksize: i64,
        /// Allocated blocks of 512 bytes.
        pub st_blocks: i64,
        /// Last access.
        pub st_atim: Timespec,
        /// Last change of the contents.
        pub st_mtim: Timespec,
        /// Last change of the inode.
        pub st_ctim: Timespec,
        /// Unused.
        pub __unused: [i64; 3],
    }

    /// `struct statx_timestamp`.
    pub struct StatxTimestamp: 16 {
        /// Seconds since the epoch.
        pub tv_sec: i64,
        /// Nanoseconds.
        pub tv_nsec: u32,
        /// Padding.
        pub __reserved: i32,
    }

    /// `struct statx`.
    pub struct Statx: 256 {
        /// Which fields are filled in: [`StatxMask`].
        pub stx_mask: u32,
        /// The best size of a transfer, bytes.
        pub stx_blksize: u32,
        /// [`StatxAttributes`] that are set.
        pub stx_attributes: u64,
        /// The number of hard links.
        pub stx_nlink: u32,
        /// The owner.
        pub stx_uid: u32,
        /// The group.
        pub stx_gid: u32,
        /// Type and permissions.
        pub stx_mode: u16,
        /// Padding.
        pub __spare0: u16,
        /// The inode number.
        pub stx_ino: u64,
        /// Bytes.
        pub stx_size: u64,
        /// Allocated blocks of 512 bytes.
        pub stx_blocks: u64,
        /// [`StatxAttributes`] that the file system knows.
        pub stx_attributes_mask: u64,
        /// Last access.
        pub stx_atime: StatxTimestamp,
        /// Creation.
        pub stx_btime: StatxTimestamp,
        /// Last change of the inode.
        pub stx_ctime: StatxTimestamp,
        /// Last change of the contents.
        pub stx_mtime: StatxTimestamp,
        /// The device that this file is: major.
        pub stx_rdev_major: u32,
        /// The device that this file is: minor.
        pub stx_rdev_minor: u32,
        /// The device that holds the file: major.
        pub stx_dev_major: u32,
        /// The device that holds the file: minor.
        pub stx_dev_minor: u32,
        /// The mount.
        pub stx_mnt_id: u64,
        /// Alignment of memory for direct access, bytes.
        pub stx_dio_mem_align: u32,
        /// Alignment of offsets for direct access, bytes.
        pub stx_dio_offset_align: u32,
        /// The subvolume.
        pub stx_subvol: u64,
        /// The smallest atomic write, bytes.
        pub stx_atomic_write_unit_min: u32,
        /// The largest atomic write, bytes.
        pub stx_atomic_write_unit_max: u32,
        /// Most segments of an atomic write.
        pub stx_atomic_write_segments_max: u32,
        /// Alignment of offsets for direct reads, bytes.
        pub stx_dio_read_offset_align: u32,
        /// The largest atomic write that is fast, bytes.
        pub stx_atomic_write_unit_max_opt: u32,
        /// Unused.
        pub __spare2: u32,
        /// Unused.
        pub __spare3: [u64; 8],
    }
}

impl From<Timespec> for StatxTimestamp {
    fn from(time: Timespec) -> Self {
        Self { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec as u32, __reserved: 0 }
    }
}

bitflags! {
    /// The fields of [`Statx`] that are asked for and given.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct StatxMask: u32 {
        /// All that `stat` gives.
        const STATX_BASIC_STATS = 0x7ff;
        /// The type bits of the mode.
        const STATX_TYPE = 0x1;
        /// The other bits of the mode.
        const STATX_MODE = 0x2;
        /// Link count.
        const STATX_NLINK = 0x4;
        /// Owner.
        const STATX_UID = 0x8;
        /// Group.
        const STATX_GID = 0x10;
        /// Access time.
        const STATX_ATIME = 0x20;
        /// Modification time.
        const STATX_MTIME = 0x40;
        /// Change time.
        const STATX_CTIME = 0x80;
        /// Inode number.
        const STATX_INO = 0x100;
        /// Size.
        const STATX_SIZE = 0x200;
        /// Blocks.
        const STATX_BLOCKS = 0x400;
        /// Creation time.
        const STATX_BTIME = 0x800;
        /// Mount number, as in `mountinfo`.
        const STATX_MNT_ID = 0x1000;
        /// Alignment for direct access.
        const STATX_DIOALIGN = 0x2000;
        /// Unique 64-bit mount number.
        const STATX_MNT_ID_UNIQUE = 0x4000;
        /// Subvolume.
        const STATX_SUBVOL = 0x8000;
        /// Atomic writes.
        const STATX_WRITE_ATOMIC = 0x10000;
        /// Alignment for direct reads.
        const STATX_DIO_READ_ALIGN = 0x20000;
        /// Asking for it is an error.
        const STATX__RESERVED = 0x8000_0000;
    }
}

bitflags! {
    /// Attributes of a file: `statx(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct StatxAttributes: u64 {
        /// Stored compressed.
        const STATX_ATTR_COMPRESSED = 0x4;
        /// Cannot be changed.
        const STATX_ATTR_IMMUTABLE = 0x10;
        /// Can only be appended to.
        const STATX_ATTR_APPEND = 0x20;
        /// No candidate for backup.
        const STATX_ATTR_NODUMP = 0x40;
        /// Stored encrypted.
        const STATX_ATTR_ENCRYPTED = 0x800;
        /// An automount trigger.
        const STATX_ATTR_AUTOMOUNT = 0x1000;
        /// The root of a mount.
        const STATX_ATTR_MOUNT_ROOT = 0x2000;
        /// Protected by fs-verity.
        const STATX_ATTR_VERITY = 0x10_0000;
        /// Read and written past the page cache.
        const STATX_ATTR_DAX = 0x20_0000;
        /// Supports atomic writes.
        const STATX_ATTR_WRITE_ATOMIC = 0x40_0000;
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn stat_is_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<Stat>(), size_of::<libc::stat>());
        assert_eq!(offset_of!(Stat, st_mode), offset_of!(libc::stat, st_mode));
        assert_eq!(offset_of!(Stat, st_rdev), offset_of!(libc::stat, st_rdev));
        assert_eq!(offset_of!(Stat, st_size), offset_of!(libc::stat, st_size));
        assert_eq!(offset_of!(Stat, st_ctim), offset_of!(libc::stat, st_ctime));
    }

    #[test]
    fn statx_is_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<Statx>(), size_of::<libc::statx>());
        assert_eq!(offset_of!(Statx, stx_attributes_mask), offset_of!(libc::statx, stx_attributes_mask));
        assert_eq!(offset_of!(Statx, stx_mtime), offset_of!(libc::statx, stx_mtime));
        assert_eq!(offset_of!(Statx, stx_mnt_id), offset_of!(libc::statx, stx_mnt_id));
        assert_eq!(offset_of!(Statx, stx_dio_offset_align), offset_of!(libc::statx, stx_dio_offset_align));
    }

    #[test]
    fn basic_stats_are_the_first_eleven_fields() {
        let basic = StatxMask::STATX_TYPE | StatxMask::STATX_BLOCKS;
        assert!(StatxMask::STATX_BASIC_STATS.contains(basic));
        assert!(!StatxMask::STATX_BASIC_STATS.contains(StatxMask::STATX_BTIME));
    }
}
