//! Guest programs, in machine code. Each may use any register; none needs a stack.

#![expect(unsafe_code, reason = "assembly between two symbols")]

use std::arch::global_asm;
use std::slice;

macro_rules! guest_code {
    ($($(#[$doc:meta])* $name:ident = $($line:literal),+;)*) => {
        $(
            global_asm!(
                ".pushsection .rodata",
                concat!(".globl guest_", stringify!($name), "_start"),
                concat!("guest_", stringify!($name), "_start:"),
                $($line,)+
                concat!(".globl guest_", stringify!($name), "_end"),
                concat!("guest_", stringify!($name), "_end:"),
                ".popsection",
            );

            $(#[$doc])*
            pub fn $name() -> &'static [u8] {
                unsafe extern "C" {
                    #[link_name = concat!("guest_", stringify!($name), "_start")]
                    static START: u8;
                    #[link_name = concat!("guest_", stringify!($name), "_end")]
                    static END: u8;
                }
                let start = &raw const START;
                let length = (&raw const END).addr() - start.addr();
                // SAFETY: the assembler put `length` constant bytes between the two symbols.
                unsafe { slice::from_raw_parts(start, length) }
            }
        )*
    };
}

guest_code! {
    /// System calls for ever, with the numbers that rax has.
    system_calls = "2: syscall", "jmp 2b";
    /// Adds one to each of the general registers, then calls.
    increment = "inc rax", "inc rbx", "inc rdx", "inc rsi", "inc rdi", "inc rbp", "inc rsp", "inc r8", "inc r9",
        "inc r10", "inc r12", "inc r13", "inc r14", "inc r15", "syscall";
    /// Loads from [rdi], for ever calling with what it got in rsi.
    load = "2: mov rsi, [rdi]", "syscall", "jmp 2b";
    /// Stores rsi to [rdi], then calls, for ever.
    store = "2: mov [rdi], rsi", "syscall", "jmp 2b";
    /// Jumps to rdi.
    jump = "jmp rdi";
    /// Spins.
    spin = "2: inc rbx", "jmp 2b";
    /// Loads from [rdi] for ever.
    load_spin = "2: mov rsi, [rdi]", "inc rbx", "jmp 2b";
    /// Stores to [rdi] for ever.
    store_spin = "2: mov [rdi], rbx", "inc rbx", "jmp 2b";
    /// Invalid opcode.
    invalid = "ud2";
    /// Breakpoint.
    breakpoint = "int3", "syscall";
    /// Division by zero.
    division = "xor ecx, ecx", "xor edx, edx", "mov eax, 1", "div ecx";
    /// A privileged instruction.
    privileged = "hlt";
    /// A load from an address that is not canonical.
    not_canonical = "mov rax, 0x8000000000000000", "mov rax, [rax]";
    /// Sets the trap flag on the stack at rsp.
    single_step = "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "syscall";
    /// The 32-bit system call interrupt.
    interrupt_80 = "int 0x80", "ud2";
    /// A 32-bit system call interrupt by 32-bit code, through a far jump to [rdi].
    compatibility = "jmp fword ptr [rdi]";
    /// `int 0x80` alone.
    interrupt_80_only = "int 0x80";
    /// Calls `time` in the vsyscall page; needs a stack.
    vsyscall = "mov rax, 0xffffffffff600400", "xor edi, edi", "call rax", "ud2";
    /// Null selectors with a privilege level, and bases in the kernel's half.
    segments = "mov eax, 1", "mov ds, ax", "mov eax, 2", "mov es, ax", "mov rax, 0xffff800000001000",
        "wrfsbase rax", "wrgsbase rax", "mov eax, 39", "2: syscall", "rdfsbase rbx", "mov r12d, ds", "jmp 2b";
    /// Reads through fs and gs.
    through_segments = "mov rbx, fs:[0]", "mov r12, gs:[8]", "syscall";
    /// Fills ymm7 with the value of rsi, then calls, spins and calls again.
    set_vector = "vmovq xmm7, rsi", "vpbroadcastq ymm7, xmm7", "syscall";
    /// Adds the four parts of ymm7 into rbx, then calls.
    get_vector = "vmovq rbx, xmm7", "vextracti128 xmm6, ymm7, 1", "vmovq rcx, xmm6", "add rbx, rcx",
        "vpextrq rcx, xmm6, 1", "add rbx, rcx", "syscall";
    /// Overwrites its own first byte.
    self_write = "mov byte ptr [rip - 7], 0xc6", "syscall";
    /// For ever two calls, each with a counter, which r12 holds, in its arguments: the first has number 500 and is to return three times the counter; the second
    /// has number 0 and that result as its argument, and is to return the negated counter. Neither may change the carry and overflow flags.
    counted_calls = ".skip 64, 0x90", "2: inc r12", "mov rdi, r12", "lea rsi, [r12 + 1]", "lea rdx, [r12 + 2]", "lea r10, [r12 + 3]",
        "lea r8, [r12 + 4]", "lea r9, [r12 + 5]", "mov al, 0x7f", "add al, 1", "mov eax, 500", "syscall", "jno 3f", "jc 3f",
        "lea r13, [r12 + r12 * 2]", "cmp rax, r13", "jne 3f", "mov rdi, rax", "stc", "mov eax, 0x12345678", "jmp 4f", ".skip 48, 0x90",
        "4: xor eax, eax", "syscall", "add rax, r12", "jne 3f", "jmp 2b", ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0", "3: ud2";
    /// Writes numbers that look random, from rsi, to places in the memory from rdi that look random too; rdx is its length less one word, a mask.
    scribble = "2: mov rax, rsi", "shl rax, 13", "xor rsi, rax", "mov rax, rsi", "shr rax, 7", "xor rsi, rax", "mov rax, rsi",
        "shl rax, 17", "xor rsi, rax", "mov rcx, rsi", "shr rcx, 20", "and rcx, rdx", "mov [rdi + rcx], rsi", "pause", "jmp 2b";
}
