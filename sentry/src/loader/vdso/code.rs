//! The machine code of the vDSO: position-independent, without a relocation, and without any data but the parameter
//! page that lies right below the image.
//!
//! The assembler of the Rust tool chain makes it as read-only data of this library; it is copied into each image and runs
//! in guests alone. Registers follow the C calling convention; no stack is used beyond return addresses.
//!
//! # Safety
//! The `unsafe` code here reads the labels around that data. The `global_asm` block defines all of them, in this order: the code
//! from `bartizan_vdso_start` to `bartizan_vdso_end`, then the table of five pairs of 32-bit numbers.

#![expect(
    unsafe_code,
    reason = "symbols that an assembler block defines can only be reached as extern statics"
)]

use std::arch::global_asm;

use super::parameters::offset;

/// Where the code starts in the image, bytes. The code finds the parameter page by it.
pub const CODE_OFFSET: usize = 0x800;
/// Bytes of the parameter page below the image.
pub const PARAMETERS_SIZE: usize = 0x1000;

global_asm!(
    ".pushsection .rodata.bartizan_vdso, \"a\", @progbits",
    ".balign 64",
    ".globl bartizan_vdso_start, bartizan_vdso_end, bartizan_vdso_table",
    ".hidden bartizan_vdso_start, bartizan_vdso_end, bartizan_vdso_table",
    "bartizan_vdso_start:",
    // Reads the clock whose base lies at offset rcx of the parameter page: seconds to rcx, nanoseconds to rax and the carry flag
    // clear, or the carry flag set when the caller has to ask the kernel. Changes rdx, r8 to r10.
    "20:",
    "lea r8, [rip + bartizan_vdso_start - {code_offset} - {parameters_size}]",
    "lea r9, [r8 + rcx]",
    "21:",
    "mov r10d, dword ptr [r8 + {sequence}]",
    "test r10d, 1",
    "jnz 25f",
    "lfence",
    "rdtsc",
    "shl rdx, 32",
    "or rax, rdx",
    "sub rax, qword ptr [r8 + {base_tsc}]",
    "cmp rax, qword ptr [r8 + {max_delta}]",
    "jae 25f",
    "mul qword ptr [r8 + {multiplier}]",
    "shrd rax, rdx, 32",
    "mov rcx, qword ptr [r9]",
    "add rax, qword ptr [r9 + 8]",
    "cmp r10d, dword ptr [r8 + {sequence}]",
    "jne 21b",
    "22:",
    "cmp rax, 1000000000",
    "jb 23f",
    "sub rax, 1000000000",
    "inc rcx",
    "jmp 22b",
    "23:",
    "clc",
    "ret",
    "25:",
    "stc",
    "ret",
    // From a clock ID to the offset of its base; zero where the kernel has to be asked.
    "26:",
    ".byte {realtime}, {monotonic}, 0, 0, 0, {realtime}, {monotonic}, {boottime}",
    // int clock_gettime(clockid_t edi, struct timespec *rsi)
    ".balign 16",
    "30:",
    "mov eax, edi",
    "cmp eax, 8",
    "jae 31f",
    "lea rcx, [rip + 26b]",
    "movzx ecx, byte ptr [rcx + rax]",
    "test ecx, ecx",
    "jz 31f",
    "call 20b",
    "jc 31f",
    "mov qword ptr [rsi], rcx",
    "mov qword ptr [rsi + 8], rax",
    "xor eax, eax",
    "ret",
    "31:",
    "mov eax, {sys_clock_gettime}",
    "syscall",
    "ret",
    "39:",
    // int gettimeofday(struct timeval *rdi, struct timezone *rsi)
    ".balign 16",
    "40:",
    "test rdi, rdi",
    "jz 41f",
    "mov ecx, {realtime}",
    "call 20b",
    "jc 43f",
    "mov qword ptr [rdi], rcx",
    // Below 2^30, so that a product with the reciprocal of 1000 is exact.
    "imul rax, rax, 274877907",
    "shr rax, 38",
    "mov qword ptr [rdi + 8], rax",
    "41:",
    "test rsi, rsi",
    "jz 42f",
    "lea r8, [rip + bartizan_vdso_start - {code_offset} - {parameters_size}]",
    "mov rax, qword ptr [r8 + {timezone}]",
    "mov qword ptr [rsi], rax",
    "42:",
    "xor eax, eax",
    "ret",
    "43:",
    "mov eax, {sys_gettimeofday}",
    "syscall",
    "ret",
    "49:",
    // time_t time(time_t *rdi)
    ".balign 16",
    "50:",
    "mov ecx, {realtime}",
    "call 20b",
    "jc 52f",
    "mov rax, rcx",
    "test rdi, rdi",
    "jz 51f",
    "mov qword ptr [rdi], rax",
    "51:",
    "ret",
    "52:",
    "mov eax, {sys_time}",
    "syscall",
    "ret",
    "59:",
    // int getcpu(unsigned *rdi, unsigned *rsi, void *)
    ".balign 16",
    "60:",
    "mov eax, dword ptr [rip + bartizan_vdso_start - {code_offset} - {parameters_size} + {getcpu}]",
    "cmp eax, 1",
    "je 61f",
    "cmp eax, 2",
    "jne 65f",
    "mov eax, 0x7b",
    "lsl eax, eax",
    "jmp 62f",
    "61:",
    "rdpid rax",
    "62:",
    "test rdi, rdi",
    "jz 63f",
    "mov ecx, eax",
    "and ecx, 0xfff",
    "mov dword ptr [rdi], ecx",
    "63:",
    "test rsi, rsi",
    "jz 64f",
    "shr eax, 12",
    "mov dword ptr [rsi], eax",
    "64:",
    "xor eax, eax",
    "ret",
    "65:",
    "mov eax, {sys_getcpu}",
    "syscall",
    "ret",
    "69:",
    // int clock_getres(clockid_t edi, struct timespec *rsi): one nanosecond for clocks 0, 1 and 7.
    ".balign 16",
    "70:",
    "mov eax, edi",
    "cmp eax, 8",
    "jae 72f",
    "mov ecx, 0x83",
    "bt ecx, eax",
    "jnc 72f",
    "test rsi, rsi",
    "jz 71f",
    "mov qword ptr [rsi], 0",
    "mov qword ptr [rsi + 8], 1",
    "71:",
    "xor eax, eax",
    "ret",
    "72:",
    "mov eax, {sys_clock_getres}",
    "syscall",
    "ret",
    "79:",
    "bartizan_vdso_end:",
    ".balign 4",
    "bartizan_vdso_table:",
    ".long 30b - bartizan_vdso_start, 39b - 30b",
    ".long 40b - bartizan_vdso_start, 49b - 40b",
    ".long 50b - bartizan_vdso_start, 59b - 50b",
    ".long 60b - bartizan_vdso_start, 69b - 60b",
    ".long 70b - bartizan_vdso_start, 79b - 70b",
    ".popsection",
    code_offset = const CODE_OFFSET,
    parameters_size = const PARAMETERS_SIZE,
    sequence = const offset::SEQUENCE,
    base_tsc = const offset::BASE_TSC,
    max_delta = const offset::MAX_DELTA,
    multiplier = const offset::MULTIPLIER,
    realtime = const offset::REALTIME,
    monotonic = const offset::MONOTONIC,
    boottime = const offset::BOOTTIME,
    getcpu = const offset::GETCPU,
    timezone = const offset::TIMEZONE,
    sys_clock_gettime = const bartizan_abi::Sysno::clock_gettime as u16,
    sys_gettimeofday = const bartizan_abi::Sysno::gettimeofday as u16,
    sys_time = const bartizan_abi::Sysno::time as u16,
    sys_getcpu = const bartizan_abi::Sysno::getcpu as u16,
    sys_clock_getres = const bartizan_abi::Sysno::clock_getres as u16,
);

