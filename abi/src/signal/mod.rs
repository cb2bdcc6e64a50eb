//! Signals: `signal(7)`, `sigaction(2)`.

mod info;
mod number;
mod set;

pub use info::{
    ChildInfo, SI_MAX_SIZE, SigCode, SigEvent, SigEventNotify, SigInfo, SignalfdFlags, SignalfdSiginfo,
};
pub use number::{DefaultAction, Signal};
pub use set::{MaskHow, SigSet};

use crate::macros::{abi_named_flags, abi_structs};

/// `sa_handler`: the default action.
pub const SIG_DFL: u64 = 0;
/// `sa_handler`: ignore.
pub const SIG_IGN: u64 = 1;
/// The smallest alternate stack, bytes; a processor's frame may need more (`AT_MINSIGSTKSZ`).
pub const MINSIGSTKSZ: u64 = 2048;

abi_structs! {
    /// `struct sigaction` as the system call has it.
    pub struct SigAction: 32 {
        /// [`SIG_DFL`], [`SIG_IGN`] or the address of the handler.
        pub handler: u64,
        /// [`SigActionFlags`].
        pub flags: u64,
        /// Where the handler returns to.
        pub restorer: u64,
        /// What is blocked while it runs: [`SigSet`].
        pub mask: u64,
    }

    /// `stack_t`: `sigaltstack(2)`.
    pub struct StackT: 24 {
        /// The lowest address.
        pub ss_sp: u64,
        /// [`StackFlags`].
        pub ss_flags: u32,
        /// Padding.
        pub __pad0: u32,
        /// Bytes.
        pub ss_size: u64,
    }
}

abi_named_flags! {
    /// `sa_flags` of `sigaction(2)`.
    pub struct SigActionFlags: u64 {
        SA_NOCLDSTOP = 0x0000_0001,
        SA_NOCLDWAIT = 0x0000_0002,
        SA_SIGINFO = 0x0000_0004,
        SA_UNSUPPORTED = 0x0000_0400,
        SA_EXPOSE_TAGBITS = 0x0000_0800,
        SA_RESTORER = 0x0400_0000,
        SA_ONSTACK = 0x0800_0000,
        SA_RESTART = 0x1000_0000,
        SA_NODEFER = 0x4000_0000,
        SA_RESETHAND = 0x8000_0000,
    }
}

impl SigActionFlags {
    /// What `sigaction` keeps; all other bits are cleared, so that a program can find out what is supported.
    pub const KEPT: Self = Self::all().difference(Self::SA_UNSUPPORTED);
}

abi_named_flags! {
    /// `ss_flags` of `sigaltstack(2)`.
    pub struct StackFlags: u32 {
        SS_ONSTACK = 1,
        SS_DISABLE = 2,
        SS_AUTODISARM = 1 << 31,
    }
}
