//! The code that runs in stub processes outside of the sentry: seed, spawner, mapper and signal handler.
//!
//! # Safety
//! All of it keeps its state in registers and in pages that guests cannot write, except where guest code can do no more
//! by changing it than it could anyway. It is assembled into the host program's text, copied into the code page, and
//! runs only there: it refers to itself relatively and to the stub's region by fixed addresses.

#![expect(unsafe_code, reason = "assembles the stub's code and reads it as bytes")]

use std::arch::global_asm;

use super::layout::{
    self, AREA_SIZE, AREAS, BASE, CONTROL_SIZE, END, MAGIC, ORDERS, READ_ONLY_SIZE, SCRATCH, TASK_SIZE, area,
    block, orders,
};

/// The signal that makes a thread leave guest code.
pub const KICK: i32 = libc::SIGURG;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: a signal does not take a thread out of a call that the sentry has received. Without it a kick could
/// overtake an answer that the host took for delivered, and the guest would make the call a second time.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// Where constants start in the code page.
const CONSTANTS: u64 = 0xc00;
/// `struct sigaction` for all handled signals.
const SIGACTION: u64 = BASE + CONSTANTS;
/// `struct sock_fprog` of guest threads.
const GUEST_FILTER: u64 = BASE + CONSTANTS + 0x40;
/// `struct sock_fprog` of mappers.
const MAPPER_FILTER: u64 = BASE + CONSTANTS + 0x50;
/// Eight bytes with the number 1, to be written to event descriptors.
const ONE: u64 = BASE + CONSTANTS + 0x60;
/// The signal mask of leader and mapper, for which no signal is meant.
const ALL_SIGNALS: u64 = BASE + CONSTANTS + 0x68;
/// The signal mask of guest threads.
const NO_SIGNALS: u64 = BASE + CONSTANTS + 0x70;
/// The instructions of the guest threads' filter.
const GUEST_PROGRAM: u64 = BASE + CONSTANTS + 0x80;
/// The instructions of the mappers' filter.
const MAPPER_PROGRAM: u64 = BASE + CONSTANTS + 0x200;

