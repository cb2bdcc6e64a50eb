//! What is told about a file system: `statfs(2)`.

use bitflags::bitflags;

use crate::macros::abi_structs;

abi_structs! {
    /// `struct statfs` of x86-64.
    pub struct Statfs: 120 {
        /// [`FsMagic`].
        pub f_type: i64,
        /// The best size of a transfer, bytes.
        pub f_bsize: i64,
        /// Blocks of `f_frsize`.
        pub f_blocks: u64,
        /// Free blocks.
        pub f_bfree: u64,
        /// Free blocks for those without privilege.
        pub f_bavail: u64,
        /// Inodes.
        pub f_files: u64,
        /// Free inodes.
        pub f_ffree: u64,
        /// The file system's number.
        pub f_fsid: [i32; 2],
        /// The longest name, bytes.
        pub f_namelen: i64,
        /// The size of a block, bytes.
        pub f_frsize: i64,
        /// [`StatfsFlags`].
        pub f_flags: i64,
        /// Unused.
        pub f_spare: [i64; 4],
    }
}

bitflags! {
    /// `f_flags` of [`Statfs`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct StatfsFlags: u64 {
        /// Read-only.
        const ST_RDONLY = 0x0001;
        /// Set-user-ID bits have no effect.
        const ST_NOSUID = 0x0002;
        /// Devices cannot be opened.
        const ST_NODEV = 0x0004;
        /// Nothing can be run.
        const ST_NOEXEC = 0x0008;
        /// Writes are synchronous.
        const ST_SYNCHRONOUS = 0x0010;
        /// The other flags are filled in.
        const ST_VALID = 0x0020;
        /// Mandatory locks.
        const ST_MANDLOCK = 0x0040;
        /// No access times.
        const ST_NOATIME = 0x0400;
        /// No access times of directories.
        const ST_NODIRATIME = 0x0800;
        /// Access times relative to changes.
        const ST_RELATIME = 0x1000;
        /// Symbolic links are not followed.
        const ST_NOSYMFOLLOW = 0x2000;
    }
}

/// The number by which `statfs(2)` names a kind of file system: `linux/magic.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FsMagic(pub u32);

#[expect(missing_docs, reason = "the names are those of the file systems")]
impl FsMagic {
    pub const ANON_INODE: Self = Self(0x0904_1934);
    pub const CGROUP2: Self = Self(0x6367_7270);
    pub const DEVPTS: Self = Self(0x1cd1);
    pub const EROFS: Self = Self(0xe0f5_e1e2);
    pub const EXT4: Self = Self(0xef53);
    pub const FUSE: Self = Self(0x6573_5546);
    pub const MQUEUE: Self = Self(0x1980_0202);
    pub const NSFS: Self = Self(0x6e73_6673);
    pub const OVERLAYFS: Self = Self(0x794c_7630);
    pub const PIDFS: Self = Self(0x5049_4446);
    pub const PIPEFS: Self = Self(0x5049_5045);
    pub const PROC: Self = Self(0x9fa0);
    pub const RAMFS: Self = Self(0x8584_58f6);
    pub const SOCKFS: Self = Self(0x534f_434b);
    pub const SYSFS: Self = Self(0x6265_6572);
    pub const TMPFS: Self = Self(0x0102_1994);
    pub const V9FS: Self = Self(0x0102_1997);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statfs_is_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<Statfs>(), size_of::<libc::statfs>());
        assert_eq!(std::mem::offset_of!(Statfs, f_namelen), std::mem::offset_of!(libc::statfs, f_namelen));
    }

    #[test]
    fn flags_are_those_of_statvfs() {
        assert_eq!(StatfsFlags::ST_RELATIME.bits(), libc::ST_RELATIME);
        assert_eq!(StatfsFlags::ST_NOEXEC.bits(), libc::ST_NOEXEC);
    }
}
