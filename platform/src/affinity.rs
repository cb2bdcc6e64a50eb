//! Which processors threads may run on.

#![expect(unsafe_code, reason = "sched_setaffinity and its like")]

use std::io;
use std::mem::MaybeUninit;

/// A set of processors.
pub(crate) type CpuSet = libc::cpu_set_t;

/// The set of `cpu` alone.
pub(crate) fn only(cpu: usize) -> CpuSet {
    let set = MaybeUninit::<CpuSet>::zeroed();
    // SAFETY: all zeroes is the empty set.
    let mut set = unsafe { set.assume_init() };
    // SAFETY: CPU_SET checks the bound by itself.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set
}

/// `set` without `cpu`.
pub(crate) fn without(set: &CpuSet, cpu: usize) -> CpuSet {
    let mut rest = *set;
    // SAFETY: CPU_CLR checks the bound by itself.
    unsafe { libc::CPU_CLR(cpu, &mut rest) };
    rest
}

/// The members of `set`.
pub(crate) fn members(set: &CpuSet) -> Vec<usize> {
    let most = 8 * size_of::<CpuSet>();
    // SAFETY: `cpu` is below the number of bits of the set.
    (0..most).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, set) }).collect()
}

/// Where `tid` (zero: the calling thread) may run.
pub(crate) fn affinity(tid: libc::pid_t) -> io::Result<CpuSet> {
    let mut set = MaybeUninit::<CpuSet>::zeroed();
    // SAFETY: writes at most the size given.
    let result = unsafe { libc::sched_getaffinity(tid, size_of::<CpuSet>(), set.as_mut_ptr()) };
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, and filled in by the kernel.
    Ok(unsafe { set.assume_init() })
}

/// Lets `tid` (zero: the calling thread) run on `set` only.
pub(crate) fn set_affinity(tid: libc::pid_t, set: &CpuSet) -> io::Result<()> {
    // SAFETY: reads the set.
    let result = unsafe { libc::sched_setaffinity(tid, size_of::<CpuSet>(), set) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The processor that the calling thread is on.
pub(crate) fn current_cpu() -> usize {
    // SAFETY: no memory is involved.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}