unsafe extern "C" {
    #[link_name = "bartizan_vdso_start"]
    static START: u8;
    #[link_name = "bartizan_vdso_end"]
    static END: u8;
    #[link_name = "bartizan_vdso_table"]
    static TABLE: [[u32; 2]; 5];
}

/// The names of the functions, in the order of the table; `__vdso_` precedes each.
const NAMES: [&str; 5] = ["clock_gettime", "gettimeofday", "time", "getcpu", "clock_getres"];

/// One function of the vDSO.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name without `__vdso_`.
    pub name: &'static str,
    /// Where it starts in the image, bytes.
    pub offset: u32,
    /// Its size, bytes.
    pub size: u32,
}

/// The code, to be placed at [`CODE_OFFSET`].
pub fn bytes() -> &'static [u8] {
    let start = &raw const START;
    let end = &raw const END;
    let length = end.addr() - start.addr();
    // SAFETY: the assembler block defines both labels in one section, so all bytes between them are constant data of this library.
    unsafe { std::slice::from_raw_parts(start, length) }
}

/// The functions in the code.
pub fn functions() -> [Function; 5] {
    // SAFETY: the assembler block defines five pairs of numbers at this label, aligned to 4 bytes, and nothing writes them.
    let table = unsafe { TABLE };
    let mut names = NAMES.iter();
    table.map(|[offset, size]| Function {
        name: names.next().copied().unwrap_or_default(),
        offset: offset + CODE_OFFSET as u32,
        size,
    })
}
