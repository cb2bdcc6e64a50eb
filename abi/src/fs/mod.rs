//! Files: flags of the calls on them, and what is told about them.

mod dirent;
mod fcntl;
mod inotify;
mod mode;
mod mount;
mod open;
mod stat;
mod statfs;
mod uio;

pub use dirent::{
    DirentType, LINUX_DIRENT_HEADER_SIZE, LINUX_DIRENT64_HEADER_SIZE, LinuxDirent64Header, LinuxDirentHeader,
};
pub use fcntl::{
    DirectoryNotifyFlags, FD_CLOEXEC, FcntlCommand, FileOwner, FileOwnerType, Flock, FlockOperation,
    LeaseType, LockType, SealFlags,
};
pub use inotify::{FanotifyInitFlags, InotifyEvent, InotifyInitFlags, InotifyMask};
pub use mode::{AccessMode, DeviceNumber, FileMode, FileType, S_IFMT};
pub use mount::{
    FsConfigCommand, FsMountFlags, FsOpenFlags, FsPickFlags, MntIdReq, MountAttr, MountAttributes,
    MountFlags, MoveMountFlags, OpenTreeFlags, StatMount, StatMountMask, UmountFlags,
};
pub use open::{
    AT_FDCWD, AccessRequest, AtFlags, CloseRangeFlags, FallocateFlags, MemfdFlags, OPEN_HOW_SIZE_VER0,
    OpenFlags, OpenHow, RenameFlags, ResolveFlags, XattrArgs, XattrFlags,
};
pub use stat::{Stat, Statx, StatxAttributes, StatxMask, StatxTimestamp};
pub use statfs::{FsMagic, Statfs, StatfsFlags};
pub use uio::{Fadvice, Iovec, ReadWriteFlags, SyncFileRangeFlags, UIO_MAXIOV, Whence};

/// The longest name of one directory entry, bytes without the terminator (`limits.h`).
pub const NAME_MAX: usize = 255;
/// The longest path, bytes with the terminator (`limits.h`).
pub const PATH_MAX: usize = 4096;
/// Most symbolic links that one path walk follows (`path_resolution(7)`).
pub const MAXSYMLINKS: usize = 40;
/// The longest extended attribute name, bytes without the terminator (`xattr(7)`).
pub const XATTR_NAME_MAX: usize = 255;
/// The largest extended attribute value, bytes (`xattr(7)`).
pub const XATTR_SIZE_MAX: usize = 65536;
/// The largest list of extended attribute names, bytes (`xattr(7)`).
pub const XATTR_LIST_MAX: usize = 65536;
/// Most bytes that one `read` or `write` transfers (`write(2)`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;
/// The smallest write to a pipe that may be split, bytes (`pipe(7)`).
pub const PIPE_BUF: usize = 4096;
