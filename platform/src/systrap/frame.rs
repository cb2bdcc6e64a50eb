//! The signal frame in which a stopped thread's registers lie.
//!
//! The layout is that of `struct ucontext` and `struct sigcontext` (`<asm/sigcontext.h>`). The frame is in memory that other
//! guest threads can write: every address in it is checked before it is used, and what a thread needs to come back safely is
//! written anew each time.

use super::control::{ControlMemory, area_address};
use super::layout::{AREA_SIZE, area};
use crate::arch::FpuState;
use crate::{Access, Exit, Fault, Registers, Trap};

const UC_FLAGS: u64 = 0;
const UC_STACK: u64 = 16;
const UC_REGISTERS: u64 = 40;
const UC_SEGMENTS: u64 = 184;
const UC_ERROR: u64 = 192;
const UC_TRAP: u64 = 200;
const UC_FAULT_ADDRESS: u64 = 216;
const UC_FPSTATE: u64 = 224;
const UC_SIGNAL_MASK: u64 = 296;
const INFO_CODE: u64 = 8;
const INFO_ADDRESS: u64 = 16;
const INFO_ARCHITECTURE: u64 = 28;
const INFO_SIZE: u64 = 128;

/// `UC_FP_XSTATE`, `UC_SIGCONTEXT_SS` and `UC_STRICT_RESTORE_SS`: all of the frame is meant as it is.
const UC_ALL_FLAGS: u64 = 7;

/// Offsets in the extended state.
const MXCSR: usize = 24;
const SOFTWARE_BYTES: u64 = 464;
const HEADER: usize = 512;
/// The smallest area that holds legacy region and header.
const SMALLEST: usize = HEADER + 64;
/// The second magic number behind the state takes four bytes.
const LARGEST: usize = (AREA_SIZE / 2) as usize;

/// `AUDIT_ARCH_X86_64`.
pub const X86_64: u32 = 0xc000_003e;

/// What a call returns that nobody answers.
pub const NOT_IMPLEMENTED: u64 = (libc::ENOSYS as u64).wrapping_neg();

const TRAP_PAGE_FAULT: u64 = 14;
const SI_KERNEL: i32 = 0x80;

/// Where a stopped thread's frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    index: u64,
    context: u64,
    info: u64,
    signal: i32,
}

impl Frame {
    /// The frame whose addresses the handler of the thread with area `index` passed on; `None` if they are not in that area:
    /// the guest jumped into the handler.
    pub fn new(index: u64, arguments: &[u64; 6]) -> Option<Self> {
        let [signal, info, context, ..] = *arguments;
        let inside = |address: u64, length: u64| {
            let start = area_address(index);
            address >= start + area::STACK_START
                && address.checked_add(length).is_some_and(|end| end <= start + AREA_SIZE)
                && address.is_multiple_of(8)
        };
        let valid = inside(context, UC_SIGNAL_MASK + 8) && inside(info, INFO_SIZE);
        valid.then_some(Self { index, context, info, signal: i32::try_from(signal).unwrap_or(0) })
    }

    /// The signal that the thread handles.
    pub fn signal(&self) -> i32 {
        self.signal
    }

    fn word(&self, memory: &ControlMemory, address: u64) -> u64 {
        memory.read_area(self.index, address).unwrap_or(0)
    }

    fn set_word(&self, memory: &ControlMemory, address: u64, value: u64) {
        // The constructor has checked that every offset used here is inside the area.
        let _inside = memory.write_area(self.index, address, value);
    }

    /// The general registers.
    pub fn registers(&self, memory: &ControlMemory) -> Registers {
        let mut registers = Registers::default();
        for (at, register) in (self.context + UC_REGISTERS..).step_by(8).zip(in_frame_order(&mut registers)) {
            *register = self.word(memory, at);
        }
        let segments = self.word(memory, self.context + UC_SEGMENTS);
        registers.cs = segments & 0xffff;
        registers.ss = segments >> 48;
        registers.orig_rax = u64::MAX;
        registers.fs_base = self.word(memory, area_address(self.index) + area::FS_BASE);
        registers.gs_base = self.word(memory, area_address(self.index) + area::GS_BASE);
        registers
    }

    /// Replaces the general registers, and all else that `rt_sigreturn` takes from the frame but the extended state.
    pub fn set_registers(&self, memory: &ControlMemory, registers: &Registers) {
        let mut registers = *registers;
        let bases = [registers.fs_base, registers.gs_base];
        for (at, register) in (self.context + UC_REGISTERS..).step_by(8).zip(in_frame_order(&mut registers)) {
            self.set_word(memory, at, *register);
        }
        // cs, gs, fs, ss; the kernel takes cs and ss alone, and makes them selectors of user level.
        self.set_word(memory, self.context + UC_SEGMENTS, registers.cs & 0xffff | registers.ss << 48);
        self.set_word(memory, self.context + UC_FLAGS, UC_ALL_FLAGS);
        self.set_word(memory, self.context + UC_SIGNAL_MASK, 0);
        for (offset, word) in (0..).step_by(8).zip(signal_stack(self.index)) {
            self.set_word(memory, self.context + UC_STACK + offset, word);
        }
        for (offset, base) in [area::FS_BASE, area::GS_BASE].into_iter().zip(bases) {
            // The processor refuses others.
            let base = if is_canonical(base) { base } else { 0 };
            self.set_word(memory, area_address(self.index) + offset, base);
        }
    }

    /// The extended state.
    pub fn fpu(&self, memory: &ControlMemory) -> Option<FpuState> {
        let start = self.word(memory, self.context + UC_FPSTATE);
        let size = self.fpu_size(memory, start)?;
        let mut state = vec![0; size].into_boxed_slice();
        memory.copy_from_area(self.index, start, &mut state)?;
        Some(FpuState { area: state })
    }

