//! Making processes and threads, and holding on to them: `clone(2)`, `pidfd_open(2)`, `kcmp(2)`.

use crate::macros::{abi_enum, abi_named_flags, abi_structs};

abi_named_flags! {
    /// Flags of `clone(2)`, `clone3(2)`, `unshare(2)` and `setns(2)`. `CLONE_NEWTIME` lies in the bits that `clone`
    /// has for the exit signal, so it is for the others alone.
    pub struct CloneFlags: u64 {
        CLONE_NEWTIME = 0x0000_0080,
        CLONE_VM = 0x0000_0100,
        CLONE_FS = 0x0000_0200,
        CLONE_FILES = 0x0000_0400,
        CLONE_SIGHAND = 0x0000_0800,
        CLONE_PIDFD = 0x0000_1000,
        CLONE_PTRACE = 0x0000_2000,
        CLONE_VFORK = 0x0000_4000,
        CLONE_PARENT = 0x0000_8000,
        CLONE_THREAD = 0x0001_0000,
        CLONE_NEWNS = 0x0002_0000,
        CLONE_SYSVSEM = 0x0004_0000,
        CLONE_SETTLS = 0x0008_0000,
        CLONE_PARENT_SETTID = 0x0010_0000,
        CLONE_CHILD_CLEARTID = 0x0020_0000,
        CLONE_DETACHED = 0x0040_0000,
        CLONE_UNTRACED = 0x0080_0000,
        CLONE_CHILD_SETTID = 0x0100_0000,
        CLONE_NEWCGROUP = 0x0200_0000,
        CLONE_NEWUTS = 0x0400_0000,
        CLONE_NEWIPC = 0x0800_0000,
        CLONE_NEWUSER = 0x1000_0000,
        CLONE_NEWPID = 0x2000_0000,
        CLONE_NEWNET = 0x4000_0000,
        CLONE_IO = 0x8000_0000,
        CLONE_CLEAR_SIGHAND = 0x1_0000_0000,
        CLONE_INTO_CGROUP = 0x2_0000_0000,
    }
}

/// The bits of `clone`'s flags that hold the exit signal.
pub const CSIGNAL: u64 = 0xff;

impl CloneFlags {
    /// All namespaces.
    pub const NAMESPACES: Self = Self::CLONE_NEWTIME
        .union(Self::CLONE_NEWNS)
        .union(Self::CLONE_NEWCGROUP)
        .union(Self::CLONE_NEWUTS)
        .union(Self::CLONE_NEWIPC)
        .union(Self::CLONE_NEWUSER)
        .union(Self::CLONE_NEWPID)
        .union(Self::CLONE_NEWNET);
}

abi_structs! {
    /// `struct clone_args`: `clone3(2)`.
    pub struct CloneArgs: 88 {
        /// [`CloneFlags`].
        pub flags: u64,
        /// Where the descriptor of the process goes.
        pub pidfd: u64,
        /// Where the child finds its thread ID.
        pub child_tid: u64,
        /// Where the parent finds it.
        pub parent_tid: u64,
        /// The signal to the parent when the child ends.
        pub exit_signal: u64,
        /// The lowest address of the child's stack.
        pub stack: u64,
        /// Bytes of it.
        pub stack_size: u64,
        /// The child's thread-local storage.
        pub tls: u64,
        /// An array of process IDs to take, from the innermost namespace outwards.
        pub set_tid: u64,
        /// Elements of it.
        pub set_tid_size: u64,
        /// The directory of a control group.
        pub cgroup: u64,
    }
}

/// Bytes of the first version of [`CloneArgs`]: up to `tls`.
pub const CLONE_ARGS_SIZE_VER0: usize = 64;
/// Bytes of the second version: up to `set_tid_size`.
pub const CLONE_ARGS_SIZE_VER1: usize = 80;
/// Bytes of the third version: up to `cgroup`.
pub const CLONE_ARGS_SIZE_VER2: usize = 88;

abi_named_flags! {
    /// Flags of `pidfd_open(2)`.
    pub struct PidfdFlags: u32 {
        PIDFD_NONBLOCK = 0o4000,
        PIDFD_THREAD = 0o200,
    }
}

abi_named_flags! {
    /// Flags of `pidfd_send_signal(2)`.
    pub struct PidfdSignalFlags: u32 {
        PIDFD_SIGNAL_THREAD = 1,
        PIDFD_SIGNAL_THREAD_GROUP = 2,
        PIDFD_SIGNAL_PROCESS_GROUP = 4,
    }
}

abi_enum! {
    /// What `kcmp(2)` compares.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum KcmpType: i32 {
        KCMP_FILE = 0,
        KCMP_VM = 1,
        KCMP_FILES = 2,
        KCMP_FS = 3,
        KCMP_SIGHAND = 4,
        KCMP_IO = 5,
        KCMP_SYSVSEM = 6,
        KCMP_EPOLL_TFD = 7,
    }
}

abi_structs! {
    /// What `KCMP_EPOLL_TFD` of `kcmp(2)` looks for.
    pub struct KcmpEpollSlot: 12 {
        /// The epoll instance.
        pub efd: u32,
        /// The number by which it watches a file.
        pub tfd: u32,
        /// Which of the files with this number.
        pub toff: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_the_c_library() {
        assert_eq!(CloneFlags::CLONE_IO.bits(), u64::from(libc::CLONE_IO.cast_unsigned()));
        assert_eq!(CloneFlags::CLONE_CHILD_SETTID.bits() as i32, libc::CLONE_CHILD_SETTID);
        assert_eq!(size_of::<CloneArgs>(), size_of::<libc::clone_args>());
        assert_eq!(std::mem::offset_of!(CloneArgs, set_tid), CLONE_ARGS_SIZE_VER0);
        assert_eq!(std::mem::offset_of!(CloneArgs, cgroup), CLONE_ARGS_SIZE_VER1);
    }
}
