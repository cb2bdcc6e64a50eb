//! The code that runs in stub processes, and where it lies there.
//!
//! It is one page, position-independent, executable and not writable, at an address which guests cannot map over. It uses no memory but its
//! own constants, so that guests, who share the address space, cannot influence it: everything is in registers.
//!
//! * The *seed* unmaps all else and then makes a stub process for each order.
//! * A *leader*, the first thread of a stub process, makes one thread for each order and runs nothing else.
//! * The other threads are traced when they run guest code, and *parked* in an endless wait while they are not.
//!
//! An order is the signal [`ORDER`], which is blocked and waited for, so that it is consumed without an effect on anything
//! else. Whoever orders traces the thread, so it sees the clone, or the breakpoint that tells of its failure.

#![expect(unsafe_code, reason = "assembly")]

use std::arch::global_asm;

use crate::memory::PAGE_SIZE;

/// The signal that orders a clone.
pub(super) const ORDER: i32 = libc::SIGUSR1;

/// The end of the addresses that x86-64 Linux gives to processes (`TASK_SIZE_MAX`, four-level paging).
pub(super) const ADDRESSES_END: u64 = 0x7fff_ffff_f000;

/// Where the page lies: the last of all.
pub(super) const PAGE: u64 = ADDRESSES_END - PAGE_SIZE;

/// What the seed exits with if it cannot unmap the host's memory.
pub(super) const EXIT_UNMAP_FAILED: i32 = 101;

/// What a leader exits with if the host was gone before it could ask to die with it.
const EXIT_ORPHAN: i32 = 102;

/// Flags for a stub process: a sibling of the seed, so that the host is its parent, with the host's descriptors.
const PROCESS_FLAGS: i32 = libc::CLONE_PARENT | libc::CLONE_FILES;

/// Flags for a thread of a stub process.
const THREAD_FLAGS: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM;

