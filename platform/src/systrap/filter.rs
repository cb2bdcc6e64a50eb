//! The seccomp filters of stub threads, as classic BPF.
//!
//! seccompiler has no test of the instruction pointer and no user notification, so these few instructions are written out.

use super::layout::MAGIC;
use super::stub::Addresses;

/// One instruction as the kernel has it (`struct sock_filter`).
pub type Instruction = [u8; 8];

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const POINTER_LOW: u32 = 8;
const POINTER_HIGH: u32 = 12;

const X86_64: u32 = 0xc000_003e; // AUDIT_ARCH_X86_64
const ALLOW: u32 = 0x7fff_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRAP: u32 = 0x0003_0000;
const KILL: u32 = 0x8000_0000;

fn instruction(code: u16, on_true: u8, on_false: u8, operand: u32) -> Instruction {
    let mut bytes = [0; 8];
    bytes[..2].copy_from_slice(&code.to_le_bytes());
    bytes[2] = on_true;
    bytes[3] = on_false;
    bytes[4..].copy_from_slice(&operand.to_le_bytes());
    bytes
}

fn low(address: u64) -> u32 {
    (address & 0xffff_ffff) as u32
}

fn high(address: u64) -> u32 {
    (address >> 32) as u32
}

/// Calls for which the sentry needs all registers, or after which it loads all: they go by the signal handler, which brings
/// them along, and not by a notification, after which they would have to be fetched.
const NEED_ALL_REGISTERS: [i64; 11] = [
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigsuspend,
    libc::SYS_arch_prctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Guest threads: `rt_sigreturn` from the stub's own instruction, and nothing else. Everything is reported to the sentry.
pub fn guest(addresses: &Addresses) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, NUMBER),
        instruction(JUMP_EQUAL, 0, 7, libc::SYS_rt_sigreturn as u32),
        instruction(LOAD_WORD, 0, 0, POINTER_LOW),
        instruction(JUMP_EQUAL, 0, 5, low(addresses.returned)),
        instruction(LOAD_WORD, 0, 0, POINTER_HIGH),
        instruction(JUMP_EQUAL, 0, 3, high(addresses.returned)),
        instruction(LOAD_WORD, 0, 0, ARCHITECTURE),
        instruction(JUMP_EQUAL, 0, 1, X86_64),
        instruction(RETURN, 0, 0, ALLOW),
        instruction(LOAD_WORD, 0, 0, ARCHITECTURE),
    ];
    let calls = NEED_ALL_REGISTERS.len() as u8;
    // 32-bit entries are no calls: the handler brings what is needed to tell that the instruction is refused.
    program.push(instruction(JUMP_EQUAL, 0, calls + 4, X86_64));
    // Calls through the vsyscall page return by themselves: a notification would come before that.
    program.push(instruction(LOAD_WORD, 0, 0, POINTER_HIGH));
    program.push(instruction(JUMP_EQUAL, calls + 2, 0, u32::MAX));
    program.push(instruction(LOAD_WORD, 0, 0, NUMBER));
    for (call, rest) in NEED_ALL_REGISTERS.into_iter().zip((0..calls).rev()) {
        program.push(instruction(JUMP_EQUAL, rest + 1, 0, call as u32));
    }
    program.push(instruction(RETURN, 0, 0, NOTIFY));
    program.push(instruction(RETURN, 0, 0, TRAP));
    program
}

/// Mappers: mapping calls from their one instruction, and asking for the next order. Anything else is a bug of ours and
/// ends the stub.
pub fn mapper(addresses: &Addresses) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, 0, 0, ARCHITECTURE),
        instruction(JUMP_EQUAL, 1, 0, X86_64),
        instruction(RETURN, 0, 0, KILL),
        instruction(LOAD_WORD, 0, 0, NUMBER),
        instruction(JUMP_EQUAL, 0, 1, MAGIC as u32),
        instruction(RETURN, 0, 0, NOTIFY),
    ];
    for call in [libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mprotect] {
        program.extend([
            instruction(LOAD_WORD, 0, 0, NUMBER),
            instruction(JUMP_EQUAL, 0, 5, call as u32),
            instruction(LOAD_WORD, 0, 0, POINTER_LOW),
            instruction(JUMP_EQUAL, 0, 3, low(addresses.mapper_call)),
            instruction(LOAD_WORD, 0, 0, POINTER_HIGH),
            instruction(JUMP_EQUAL, 0, 1, high(addresses.mapper_call)),
            instruction(RETURN, 0, 0, ALLOW),
        ]);
    }
    program.push(instruction(RETURN, 0, 0, KILL));
    program
}
