//! The instructions that touch guest memory, and where they continue after a fault.
//!
//! Each routine that copies keeps what is left to do in `rcx`. When an access faults, the handler of
//! [`fault_handler`](super::fault_handler) looks its address up in the table of fix-ups and lets the routine go on there; it then
//! reports how far it came.
//!
//! # Safety
//! Callers give pointers that are either memory of their own, or memory shared with guests that was obtained as a
//! [`VolatileSlice`](super::VolatileSlice) (so the addresses belong to a mapping of the process for the whole call). Only
//! faults at the recorded instructions are fixed up, and these change nothing but the destination.

#![expect(unsafe_code, reason = "assembly")]

use std::arch::global_asm;
use std::slice;

// A fix-up is three 32-bit distances from its own start: the first recorded instruction, the first one behind it, and where to go
// on. `copy`: rdi destination, rsi source, rdx bytes; returns the bytes not copied. Up to 64 bytes are copied by words (the start of
// a string instruction costs more than that), and after a fault of a word by bytes, so that the count is exact. `rep movsb`
// leaves exact registers when it faults. The atomic routines return the value in rax and 0 in rdx, or 1 in rdx after a fault.
global_asm!(
    r#"
    .macro bartizan_fixup first, behind, target
    .pushsection .rodata.bartizan_fixups, "a", @progbits
    777:
    .long \first - 777b, \behind - 777b, \target - 777b
    .popsection
    .endm

    .pushsection .rodata.bartizan_fixups, "a", @progbits
    .balign 4
    .globl bartizan_fixups
    .hidden bartizan_fixups
    bartizan_fixups:
    .popsection

    .pushsection .text.bartizan_memory, "ax", @progbits

    .balign 64
    .globl bartizan_copy
    .hidden bartizan_copy
    bartizan_copy:
        mov rcx, rdx
        cmp rcx, 64
        ja 15f
    12: cmp rcx, 8
        jb 13f
    21: mov rax, [rsi]
        mov [rdi], rax
    22: add rsi, 8
        add rdi, 8
        sub rcx, 8
        jmp 12b
    13: test rcx, rcx
        jz 14f
    23: mov al, [rsi]
        mov [rdi], al
    24: inc rsi
        inc rdi
        dec rcx
        jmp 13b
    15: rep movsb
    14: mov rax, rcx
        ret
    bartizan_fixup 21b, 22b, 13b
    bartizan_fixup 23b, 24b, 14b
    bartizan_fixup 15b, 14b, 14b

    // rdi: destination, rsi: bytes; returns the bytes not zeroed.
    .balign 16
    .globl bartizan_zero
    .hidden bartizan_zero
    bartizan_zero:
        mov rcx, rsi
        xor eax, eax
    11: rep stosb
    12: mov rax, rcx
        ret
    bartizan_fixup 11b, 12b, 12b

    // rdi: address.
    .balign 16
    .globl bartizan_load_u32
    .hidden bartizan_load_u32
    bartizan_load_u32:
        xor edx, edx
    11: mov eax, [rdi]
    12: ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    .balign 16
    .globl bartizan_load_u64
    .hidden bartizan_load_u64
    bartizan_load_u64:
        xor edx, edx
    11: mov rax, [rdi]
    12: ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    // rdi: address, rsi: new value; returns the old one.
    .balign 16
    .globl bartizan_exchange_u32
    .hidden bartizan_exchange_u32
    bartizan_exchange_u32:
        xor edx, edx
        mov eax, esi
    11: xchg [rdi], eax
    12: ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    .balign 16
    .globl bartizan_exchange_u64
    .hidden bartizan_exchange_u64
    bartizan_exchange_u64:
        xor edx, edx
        mov rax, rsi
    11: xchg [rdi], rax
    12: ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    // rdi: address, rsi: expected value, rdx: new value; returns the old one.
    .balign 16
    .globl bartizan_compare_exchange_u32
    .hidden bartizan_compare_exchange_u32
    bartizan_compare_exchange_u32:
        mov eax, esi
    11: lock cmpxchg [rdi], edx
    12: mov eax, eax
        xor edx, edx
        ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    .balign 16
    .globl bartizan_compare_exchange_u64
    .hidden bartizan_compare_exchange_u64
    bartizan_compare_exchange_u64:
        mov rax, rsi
    11: lock cmpxchg [rdi], rdx
    12: xor edx, edx
        ret
    bartizan_fixup 11b, 12b, bartizan_atomic_fault

    bartizan_atomic_fault:
        xor eax, eax
        mov edx, 1
        ret
    .popsection

    .pushsection .rodata.bartizan_fixups, "a", @progbits
    .globl bartizan_fixups_end
    .hidden bartizan_fixups_end
    bartizan_fixups_end:
    .popsection
    .purgem bartizan_fixup
    "#
);

/// What an atomic routine returns, in two registers.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct AtomicResult {
    /// What was in memory; meaningless after a fault.
    pub(super) value: u64,
    /// Not zero if the access faulted.
    pub(super) faulted: u64,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Fixup {
    first: i32,
    behind: i32,
    target: i32,
}

unsafe extern "C" {
    /// Copies `length` bytes and returns how many were left when an access faulted.
    pub(super) fn bartizan_copy(destination: *mut u8, source: *const u8, length: usize) -> usize;
    /// Zeroes `length` bytes and returns how many were left when an access faulted.
    pub(super) fn bartizan_zero(destination: *mut u8, length: usize) -> usize;
    pub(super) fn bartizan_load_u32(address: *const u32) -> AtomicResult;
    pub(super) fn bartizan_load_u64(address: *const u64) -> AtomicResult;
    pub(super) fn bartizan_exchange_u32(address: *mut u32, new: u32) -> AtomicResult;
    pub(super) fn bartizan_exchange_u64(address: *mut u64, new: u64) -> AtomicResult;
    pub(super) fn bartizan_compare_exchange_u32(address: *mut u32, expected: u32, new: u32) -> AtomicResult;
    pub(super) fn bartizan_compare_exchange_u64(address: *mut u64, expected: u64, new: u64) -> AtomicResult;

    static bartizan_fixups: Fixup;
    static bartizan_fixups_end: Fixup;
}

/// Where code that faulted at `instruction` goes on, if it is one of the routines above. Safe in a signal handler: it
/// reads constants only.
pub(super) fn fixup_of(instruction: usize) -> Option<usize> {
    let first = &raw const bartizan_fixups;
    let end = &raw const bartizan_fixups_end;
    let count = (end.addr() - first.addr()) / size_of::<Fixup>();
    // SAFETY: the assembler laid `count` fix-ups out between the two symbols, in read-only memory.
    let table = unsafe { slice::from_raw_parts(first, count) };
    table.iter().find_map(|fixup| {
        let base = std::ptr::from_ref(fixup).addr();
        let at = |distance: i32| base.wrapping_add_signed(distance as isize);
        (at(fixup.first)..at(fixup.behind)).contains(&instruction).then(|| at(fixup.target))
    })
}
