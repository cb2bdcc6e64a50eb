//! Making the seed: the process from which all stub processes are forked.
//!
//! It is made in two steps. A first child shares the host's memory (so that the host's restartable-sequence area, which the C library
//! registers, is not inherited) and forks the seed, whose copy of the host's memory is unmapped at once by the code of
//! [`stub`](super::stub). The seed and everything forked by it are children of the calling thread, and die with it.
//!
//! # Safety
//! Between the fork and the jump to the stub's page the seed runs on a copy of a multi-threaded process: only raw system calls are
//! made, nothing is allocated, no lock is taken and nothing can panic.

#![expect(unsafe_code, reason = "clone and raw system calls in the child")]

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use super::sys::{self, Tid};
use super::{KICK, filter, stub};
use crate::memory::PAGE_SIZE;

/// What the seed exits with if its page could not be made.
pub(super) const EXIT_NO_PAGE: i32 = 103;
/// What the seed exits with if its parent was gone before it could ask to die with it.
const EXIT_ORPHAN: i32 = 104;

const STACK_SIZE: usize = 64 * 1024;

/// What the children need to know.
struct Plan {
    host: Tid,
    blocked: u64,
    filter: filter::Program,
    seed: AtomicI32,
}

/// Forks the seed. The calling thread has to block all signals, and has to live for as long as any stub.
pub(super) fn spawn() -> io::Result<Tid> {
    let plan = Plan {
        // SAFETY: no memory is involved.
        host: unsafe { libc::getpid() },
        // What is sent from outside has no effect; processor exceptions are delivered to the tracer all the same.
        blocked: !(1 << (KICK - 1)),
        filter: filter::program(),
        seed: AtomicI32::new(-libc::EAGAIN),
    };
    let mut stack = vec![0_u128; STACK_SIZE / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: the child has a stack of its own, and this thread sleeps until it has ended (CLONE_VFORK), so that `plan` and
    // `stack` stay alive and unchanged for it.
    let first =
        unsafe { libc::clone(first_child, top.cast(), flags, (&raw const plan).cast_mut().cast::<c_void>()) };
    if first == -1 {
        return Err(io::Error::last_os_error());
    }
    sys::wait(first)?;
    match plan.seed.load(Ordering::Acquire) {
        seed if seed > 0 => Ok(seed),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// Forks the seed and tells its id.
extern "C" fn first_child(plan: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its plan, which outlives this child.
    let plan = unsafe { &*plan.cast_const().cast::<Plan>() };
    let flags = libc::CLONE_PARENT | libc::CLONE_FILES;
    // SAFETY: forks; the child goes on with a copy of this stack.
    let seed = unsafe { call(libc::SYS_clone, [flags as usize, 0, 0, 0, 0, 0]) };
    if seed == 0 {
        become_seed(plan);
    }
    plan.seed.store(seed as i32, Ordering::Release);
    0
}

/// Runs in the seed.
fn become_seed(plan: &Plan) -> ! {
    const SIGNALS: usize = 64;
    let default = [0_usize; 4];
    let host = plan.host as isize;
    // SAFETY: changes attributes of this process only.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as usize, libc::SIGKILL as usize, 0, 0, 0, 0]) };
    // SAFETY: no memory is involved.
    if unsafe { call(libc::SYS_getppid, [0; 6]) } != host {
        exit(EXIT_ORPHAN);
    }
    for signal in 1..=SIGNALS {
        // SAFETY: `default` is a whole `struct kernel_sigaction` of zeroes: the default action. Some signals refuse.
        unsafe { call(libc::SYS_rt_sigaction, [signal, default.as_ptr().addr(), 0, 8, 0, 0]) };
    }
    let mask = (&raw const plan.blocked).addr();
    // SAFETY: reads eight bytes of `mask`.
    unsafe { call(libc::SYS_rt_sigprocmask, [libc::SIG_SETMASK as usize, mask, 0, 8, 0, 0]) };
    // SAFETY: no memory is involved. A session of its own keeps the terminal's signals away.
    unsafe { call(libc::SYS_setsid, [0; 6]) };
    let name = c"bartizan-stub";
    // SAFETY: reads the name.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_NAME as usize, name.as_ptr().addr(), 0, 0, 0, 0]) };
    install_page();
    // SAFETY: changes attributes of this process only; without privileges a filter needs it.
    unsafe { call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0, 0]) };
    let filter = plan.filter.as_kernel_argument();
    // SAFETY: reads the filter. A kernel without seccomp refuses, which is survived: see `filter`.
    unsafe {
        call(
            libc::SYS_seccomp,
            [libc::SECCOMP_SET_MODE_FILTER as usize, 0, (&raw const filter).addr(), 0, 0, 0],
        )
    };
    // SAFETY: the page was just made from the stub's code, which expects the host's id in r13 and uses no memory.
    unsafe {
        asm!("jmp {page}", page = in(reg) stub::PAGE, in("r13") host, options(noreturn));
    }
}

/// Copies the stub's code to where it belongs.
fn install_page() {
    let size = PAGE_SIZE as usize;
    let page = stub::PAGE as usize;
    let access = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as usize;
    // SAFETY: replaces what the host has there (at most the top of its first stack: names of the environment) in this copy of its memory.
    let mapped = unsafe { call(libc::SYS_mmap, [page, size, access, flags, usize::MAX, 0]) };
    if mapped != page as isize {
        exit(EXIT_NO_PAGE);
    }
    // SAFETY: both are one page long; the target was just mapped, writable, and nothing else uses it.
    unsafe {
        asm!("rep movsb", inout("rcx") size => _, inout("rsi") stub::code() => _, inout("rdi") page => _,
            options(nostack, preserves_flags));
    }
    let access = (libc::PROT_READ | libc::PROT_EXEC) as usize;
    // SAFETY: changes the page just made.
    if unsafe { call(libc::SYS_mprotect, [page, size, access, 0, 0, 0]) } != 0 {
        exit(EXIT_NO_PAGE);
    }
}

fn exit(code: i32) -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { call(libc::SYS_exit_group, [code as usize, 0, 0, 0, 0, 0]) };
    }
}

/// A system call that leaves `errno`, which the host's threads share with the first child, alone.
///
/// # Safety
/// As the call demands.
#[inline(always)]
unsafe fn call(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    let result: isize;
    // SAFETY: as the caller promises; the kernel clobbers rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") first, in("rsi") second,
            in("rdx") third, in("r10") fourth, in("r8") fifth, in("r9") sixth,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}
