//! The time stamp counter, and whether it can serve as a clock.
//!
//! # Safety
//! The `unsafe` code here executes instructions that read processor state and touch no memory.

#![expect(unsafe_code, reason = "processor instructions are intrinsics")]

use std::arch::x86_64::{__cpuid, __cpuid_count, _mm_lfence, _rdtsc};

use super::parameters::CpuNumber;

/// Reads the counter after all earlier instructions.
pub fn read() -> u64 {
    // SAFETY: `lfence` belongs to SSE2, which every x86-64 processor has.
    unsafe { _mm_lfence() };
    // SAFETY: reading the counter has no effect; a host that forbids it to user space (`PR_SET_TSC`) does so on the thread's own demand.
    unsafe { _rdtsc() }
}

/// Whether the counter runs at one rate, never stops, and agrees on all processors. The host kernel watches the latter two and changes its own
/// clock source when they fail, so its choice is asked for, and the processor for the first.
pub fn is_reliable() -> bool {
    const INVARIANT_TSC: u32 = 1 << 8;
    if __cpuid(0x8000_0000).eax < 0x8000_0007 || __cpuid(0x8000_0007).edx & INVARIANT_TSC == 0 {
        return false;
    }
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    source.is_ok_and(|source| matches!(source.trim(), "tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page"))
}

/// How a program finds the number of its processor without a system call. Linux keeps it in the auxiliary register of the
/// counter and in the limit of a segment.
pub fn cpu_number() -> CpuNumber {
    const RDPID: u32 = 1 << 22;
    if __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & RDPID != 0 {
        CpuNumber::Rdpid
    } else {
        CpuNumber::SegmentLimit
    }
}
