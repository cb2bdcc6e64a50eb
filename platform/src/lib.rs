//! Running guest code, and the memory that it runs in.
//!
//! A [`Platform`] runs the instructions of guest programs and hands every system call, fault and trap to the
//! sentry. It knows nothing of Linux semantics: what a mapping means, which signal a fault becomes and what a
//! system call does is the sentry's business.
//!
//! # The contract
//!
//! Every platform keeps these promises; `conformance` checks them, one test each.
//!
//! 1. **One context, one thread.** A [`Context`] is made, used and dropped on one host thread.
//! 2. **Nothing runs by itself.** Guest code runs only inside [`Context::switch`], on behalf of that context.
//! 3. **Registers in, registers out.** `switch` loads all of [`Registers`], and stores them before it
//!    returns. On [`Exit::Syscall`] the instruction pointer is behind the system call instruction, `orig_rax`
//!    holds the number and `rax` is `-ENOSYS`; no platform restarts a call by itself. A platform may then store only what the call itself
//!    shows: `orig_rax`, `rax`, the six argument registers, `rip` and `rcx`. [`Context::complete_registers`] fetches the others, and has to be
//!    called before anything but `rax` is changed, unless all registers are.
//! 4. **No host call by the guest.** Whatever instruction the guest executes, the host kernel performs no system
//!    call on its behalf.
//! 5. **Mappings are queued.** [`AddressSpace::map`], [`AddressSpace::unmap`] and [`AddressSpace::protect`] take
//!    effect in order, at the latest before guest code of that address space runs again through a `switch` that
//!    starts after them.
//! 6. **Flush confirms.** After [`AddressSpace::flush`] no guest code anywhere can use what was unmapped or
//!    protected before it. Objects given to [`AddressSpace::retire`] are dropped only when all operations
//!    queued before them are in effect; so memory is never reused while a guest still reaches it.
//! 7. **Faults repeat.** An access to what is not mapped, or not mapped that way, returns [`Exit::Fault`] with the
//!    instruction not executed, so that mapping the page and switching again repeats the access. The access kind
//!    is the platform's best knowledge: a platform that cannot tell (`!Capabilities::EXACT_ACCESS`) reports a write to an
//!    absent page as a read; a write to a page that is mapped read-only is always reported as a write, an
//!    instruction fetch always as one.
//! 8. **No lost interrupt.** After [`Interrupter::interrupt`] the running or else the next `switch` of that context
//!    returns (with [`Exit::Interrupted`] if nothing else happened); several interrupts may be folded into one.
//! 9. **FPU state belongs to the context**, survives every switch, and is read and replaced with
//!    [`Context::save_fpu`] and [`Context::load_fpu`].
//! 10. **The end of a stub is an error**, never a hang and never a panic: [`PlatformError::GuestBroke`] if the guest that runs there has
//!     brought it about, which concerns nobody else, [`PlatformError::Died`] if not.
//! 11. **Nothing stays behind.** When the platform and all its address spaces and contexts are dropped, no process,
//!     thread or descriptor of theirs is left.

mod affinity;
pub mod arch;
pub mod kvm;
pub mod memory;
pub mod mock;
mod operations;
pub mod ptrace;
pub mod systrap;

use std::any::Any;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use bitflags::bitflags;

pub use arch::{FpuState, Registers};
pub use memory::BackingFile;

/// How guest code is run; one value for each sandbox.
pub trait Platform: Send + Sync + Debug {
    /// The name by which users choose it: `ptrace`, `systrap`, `kvm`, `mock`.
    fn name(&self) -> &'static str;

    /// What this platform can do beyond the contract's minimum.
    fn capabilities(&self) -> Capabilities;

    /// The addresses that guests may map, page-aligned. Everything else belongs to the platform or to nobody.
    fn user_addresses(&self) -> Range<u64>;

    /// A new address space with nothing mapped.
    ///
    /// # Errors
    /// [`PlatformError::Exhausted`] when the host's process limit is reached: the guest's `EAGAIN`.
    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError>;

    /// A context for the calling thread, with the FPU in its initial state.
    ///
    /// # Errors
    /// [`PlatformError::Exhausted`] when the host's limits are reached.
    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError>;