global_asm!(
    ".pushsection .text.bartizan_systrap, \"ax\", @progbits",
    ".balign 64",
    ".irp label, start, mapper_call, call, called, slept, handler, stopped, returned, end",
    ".globl bartizan_systrap_\\label",
    ".hidden bartizan_systrap_\\label",
    ".endr",
    "bartizan_systrap_start:",
    // ---- The seed. r12d: order pipe, r13d: report pipe. It has unmapped nothing yet and never returns.
    "bartizan_systrap_seed:",
    "mov eax, {munmap}",
    "xor edi, edi",
    "movabs rsi, {base}",
    "syscall",
    "mov eax, {munmap}",
    "movabs rdi, {end}",
    "movabs rsi, {task_size} - {end}",
    "syscall",
    "2:",
    "mov eax, {read}",
    "mov edi, r12d",
    "movabs rsi, {scratch}",
    "mov edx, 16",
    "syscall",
    "cmp rax, 16",
    "jne 9f",
    "mov eax, {clone}",
    "mov edi, {clone_stub}",
    "xor esi, esi",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "syscall",
    "test rax, rax",
    "jz bartizan_systrap_leader",
    "movabs rsi, {scratch}",
    "mov [rsi + 16], rax",
    "add rsi, 16",
    "mov eax, {write}",
    "mov edi, r13d",
    "mov edx, 8",
    "syscall",
    "jmp 2b",
    "9:",
    "xor edi, edi",
    "mov eax, {exit_group}",
    "syscall",
    "ud2",
    // ---- The leader of a stub process: sets it up, then spawns threads on order.
    // Scratch holds three descriptors: control file, order event, done event. They move to registers before a guest runs.
    "bartizan_systrap_leader:",
    "movabs rbx, {scratch}",
    "mov r12d, [rbx]",
    "mov r13d, [rbx + 4]",
    "mov r14d, [rbx + 8]",
    "mov eax, {prctl}",
    "mov edi, {pr_set_pdeathsig}",
    "mov esi, {sigkill}",
    "syscall",
    "mov eax, {rt_sigprocmask}",
    "mov edi, {sig_setmask}",
    "movabs rsi, {all_signals}",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "mov eax, {mmap}",
    "movabs rdi, {orders}",
    "mov esi, {read_only_size}",
    "mov edx, {prot_read}",
    "mov r10d, {map_shared_fixed}",
    "mov r8d, r12d",
    "xor r9d, r9d",
    "syscall",
    "mov eax, {mmap}",
    "movabs rdi, {areas}",
    "mov esi, {areas_size}",
    "mov edx, {prot_read_write}",
    "mov r10d, {map_shared_fixed}",
    "mov r8d, r12d",
    "mov r9d, {read_only_size}",
    "syscall",
    "movabs rsi, {sigaction}",
    "xor edx, edx",
    "mov r10d, 8",
    ".irp signal, {sigsegv}, {sigbus}, {sigfpe}, {sigill}, {sigtrap}, {sigsys}, {kick}",
    "mov eax, {rt_sigaction}",
    "mov edi, \\signal",
    "syscall",
    ".endr",
    "xor ebp, ebp",
    "2:",
    // Report the last thread's id (or the error) by the position of the control file, which no memory can fake.
    "xor esi, esi",
    "test rbp, rbp",
    "cmovns rsi, rbp",
    "mov eax, {lseek}",
    "mov edi, r12d",
    "xor edx, edx",
    "syscall",
    "mov eax, {write}",
    "mov edi, r14d",
    "movabs rsi, {one}",
    "mov edx, 8",
    "syscall",
    "3:",
    "mov eax, {read}",
    "mov edi, r13d",
    "movabs rsi, {scratch}",
    "mov edx, 8",
    "syscall",
    "cmp rax, 8",
    "jne 3b",
    "movabs rcx, {orders}",
    "mov r15, [rcx + {spawn_kind}]",
    "mov rbx, [rcx + {spawn_area}]",
    "mov eax, {clone}",
    "mov edi, {clone_guest}",
    "test r15, r15",
    "jz 4f",
    "mov edi, {clone_mapper}",
    "4:",
    "lea rsi, [rbx + {area_size}]",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "syscall",
    "test rax, rax",
    "jz 5f",
    "mov rbp, rax",
    "jmp 2b",
    "5:",
    "test r15, r15",
    "jnz bartizan_systrap_mapper",
    // ---- A guest thread before it has run anything: gives up all descriptors, so that the listener becomes number 0.
    "mov eax, {close_range}",
    "xor edi, edi",
    "mov esi, -1",
    "xor edx, edx",
    "syscall",
    "mov eax, {sigaltstack}",
    "lea rdi, [rbx + {area_stack}]",
    "xor esi, esi",
    "syscall",
    "mov eax, {rt_sigprocmask}",
    "mov edi, {sig_setmask}",
    "movabs rsi, {no_signals}",
    "xor edx, edx",
    "mov r10d, 8",
    "syscall",
    "mov eax, {seccomp}",
    "mov edi, 1",
    "mov esi, {guest_listener}",
    "movabs rdx, {guest_filter}",
    "syscall",
    // Raise the first stop: all registers are then loaded from a frame, as ever after.
    "ud2",
    // ---- A mapper. rbx: its area, r12d: control file.
    "bartizan_systrap_mapper:",
    "mov eax, {seccomp}",
    "mov edi, 1",
    "mov esi, {new_listener}",
    "movabs rdx, {mapper_filter}",
    "syscall",
    "mov [rbx + {area_listener}], rax",
    "xor r14d, r14d",
    "7:",
    // Report the result of the last batch in rdi and wait for the next: its size is the result.
    "mov rdi, r14",
    "mov eax, {magic}",
    "syscall",
    "mov rbp, rax",
    "xor r14d, r14d",
    "movabs r13, {orders} + {operations}",
    "8:",
    "test rbp, rbp",
    "jz 7b",
    "mov rax, [r13]",
    "mov rdi, [r13 + 8]",
    "mov rsi, [r13 + 16]",
    "mov rdx, [r13 + 24]",
    "mov r10, [r13 + 32]",
    "mov r8, [r13 + 40]",
    "mov r9, [r13 + 48]",
    "syscall",
    "bartizan_systrap_mapper_call:",
    "cmp rax, -4095",
    "cmovae r14, rax",
    "add r13, {operation_size}",
    "dec rbp",
    "jmp 8b",
    // ---- A call from a patched site, whose trampoline (`patch.rs`) found the thread's area. r11: area, rcx: where it returns to, rax: number.
    // The stack is the guest's and stays untouched; the flags are the guest's until they are saved.
    "bartizan_systrap_call:",
    "mov [r11 + {rbx}], rbx",
    "mov rbx, r11",
    "mov [rbx + {return}], rcx",
    "mov [rbx + {number}], rax",
    "mov [rbx + {arguments}], rdi",
    "mov [rbx + {arguments} + 8], rsi",
    "mov [rbx + {arguments} + 16], rdx",
    "mov [rbx + {arguments} + 24], r10",
    "mov [rbx + {arguments} + 32], r8",
    "mov [rbx + {arguments} + 40], r9",
    "lahf",
    "seto al",
    "mov [rbx + {flags}], rax",
    "mov rcx, [rbx + {patience}]",
    "mov dword ptr [rbx + {state}], {called}",
    "bartizan_systrap_called:",
    "2:",
    "sub rcx, 1",
    "jb 3f",
    "pause",
    "cmp dword ptr [rbx + {state}], {called}",
    "je 2b",
    "jmp 5f",
    "3:",
    "mov eax, {called}",
    "mov ecx, {called_asleep}",
    "lock cmpxchg [rbx + {state}], ecx",
    "jne 5f",
    "4:",
    "mov eax, {magic}",
    "syscall",
    "bartizan_systrap_slept:",
    "cmp dword ptr [rbx + {state}], {called_asleep}",
    "je 4b",
    "5:",
    // R11 holds the flags after a call, as far as they are known.
    "mov eax, [rbx + {flags}]",
    "movzx ecx, al",
    "shl ecx, 11",
    "mov r11d, eax",
    "shr r11d, 8",
    "movzx r11d, r11b",
    "lea r11d, [r11 + rcx + 0x200]",
    "add al, 0x7f",
    "sahf",
    "mov rax, [rbx + {result}]",
    "mov rcx, [rbx + {return}]",
    "mov rbx, [rbx + {rbx}]",
    "jmp rcx",
    // ---- The signal handler: rdi signal, rsi siginfo, rdx ucontext, on the thread's signal stack.
    "bartizan_systrap_handler:",
    "mov rbx, rsp",
    "and rbx, {area_mask}",
    "rdfsbase rax",
    "mov [rbx + {area_fs}], rax",
    "rdgsbase rax",
    "mov [rbx + {area_gs}], rax",
    // A kick may come in the middle of a call, whose block is in use.
    "cmp edi, {kick}",
    "je 8f",
    "mov rcx, [rbx + {patience}]",
    "jrcxz 8f",
    "mov [rbx + {number}], rdi",
    "mov [rbx + {return}], rsi",
    "mov [rbx + {arguments}], rdx",
    "mov dword ptr [rbx + {state}], {stopped}",
    "6:",
    "sub rcx, 1",
    "jb 7f",
    "pause",
    "cmp dword ptr [rbx + {state}], {stopped}",
    "je 6b",
    "jmp 9f",
    "7:",
    "mov eax, {stopped}",
    "mov ecx, {stopped_asleep}",
    "lock cmpxchg [rbx + {state}], ecx",
    "jne 9f",
    "8:",
    "mov eax, {magic}",
    "syscall",
    "bartizan_systrap_stopped:",
    "9:",
    "mov rax, [rbx + {area_fs}]",
    "wrfsbase rax",
    "mov rax, [rbx + {area_gs}]",
    "wrgsbase rax",
    "add rsp, 8",
    "mov eax, {rt_sigreturn}",
    "syscall",
    "bartizan_systrap_returned:",
    "ud2",
    "bartizan_systrap_end:",
    ".popsection",
    munmap = const libc::SYS_munmap,
    mmap = const libc::SYS_mmap,
    read = const libc::SYS_read,
    write = const libc::SYS_write,
    lseek = const libc::SYS_lseek,
    clone = const libc::SYS_clone,
    exit_group = const libc::SYS_exit_group,
    prctl = const libc::SYS_prctl,
    rt_sigaction = const libc::SYS_rt_sigaction,
    rt_sigprocmask = const libc::SYS_rt_sigprocmask,
    sig_setmask = const libc::SIG_SETMASK,
    all_signals = const ALL_SIGNALS,
    no_signals = const NO_SIGNALS,
    rt_sigreturn = const libc::SYS_rt_sigreturn,
    close_range = const libc::SYS_close_range,
    sigaltstack = const libc::SYS_sigaltstack,
    seccomp = const libc::SYS_seccomp,
    base = const BASE,
    end = const END,
    task_size = const TASK_SIZE,
    read_only_size = const READ_ONLY_SIZE,
    scratch = const SCRATCH,
    orders = const ORDERS,
    areas = const AREAS,
    areas_size = const CONTROL_SIZE - READ_ONLY_SIZE,
    area_size = const AREA_SIZE,
    area_mask = const -(AREA_SIZE as i64),
    area_stack = const area::STACK,
    area_fs = const area::FS_BASE,
    area_gs = const area::GS_BASE,
    area_listener = const area::LISTENER,
    state = const block::STATE,
    result = const block::RESULT,
    number = const block::NUMBER,
    return = const block::RETURN,
    arguments = const block::ARGUMENTS,
    rbx = const block::RBX,
    flags = const block::FLAGS,
    patience = const block::PATIENCE,
    called = const block::CALLED,
    called_asleep = const block::CALLED_ASLEEP,
    stopped = const block::STOPPED,
    stopped_asleep = const block::STOPPED_ASLEEP,
    spawn_kind = const orders::SPAWN_KIND,
    spawn_area = const orders::SPAWN_AREA,
    operations = const orders::OPERATIONS,
    operation_size = const orders::OPERATION_SIZE,
    magic = const MAGIC,
    sigaction = const SIGACTION,
    guest_filter = const GUEST_FILTER,
    mapper_filter = const MAPPER_FILTER,
    one = const ONE,
    new_listener = const libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    guest_listener = const libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV,
    pr_set_pdeathsig = const libc::PR_SET_PDEATHSIG,
    sigkill = const libc::SIGKILL,
    sigsegv = const libc::SIGSEGV,
    sigbus = const libc::SIGBUS,
    sigfpe = const libc::SIGFPE,
    sigill = const libc::SIGILL,
    sigtrap = const libc::SIGTRAP,
    sigsys = const libc::SIGSYS,
    kick = const KICK,
    prot_read = const libc::PROT_READ,
    prot_read_write = const libc::PROT_READ | libc::PROT_WRITE,
    map_shared_fixed = const libc::MAP_SHARED | libc::MAP_FIXED,
    clone_stub = const libc::CLONE_PARENT | libc::CLONE_FILES,
    clone_guest = const libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_SYSVSEM,
    clone_mapper = const libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM | libc::CLONE_FILES,
);

