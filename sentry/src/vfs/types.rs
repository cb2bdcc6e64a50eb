//! Small values that all parts of the file system code share.

use bartizan_abi::{DeviceNumber, FileMode, FileType, Timespec};

/// A name or path as Linux has it: bytes without a NUL.
pub type FsStr = [u8];

/// An owned [`FsStr`].
pub type FsString = Vec<u8>;

/// The longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// The longest path, in bytes, with its NUL.
pub const PATH_MAX: usize = 4096;

/// What `stat(2)` tells of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The type of file.
    pub kind: FileType,
    /// Permission bits with set-id and sticky bits; no type.
    pub mode: FileMode,
    /// Owner (in the initial user namespace).
    pub uid: u32,
    /// Group (in the initial user namespace).
    pub gid: u32,
    /// Number of hard links.
    pub links: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space in units of 512 bytes.
    pub blocks: u64,
    /// Preferred size of I/O in bytes.
    pub block_size: u32,
    /// The device that this node stands for, if it is one.
    pub device: DeviceNumber,
    /// Last access.
    pub accessed: Timespec,
    /// Last change of the contents.
    pub modified: Timespec,
    /// Last change of the attributes.
    pub changed: Timespec,
    /// Creation, where it is known.
    pub created: Option<Timespec>,
}

impl Attributes {
    /// Attributes of an empty file of `kind` with permission bits `mode`, one link, owned by root, with all times at the epoch.
    pub fn new(kind: FileType, mode: FileMode) -> Self {
        let epoch = Timespec::default();
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            blocks: 0,
            block_size: 4096,
            device: DeviceNumber::default(),
            accessed: epoch,
            modified: epoch,
            changed: epoch,
            created: None,
        }
    }
}

/// What `chmod`, `chown`, `truncate` and `utimensat` change. Fields that are `None` stay as they are.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttributeChanges {
    /// New permission bits.
    pub mode: Option<FileMode>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New size in bytes.
    pub size: Option<u64>,
    /// New access time.
    pub accessed: Option<Timespec>,
    /// New modification time.
    pub modified: Option<Timespec>,
    /// The time of this change, for `ctime`.
    pub changed: Timespec,
}

/// What a new inode is like.
#[derive(Debug, Clone, Copy)]
pub struct NewNode {
    /// Regular file, FIFO, socket or device.
    pub kind: FileType,
    /// Permission bits; umask and set-gid inheritance are already applied.
    pub mode: FileMode,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node.
    pub device: DeviceNumber,
    /// The time of creation.
    pub now: Timespec,
}

/// What `statfs(2)` tells of a file system, in units of `block_size`.
#[derive(Debug, Clone, Copy, Default)]
pub struct FilesystemStatistics {
    /// Magic number (`<linux/magic.h>`).
    pub magic: u64,
    /// Bytes in a block.
    pub block_size: u64,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
}
