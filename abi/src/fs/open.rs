//! Flags of `open`, of the `*at` calls and of calls that make or change files.

use bitflags::bitflags;

use super::AccessMode;
use crate::macros::{abi_consts, abi_structs};

abi_consts! { i32;
    /// Instead of a directory descriptor: the working directory (`openat(2)`).
    AT_FDCWD = -100;
}

bitflags! {
    /// Flags of `open(2)` as x86-64 numbers them. `O_RDONLY` is zero, and the access mode is a field of two bits:
    /// use [`OpenFlags::access_mode`], [`OpenFlags::readable`] and [`OpenFlags::writable`].
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct OpenFlags: u32 {
        /// Neither reading nor writing, only `ioctl`; the whole access mode field.
        const O_ACCMODE = 0o3;
        /// Write only.
        const O_WRONLY = 0o1;
        /// Read and write.
        const O_RDWR = 0o2;
        /// Make the file if it is not there.
        const O_CREAT = 0o100;
        /// With `O_CREAT`: fail if it is there.
        const O_EXCL = 0o200;
        /// A terminal does not become the controlling one.
        const O_NOCTTY = 0o400;
        /// Cut the file to no length.
        const O_TRUNC = 0o1000;
        /// Each write goes to the end.
        const O_APPEND = 0o2000;
        /// Do not block.
        const O_NONBLOCK = 0o4000;
        /// An unnamed file in the given directory; holds `O_DIRECTORY`.
        const O_TMPFILE = 0o20_200_000;
        /// Writes reach the disk, metadata too; holds `O_DSYNC`.
        const O_SYNC = 0o4_010_000;
        /// Writes reach the disk, with the metadata needed to read them back.
        const O_DSYNC = 0o10_000;
        /// `SIGIO` when input or output becomes possible.
        const FASYNC = 0o20_000;
        /// Past the page cache.
        const O_DIRECT = 0o40_000;
        /// Files beyond 2 GiB; Linux sets it on every open of a 64-bit task.
        const O_LARGEFILE = 0o100_000;
        /// Fail unless it is a directory.
        const O_DIRECTORY = 0o200_000;
        /// Fail if the last component is a symbolic link.
        const O_NOFOLLOW = 0o400_000;
        /// Do not update the access time.
        const O_NOATIME = 0o1_000_000;
        /// Close at `execve`.
        const O_CLOEXEC = 0o2_000_000;
        /// A place in the tree rather than an open file.
        const O_PATH = 0o10_000_000;
        /// The bit of `O_TMPFILE` that is its own.
        const __O_TMPFILE = 0o20_000_000;
        /// The bit of `O_SYNC` that is its own.
        const __O_SYNC = 0o4_000_000;
    }
}

impl OpenFlags {
    /// Read only: no bit at all.
    pub const O_RDONLY: Self = Self::empty();
    /// What `fcntl(F_SETFL)` may change (`fcntl(2)`).
    pub const SETTABLE: Self = Self::O_APPEND
        .union(Self::O_NONBLOCK)
        .union(Self::FASYNC)
        .union(Self::O_DIRECT)
        .union(Self::O_NOATIME);
    /// What takes effect in `open` alone and is no part of the open file's state.
    pub const CREATION: Self =
        Self::O_CREAT.union(Self::O_EXCL).union(Self::O_NOCTTY).union(Self::O_TRUNC).union(Self::O_CLOEXEC);

    /// The access mode field.
    pub const fn access_mode(self) -> AccessMode {
        match self.bits() & Self::O_ACCMODE.bits() {
            0 => AccessMode::ReadOnly,
            1 => AccessMode::WriteOnly,
            2 => AccessMode::ReadWrite,
            _ => AccessMode::None,
        }
    }

    /// Whether `read` is allowed on what is opened: not with `O_WRONLY`, mode 3 or `O_PATH`.
    pub const fn readable(self) -> bool {
        !self.contains(Self::O_PATH)
            && matches!(self.access_mode(), AccessMode::ReadOnly | AccessMode::ReadWrite)
    }

