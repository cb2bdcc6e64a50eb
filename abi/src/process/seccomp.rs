//! `seccomp(2)` and classic BPF.

use crate::macros::{abi_named_consts, abi_named_flags, abi_structs};

abi_named_consts! { "`seccomp(2)`", u32;
    SECCOMP_MODE_DISABLED = 0,
    SECCOMP_MODE_STRICT = 1,
    SECCOMP_MODE_FILTER = 2,
    SECCOMP_SET_MODE_STRICT = 0,
    SECCOMP_SET_MODE_FILTER = 1,
    SECCOMP_GET_ACTION_AVAIL = 2,
    SECCOMP_GET_NOTIF_SIZES = 3,
    SECCOMP_RET_KILL_PROCESS = 0x8000_0000,
    SECCOMP_RET_KILL_THREAD = 0,
    SECCOMP_RET_TRAP = 0x0003_0000,
    SECCOMP_RET_ERRNO = 0x0005_0000,
    SECCOMP_RET_USER_NOTIF = 0x7fc0_0000,
    SECCOMP_RET_TRACE = 0x7ff0_0000,
    SECCOMP_RET_LOG = 0x7ffc_0000,
    SECCOMP_RET_ALLOW = 0x7fff_0000,
    SECCOMP_RET_ACTION_FULL = 0xffff_0000,
    SECCOMP_RET_DATA = 0x0000_ffff,
}

abi_named_flags! {
    /// Flags of `SECCOMP_SET_MODE_FILTER`.
    pub struct SeccompFilterFlags: u64 {
        SECCOMP_FILTER_FLAG_TSYNC = 1 << 0,
        SECCOMP_FILTER_FLAG_LOG = 1 << 1,
        SECCOMP_FILTER_FLAG_SPEC_ALLOW = 1 << 2,
        SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3,
        SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 1 << 4,
        SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5,
    }
}

/// Most instructions of one filter.
pub const BPF_MAXINSNS: usize = 4096;

abi_structs! {
    /// `struct seccomp_data`: what a filter sees.
    pub struct SeccompData: 64 {
        /// The number of the call.
        pub nr: i32,
        /// `AUDIT_ARCH_*`.
        pub arch: u32,
        /// The instruction pointer.
        pub instruction_pointer: u64,
        /// The arguments.
        pub args: [u64; 6],
    }

    /// `struct sock_filter`: one instruction of classic BPF.
    pub struct SockFilter: 8 {
        /// The operation.
        pub code: u16,
        /// Skipped if true.
        pub jt: u8,
        /// Skipped if false.
        pub jf: u8,
        /// The operand.
        pub k: u32,
    }

    /// `struct sock_fprog`: a program.
    pub struct SockFprog: 16 {
        /// Instructions.
        pub len: u16,
        /// Padding.
        pub __pad0: [u16; 3],
        /// Where they are.
        pub filter: u64,
    }

    /// `struct seccomp_notif_sizes`.
    pub struct SeccompNotifSizes: 6 {
        /// Bytes of a notification.
        pub seccomp_notif: u16,
        /// Bytes of an answer.
        pub seccomp_notif_resp: u16,
        /// Bytes of [`SeccompData`].
        pub seccomp_data: u16,
    }
}
