//! The system call filter of stub processes: a second fence.
//!
//! Guests' system calls never reach the host, because `PTRACE_SYSEMU` stops them first. The filter is for what goes around that: the legacy
//! vsyscall page, whose calls the kernel emulates without asking the tracer, but not without asking the filter. Only the stub's
//! own page may make calls, and only those that it needs; all others raise `SIGSYS`, which the tracer sees. Where the kernel has
//! no filters the vsyscall page can tell a guest the time, and that is all.

use std::mem::offset_of;

use super::stub;
use crate::memory::PAGE_SIZE;

/// Calls of stub code: its own, and those that are injected into it.
const ALLOWED: [libc::c_long; 9] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_clone,
    libc::SYS_prctl,
    libc::SYS_getppid,
    libc::SYS_exit_group,
];

/// `AUDIT_ARCH_X86_64` (`<linux/audit.h>`).
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;

/// Instructions before the numbers are looked at.
const HEAD: usize = 8;
/// Where the call is refused, and behind it where it is allowed.
const TRAP: usize = HEAD + ALLOWED.len();
const LENGTH: usize = TRAP + 2;

/// A filter, ready for the kernel.
pub(super) struct Program([libc::sock_filter; LENGTH]);

impl Program {
    /// What the kernel takes; valid while `self` is.
    pub(super) fn as_kernel_argument(&self) -> libc::sock_fprog {
        libc::sock_fprog { len: LENGTH as u16, filter: self.0.as_ptr().cast_mut() }
    }
}

fn load(offset: usize) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset as u32)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Goes from instruction `at` to `equal` if the loaded word is `value`, else to `unequal`.
fn compare(at: usize, value: u32, equal: usize, unequal: usize) -> libc::sock_filter {
    let code = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    libc::sock_filter { code, jt: (equal - at - 1) as u8, jf: (unequal - at - 1) as u8, k: value }
}

/// The filter.
pub(super) fn program() -> Program {
    let mut program = [statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW); LENGTH];
    let pointer = offset_of!(libc::seccomp_data, instruction_pointer);
    program[0] = load(offset_of!(libc::seccomp_data, arch));
    program[1] = compare(1, ARCHITECTURE, 2, TRAP);
    program[2] = load(pointer + 4);
    program[3] = compare(3, (stub::PAGE >> 32) as u32, 4, TRAP);
    program[4] = load(pointer);
    program[5] = statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, !(PAGE_SIZE as u32 - 1));
    program[6] = compare(6, stub::PAGE as u32, 7, TRAP);
    program[7] = load(offset_of!(libc::seccomp_data, nr));
    for (at, number) in (HEAD..).zip(ALLOWED) {
        program[at] = compare(at, number as u32, TRAP + 1, at + 1);
    }
    program[TRAP] = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP);
    Program(program)
}