// r13: the process id of the host. All else is free.
global_asm!(
    ".pushsection .rodata.bartizan_stub, \"a\", @progbits",
    ".balign 4096",
    ".globl bartizan_stub_start",
    ".hidden bartizan_stub_start",
    "bartizan_stub_start:",
    // The seed: unmap everything below and above this page.
    "xor edi, edi",
    "lea rsi, [rip + bartizan_stub_start]",
    "mov eax, {munmap}",
    "syscall",
    "test rax, rax",
    "jnz 9f",
    "lea rdi, [rip + bartizan_stub_start]",
    "add rdi, 4096",
    "movabs rsi, {end}",
    "sub rsi, rdi",
    "jz 2f",
    "mov eax, {munmap}",
    "syscall",
    "test rax, rax",
    "jnz 9f",
    // Wait for orders to make a process.
    "2:",
    "lea rdi, [rip + 8f]",
    "xor esi, esi",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, {sigtimedwait}",
    "syscall",
    "cmp rax, {order}",
    "jne 2b",
    "mov edi, {process_flags}",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, {clone}",
    "syscall",
    "test rax, rax",
    "jz 3f",
    "jns 2b",
    "int3",
    "jmp 2b",
    // A leader: die with the host, then wait for orders to make a thread.
    "3:",
    "mov edi, {set_pdeathsig}",
    "mov esi, {sigkill}",
    "mov eax, {prctl}",
    "syscall",
    "mov eax, {getppid}",
    "syscall",
    "mov edi, {exit_orphan}",
    "cmp eax, r13d",
    "jne 10f",
    "4:",
    "lea rdi, [rip + 8f]",
    "xor esi, esi",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, {sigtimedwait}",
    "syscall",
    "cmp rax, {order}",
    "jne 4b",
    "mov edi, {thread_flags}",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, {clone}",
    "syscall",
    "test rax, rax",
    "jz bartizan_stub_park",
    "jns 4b",
    "int3",
    "jmp 4b",
    // A thread that nobody uses: wait for a signal that never comes.
    ".globl bartizan_stub_park",
    ".hidden bartizan_stub_park",
    "bartizan_stub_park:",
    "lea rdi, [rip + 7f]",
    "xor esi, esi",
    "xor edx, edx",
    "mov r10d, 8",
    "mov eax, {sigtimedwait}",
    "syscall",
    "jmp bartizan_stub_park",
    "9:",
    "mov edi, {exit_unmap}",
    "10:",
    "mov eax, {exit_group}",
    "syscall",
    "hlt",
    // Two calls that the sentry injects: the first is set up in its registers, the second in others. A failed first one skips the
    // second: the breakpoint that stops the thread tells which was the last.
    ".globl bartizan_stub_inject",
    ".hidden bartizan_stub_inject",
    "bartizan_stub_inject:",
    "syscall",
    "cmp rax, -4095",
    "jae 5f",
    "mov rax, rbx",
    "mov rdi, rbp",
    "mov rsi, r12",
    "mov rdx, r13",
    "mov r10, r14",
    "mov r8, r15",
    "mov r9, rsp",
    ".globl bartizan_stub_inject_last",
    ".hidden bartizan_stub_inject_last",
    "bartizan_stub_inject_last:",
    "syscall",
    "int3",
    "5:",
    ".globl bartizan_stub_inject_failed",
    ".hidden bartizan_stub_inject_failed",
    "bartizan_stub_inject_failed:",
    "int3",
    ".balign 8",
    "7: .quad 0",
    "8: .quad {order_set}",
    // A system call for measuring, forever.
    ".globl bartizan_stub_measure",
    ".hidden bartizan_stub_measure",
    "bartizan_stub_measure:",
    "mov eax, {getpid}",
    "syscall",
    "jmp bartizan_stub_measure",
    ".globl bartizan_stub_end",
    ".hidden bartizan_stub_end",
    "bartizan_stub_end:",
    ".balign 4096",
    ".popsection",
    munmap = const libc::SYS_munmap,
    sigtimedwait = const libc::SYS_rt_sigtimedwait,
    clone = const libc::SYS_clone,
    prctl = const libc::SYS_prctl,
    getppid = const libc::SYS_getppid,
    getpid = const libc::SYS_getpid,
    exit_group = const libc::SYS_exit_group,
    end = const ADDRESSES_END,
    order = const ORDER,
    order_set = const 1_u64 << (ORDER - 1),
    process_flags = const PROCESS_FLAGS,
    thread_flags = const THREAD_FLAGS,
    set_pdeathsig = const libc::PR_SET_PDEATHSIG,
    sigkill = const libc::SIGKILL,
    exit_orphan = const EXIT_ORPHAN,
    exit_unmap = const EXIT_UNMAP_FAILED,
);

unsafe extern "C" {
    static bartizan_stub_start: u8;
    static bartizan_stub_park: u8;
    static bartizan_stub_inject: u8;
    static bartizan_stub_inject_last: u8;
    static bartizan_stub_inject_failed: u8;
    static bartizan_stub_measure: u8;
}

/// The page as it is to be copied to [`PAGE`].
pub(super) fn code() -> *const u8 {
    &raw const bartizan_stub_start
}

fn address_of(symbol: *const u8) -> u64 {
    PAGE + (symbol.addr() - code().addr()) as u64
}

/// Where a thread waits for nothing.
pub(super) fn park() -> u64 {
    address_of(&raw const bartizan_stub_park)
}

/// Where two injected calls start.
pub(super) fn inject() -> u64 {
    address_of(&raw const bartizan_stub_inject)
}

/// Where one injected call starts.
pub(super) fn inject_last() -> u64 {
    address_of(&raw const bartizan_stub_inject_last)
}

/// Where the instruction pointer is after the first of two injected calls has failed.
pub(super) fn after_failure() -> u64 {
    address_of(&raw const bartizan_stub_inject_failed) + 1
}

/// An endless loop of system calls.
pub(super) fn measure() -> u64 {
    address_of(&raw const bartizan_stub_measure)
}
