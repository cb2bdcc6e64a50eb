//! `fcntl(2)`, `flock(2)` and file locks.

use bitflags::bitflags;

use crate::macros::{abi_enum, abi_structs};

abi_enum! {
    /// Commands of `fcntl(2)`.
    pub enum FcntlCommand: u32 {
        /// Duplicate to the lowest free number from the argument on.
        F_DUPFD = 0,
        /// Get the descriptor flags.
        F_GETFD = 1,
        /// Set the descriptor flags.
        F_SETFD = 2,
        /// Get the file status flags.
        F_GETFL = 3,
        /// Set the file status flags.
        F_SETFL = 4,
        /// Who holds a process lock.
        F_GETLK = 5,
        /// Take or drop a process lock.
        F_SETLK = 6,
        /// Take a process lock, waiting for it.
        F_SETLKW = 7,
        /// Who gets `SIGIO`: set.
        F_SETOWN = 8,
        /// Who gets `SIGIO`: get.
        F_GETOWN = 9,
        /// Which signal instead of `SIGIO`: set.
        F_SETSIG = 10,
        /// Which signal instead of `SIGIO`: get.
        F_GETSIG = 11,
        /// Who gets `SIGIO`, with its kind: set.
        F_SETOWN_EX = 15,
        /// Who gets `SIGIO`, with its kind: get.
        F_GETOWN_EX = 16,
        /// User IDs of the owner.
        F_GETOWNER_UIDS = 17,
        /// Who holds an open-file lock.
        F_OFD_GETLK = 36,
        /// Take or drop an open-file lock.
        F_OFD_SETLK = 37,
        /// Take an open-file lock, waiting for it.
        F_OFD_SETLKW = 38,
        /// Set a lease.
        F_SETLEASE = 1024,
        /// Get the lease.
        F_GETLEASE = 1025,
        /// Watch a directory.
        F_NOTIFY = 1026,
        /// Whether two descriptors are the same open file.
        F_DUPFD_QUERY = 1027,
        /// Whether the file was made by this open.
        F_CREATED_QUERY = 1028,
        /// Stop a pending asynchronous lock.
        F_CANCELLK = 1029,
        /// Duplicate with close-on-exec.
        F_DUPFD_CLOEXEC = 1030,
        /// Set the size of a pipe.
        F_SETPIPE_SZ = 1031,
        /// Get the size of a pipe.
        F_GETPIPE_SZ = 1032,
        /// Add seals.
        F_ADD_SEALS = 1033,
        /// Get the seals.
        F_GET_SEALS = 1034,
        /// Get the write lifetime hint of the inode.
        F_GET_RW_HINT = 1035,
        /// Set the write lifetime hint of the inode.
        F_SET_RW_HINT = 1036,
        /// Get the write lifetime hint of the file.
        F_GET_FILE_RW_HINT = 1037,
        /// Set the write lifetime hint of the file.
        F_SET_FILE_RW_HINT = 1038,
    }
}

/// The one descriptor flag: close at `execve`.
pub const FD_CLOEXEC: u32 = 1;

abi_enum! {
    /// What a record lock allows others.
    pub enum LockType: u16 {
        /// Others may read.
        F_RDLCK = 0,
        /// Others may do nothing.
        F_WRLCK = 1,
        /// No lock.
        F_UNLCK = 2,
    }
}

abi_enum! {
    /// What kind of lease: the numbers of [`LockType`], as the argument of `F_SETLEASE`.
    pub enum LeaseType: u64 {
        /// Told when it is opened for writing.
        F_RDLCK = 0,
        /// Told when it is opened at all.
        F_WRLCK = 1,
        /// No lease.
        F_UNLCK = 2,
    }
}

abi_structs! {
    /// `struct flock` of x86-64.
    pub struct Flock: 32 {
        /// [`LockType`].
        pub l_type: u16,
        /// [`super::Whence`], the first three.
        pub l_whence: u16,
        /// Padding.
        pub __pad0: u32,
        /// From where, bytes.
        pub l_start: i64,
        /// How much, bytes; zero to the end, negative before the start.
        pub l_len: i64,
        /// Who holds it.
        pub l_pid: i32,
        /// Padding.
        pub __pad1: u32,
    }

    /// `struct f_owner_ex`.
    pub struct FileOwner: 8 {
        /// [`FileOwnerType`].
        pub owner_type: i32,
        /// Thread, process or process group.
        pub pid: i32,
    }
}

abi_enum! {
    /// What `F_SETOWN_EX` names.
    pub enum FileOwnerType: i32 {
        /// A thread.
        F_OWNER_TID = 0,
        /// A process.
        F_OWNER_PID = 1,
        /// A process group.
        F_OWNER_PGRP = 2,
    }
}

bitflags! {
    /// Operations of `flock(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct FlockOperation: u32 {
        /// Shared.
        const LOCK_SH = 1;
        /// Exclusive.
        const LOCK_EX = 2;
        /// Do not wait.
        const LOCK_NB = 4;
        /// Unlock.
        const LOCK_UN = 8;
    }
}

bitflags! {
    /// Seals of a memory file: `fcntl(2)`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct SealFlags: u32 {
        /// No more seals.
        const F_SEAL_SEAL = 0x01;
        /// It cannot shrink.
        const F_SEAL_SHRINK = 0x02;
        /// It cannot grow.
        const F_SEAL_GROW = 0x04;
        /// It cannot be written.
        const F_SEAL_WRITE = 0x08;
        /// It cannot be written through new mappings or calls.
        const F_SEAL_FUTURE_WRITE = 0x10;
        /// Its execute bits cannot change.
        const F_SEAL_EXEC = 0x20;
    }
}

bitflags! {
    /// What `F_NOTIFY` watches.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct DirectoryNotifyFlags: u32 {
        /// A file was read.
        const DN_ACCESS = 0x01;
        /// A file was written.
        const DN_MODIFY = 0x02;
        /// A file was made.
        const DN_CREATE = 0x04;
        /// A file was unlinked.
        const DN_DELETE = 0x08;
        /// A file was renamed.
        const DN_RENAME = 0x10;
        /// Attributes were changed.
        const DN_ATTRIB = 0x20;
        /// Keep watching.
        const DN_MULTISHOT = 0x8000_0000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flock_is_laid_out_as_in_the_c_library() {
        assert_eq!(size_of::<Flock>(), size_of::<libc::flock>());
        assert_eq!(std::mem::offset_of!(Flock, l_start), std::mem::offset_of!(libc::flock, l_start));
        assert_eq!(std::mem::offset_of!(Flock, l_pid), std::mem::offset_of!(libc::flock, l_pid));
    }

    #[test]
    fn commands_are_those_of_the_c_library() {
        assert_eq!(FcntlCommand::try_from(libc::F_DUPFD_CLOEXEC as u32), Ok(FcntlCommand::F_DUPFD_CLOEXEC));
        assert_eq!(FcntlCommand::try_from(libc::F_OFD_SETLKW as u32), Ok(FcntlCommand::F_OFD_SETLKW));
        assert_eq!(FcntlCommand::try_from(libc::F_ADD_SEALS as u32), Ok(FcntlCommand::F_ADD_SEALS));
        assert_eq!(FcntlCommand::try_from(12), Err(crate::Errno::EINVAL));
        assert_eq!(FcntlCommand::F_SETLKW.name(), "F_SETLKW");
    }
}
