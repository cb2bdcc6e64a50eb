//! The `systrap` platform: guest code runs in stub processes whose every system call is trapped by seccomp.
//!
//! The name is that of gVisor's platform with the same idea; this one was made from the published description and from measurements of
//! our own, and differs in how calls are handed over.
//!
//! # How it works
//! Each address space is a *stub process*. Each of its guest threads has a seccomp filter that turns every system call into a *user
//! notification*: the task's thread in the sentry receives number and arguments, and its answer becomes the result. With synchronous wake-ups
//! both sides take turns on one processor, which measured at 2.5 µs for a whole trapped call; no code of ours runs in the stub for it.
//!
//! A site that is trapped often is [patched](patch): its calls go by code of the stub, which hands them over in the thread's [call block](call_block). Either
//! side then sleeps in its notification as before, or, while calls follow each other quickly and there are processors for both, [looks](waiting) for
//! its turn, which takes 0.3 µs there and back. Patching is up to the sentry, which knows whose code it is ([`Patcher`]).
//!
//! What a notification does not carry (the other registers, the extended state) is fetched when the sentry asks for it, by a signal whose handler leaves all of it
//! in a frame on the thread's signal stack and calls for the sentry in the same way; loading registers goes by the same frame. Faults and
//! traps arrive in that handler by themselves.
//!
//! Mappings are changed by a thread of its own, the [mapper], in batches.
//!
//! # What the guest can reach
//! Guest code shares its address space with the stub's code and may jump to any byte of it, with any registers. It gains nothing: the filter of its thread
//! allows `rt_sigreturn` from one address, and that call changes nothing but the thread's own registers, signal mask and signal stack. Guest threads hold no
//! descriptor at all. The leader and the mapper of a stub, which do, never run guest code, keep their state in registers, and read their orders from a
//! page that the stub cannot write. Frames are in memory that guest threads can write: what is read from them is checked once, on a copy; a guest
//! that destroys its own frame is as good as killed, and so is one that blocks the signal that interrupts it (see [watchdog]); one that writes to a call block has
//! made the call that stands there, from the thread that it belongs to.
//!
//! What remains visible is that the guest can read and write the stub's region above [`layout::BASE`], where Linux would raise `SIGSEGV`.

mod address_space;
mod bases;
mod call_block;
mod context;
mod control;
mod filter;
mod frame;
mod governor;
mod guest_thread;
mod interrupter;
mod layout;
mod mapper;
mod notify;
mod patch;
mod pool;
mod seed;
mod sites;
mod stub;
mod stub_process;
mod waiting;
mod watchdog;

use std::ops::Range;
use std::sync::Arc;

use address_space::SystrapAddressSpace;
use context::SystrapContext;
use governor::Governor;
use patch::SitePatcher;
use pool::Pool;
use seed::Seed;
use watchdog::Watchdog;

use crate::{AddressSpace, Capabilities, Context, Patcher, Platform, PlatformError};

/// What the platform does to be fast; by default everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystrapOptions {
    /// Changes the code of guests where they make many calls, so that those need no trap of the host.
    pub patch_calls: bool,
    /// Lets guests that make call after call from patched sites keep two processors busy, as long as nobody else in the sandbox wants them.
    pub spin: bool,
}

impl Default for SystrapOptions {
    fn default() -> Self {
        Self { patch_calls: true, spin: true }
    }
}

/// See the module.
#[derive(Debug)]
pub struct SystrapPlatform {
    pool: Arc<Pool>,
    watchdog: Arc<Watchdog>,
    /// `None` where the processor lacks an instruction that trampolines need.
    patcher: Option<SitePatcher>,
}

impl SystrapPlatform {
    /// Makes the platform, as fast as it can be, and tries it out.
    ///
    /// # Errors
    /// [`PlatformError::Unavailable`] where the processor or the host's kernel lacks what it needs.
    pub fn new() -> Result<Arc<Self>, PlatformError> {
        Self::with_options(SystrapOptions::default())
    }

    /// Makes the platform and tries it out.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_options(options: SystrapOptions) -> Result<Arc<Self>, PlatformError> {
        if !has_fsgsbase() {
            return Err(unavailable("the processor or the kernel lacks FSGSBASE; use platform ptrace"));
        }
        let seed =
            Seed::new().map_err(|error| unavailable(&format!("no stub process can be made: {error}")))?;
        let patcher = (options.patch_calls && std::arch::is_x86_feature_detected!("bmi2"))
            .then(|| SitePatcher { entry: stub::addresses().call });
        let platform = Arc::new(Self {
            pool: Arc::new(Pool::new(seed, Governor::new(options.spin))),
            watchdog: Arc::default(),
            patcher,
        });
        platform.try_out().map_err(|error| {
            unavailable(&format!(
                "a stub process cannot be set up ({error}); it takes Linux 6.9 or later and the right to use seccomp and pidfd_getfd; \
                 use platform ptrace"
            ))
        })?;
        Ok(platform)
    }

    /// Makes one thread of one stub, which then waits in the pool.
    fn try_out(&self) -> Result<(), PlatformError> {
        let space = self.new_space()?;
        space.give_back(space.take_thread()?);
        Ok(())
    }

    fn new_space(&self) -> Result<SystrapAddressSpace, PlatformError> {
        let stub = self
            .pool
            .take()
            .map_err(|source| PlatformError::Exhausted { what: "a process for an address space", source })?;
        Ok(SystrapAddressSpace::new(stub, Arc::clone(&self.pool)))
    }
}

fn unavailable(reason: &str) -> PlatformError {
    PlatformError::Unavailable { platform: "systrap", reason: reason.to_owned() }
}

/// Whether user code may read and write its FS and GS bases.
#[expect(unsafe_code, reason = "getauxval reads a constant of the process")]
fn has_fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: u64 = 1 << 1;
    // SAFETY: getauxval has no preconditions.
    let capabilities = unsafe { libc::getauxval(libc::AT_HWCAP2) };
    capabilities & HWCAP2_FSGSBASE != 0
}

/// Makes the thread `(process, thread)` of a stub leave what it does for its signal handler. A thread that is gone ignores it.
#[expect(unsafe_code, reason = "tgkill takes three integers")]
fn kick((process, thread): (i32, i32)) {
    // SAFETY: the call takes integers; process and thread are checked against each other by the kernel.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, stub::KICK) };
}

impl Platform for SystrapPlatform {
    fn name(&self) -> &'static str {
        "systrap"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::EXACT_ACCESS
    }

    fn user_addresses(&self) -> Range<u64> {
        layout::LOWEST..layout::BASE
    }

    fn new_address_space(&self) -> Result<Arc<dyn AddressSpace>, PlatformError> {
        Ok(Arc::new(self.new_space()?))
    }

    fn new_context(&self) -> Result<Box<dyn Context>, PlatformError> {
        Ok(Box::new(SystrapContext::new(&self.watchdog)))
    }

    fn patcher(&self) -> Option<&dyn Patcher> {
        self.patcher.as_ref().map(|patcher| patcher as &dyn Patcher)
    }
}
