//! Making a thread leave `KVM_RUN`.
//!
//! A thread that runs guest code tells which thread it is and where its `immediate_exit` is. Whoever wants it to leave sets that byte, and then sends a
//! signal: if the thread was not yet in `KVM_RUN`, the byte makes it return at once; if it was, the signal does. So none is lost, and the handler has
//! nothing to do.
//!
//! The signal is the last real-time signal that the host program does nothing with; it stays ours, for the whole process.
//!
//! Locks: `target` is a leaf.

#![expect(unsafe_code, reason = "signals, and a byte that the host's kernel reads")]

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use parking_lot::Mutex;

use crate::Interrupter;

/// Who runs guest code.
#[derive(Debug, Clone, Copy)]
struct Target {
    process: i32,
    thread: i32,
    signal: c_int,
    /// In the page that the host's kernel shares with the thread; valid as long as this value can be reached.
    immediate_exit: *const AtomicU8,
}

// SAFETY: the pointer is to an atomic, and is only used under the lock, which its owner takes before the memory goes.
unsafe impl Send for Target {}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kick {
    pending: AtomicBool,
    target: Mutex<Option<Target>>,
}

impl Kick {
    /// Called by the thread that is about to run guest code. `immediate_exit` is cleared, and stays valid until [`leave`](Self::leave).
    pub(super) fn enter(&self, signal: c_int, immediate_exit: *const AtomicU8) {
        // SAFETY: the caller says that it is valid.
        unsafe { &*immediate_exit }.store(0, Ordering::SeqCst);
        // SAFETY: no arguments, no memory.
        let process = unsafe { libc::getpid() };
        // SAFETY: as above.
        let thread = unsafe { libc::gettid() };
        *self.target.lock() = Some(Target { process, thread, signal, immediate_exit });
    }

    /// Called when it does not run guest code any more.
    pub(super) fn leave(&self) {
        *self.target.lock() = None;
    }

    /// Whether there was an interrupt, which is served herewith.
    pub(super) fn take(&self) -> bool {
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// Whether there was an interrupt.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
    }

    /// Called by the thread that runs guest code, when it cannot leave yet: `KVM_RUN` may go on.
    pub(super) fn ignore_once(&self, immediate_exit: *const AtomicU8) {
        // SAFETY: the caller owns the memory.
        unsafe { &*immediate_exit }.store(0, Ordering::SeqCst);
    }

    /// Makes the thread leave guest code, if it runs any.
    pub(super) fn kick(&self) {
        let target = self.target.lock();
        if let Some(target) = &*target {
            // SAFETY: valid as long as the target is there, which the lock sees to.
            unsafe { &*target.immediate_exit }.store(1, Ordering::SeqCst);
            // SAFETY: takes three integers; the thread is there, because it takes the lock before it leaves.
            unsafe { libc::syscall(libc::SYS_tgkill, target.process, target.thread, target.signal) };
        }
    }
}

impl Interrupter for super::space::Runner {
    fn interrupt(&self) {
        self.kick.pending.store(true, Ordering::SeqCst);
        self.kick.kick();
    }
}

/// The signal that makes threads leave `KVM_RUN`, with its handler in place; `None` if the host program uses all real-time signals.
pub(super) fn signal() -> Option<c_int> {
    static SIGNAL: OnceLock<Option<c_int>> = OnceLock::new();
    *SIGNAL.get_or_init(|| (libc::SIGRTMIN()..=libc::SIGRTMAX()).rev().find(|signal| install(*signal)))
}

/// Installs the handler, if the signal has none.
fn install(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the present action.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: plain data, zeroed and then filled in.
    let mut action = unsafe { action.assume_init() };
    if action.sa_sigaction != libc::SIG_DFL {
        return false;
    }
    action.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler does nothing at all.
    unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) == 0 }
}

extern "C" fn nothing(_signal: c_int) {}

/// Lets the calling thread receive the signal.
pub(super) fn unblock(signal: c_int) {
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: initialises the set.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set is initialised, and the signal is one that was installed.
    unsafe { libc::sigaddset(set.as_mut_ptr(), signal) };
    // SAFETY: reads the set, changes the calling thread's mask alone.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut()) };
}