    /// How often guest code was left since the platform was made, by reason; empty where that is not counted.
    fn exits(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// How system call sites of guests can be made faster, if they can.
    fn patcher(&self) -> Option<&dyn Patcher> {
        None
    }
}

/// Makes system calls of guests faster by changing the code that makes them; see [`Context::take_frequent_call`].
pub trait Patcher: Send + Sync + Debug {
    /// Bytes of a trampoline.
    fn trampoline_size(&self) -> u64;

    /// How far from a site its trampoline may be at most, in bytes.
    fn reach(&self) -> u64;

    /// How to patch the call instruction before the address `behind_call`, with a trampoline at the address `trampoline`. `code` are the bytes from
    /// `address` on, which contain the instruction. `None` for code that cannot safely be changed.
    fn plan(&self, code: &[u8], address: u64, behind_call: u64, trampoline: u64) -> Option<Patch>;
}

/// How to patch a system call site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// What is changed around the site, to be in effect all at once or in this order. The bytes of one change are executed by all threads either as
    /// they were or as they are to be.
    pub changes: Vec<CodeChange>,
    /// The code of the trampoline, which has to be in place before.
    pub trampoline: Vec<u8>,
}

/// What a task is called, as it sees it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// What `getpid` returns.
    pub process: u32,
    /// What `gettid` returns.
    pub thread: u32,
}

/// Bytes of guest code to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChange {
    /// Where.
    pub address: u64,
    /// By what.
    pub bytes: Vec<u8>,
}

bitflags! {
    /// What platforms differ in.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// Faults tell a write to an absent page from a read.
        const EXACT_ACCESS = 1 << 0;
        /// The `cpuid` instruction of the guest faults, so that the sentry answers it.
        const CPUID_FAULTING = 1 << 1;
    }
}

bitflags! {
    /// What may be done with a mapped page, and what an access tried to do.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Access: u8 {
        /// Loads.
        const READ = 1 << 0;
        /// Stores.
        const WRITE = 1 << 1;
        /// Instruction fetches.
        const EXECUTE = 1 << 2;
    }
}

/// The memory that one guest `mm` sees.
///
/// All ranges are page-aligned, not empty and inside [`Platform::user_addresses`]; anything else is a bug of the
/// sentry and is refused with a panic-free [`PlatformError::InvalidRange`]. All methods may be called from any thread.
pub trait AddressSpace: Send + Sync + Debug + Any {
    /// Queues: maps `range` to `file` from `offset` (page-aligned, bytes), in place of whatever is mapped there.
    fn map(&self, mapping: Mapping) -> Result<(), PlatformError>;

    /// Queues: removes whatever is mapped in `range`; holes are fine.
    fn unmap(&self, range: Range<u64>) -> Result<(), PlatformError>;

    /// Queues: changes what may be done with all that is mapped in `range`; every page of it must be mapped.
    fn protect(&self, range: Range<u64>, access: Access) -> Result<(), PlatformError>;

    /// Queues: drops `object` when everything queued before is in effect. Used to hold on to memory that is being unmapped.
    fn retire(&self, object: Box<dyn Any + Send>);

    /// Waits until all that is queued is in effect for every context. `current` is the caller's own context, if it
    /// has one: it can apply the queue by itself.
    ///
    /// No lock may be held that a thread in [`Context::switch`] needs before it switches again.
    fn flush(&self, current: Option<&mut dyn Context>) -> Result<(), PlatformError>;
}

/// One mapping to be made by [`AddressSpace::map`].
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Where in the guest.
    pub range: Range<u64>,
    /// What is mapped.
    pub file: Arc<dyn BackingFile>,
    /// From which byte of the file.
    pub offset: u64,
    /// What the guest may do there; never empty.
    pub access: Access,
    /// Whether page tables are filled at once, rather than at first use.
    pub populate: Populate,
}

/// Whether a mapping's page tables are filled when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Populate {
    /// At the first access of each page.
    Lazily,
    /// In one go, now.
    Now,
}

