//! Mounting: `mount(2)`, `umount2(2)`, `fsopen(2)`, `mount_setattr(2)` and their kin.

use bitflags::bitflags;

use crate::macros::{abi_enum, abi_structs};

bitflags! {
    /// Flags of `mount(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MountFlags: u64 {
        /// Read-only.
        const MS_RDONLY = 1;
        /// Ignore set-user-ID and set-group-ID bits.
        const MS_NOSUID = 2;
        /// Devices cannot be opened.
        const MS_NODEV = 4;
        /// Nothing can be run.
        const MS_NOEXEC = 8;
        /// Writes are synchronous.
        const MS_SYNCHRONOUS = 16;
        /// Change the flags of a mount.
        const MS_REMOUNT = 32;
        /// Mandatory locks.
        const MS_MANDLOCK = 64;
        /// Directory changes are synchronous.
        const MS_DIRSYNC = 128;
        /// Do not follow symbolic links.
        const MS_NOSYMFOLLOW = 256;
        /// No access times.
        const MS_NOATIME = 1024;
        /// No access times of directories.
        const MS_NODIRATIME = 2048;
        /// Make a tree visible at another place.
        const MS_BIND = 4096;
        /// Move a mount.
        const MS_MOVE = 8192;
        /// Recursively.
        const MS_REC = 16384;
        /// Fewer messages.
        const MS_SILENT = 32768;
        /// POSIX access lists.
        const MS_POSIXACL = 1 << 16;
        /// Cannot be bound.
        const MS_UNBINDABLE = 1 << 17;
        /// Neither sends nor receives mounts.
        const MS_PRIVATE = 1 << 18;
        /// Receives mounts.
        const MS_SLAVE = 1 << 19;
        /// Sends and receives mounts.
        const MS_SHARED = 1 << 20;
        /// Access times relative to changes.
        const MS_RELATIME = 1 << 21;
        /// Inode versions.
        const MS_I_VERSION = 1 << 23;
        /// Access times always.
        const MS_STRICTATIME = 1 << 24;
        /// Times written lazily.
        const MS_LAZYTIME = 1 << 25;
    }
}

impl MountFlags {
    /// The four propagation types.
    pub const PROPAGATION: Self =
        Self::MS_UNBINDABLE.union(Self::MS_PRIVATE).union(Self::MS_SLAVE).union(Self::MS_SHARED);
    /// What old programs set in the upper half; dropped when seen.
    pub const MS_MGC_VAL: u64 = 0xc0ed_0000;
    /// Where `MS_MGC_VAL` is looked for.
    pub const MS_MGC_MSK: u64 = 0xffff_0000;
}

bitflags! {
    /// Flags of `umount2(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct UmountFlags: u32 {
        /// Even if busy, at the risk of data.
        const MNT_FORCE = 1;
        /// Out of the tree now, gone when no longer used.
        const MNT_DETACH = 2;
        /// Only if unused since the last try.
        const MNT_EXPIRE = 4;
        /// Do not follow a symbolic link.
        const UMOUNT_NOFOLLOW = 8;
    }
}

bitflags! {
    /// Flags of `fsopen(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FsOpenFlags: u32 {
        /// Close at `execve`.
        const FSOPEN_CLOEXEC = 1;
    }
}

bitflags! {
    /// Flags of `fsmount(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FsMountFlags: u32 {
        /// Close at `execve`.
        const FSMOUNT_CLOEXEC = 1;
    }
}

bitflags! {
    /// Flags of `fspick(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FsPickFlags: u32 {
        /// Close at `execve`.
        const FSPICK_CLOEXEC = 1;
        /// Do not follow a symbolic link.
        const FSPICK_SYMLINK_NOFOLLOW = 2;
        /// Do not trigger an automount.
        const FSPICK_NO_AUTOMOUNT = 4;
        /// An empty path means the descriptor itself.
        const FSPICK_EMPTY_PATH = 8;
    }
}