    /// Whether `write` is allowed on what is opened.
    pub const fn writable(self) -> bool {
        !self.contains(Self::O_PATH)
            && matches!(self.access_mode(), AccessMode::WriteOnly | AccessMode::ReadWrite)
    }
}

bitflags! {
    /// `AT_*` flags of the calls that take a directory descriptor; each call allows a few of them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct AtFlags: u32 {
        /// Do not follow a symbolic link at the end.
        const AT_SYMLINK_NOFOLLOW = 0x100;
        /// `unlinkat`: remove a directory.
        const AT_REMOVEDIR = 0x200;
        /// `linkat`: follow a symbolic link at the end.
        const AT_SYMLINK_FOLLOW = 0x400;
        /// Do not trigger an automount.
        const AT_NO_AUTOMOUNT = 0x800;
        /// An empty path means the descriptor itself.
        const AT_EMPTY_PATH = 0x1000;
        /// `statx`: ask the server.
        const AT_STATX_FORCE_SYNC = 0x2000;
        /// `statx`: whatever is cached will do.
        const AT_STATX_DONT_SYNC = 0x4000;
        /// The whole tree under the path (`mount_setattr`, `open_tree`).
        const AT_RECURSIVE = 0x8000;
        /// `execveat`: only check whether it could be run.
        const AT_EXECVE_CHECK = 0x10000;
    }
}

impl AtFlags {
    /// `faccessat2`: check with the effective identity; shares its bit with `AT_REMOVEDIR`.
    pub const AT_EACCESS: Self = Self::AT_REMOVEDIR;
    /// `name_to_handle_at`: a handle for comparing only; shares its bit with `AT_REMOVEDIR`.
    pub const AT_HANDLE_FID: Self = Self::AT_REMOVEDIR;
    /// `statx`: as `stat` would.
    pub const AT_STATX_SYNC_AS_STAT: Self = Self::empty();
}

bitflags! {
    /// What `access(2)` asks for; no bit asks whether the file is there.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct AccessRequest: u32 {
        /// May it be run, or searched.
        const X_OK = 1;
        /// May it be written.
        const W_OK = 2;
        /// May it be read.
        const R_OK = 4;
    }
}

bitflags! {
    /// How a path is resolved: `openat2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ResolveFlags: u64 {
        /// Do not cross mount points.
        const RESOLVE_NO_XDEV = 0x01;
        /// Do not follow magic links.
        const RESOLVE_NO_MAGICLINKS = 0x02;
        /// Do not follow any symbolic link.
        const RESOLVE_NO_SYMLINKS = 0x04;
        /// Stay beneath the directory.
        const RESOLVE_BENEATH = 0x08;
        /// The directory is the root of the walk.
        const RESOLVE_IN_ROOT = 0x10;
        /// Only what is cached, else `EAGAIN`.
        const RESOLVE_CACHED = 0x20;
    }
}

abi_structs! {
    /// `struct open_how` of `openat2(2)`.
    pub struct OpenHow: 24 {
        /// [`OpenFlags`]; unknown bits are an error here.
        pub flags: u64,
        /// The mode of a new file.
        pub mode: u64,
        /// [`ResolveFlags`].
        pub resolve: u64,
    }
}

/// The size of the first version of [`OpenHow`], bytes.
pub const OPEN_HOW_SIZE_VER0: usize = 24;

bitflags! {
    /// Flags of `renameat2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct RenameFlags: u32 {
        /// Fail if the new name is taken.
        const RENAME_NOREPLACE = 1;
        /// Exchange the two.
        const RENAME_EXCHANGE = 2;
        /// Leave a whiteout behind.
        const RENAME_WHITEOUT = 4;
    }
}