/// What runs guest code for one task thread.
pub trait Context: Debug + Any {
    /// Runs guest code in `space` with `registers` until something happens.
    ///
    /// # Errors
    /// [`PlatformError::Died`] when the stub was killed from outside; the sandbox cannot go on. [`PlatformError::GuestBroke`] when the guest
    /// ended it; what runs in `space` cannot go on.
    fn switch(
        &mut self,
        space: &Arc<dyn AddressSpace>,
        registers: &mut Registers,
    ) -> Result<Exit, PlatformError>;

    /// Fetches the registers that the last [`switch`](Self::switch) left out; `registers` is what it stored, with any `rax`, which is kept.
    ///
    /// # Errors
    /// [`PlatformError::Died`] as for `switch`.
    fn complete_registers(&mut self, _registers: &mut Registers) -> Result<(), PlatformError> {
        Ok(())
    }

    /// What guest code of this context may be told when it asks for its ids (`getpid`, `gettid`), without an exit; nothing at first. Guest code must not run.
    fn set_identity(&mut self, _identity: Option<Identity>) {}

    /// The address behind a system call instruction that guest code executes so often that patching it would be worth it. Told once for each
    /// time that it becomes worth it again; always `None` where there is no [`Platform::patcher`].
    fn take_frequent_call(&mut self) -> Option<u64> {
        None
    }

    /// A handle with which any thread can make this context leave guest code.
    fn interrupter(&self) -> Arc<dyn Interrupter>;

    /// Reads the FPU, vector and other extended state of the guest.
    fn save_fpu(&mut self) -> Result<FpuState, PlatformError>;

    /// Replaces the extended state of the guest before its next instruction. The platform sanitises `state`
    /// (reserved bits of `MXCSR` and of the XSAVE header), so that any bytes that a guest wrote are safe.
    fn load_fpu(&mut self, state: &FpuState) -> Result<(), PlatformError>;

    /// Tells that this context will not run in `space` again soon (the task execs or exits), so that what the
    /// platform keeps for the pair can be given back.
    fn leave(&mut self, space: &Arc<dyn AddressSpace>);
}

/// Makes a context leave guest code; see promise 8.
pub trait Interrupter: Send + Sync + Debug {
    /// May be called from any thread and any number of times; never blocks.
    fn interrupt(&self);
}

/// Why guest code stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// A system call instruction was executed.
    Syscall,
    /// An access to memory could not be made.
    Fault(Fault),
    /// An instruction raised a processor exception other than a page fault.
    Trap(Trap),
    /// [`Interrupter::interrupt`] was called.
    Interrupted,
}

/// An access that memory does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The address that was accessed.
    pub address: u64,
    /// What was tried; see promise 7.
    pub access: Access,
    /// Whether the host refused the page itself (a truncated file, memory exhausted) although it is mapped:
    /// the guest's `SIGBUS`.
    pub bus_error: bool,
}

/// A processor exception, as the signal that Linux makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// `SIGILL`, `SIGFPE`, `SIGTRAP`, `SIGBUS` (alignment) or `SIGSEGV` (general protection).
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`; zero where Linux reports none.
    pub address: u64,
}

/// Why a platform cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The platform does not work on this machine.
    #[error("platform {platform} is not usable here: {reason}")]
    Unavailable {
        /// Which platform.
        platform: &'static str,
        /// What is missing, and what can be done.
        reason: String,
    },
    /// A limit of the host (processes, threads, memory) is reached.
    #[error("the host refused {what}: {source}")]
    Exhausted {
        /// What was asked of the host.
        what: &'static str,
        /// What it answered.
        source: std::io::Error,
    },
    /// A process that ran guest code was killed from outside.
    #[error("the process that runs guest code died: {what}")]
    Died {
        /// Which one and how.
        what: String,
    },
    /// A guest destroyed what runs it: its own process cannot go on (`SIGKILL`), the sandbox can.
    #[error("the guest destroyed the process that ran it: {what}")]
    GuestBroke {
        /// Which one and how.
        what: String,
    },
    /// A host call failed that never should.
    #[error("host call {call} failed: {source}")]
    Host {
        /// The name of the call.
        call: &'static str,
        /// What it answered.
        source: std::io::Error,
    },
    /// A range is empty, not aligned or outside the guest's addresses.
    #[error("range {0:#x?} is empty, not page-aligned or not the guest's")]
    InvalidRange(Range<u64>),
}