bitflags! {
    /// Flags of `open_tree(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct OpenTreeFlags: u32 {
        /// A detached copy of the tree.
        const OPEN_TREE_CLONE = 1;
        /// Do not follow a symbolic link at the end.
        const AT_SYMLINK_NOFOLLOW = 0x100;
        /// Do not trigger an automount.
        const AT_NO_AUTOMOUNT = 0x800;
        /// An empty path means the descriptor itself.
        const AT_EMPTY_PATH = 0x1000;
        /// With the mounts below.
        const AT_RECURSIVE = 0x8000;
        /// Close at `execve`.
        const OPEN_TREE_CLOEXEC = 0o2_000_000;
    }
}

bitflags! {
    /// Flags of `move_mount(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MoveMountFlags: u32 {
        /// Follow symbolic links of the source.
        const MOVE_MOUNT_F_SYMLINKS = 0x01;
        /// Trigger automounts of the source.
        const MOVE_MOUNT_F_AUTOMOUNTS = 0x02;
        /// The source is the descriptor itself.
        const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
        /// Follow symbolic links of the target.
        const MOVE_MOUNT_T_SYMLINKS = 0x10;
        /// Trigger automounts of the target.
        const MOVE_MOUNT_T_AUTOMOUNTS = 0x20;
        /// The target is the descriptor itself.
        const MOVE_MOUNT_T_EMPTY_PATH = 0x40;
        /// Join the peer group of the target.
        const MOVE_MOUNT_SET_GROUP = 0x100;
        /// Beneath the mount at the target.
        const MOVE_MOUNT_BENEATH = 0x200;
    }
}

abi_enum! {
    /// Commands of `fsconfig(2)`.
    pub enum FsConfigCommand: u32 {
        /// A parameter without a value.
        FSCONFIG_SET_FLAG = 0,
        /// A string.
        FSCONFIG_SET_STRING = 1,
        /// Bytes.
        FSCONFIG_SET_BINARY = 2,
        /// A path.
        FSCONFIG_SET_PATH = 3,
        /// A path that may be empty.
        FSCONFIG_SET_PATH_EMPTY = 4,
        /// A descriptor.
        FSCONFIG_SET_FD = 5,
        /// Make or take the file system.
        FSCONFIG_CMD_CREATE = 6,
        /// Change it.
        FSCONFIG_CMD_RECONFIGURE = 7,
        /// Make it, and fail if it is there.
        FSCONFIG_CMD_CREATE_EXCL = 8,
    }
}

bitflags! {
    /// Attributes of a mount: `fsmount(2)`, `mount_setattr(2)`. The access time is a field of three bits.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct MountAttributes: u64 {
        /// Read-only.
        const MOUNT_ATTR_RDONLY = 0x01;
        /// Ignore set-user-ID and set-group-ID bits.
        const MOUNT_ATTR_NOSUID = 0x02;
        /// Devices cannot be opened.
        const MOUNT_ATTR_NODEV = 0x04;
        /// Nothing can be run.
        const MOUNT_ATTR_NOEXEC = 0x08;
        /// The access time field.
        const MOUNT_ATTR__ATIME = 0x70;
        /// No access times.
        const MOUNT_ATTR_NOATIME = 0x10;
        /// Access times always.
        const MOUNT_ATTR_STRICTATIME = 0x20;
        /// No access times of directories.
        const MOUNT_ATTR_NODIRATIME = 0x80;
        /// Identities are mapped.
        const MOUNT_ATTR_IDMAP = 0x10_0000;
        /// Do not follow symbolic links.
        const MOUNT_ATTR_NOSYMFOLLOW = 0x20_0000;
    }
}

abi_structs! {
    /// `struct mount_attr` of `mount_setattr(2)`.
    pub struct MountAttr: 32 {
        /// [`MountAttributes`] to set.
        pub attr_set: u64,
        /// [`MountAttributes`] to clear.
        pub attr_clr: u64,
        /// One propagation flag of [`MountFlags`].
        pub propagation: u64,
        /// The user namespace of `MOUNT_ATTR_IDMAP`.
        pub userns_fd: u64,
    }
}
