//! The host calls that tracing needs, and nothing else.
//!
//! # Safety
//! `ptrace` reads or writes at most the value that is passed by reference here; whatever it does to the tracee happens in
//! another address space.

#![expect(unsafe_code, reason = "ptrace, wait4 and tgkill")]

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use crate::Registers;

/// A thread of the host, by its id.
pub(super) type Tid = libc::pid_t;

/// The register set of the extended state (`<linux/elf.h>`).
const NT_X86_XSTATE: usize = 0x202;

fn ptrace(request: c_uint, tid: Tid, address: usize, data: *mut c_void) -> io::Result<()> {
    // SAFETY: callers pass data that the request reads or writes, of the size which it does.
    let result = unsafe { libc::ptrace(request, tid, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn number(value: c_int) -> *mut c_void {
    ptr::without_provenance_mut(value as usize)
}

pub(super) fn seize(tid: Tid, options: c_int) -> io::Result<()> {
    ptrace(libc::PTRACE_SEIZE, tid, 0, number(options))
}

pub(super) fn interrupt(tid: Tid) -> io::Result<()> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, ptr::null_mut())
}

pub(super) fn detach(tid: Tid) -> io::Result<()> {
    ptrace(libc::PTRACE_DETACH, tid, 0, ptr::null_mut())
}

/// Runs until a signal or a breakpoint; system calls are the host's.
pub(super) fn resume(tid: Tid) -> io::Result<()> {
    ptrace(libc::PTRACE_CONT, tid, 0, ptr::null_mut())
}

/// Runs until a signal or a system call, which the host does not execute.
pub(super) fn emulate(tid: Tid) -> io::Result<()> {
    ptrace(libc::PTRACE_SYSEMU, tid, 0, ptr::null_mut())
}

pub(super) fn get_registers(tid: Tid, registers: &mut Registers) -> io::Result<()> {
    ptrace(libc::PTRACE_GETREGS, tid, 0, ptr::from_mut(registers).cast())
}

pub(super) fn set_registers(tid: Tid, registers: &Registers) -> io::Result<()> {
    ptrace(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(registers).cast_mut().cast())
}

/// Sets the register at `offset` bytes of [`Registers`].
pub(super) fn set_register(tid: Tid, offset: usize, value: u64) -> io::Result<()> {
    ptrace(libc::PTRACE_POKEUSER, tid, offset, ptr::without_provenance_mut(value as usize))
}

/// Reads the extended state into `area`; returns its length in bytes.
pub(super) fn get_extended_state(tid: Tid, area: &mut [u8]) -> io::Result<usize> {
    let mut vector = libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() };
    ptrace(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, (&raw mut vector).cast())?;
    Ok(vector.iov_len)
}

pub(super) fn set_extended_state(tid: Tid, area: &[u8]) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: area.as_ptr().cast_mut().cast(), iov_len: area.len() };
    ptrace(libc::PTRACE_SETREGSET, tid, NT_X86_XSTATE, (&raw mut vector).cast())
}

/// What `siginfo` says about a signal of a processor exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignalInfo {
    /// `si_code`: positive if the signal comes from the kernel.
    pub(super) code: i32,
    /// `si_addr`; without meaning for [`SI_KERNEL`].
    pub(super) address: u64,
}

/// The code of signals for which the kernel tells nothing more.
pub(super) const SI_KERNEL: i32 = 0x80;

pub(super) fn signal_info(tid: Tid) -> io::Result<SignalInfo> {
    let info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: all zeroes is a valid siginfo.
    let mut info = unsafe { info.assume_init() };
    ptrace(libc::PTRACE_GETSIGINFO, tid, 0, (&raw mut info).cast())?;
    // SAFETY: reads a field of the union as a plain number, whatever was stored there.
    let address = unsafe { info.si_addr() };
    Ok(SignalInfo { code: info.si_code, address: address.addr() as u64 })
}

/// The id that the last event was about.
pub(super) fn event_message(tid: Tid) -> io::Result<Tid> {
    let mut message: libc::c_ulong = 0;
    ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, (&raw mut message).cast())?;
    Tid::try_from(message).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Waits for `tid` (a child, or a tracee of the calling thread) to stop or to end.
pub(super) fn wait(tid: Tid) -> io::Result<c_int> {
    wait_with(tid, libc::__WALL).map(|status| status.unwrap_or_default())
}

/// What happened to `tid`, if anything has.
pub(super) fn poll(tid: Tid) -> io::Result<Option<c_int>> {
    wait_with(tid, libc::__WALL | libc::WNOHANG)
}

fn wait_with(tid: Tid, options: c_int) -> io::Result<Option<c_int>> {
    let mut status = 0;
    loop {
        // SAFETY: writes one int to `status`.
        match unsafe { libc::waitpid(tid, &raw mut status, options) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => return Ok(Some(status)),
        }
    }
}

/// Sends `signal` to the thread `tid` of process `pid`.
pub(super) fn send_signal(pid: Tid, tid: Tid, signal: c_int) -> io::Result<()> {
    // SAFETY: no memory is involved.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Kills process `pid`, which must be a child that was not waited for yet.
pub(super) fn kill(pid: Tid) -> io::Result<()> {
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, libc::SIGKILL) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The id of the calling thread.
pub(super) fn own_tid() -> Tid {
    // SAFETY: no memory is involved.
    unsafe { libc::gettid() }
}

/// Lets the calling thread get the signals of faults, which copying needs.
pub(super) fn unblock_faults() {
    let set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: all zeroes is the empty set on Linux.
    let mut set = unsafe { set.assume_init() };
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: `set` is initialised and `signal` valid.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: reads the set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

/// Keeps all signals away from the calling thread.
pub(super) fn block_all_signals() {
    let set = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: all zeroes is a set.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: `set` is a set.
    unsafe { libc::sigfillset(&raw mut set) };
    // SAFETY: reads the set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, ptr::null_mut()) };
}

/// The time stamp counter: monotonic enough to tell long from short.
pub(super) fn time_stamp() -> u64 {
    // SAFETY: every 64-bit processor has it; no memory is involved.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Whether the system call at which `tid` is stopped came in through the 64-bit entry. Slow; false if the kernel cannot tell.
pub(super) fn is_64_bit_call(tid: Tid) -> bool {
    const GET_SYSCALL_INFO: c_uint = 0x420e;
    const ARCHITECTURE_OFFSET: usize = 4;
    let mut info = [0_u8; 128];
    if ptrace(GET_SYSCALL_INFO, tid, info.len(), info.as_mut_ptr().cast()).is_err() {
        return false;
    }
    let architecture = &info[ARCHITECTURE_OFFSET..ARCHITECTURE_OFFSET + size_of::<u32>()];
    architecture == super::filter::ARCHITECTURE.to_ne_bytes()
}