unsafe extern "C" {
    static bartizan_systrap_start: u8;
    static bartizan_systrap_mapper_call: u8;
    static bartizan_systrap_call: u8;
    static bartizan_systrap_called: u8;
    static bartizan_systrap_slept: u8;
    static bartizan_systrap_handler: u8;
    static bartizan_systrap_stopped: u8;
    static bartizan_systrap_returned: u8;
    static bartizan_systrap_end: u8;
}

/// Addresses in the code page that the sentry has to know. Those of calls are behind the instruction, as seccomp reports
/// them.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The calls of a mapper that change mappings.
    pub mapper_call: u64,
    /// Where trampolines of patched call sites go.
    pub call: u64,
    /// From here on a call from a patched site has been made.
    pub called: u64,
    /// The call in which a thread sleeps until a call from a patched site is answered.
    pub slept: u64,
    /// The signal handler, and the end of the code for calls from patched sites.
    pub handler: u64,
    /// The call of the signal handler.
    pub stopped: u64,
    /// The `rt_sigreturn` of the signal handler.
    pub returned: u64,
}

/// Distance of a label from the start of the code, as its address in the code page.
macro_rules! address_of {
    ($label:ident) => {
        BASE + (&raw const $label as u64 - &raw const bartizan_systrap_start as u64)
    };
}

