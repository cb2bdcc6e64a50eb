//! `ptrace(2)`.

use crate::macros::{abi_named_consts, abi_named_flags, abi_open_enum, abi_structs};

abi_open_enum! {
    /// Requests of `ptrace(2)`.
    pub struct PtraceRequest: u64 {
        PTRACE_TRACEME = 0,
        PTRACE_PEEKTEXT = 1,
        PTRACE_PEEKDATA = 2,
        PTRACE_PEEKUSER = 3,
        PTRACE_POKETEXT = 4,
        PTRACE_POKEDATA = 5,
        PTRACE_POKEUSER = 6,
        PTRACE_CONT = 7,
        PTRACE_KILL = 8,
        PTRACE_SINGLESTEP = 9,
        PTRACE_GETREGS = 12,
        PTRACE_SETREGS = 13,
        PTRACE_GETFPREGS = 14,
        PTRACE_SETFPREGS = 15,
        PTRACE_ATTACH = 16,
        PTRACE_DETACH = 17,
        PTRACE_SYSCALL = 24,
        PTRACE_GET_THREAD_AREA = 25,
        PTRACE_SET_THREAD_AREA = 26,
        PTRACE_ARCH_PRCTL = 30,
        PTRACE_SYSEMU = 31,
        PTRACE_SYSEMU_SINGLESTEP = 32,
        PTRACE_SETOPTIONS = 0x4200,
        PTRACE_GETEVENTMSG = 0x4201,
        PTRACE_GETSIGINFO = 0x4202,
        PTRACE_SETSIGINFO = 0x4203,
        PTRACE_GETREGSET = 0x4204,
        PTRACE_SETREGSET = 0x4205,
        PTRACE_SEIZE = 0x4206,
        PTRACE_INTERRUPT = 0x4207,
        PTRACE_LISTEN = 0x4208,
        PTRACE_PEEKSIGINFO = 0x4209,
        PTRACE_GETSIGMASK = 0x420a,
        PTRACE_SETSIGMASK = 0x420b,
        PTRACE_SECCOMP_GET_FILTER = 0x420c,
        PTRACE_SECCOMP_GET_METADATA = 0x420d,
        PTRACE_GET_SYSCALL_INFO = 0x420e,
        PTRACE_GET_RSEQ_CONFIGURATION = 0x420f,
        PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG = 0x4210,
        PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG = 0x4211,
        PTRACE_SET_SYSCALL_INFO = 0x4212,
    }
}

abi_named_flags! {
    /// Options of `PTRACE_SETOPTIONS`.
    pub struct PtraceOptions: u64 {
        PTRACE_O_TRACESYSGOOD = 1 << 0,
        PTRACE_O_TRACEFORK = 1 << 1,
        PTRACE_O_TRACEVFORK = 1 << 2,
        PTRACE_O_TRACECLONE = 1 << 3,
        PTRACE_O_TRACEEXEC = 1 << 4,
        PTRACE_O_TRACEVFORKDONE = 1 << 5,
        PTRACE_O_TRACEEXIT = 1 << 6,
        PTRACE_O_TRACESECCOMP = 1 << 7,
        PTRACE_O_EXITKILL = 1 << 20,
        PTRACE_O_SUSPEND_SECCOMP = 1 << 21,
    }
}

abi_named_consts! { "events of `ptrace(2)`", u8;
    PTRACE_EVENT_FORK = 1,
    PTRACE_EVENT_VFORK = 2,
    PTRACE_EVENT_CLONE = 3,
    PTRACE_EVENT_EXEC = 4,
    PTRACE_EVENT_VFORK_DONE = 5,
    PTRACE_EVENT_EXIT = 6,
    PTRACE_EVENT_SECCOMP = 7,
    PTRACE_EVENT_STOP = 128,
}

/// `PTRACE_PEEKSIGINFO_SHARED`: the queue of the process.
pub const PTRACE_PEEKSIGINFO_SHARED: u32 = 1;

/// Bytes of `struct user` of x86-64, as the kernel has it.
pub const USER_SIZE: u64 = 928;
/// Where `struct user` of x86-64 has the eight debug registers.
pub const USER_DEBUG_REGISTERS: u64 = 848;

abi_named_consts! { "`op` of [`PtraceSyscallInfo`]", u8;
    PTRACE_SYSCALL_INFO_NONE = 0,
    PTRACE_SYSCALL_INFO_ENTRY = 1,
    PTRACE_SYSCALL_INFO_EXIT = 2,
    PTRACE_SYSCALL_INFO_SECCOMP = 3,
}

abi_structs! {
    /// `struct ptrace_syscall_info`; for an exit the first two words hold the result and whether it is an error.
    pub struct PtraceSyscallInfo: 88 {
        /// At which point.
        pub op: u8,
        /// Padding.
        pub reserved: u8,
        /// Flags; none are defined.
        pub flags: u16,
        /// `AUDIT_ARCH_*`.
        pub arch: u32,
        /// The instruction pointer.
        pub instruction_pointer: u64,
        /// The stack pointer.
        pub stack_pointer: u64,
        /// The number, or the result.
        pub nr: u64,
        /// The arguments.
        pub args: [u64; 6],
        /// What a seccomp filter returned as data.
        pub ret_data: u32,
        /// Padding.
        pub __reserved2: u32,
    }

    /// `struct ptrace_peeksiginfo_args`.
    pub struct PtracePeeksiginfoArgs: 16 {
        /// From which one.
        pub off: u64,
        /// Bit 0: the shared queue.
        pub flags: u32,
        /// How many.
        pub nr: i32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_area_is_laid_out_as_in_the_c_library() {
        // Two words follow that the C library does not know of.
        assert_eq!(USER_SIZE as usize, size_of::<libc::user>() + 16);
        assert_eq!(USER_DEBUG_REGISTERS as usize, std::mem::offset_of!(libc::user, u_debugreg));
    }
}
