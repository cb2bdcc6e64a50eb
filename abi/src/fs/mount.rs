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

abi_structs! {
    /// `struct mnt_id_req` of `statmount(2)` and `listmount(2)`.
    pub struct MntIdReq: 32 {
        /// The size of what the caller knows.
        pub size: u32,
        /// A descriptor of a mount namespace, or zero.
        pub mnt_ns_fd: u32,
        /// The unique number of a mount.
        pub mnt_id: u64,
        /// What is wanted, or behind which mount a list goes on.
        pub param: u64,
        /// The number of a mount namespace, or zero.
        pub mnt_ns_id: u64,
    }

    /// `struct statmount` of `statmount(2)`. Strings follow; their fields say where they start there.
    pub struct StatMount: 512 {
        /// The size with all strings.
        pub size: u32,
        /// Options of the file system.
        pub mnt_opts: u32,
        /// [`StatMountMask`]: what is there.
        pub mask: u64,
        /// Major number of the device.
        pub sb_dev_major: u32,
        /// Minor number of the device.
        pub sb_dev_minor: u32,
        /// The magic number of the file system.
        pub sb_magic: u64,
        /// `SB_*` flags.
        pub sb_flags: u32,
        /// The type of the file system.
        pub fs_type: u32,
        /// The unique number.
        pub mnt_id: u64,
        /// The unique number of the mount that it is on.
        pub mnt_parent_id: u64,
        /// The number that `mountinfo` shows.
        pub mnt_id_old: u32,
        /// That of the mount that it is on.
        pub mnt_parent_id_old: u32,
        /// [`MountAttributes`].
        pub mnt_attr: u64,
        /// One or two propagation flags of [`MountFlags`].
        pub mnt_propagation: u64,
        /// The group of its peers.
        pub mnt_peer_group: u64,
        /// The group from which it receives mounts.
        pub mnt_master: u64,
        /// The nearest group above that can be seen.
        pub propagate_from: u64,
        /// What it shows of the file system.
        pub mnt_root: u32,
        /// Where it is.
        pub mnt_point: u32,
        /// The number of its namespace.
        pub mnt_ns_id: u64,
        /// The subtype of the file system.
        pub fs_subtype: u32,
        /// What it was mounted from.
        pub sb_source: u32,
        /// How many options there are.
        pub opt_num: u32,
        /// The options, each with a terminator.
        pub opt_array: u32,
        /// How many options of security modules there are.
        pub opt_sec_num: u32,
        /// These.
        pub opt_sec_array: u32,
        /// [`StatMountMask`]: what the kernel knows.
        pub supported_mask: u64,
        /// How many ranges of user ids are mapped.
        pub mnt_uidmap_num: u32,
        /// These.
        pub mnt_uidmap: u32,
        /// How many ranges of group ids are mapped.
        pub mnt_gidmap_num: u32,
        /// These.
        pub mnt_gidmap: u32,
        /// Zero.
        pub __spare2: [u64; 43],
    }
}

bitflags! {
    /// What `statmount(2)` tells.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct StatMountMask: u64 {
        /// Device, magic number and flags of the file system.
        const STATMOUNT_SB_BASIC = 0x1;
        /// Numbers, attributes and propagation.
        const STATMOUNT_MNT_BASIC = 0x2;
        /// `propagate_from`.
        const STATMOUNT_PROPAGATE_FROM = 0x4;
        /// `mnt_root`.
        const STATMOUNT_MNT_ROOT = 0x8;
        /// `mnt_point`.
        const STATMOUNT_MNT_POINT = 0x10;
        /// `fs_type`.
        const STATMOUNT_FS_TYPE = 0x20;
        /// `mnt_ns_id`.
        const STATMOUNT_MNT_NS_ID = 0x40;
        /// `mnt_opts`.
        const STATMOUNT_MNT_OPTS = 0x80;
        /// `fs_subtype`.
        const STATMOUNT_FS_SUBTYPE = 0x100;
        /// `sb_source`.
        const STATMOUNT_SB_SOURCE = 0x200;
        /// `opt_array`.
        const STATMOUNT_OPT_ARRAY = 0x400;
        /// `opt_sec_array`.
        const STATMOUNT_OPT_SEC_ARRAY = 0x800;
        /// `supported_mask`.
        const STATMOUNT_SUPPORTED_MASK = 0x1000;
        /// `mnt_uidmap`.
        const STATMOUNT_MNT_UIDMAP = 0x2000;
        /// `mnt_gidmap`.
        const STATMOUNT_MNT_GIDMAP = 0x4000;
    }
}