bitflags! {
    /// Flags of `fallocate(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FallocateFlags: u32 {
        /// The size stays.
        const FALLOC_FL_KEEP_SIZE = 0x01;
        /// Give the range back.
        const FALLOC_FL_PUNCH_HOLE = 0x02;
        /// Cut the range out.
        const FALLOC_FL_COLLAPSE_RANGE = 0x08;
        /// Make the range zeros.
        const FALLOC_FL_ZERO_RANGE = 0x10;
        /// Push the rest back.
        const FALLOC_FL_INSERT_RANGE = 0x20;
        /// Make shared blocks the file's own.
        const FALLOC_FL_UNSHARE_RANGE = 0x40;
        /// Write zeros to the range.
        const FALLOC_FL_WRITE_ZEROES = 0x80;
    }
}

bitflags! {
    /// Flags of `memfd_create(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MemfdFlags: u32 {
        /// Close at `execve`.
        const MFD_CLOEXEC = 0x01;
        /// Seals may be added.
        const MFD_ALLOW_SEALING = 0x02;
        /// In huge pages.
        const MFD_HUGETLB = 0x04;
        /// Not executable, and sealed so.
        const MFD_NOEXEC_SEAL = 0x08;
        /// Executable.
        const MFD_EXEC = 0x10;
        /// The binary logarithm of the huge page size, six bits.
        const MFD_HUGE_MASK = 0x3f << 26;
    }
}

bitflags! {
    /// Flags of `setxattr(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct XattrFlags: u32 {
        /// Fail if it is there.
        const XATTR_CREATE = 1;
        /// Fail if it is not there.
        const XATTR_REPLACE = 2;
    }
}

abi_structs! {
    /// `struct xattr_args` of `setxattrat(2)` and `getxattrat(2)`.
    pub struct XattrArgs: 16 {
        /// Address of the value in the guest.
        pub value: u64,
        /// Bytes there.
        pub size: u32,
        /// [`XattrFlags`].
        pub flags: u32,
    }
}

bitflags! {
    /// Flags of `close_range(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct CloseRangeFlags: u32 {
        /// Give the caller a descriptor table of its own first.
        const CLOSE_RANGE_UNSHARE = 2;
        /// Set close-on-exec rather than close.
        const CLOSE_RANGE_CLOEXEC = 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_mode_decides_what_is_allowed() {
        assert!(OpenFlags::O_RDONLY.readable() && !OpenFlags::O_RDONLY.writable());
        assert!(!OpenFlags::O_WRONLY.readable() && OpenFlags::O_WRONLY.writable());
        assert!(OpenFlags::O_RDWR.readable() && OpenFlags::O_RDWR.writable());
        assert!(!OpenFlags::O_ACCMODE.readable() && !OpenFlags::O_ACCMODE.writable());
        assert!(!(OpenFlags::O_PATH | OpenFlags::O_RDWR).writable());
    }

    #[test]
    fn values_are_those_of_the_c_library() {
        let pairs = [
            (OpenFlags::O_CREAT, libc::O_CREAT),
            (OpenFlags::O_EXCL, libc::O_EXCL),
            (OpenFlags::O_NOCTTY, libc::O_NOCTTY),
            (OpenFlags::O_TRUNC, libc::O_TRUNC),
            (OpenFlags::O_APPEND, libc::O_APPEND),
            (OpenFlags::O_NONBLOCK, libc::O_NONBLOCK),
            (OpenFlags::O_TMPFILE, libc::O_TMPFILE),
            (OpenFlags::O_SYNC, libc::O_SYNC),
            (OpenFlags::O_DSYNC, libc::O_DSYNC),
            (OpenFlags::FASYNC, libc::O_ASYNC),
            (OpenFlags::O_DIRECT, libc::O_DIRECT),
            (OpenFlags::O_DIRECTORY, libc::O_DIRECTORY),
            (OpenFlags::O_NOFOLLOW, libc::O_NOFOLLOW),
            (OpenFlags::O_NOATIME, libc::O_NOATIME),
            (OpenFlags::O_CLOEXEC, libc::O_CLOEXEC),
            (OpenFlags::O_PATH, libc::O_PATH),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(ours.bits() as i32, theirs, "{ours:?}");
        }
    }
}
