//! x86-64: signal frames, `arch_prctl(2)`, flags.

use crate::macros::{abi_consts, abi_named_consts, abi_named_flags, abi_structs};
use crate::signal::{SigInfo, StackT};

/// Bytes below the stack pointer that a signal frame must leave alone: System V ABI, 3.2.2.
pub const RED_ZONE_SIZE: u64 = 128;
/// Bytes of the legacy region of the extended state (`fxsave`).
pub const FXSAVE_SIZE: usize = 512;
/// Where the kernel's own fields start in the legacy region: [`FpxSwBytes`].
pub const FPX_SW_BYTES_OFFSET: usize = 464;
/// Alignment of extended state in a signal frame, bytes.
pub const XSAVE_ALIGNMENT: u64 = 64;
/// `magic1` of [`FpxSwBytes`]: extended state follows.
pub const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
/// What stands behind the extended state.
pub const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// Bytes of [`FP_XSTATE_MAGIC2`].
pub const FP_XSTATE_MAGIC2_SIZE: usize = 4;
/// `AUDIT_ARCH_X86_64`: the architecture in seccomp data and `SIGSYS`.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
/// The code segment of 64-bit programs.
pub const USER_CS: u64 = 0x33;
/// The data and stack segment of programs.
pub const USER_DS: u64 = 0x2b;
/// The code segment of 32-bit programs.
pub const USER32_CS: u64 = 0x23;

abi_structs! {
    /// `struct sigcontext`, the machine state in a signal frame.
    #[expect(missing_docs, reason = "the names are the processor's")]
    pub struct SigContext: 256 {
        pub r8: u64,
        pub r9: u64,
        pub r10: u64,
        pub r11: u64,
        pub r12: u64,
        pub r13: u64,
        pub r14: u64,
        pub r15: u64,
        pub rdi: u64,
        pub rsi: u64,
        pub rbp: u64,
        pub rbx: u64,
        pub rdx: u64,
        pub rax: u64,
        pub rcx: u64,
        pub rsp: u64,
        pub rip: u64,
        pub eflags: u64,
        pub cs: u16,
        pub gs: u16,
        pub fs: u16,
        pub ss: u16,
        pub err: u64,
        pub trapno: u64,
        pub oldmask: u64,
        pub cr2: u64,
        pub fpstate: u64,
        pub reserved1: [u64; 8],
    }

    /// `struct ucontext` of the kernel.
    pub struct UContext: 304 {
        /// [`UContextFlags`].
        pub uc_flags: u64,
        /// Always zero.
        pub uc_link: u64,
        /// The alternate stack at the time of the signal.
        pub uc_stack: StackT,
        /// The machine state.
        pub uc_mcontext: SigContext,
        /// What was blocked: [`crate::SigSet`].
        pub uc_sigmask: u64,
    }

    /// `struct rt_sigframe`: what lies at the stack pointer when a handler starts. The extended state is above it,
    /// where `uc_mcontext.fpstate` points.
    pub struct RtSigFrame: 440 {
        /// Where the handler returns to: `sa_restorer`.
        pub pretcode: u64,
        /// The handler's third argument.
        pub uc: UContext,
        /// The handler's second argument.
        pub info: SigInfo,
    }

    /// `struct _fpx_sw_bytes`: tells how much extended state a frame has.
    pub struct FpxSwBytes: 48 {
        /// [`FP_XSTATE_MAGIC1`], or zero for the legacy region alone.
        pub magic1: u32,
        /// Bytes of the state with [`FP_XSTATE_MAGIC2`].
        pub extended_size: u32,
        /// Which components are saved.
        pub xfeatures: u64,
        /// Bytes of the state without [`FP_XSTATE_MAGIC2`].
        pub xstate_size: u32,
        /// Unused.
        pub padding: [u32; 7],
    }
}

abi_named_flags! {
    /// `uc_flags`.
    pub struct UContextFlags: u64 {
        UC_FP_XSTATE = 1,
        UC_SIGCONTEXT_SS = 2,
        UC_STRICT_RESTORE_SS = 4,
    }
}

