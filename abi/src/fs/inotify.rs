//! `inotify(7)` and `fanotify(7)`.

use bitflags::bitflags;

use crate::macros::abi_structs;

abi_structs! {
    /// What precedes the name in `struct inotify_event`.
    pub struct InotifyEvent: 16 {
        /// The watch.
        pub wd: i32,
        /// [`InotifyMask`].
        pub mask: u32,
        /// Ties the two events of a rename together.
        pub cookie: u32,
        /// Bytes of the name that follows, padded with zeros.
        pub len: u32,
    }
}

bitflags! {
    /// Events of `inotify(7)`, and how a watch is added.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct InotifyMask: u32 {
        /// Read.
        const IN_ACCESS = 0x0000_0001;
        /// Written.
        const IN_MODIFY = 0x0000_0002;
        /// Attributes changed.
        const IN_ATTRIB = 0x0000_0004;
        /// Closed after writing.
        const IN_CLOSE_WRITE = 0x0000_0008;
        /// Closed without writing.
        const IN_CLOSE_NOWRITE = 0x0000_0010;
        /// Opened.
        const IN_OPEN = 0x0000_0020;
        /// Renamed away from the directory.
        const IN_MOVED_FROM = 0x0000_0040;
        /// Renamed into the directory.
        const IN_MOVED_TO = 0x0000_0080;
        /// Made in the directory.
        const IN_CREATE = 0x0000_0100;
        /// Removed from the directory.
        const IN_DELETE = 0x0000_0200;
        /// The watched file itself was removed.
        const IN_DELETE_SELF = 0x0000_0400;
        /// The watched file itself was renamed.
        const IN_MOVE_SELF = 0x0000_0800;
        /// The file system was unmounted.
        const IN_UNMOUNT = 0x0000_2000;
        /// The queue was full.
        const IN_Q_OVERFLOW = 0x0000_4000;
        /// The watch is gone.
        const IN_IGNORED = 0x0000_8000;
        /// Only directories.
        const IN_ONLYDIR = 0x0100_0000;
        /// Do not follow a symbolic link.
        const IN_DONT_FOLLOW = 0x0200_0000;
        /// No events of unlinked children.
        const IN_EXCL_UNLINK = 0x0400_0000;
        /// Fail if there is a watch.
        const IN_MASK_CREATE = 0x1000_0000;
        /// Add to the watch's mask.
        const IN_MASK_ADD = 0x2000_0000;
        /// It happened to a directory.
        const IN_ISDIR = 0x4000_0000;
        /// One event only.
        const IN_ONESHOT = 0x8000_0000;
    }
}

impl InotifyMask {
    /// All events that can be asked for.
    pub const IN_ALL_EVENTS: Self = Self::from_bits_truncate(0xfff);
}

bitflags! {
    /// Flags of `inotify_init1(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct InotifyInitFlags: u32 {
        /// As `O_CLOEXEC`.
        const IN_CLOEXEC = 0o2_000_000;
        /// As `O_NONBLOCK`.
        const IN_NONBLOCK = 0o4000;
    }
}

bitflags! {
    /// Flags of `fanotify_init(2)` that do not depend on a class.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FanotifyInitFlags: u32 {
        /// Close at `execve`.
        const FAN_CLOEXEC = 1;
        /// Do not block.
        const FAN_NONBLOCK = 2;
        /// Content class.
        const FAN_CLASS_CONTENT = 4;
        /// Pre-content class.
        const FAN_CLASS_PRE_CONTENT = 8;
        /// No limit on the queue.
        const FAN_UNLIMITED_QUEUE = 0x10;
        /// No limit on marks.
        const FAN_UNLIMITED_MARKS = 0x20;
        /// Report threads.
        const FAN_REPORT_TID = 0x100;
        /// Report file handles.
        const FAN_REPORT_FID = 0x200;
    }
}
