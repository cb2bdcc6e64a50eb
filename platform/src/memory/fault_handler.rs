//! The handler for `SIGSEGV` and `SIGBUS` that lets the routines of [`copy`](super::copy) survive faults.
//!
//! It is installed once for the process, at the first use, and acts only if the instruction that faulted is one of those
//! routines'. Everything else goes to the handler that was there before, with the signal mask and flags which that one had asked for.
//!
//! # Safety
//! Runs in a signal handler, at any point of any thread: only `fixup_of`, reads of what was stored before installation, and the
//! async-signal-safe calls `sigaction`, `getpid`, `gettid` and `tgkill` may be used here; no lock, no allocation, no panic.
//!
//! A host program that replaces the handlers later has to chain to ours in turn. A thread that copies must not block the
//! two signals.

#![expect(unsafe_code, reason = "signal handlers")]

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::copy::fixup_of;

/// Installs the handlers, once for the process.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        for (signal, previous) in [(libc::SIGSEGV, &PREVIOUS_SEGV), (libc::SIGBUS, &PREVIOUS_BUS)] {
            install_for(signal, previous);
        }
    });
}

/// What was installed before; leaked, because a handler may be running at any time.
struct Previous {
    action: AtomicPtr<libc::sigaction>,
    /// Set once an `SA_RESETHAND` handler has run.
    used_up: AtomicBool,
}

static PREVIOUS_SEGV: Previous =
    Previous { action: AtomicPtr::new(ptr::null_mut()), used_up: AtomicBool::new(false) };
static PREVIOUS_BUS: Previous =
    Previous { action: AtomicPtr::new(ptr::null_mut()), used_up: AtomicBool::new(false) };

type Handler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

fn install_for(signal: c_int, previous: &Previous) {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the present action into `old`.
    let result = unsafe { libc::sigaction(signal, ptr::null(), old.as_mut_ptr()) };
    assert_eq!(result, 0, "the action of a valid signal can always be read");
    // SAFETY: `sigaction` is plain data, zeroed and then filled in.
    let old = unsafe { old.assume_init() };
    let mut new = old;
    new.sa_sigaction = handle as InfoHandler as usize;
    // The mask and the flags which the kernel applies are those that the previous handler wants to run with.
    new.sa_flags = (old.sa_flags & !libc::SA_RESETHAND) | libc::SA_SIGINFO | libc::SA_ONSTACK;
    previous.action.store(Box::into_raw(Box::new(old)), Ordering::Release);
    // SAFETY: `handle` keeps to what this module allows, and `previous` is stored before it can run.
    let result = unsafe { libc::sigaction(signal, &raw const new, ptr::null_mut()) };
    assert_eq!(result, 0, "a handler for a valid signal can always be installed");
}

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives the handler the context of the interrupted code, which nothing else uses meanwhile.
    let context_of_code = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let instruction = &mut context_of_code.uc_mcontext.gregs[libc::REG_RIP as usize];
    // SAFETY: the kernel gives the handler a valid siginfo.
    let from_kernel = unsafe { (*info).si_code } > 0;
    if from_kernel && let Some(target) = fixup_of(*instruction as usize) {
        *instruction = target as i64;
        return;
    }
    chain(signal, info, context, from_kernel);
}

/// Does what would have happened without us.
fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void, from_kernel: bool) {
    let previous = if signal == libc::SIGBUS { &PREVIOUS_BUS } else { &PREVIOUS_SEGV };
    // SAFETY: stored before the handler was installed, never freed.
    let action = unsafe { &*previous.action.load(Ordering::Acquire) };
    let one_shot = action.sa_flags & libc::SA_RESETHAND != 0;
    let handler = if one_shot && previous.used_up.swap(true, Ordering::Relaxed) {
        libc::SIG_DFL
    } else {
        action.sa_sigaction
    };
    match handler {
        libc::SIG_IGN if !from_kernel => {}
        // The kernel does not let anybody ignore a fault either.
        libc::SIG_IGN | libc::SIG_DFL => die_of(signal, from_kernel),
        _ if action.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the previous owner registered this address as a handler with three arguments.
            let handler = unsafe { std::mem::transmute::<usize, InfoHandler>(handler) };
            handler(signal, info, context);
        }
        _ => {
            // SAFETY: the previous owner registered this address as a handler with one argument.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
            handler(signal);
        }
    }
}

/// Takes the default action: a fault repeats when the handler returns; a signal that was sent is sent again.
fn die_of(signal: c_int, from_kernel: bool) {
    let default = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeroes is a valid action: SIG_DFL with an empty mask and no flags.
    let default = unsafe { default.assume_init() };
    // SAFETY: async-signal-safe; installs the default action.
    unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    if !from_kernel {
        // SAFETY: async-signal-safe, no memory involved.
        let process = unsafe { libc::getpid() };
        // SAFETY: as above.
        let thread = unsafe { libc::gettid() };
        // SAFETY: as above; the signal is pending until the handler returns and unblocks it.
        unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    }
}
