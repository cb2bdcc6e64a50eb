//! `prctl(2)` and the secure bits of `capabilities(7)`.

use crate::macros::{abi_named_consts, abi_named_flags, abi_open_enum, abi_structs};

abi_open_enum! {
    /// Operations of `prctl(2)`.
    pub struct PrctlOption: i32 {
        PR_SET_PDEATHSIG = 1,
        PR_GET_PDEATHSIG = 2,
        PR_GET_DUMPABLE = 3,
        PR_SET_DUMPABLE = 4,
        PR_GET_UNALIGN = 5,
        PR_SET_UNALIGN = 6,
        PR_GET_KEEPCAPS = 7,
        PR_SET_KEEPCAPS = 8,
        PR_GET_FPEMU = 9,
        PR_SET_FPEMU = 10,
        PR_GET_FPEXC = 11,
        PR_SET_FPEXC = 12,
        PR_GET_TIMING = 13,
        PR_SET_TIMING = 14,
        PR_SET_NAME = 15,
        PR_GET_NAME = 16,
        PR_GET_ENDIAN = 19,
        PR_SET_ENDIAN = 20,
        PR_GET_SECCOMP = 21,
        PR_SET_SECCOMP = 22,
        PR_CAPBSET_READ = 23,
        PR_CAPBSET_DROP = 24,
        PR_GET_TSC = 25,
        PR_SET_TSC = 26,
        PR_GET_SECUREBITS = 27,
        PR_SET_SECUREBITS = 28,
        PR_SET_TIMERSLACK = 29,
        PR_GET_TIMERSLACK = 30,
        PR_TASK_PERF_EVENTS_DISABLE = 31,
        PR_TASK_PERF_EVENTS_ENABLE = 32,
        PR_MCE_KILL = 33,
        PR_MCE_KILL_GET = 34,
        PR_SET_MM = 35,
        PR_SET_CHILD_SUBREAPER = 36,
        PR_GET_CHILD_SUBREAPER = 37,
        PR_SET_NO_NEW_PRIVS = 38,
        PR_GET_NO_NEW_PRIVS = 39,
        PR_GET_TID_ADDRESS = 40,
        PR_SET_THP_DISABLE = 41,
        PR_GET_THP_DISABLE = 42,
        PR_CAP_AMBIENT = 47,
        PR_GET_SPECULATION_CTRL = 52,
        PR_SET_SPECULATION_CTRL = 53,
        PR_SET_IO_FLUSHER = 57,
        PR_GET_IO_FLUSHER = 58,
        PR_SET_SYSCALL_USER_DISPATCH = 59,
        PR_SCHED_CORE = 62,
        PR_SET_MDWE = 65,
        PR_GET_MDWE = 66,
        PR_SET_MEMORY_MERGE = 67,
        PR_GET_MEMORY_MERGE = 68,
        PR_TIMER_CREATE_RESTORE_IDS = 77,
        PR_FUTEX_HASH = 78,
        PR_SET_VMA = 0x5356_4d41,
        PR_SET_PTRACER = 0x5961_6d61,
    }
}

abi_named_consts! { "`prctl(2)`", u64;
    PR_CAP_AMBIENT_IS_SET = 1,
    PR_CAP_AMBIENT_RAISE = 2,
    PR_CAP_AMBIENT_LOWER = 3,
    PR_CAP_AMBIENT_CLEAR_ALL = 4,
    PR_SET_VMA_ANON_NAME = 0,
    PR_SET_PTRACER_ANY = u64::MAX,
    PR_TSC_ENABLE = 1,
    PR_TSC_SIGSEGV = 2,
    PR_MCE_KILL_DEFAULT = 2,
    PR_SET_MM_START_CODE = 1,
    PR_SET_MM_END_CODE = 2,
    PR_SET_MM_START_DATA = 3,
    PR_SET_MM_END_DATA = 4,
    PR_SET_MM_START_STACK = 5,
    PR_SET_MM_START_BRK = 6,
    PR_SET_MM_BRK = 7,
    PR_SET_MM_ARG_START = 8,
    PR_SET_MM_ARG_END = 9,
    PR_SET_MM_ENV_START = 10,
    PR_SET_MM_ENV_END = 11,
    PR_SET_MM_AUXV = 12,
    PR_SET_MM_EXE_FILE = 13,
    PR_SET_MM_MAP = 14,
    PR_SET_MM_MAP_SIZE = 15,
}

abi_structs! {
    /// What `PR_SET_MM_MAP` sets: addresses of the parts of a process.
    #[expect(missing_docs, reason = "the names are those of PR_SET_MM_MAP(2const)")]
    pub struct PrctlMmMap: 104 {
        pub start_code: u64,
        pub end_code: u64,
        pub start_data: u64,
        pub end_data: u64,
        pub start_brk: u64,
        pub brk: u64,
        pub start_stack: u64,
        pub arg_start: u64,
        pub arg_end: u64,
        pub env_start: u64,
        pub env_end: u64,
        /// The address of the auxiliary vector.
        pub auxv: u64,
        /// Bytes of it; 0 to leave it as it is.
        pub auxv_size: u32,
        /// A descriptor of the program; `u32::MAX` to leave it as it is.
        pub exe_fd: u32,
    }
}

abi_named_consts! { "values of `PR_SET_DUMPABLE`", u32;
    SUID_DUMP_DISABLE = 0,
    SUID_DUMP_USER = 1,
    SUID_DUMP_ROOT = 2,
}

/// The length of a task's name, bytes with the terminator.
pub const TASK_COMM_LEN: usize = 16;

abi_named_flags! {
    /// The secure bits: `capabilities(7)`.
    pub struct Securebits: u32 {
        SECBIT_NOROOT = 1 << 0,
        SECBIT_NOROOT_LOCKED = 1 << 1,
        SECBIT_NO_SETUID_FIXUP = 1 << 2,
        SECBIT_NO_SETUID_FIXUP_LOCKED = 1 << 3,
        SECBIT_KEEP_CAPS = 1 << 4,
        SECBIT_KEEP_CAPS_LOCKED = 1 << 5,
        SECBIT_NO_CAP_AMBIENT_RAISE = 1 << 6,
        SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7,
        SECBIT_EXEC_RESTRICT_FILE = 1 << 8,
        SECBIT_EXEC_RESTRICT_FILE_LOCKED = 1 << 9,
        SECBIT_EXEC_DENY_INTERACTIVE = 1 << 10,
        SECBIT_EXEC_DENY_INTERACTIVE_LOCKED = 1 << 11,
    }
}
