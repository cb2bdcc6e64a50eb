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
/// Words of the scratch memory of a filter.
pub const BPF_MEMWORDS: usize = 16;
/// Most instructions of all filters of a task, each counted with four more.
pub const MAX_INSNS_PER_PATH: usize = 32_768;

abi_named_consts! { "`code` of a [`SockFilter`]", u16;
    BPF_LD = 0x00,
    BPF_LDX = 0x01,
    BPF_ST = 0x02,
    BPF_STX = 0x03,
    BPF_ALU = 0x04,
    BPF_JMP = 0x05,
    BPF_RET = 0x06,
    BPF_MISC = 0x07,
    BPF_W = 0x00,
    BPF_IMM = 0x00,
    BPF_ABS = 0x20,
    BPF_MEM = 0x60,
    BPF_LEN = 0x80,
    BPF_ADD = 0x00,
    BPF_SUB = 0x10,
    BPF_MUL = 0x20,
    BPF_DIV = 0x30,
    BPF_OR = 0x40,
    BPF_AND = 0x50,
    BPF_LSH = 0x60,
    BPF_RSH = 0x70,
    BPF_NEG = 0x80,
    BPF_XOR = 0xa0,
    BPF_JA = 0x00,
    BPF_JEQ = 0x10,
    BPF_JGT = 0x20,
    BPF_JGE = 0x30,
    BPF_JSET = 0x40,
    BPF_K = 0x00,
    BPF_X = 0x08,
    BPF_A = 0x10,
    BPF_TAX = 0x00,
    BPF_TXA = 0x80,
}

abi_named_consts! { "`ioctl(2)` of the descriptor of user notifications", u32;
    SECCOMP_IOCTL_NOTIF_RECV = 0xc050_2100,
    SECCOMP_IOCTL_NOTIF_SEND = 0xc018_2101,
    SECCOMP_IOCTL_NOTIF_ID_VALID = 0x4008_2102,
    SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR = 0x8008_2102,
    SECCOMP_IOCTL_NOTIF_ADDFD = 0x4018_2103,
    SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x4008_2104,
}

/// The call is made after all (`seccomp_notif_resp.flags`).
pub const SECCOMP_USER_NOTIF_FLAG_CONTINUE: u32 = 1;
/// The descriptor gets this number (`seccomp_notif_addfd.flags`).
pub const SECCOMP_ADDFD_FLAG_SETFD: u32 = 1;
/// The number of the descriptor is the answer.
pub const SECCOMP_ADDFD_FLAG_SEND: u32 = 2;
/// Answers are handed over on the same processor (`SECCOMP_IOCTL_NOTIF_SET_FLAGS`).
pub const SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP: u64 = 1;

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

    /// `struct seccomp_notif`: a call that waits for an answer.
    pub struct SeccompNotif: 80 {
        /// By which it is answered.
        pub id: u64,
        /// The task.
        pub pid: u32,
        /// Unused.
        pub flags: u32,
        /// The call.
        pub data: SeccompData,
    }

    /// `struct seccomp_notif_resp`: the answer.
    pub struct SeccompNotifResp: 24 {
        /// To which call.
        pub id: u64,
        /// The result.
        pub val: i64,
        /// The error, negative; zero for none.
        pub error: i32,
        /// [`SECCOMP_USER_NOTIF_FLAG_CONTINUE`].
        pub flags: u32,
    }

    /// `struct seccomp_notif_addfd`: a descriptor for a task that waits.
    pub struct SeccompNotifAddfd: 24 {
        /// Whose call.
        pub id: u64,
        /// `SECCOMP_ADDFD_FLAG_*`.
        pub flags: u32,
        /// The descriptor here.
        pub srcfd: u32,
        /// Its number there.
        pub newfd: u32,
        /// `O_CLOEXEC`.
        pub newfd_flags: u32,
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