/// Where things are in the code page.
pub fn addresses() -> Addresses {
    Addresses {
        mapper_call: address_of!(bartizan_systrap_mapper_call),
        call: address_of!(bartizan_systrap_call),
        called: address_of!(bartizan_systrap_called),
        slept: address_of!(bartizan_systrap_slept),
        handler: address_of!(bartizan_systrap_handler),
        stopped: address_of!(bartizan_systrap_stopped),
        returned: address_of!(bartizan_systrap_returned),
    }
}

/// The contents of the code page: code, then the constants that it refers to.
pub fn code_page() -> Vec<u8> {
    let length = usize::try_from(address_of!(bartizan_systrap_end) - BASE).unwrap_or(usize::MAX);
    // SAFETY: the assembly above defines both labels around `length` bytes of constant text.
    let code = unsafe { std::slice::from_raw_parts(&raw const bartizan_systrap_start, length) };
    let mut page = vec![0u8; layout::PAGE as usize];
    assert!(length <= CONSTANTS as usize, "the stub's code has outgrown its page");
    page[..length].copy_from_slice(code);
    let addresses = addresses();
    let mut put = |address: u64, bytes: &[u8]| {
        let at = (address - BASE) as usize;
        page[at..at + bytes.len()].copy_from_slice(bytes);
    };
    for (index, word) in sigaction(&addresses).into_iter().enumerate() {
        put(SIGACTION + 8 * index as u64, &word.to_le_bytes());
    }
    put(ONE, &1u64.to_le_bytes());
    put(ALL_SIGNALS, &u64::MAX.to_le_bytes());
    put(NO_SIGNALS, &0u64.to_le_bytes());
    let guest = super::filter::guest(&addresses);
    let mapper = super::filter::mapper(&addresses);
    for (header, at, program) in
        [(GUEST_FILTER, GUEST_PROGRAM, guest), (MAPPER_FILTER, MAPPER_PROGRAM, mapper)]
    {
        put(header, &(program.len() as u64).to_le_bytes());
        put(header + 8, &at.to_le_bytes());
        for (index, instruction) in program.iter().enumerate() {
            put(at + 8 * index as u64, instruction);
        }
    }
    page
}

/// The kernel's `struct sigaction`: handler, flags, restorer, mask. All signals are blocked in the handler.
fn sigaction(addresses: &Addresses) -> [u64; 4] {
    const SA_RESTORER: u64 = 0x0400_0000;
    let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART) as u64 | SA_RESTORER;
    [addresses.handler, flags, addresses.stopped, u64::MAX]
}