    /// Replaces the extended state. What is behind the end of `state` becomes initial.
    pub fn set_fpu(&self, memory: &ControlMemory, state: &FpuState) -> Option<()> {
        let start = self.word(memory, self.context + UC_FPSTATE);
        let size = self.fpu_size(memory, start)?;
        // Legacy region without the kernel's own bytes in it, then the header, then the components.
        let mut area = vec![0; size];
        memory.copy_from_area(self.index, start, &mut area)?;
        let features = u64::from_ne_bytes(area[SOFTWARE_BYTES as usize + 8..][..8].try_into().ok()?);
        let length = state.area.len().min(size);
        let legacy = length.min(SOFTWARE_BYTES as usize);
        area[..legacy].copy_from_slice(&state.area[..legacy]);
        area[HEADER..].fill(0);
        if length > HEADER {
            area[HEADER..length].copy_from_slice(&state.area[HEADER..length]);
        }
        sanitise(&mut area, features);
        memory.copy_to_area(self.index, start, &area)
    }

    /// How large the kernel made the extended state, if that is believable.
    fn fpu_size(&self, memory: &ControlMemory, start: u64) -> Option<usize> {
        let sizes = memory.read_area(self.index, start.checked_add(SOFTWARE_BYTES + 16)?)?;
        let size = (sizes & 0xffff_ffff) as usize;
        (SMALLEST..=LARGEST).contains(&size).then_some(size & !7)
    }

    /// Why the thread stopped, with its `registers`, which become those of the contract.
    pub fn exit(&self, memory: &ControlMemory, registers: &mut Registers) -> Exit {
        let trap = self.word(memory, self.context + UC_TRAP);
        let code = (self.word(memory, self.info + INFO_CODE) & 0xffff_ffff) as u32 as i32;
        match self.signal {
            super::stub::KICK => Exit::Interrupted,
            // Sent by somebody outside, whom guests have nothing to do with.
            _ if code <= 0 => Exit::Interrupted,
            libc::SIGSYS => {
                let architecture = self.word(memory, self.info + INFO_ARCHITECTURE - 4) >> 32;
                system_call(architecture as u32, registers)
            }
            libc::SIGSEGV | libc::SIGBUS if trap == TRAP_PAGE_FAULT => {
                let error = self.word(memory, self.context + UC_ERROR);
                Exit::Fault(Fault {
                    address: self.word(memory, self.context + UC_FAULT_ADDRESS),
                    access: access(error),
                    bus_error: self.signal == libc::SIGBUS,
                })
            }
            libc::SIGSEGV => GENERAL_PROTECTION,
            signal => Exit::Trap(Trap { signal, code, address: self.word(memory, self.info + INFO_ADDRESS) }),
        }
    }
}

/// What a trapped call is. `int 0x80` and its like are refused, as by a kernel without 32-bit programs.
fn system_call(architecture: u32, registers: &mut Registers) -> Exit {
    if architecture == X86_64 {
        registers.orig_rax = registers.rax;
        registers.rax = NOT_IMPLEMENTED;
        return Exit::Syscall;
    }
    registers.rip = registers.rip.wrapping_sub(2);
    GENERAL_PROTECTION
}

/// Whether a processor with four-level page tables takes `address` as one.
fn is_canonical(address: u64) -> bool {
    let shifted = (address << 16) as i64;
    shifted >> 16 == address as i64
}

/// Whether `registers` are such that a program can have them, as far as the kernel would silently change them otherwise.
pub fn is_possible(registers: &Registers) -> bool {
    const USER_LEVEL: u64 = 3;
    [registers.cs, registers.ss]
        .into_iter()
        .all(|selector| selector & USER_LEVEL == USER_LEVEL && selector <= u64::from(u16::MAX))
}

/// What becomes of a thread with registers that no program can have.
pub const GENERAL_PROTECTION: Exit = Exit::Trap(Trap { signal: libc::SIGSEGV, code: SI_KERNEL, address: 0 });

/// The words of `stack_t` for the thread with area `index`.
pub fn signal_stack(index: u64) -> [u64; 3] {
    [area_address(index) + area::STACK_START, 0, AREA_SIZE - area::STACK_START]
}

/// What a page fault's error code says was tried.
fn access(error: u64) -> Access {
    if error & 1 << 4 != 0 {
        Access::EXECUTE
    } else if error & 1 << 1 != 0 {
        Access::WRITE
    } else {
        Access::READ
    }
}

/// The registers in the order of `struct sigcontext`.
fn in_frame_order(registers: &mut Registers) -> [&mut u64; 18] {
    let Registers {
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rdi,
        rsi,
        rbp,
        rbx,
        rdx,
        rax,
        rcx,
        rsp,
        rip,
        eflags,
        ..
    } = registers;
    [r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags]
}

/// Makes any bytes a state that `XRSTOR` accepts: known components, no compaction, no reserved bits.
fn sanitise(area: &mut [u8], features: u64) {
    const MXCSR_DEFINED: u32 = 0xffff;
    let mxcsr = u32::from_ne_bytes([area[MXCSR], area[MXCSR + 1], area[MXCSR + 2], area[MXCSR + 3]]);
    area[MXCSR..MXCSR + 4].copy_from_slice(&(mxcsr & MXCSR_DEFINED).to_ne_bytes());
    let mut present = [0; 8];
    present.copy_from_slice(&area[HEADER..HEADER + 8]);
    let present = u64::from_ne_bytes(present) & features;
    area[HEADER..HEADER + 8].copy_from_slice(&present.to_ne_bytes());
    area[HEADER + 8..HEADER + 64].fill(0);
}