abi_named_flags! {
    /// Bits of the flags register; without a name: bit 1, always set, and the I/O privilege level.
    pub struct Eflags: u64 {
        CF = 1 << 0,
        FIXED = 1 << 1,
        PF = 1 << 2,
        AF = 1 << 4,
        ZF = 1 << 6,
        SF = 1 << 7,
        TF = 1 << 8,
        IF = 1 << 9,
        DF = 1 << 10,
        OF = 1 << 11,
        IOPL = 3 << 12,
        NT = 1 << 14,
        RF = 1 << 16,
        VM = 1 << 17,
        AC = 1 << 18,
        VIF = 1 << 19,
        VIP = 1 << 20,
        ID = 1 << 21,
    }
}

impl Eflags {
    /// What `rt_sigreturn` takes from a frame; all other bits stay as they are.
    pub const RESTORED: Self = Self::AC
        .union(Self::OF)
        .union(Self::DF)
        .union(Self::TF)
        .union(Self::SF)
        .union(Self::ZF)
        .union(Self::AF)
        .union(Self::PF)
        .union(Self::CF)
        .union(Self::RF);
}

abi_named_consts! { "`arch_prctl(2)`", u32;
    ARCH_SET_GS = 0x1001,
    ARCH_SET_FS = 0x1002,
    ARCH_GET_FS = 0x1003,
    ARCH_GET_GS = 0x1004,
    ARCH_GET_CPUID = 0x1011,
    ARCH_SET_CPUID = 0x1012,
    ARCH_GET_XCOMP_SUPP = 0x1021,
    ARCH_GET_XCOMP_PERM = 0x1022,
    ARCH_REQ_XCOMP_PERM = 0x1023,
    ARCH_MAP_VDSO_64 = 0x2003,
    ARCH_SHSTK_ENABLE = 0x5001,
    ARCH_SHSTK_DISABLE = 0x5002,
    ARCH_SHSTK_STATUS = 0x5005,
}

abi_consts! { u64;
    /// Numbers with this bit are calls of the x32 ABI.
    X32_SYSCALL_BIT = 0x4000_0000;
}

abi_named_consts! { "the exception vectors in `trapno`", u64;
    TRAP_DIVIDE_ERROR = 0,
    TRAP_DEBUG = 1,
    TRAP_BREAKPOINT = 3,
    TRAP_OVERFLOW = 4,
    TRAP_INVALID_OPCODE = 6,
    TRAP_STACK_SEGMENT = 12,
    TRAP_GENERAL_PROTECTION = 13,
    TRAP_PAGE_FAULT = 14,
    TRAP_X87 = 16,
    TRAP_ALIGNMENT_CHECK = 17,
    TRAP_SIMD = 19,
}

abi_named_flags! {
    /// The error code of a page fault, as `sigcontext.err` shows it.
    pub struct PageFaultError: u64 {
        PROTECTION = 1 << 0,
        WRITE = 1 << 1,
        USER = 1 << 2,
        INSTRUCTION = 1 << 4,
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn frames_are_laid_out_as_in_the_c_library() {
        assert_eq!(offset_of!(UContext, uc_mcontext), offset_of!(libc::ucontext_t, uc_mcontext));
        assert_eq!(offset_of!(UContext, uc_sigmask), offset_of!(libc::ucontext_t, uc_sigmask));
        let rip = offset_of!(libc::mcontext_t, gregs) + libc::REG_RIP as usize * 8;
        assert_eq!(offset_of!(SigContext, rip), rip);
        assert_eq!(offset_of!(SigContext, fpstate), offset_of!(libc::mcontext_t, fpregs));
        assert_eq!(offset_of!(RtSigFrame, info), 312);
        assert_eq!(FPX_SW_BYTES_OFFSET + size_of::<FpxSwBytes>(), FXSAVE_SIZE);
    }
}
