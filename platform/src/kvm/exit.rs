//! From why a virtual processor stopped to why guest code stopped: exceptions become what Linux makes of them (`arch/x86/kernel/traps.c` is the
//! model for signals and codes).

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory, Register};

use super::descriptors::USER_CODE;
use super::space::{Filled, Space};
use super::vcpu::{Stop, Vcpu};
use crate::memory::PAGE_SIZE;
use crate::{Access, Exit, Fault, PlatformError, Registers, Trap};

// Codes of `siginfo` (`<asm-generic/siginfo.h>`).
const SI_KERNEL: i32 = 0x80;
const ILL_ILLOPN: i32 = 2;
const FPE_INTDIV: i32 = 1;
const TRAP_BRKPT: i32 = 1;
const TRAP_TRACE: i32 = 2;
const BUS_ADRALN: i32 = 1;

/// Vectors (Intel SDM volume 3, table 6-1).
mod vector {
    pub(super) const DIVISION: u64 = 0;
    pub(super) const DEBUG: u64 = 1;
    pub(super) const BREAKPOINT: u64 = 3;
    pub(super) const INVALID_OPCODE: u64 = 6;
    pub(super) const SEGMENT_NOT_PRESENT: u64 = 11;
    pub(super) const STACK_SEGMENT: u64 = 12;
    pub(super) const PAGE_FAULT: u64 = 14;
    pub(super) const X87: u64 = 16;
    pub(super) const ALIGNMENT: u64 = 17;
    pub(super) const SIMD: u64 = 19;
}

// Bits of the error code of a page fault.
const WRITE: u64 = 1 << 1;
const FETCH: u64 = 1 << 4;

/// The page through which old programs make three calls, and the distance of those.
const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;
const VSYSCALL_DISTANCE: u64 = 0x400;
const VSYSCALL_NUMBERS: [i64; 3] = [libc::SYS_gettimeofday, libc::SYS_time, libc::SYS_getcpu];

fn trap(signal: i32, code: i32, address: u64) -> Exit {
    Exit::Trap(Trap { signal, code, address })
}

/// What programs get for what they may not do.
pub(super) fn general_protection() -> Exit {
    trap(libc::SIGSEGV, SI_KERNEL, 0)
}

/// The exit to report for `stop`, or nothing if guest code is to go on.
pub(super) fn decode(
    stop: Stop,
    registers: &mut Registers,
    vcpu: &mut Vcpu,
    space: &Space,
) -> Result<Option<Exit>, PlatformError> {
    Ok(match stop {
        Stop::Kicked | Stop::NotEntered => None,
        Stop::Syscall => Some(Exit::Syscall),
        Stop::Syscall32 => {
            // There is no such call here: as if the processor had none.
            registers.rip = registers.rip.wrapping_sub(2);
            registers.rax = registers.orig_rax;
            registers.orig_rax = u64::MAX;
            Some(trap(libc::SIGILL, ILL_ILLOPN, registers.rip))
        }
        Stop::Impossible => Some(general_protection()),
        Stop::Refused { physical } => {
            let address = refused_address(registers, physical, space);
            Some(Exit::Fault(Fault { address, access: Access::READ, bus_error: true }))
        }
        Stop::Exception { vector: vector::PAGE_FAULT, error, address } => {
            page_fault(address, error, registers, space)?
        }
        Stop::Exception { vector, .. } => Some(exception(vector, registers, vcpu, space)?),
    })
}

fn page_fault(
    address: u64,
    error: u64,
    registers: &mut Registers,
    space: &Space,
) -> Result<Option<Exit>, PlatformError> {
    let access = match error {
        _ if error & FETCH != 0 => Access::EXECUTE,
        _ if error & WRITE != 0 => Access::WRITE,
        _ => Access::READ,
    };
    if space.fault(address, access)? == Filled::Yes {
        return Ok(None);
    }
    if access == Access::EXECUTE && address.wrapping_sub(VSYSCALL) < PAGE_SIZE && address == registers.rip {
        return Ok(Some(vsyscall(registers, space)));
    }
    Ok(Some(Exit::Fault(Fault { address, access, bus_error: false })))
}

/// A call through the vsyscall page: it returns first, and then makes the call.
fn vsyscall(registers: &mut Registers, space: &Space) -> Exit {
    let address = registers.rip;
    let inside = address - VSYSCALL;
    let number = VSYSCALL_NUMBERS.get((inside / VSYSCALL_DISTANCE) as usize);
    let Some(number) = number.filter(|_| inside.is_multiple_of(VSYSCALL_DISTANCE)) else {
        return Exit::Fault(Fault { address, access: Access::EXECUTE, bus_error: false });
    };
    let mut back = [0; 8];
    if space.read(registers.rsp, &mut back) < back.len() {
        return Exit::Fault(Fault { address: registers.rsp, access: Access::READ, bus_error: false });
    }
    registers.rip = u64::from_le_bytes(back);
    registers.rsp = registers.rsp.wrapping_add(8);
    registers.orig_rax = number.cast_unsigned();
    registers.rax = i64::from(-libc::ENOSYS) as u64;
    Exit::Syscall
}

fn exception(
    vector: u64,
    registers: &mut Registers,
    vcpu: &mut Vcpu,
    space: &Space,
) -> Result<Exit, PlatformError> {
    let rip = registers.rip;
    Ok(match vector {
        vector::DIVISION => trap(libc::SIGFPE, FPE_INTDIV, rip),
        vector::DEBUG => {
            const SINGLE_STEP: u64 = 1 << 14;
            let step = vcpu.take_debug_status()? & SINGLE_STEP != 0;
            trap(libc::SIGTRAP, if step { TRAP_TRACE } else { TRAP_BRKPT }, rip)
        }
        vector::BREAKPOINT => trap(libc::SIGTRAP, SI_KERNEL, 0),
        vector::INVALID_OPCODE => invalid_opcode(registers, space),
        vector::SEGMENT_NOT_PRESENT | vector::STACK_SEGMENT => trap(libc::SIGBUS, SI_KERNEL, 0),
        vector::ALIGNMENT => trap(libc::SIGBUS, BUS_ADRALN, 0),
        vector::X87 => {
            let area = vcpu.fpu()?;
            let (control, status) = (word_at(&area, 0), word_at(&area, 2));
            trap(libc::SIGFPE, floating_point_code(status & !control), rip)
        }
        vector::SIMD => {
            let control = word_at(&vcpu.fpu()?, 24);
            trap(libc::SIGFPE, floating_point_code(control & !(control >> 7)), rip)
        }
        _ => general_protection(),
    })
}

fn word_at(area: &[u8], offset: usize) -> u16 {
    area.get(offset..offset + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

/// The code of `SIGFPE` for the exceptions that are raised and not masked.
fn floating_point_code(raised: u16) -> i32 {
    // Invalid, divide by zero, overflow, underflow or denormal, precision.
    [(0x01, 7), (0x04, 3), (0x08, 4), (0x12, 5), (0x20, 6)]
        .into_iter()
        .find(|(bits, _)| raised & bits != 0)
        .map_or(SI_KERNEL, |(_, code)| code)
}

/// An invalid opcode, unless it is one that the hypervisor takes for that (see [`quirks`](super::quirks)).
fn invalid_opcode(registers: &mut Registers, space: &Space) -> Exit {
    const INT: u8 = 0xcd;
    let mut bytes = [0; 2];
    if space.read(registers.rip, &mut bytes) == bytes.len() && bytes[0] == INT {
        match bytes[1] {
            3 => {
                registers.rip += 2;
                return trap(libc::SIGTRAP, SI_KERNEL, 0);
            }
            4 => registers.rip += 2,
            _ => {}
        }
        return general_protection();
    }
    trap(libc::SIGILL, ILL_ILLOPN, registers.rip)
}

/// Which address guest code has accessed that the host refused: that of the operand that cannot be read, if the instruction tells.
fn refused_address(registers: &Registers, physical: Option<u64>, space: &Space) -> u64 {
    const LONGEST: usize = 15;
    let mut code = [0; LONGEST];
    let length = space.read(registers.rip, &mut code);
    if length == 0 {
        return registers.rip;
    }
    let bits = if registers.cs == u64::from(USER_CODE) { 64 } else { 32 };
    let instruction = Decoder::with_ip(bits, &code[..length], registers.rip, DecoderOptions::NONE).decode();
    let mut factory = InstructionInfoFactory::new();
    for operand in factory.info(&instruction).used_memory() {
        let address = operand.virtual_address(0, |register, _, _| value_of(register, registers));
        let Some(address) = address else { continue };
        let last = address.wrapping_add(operand.memory_size().size().max(1) as u64 - 1);
        if space.read(address, &mut [0]) == 0 {
            return address;
        }
        if space.read(last, &mut [0]) == 0 {
            return last - last % PAGE_SIZE;
        }
    }
    physical.and_then(|physical| space.address_of(physical).first().copied()).unwrap_or(registers.rip)
}

fn value_of(register: Register, registers: &Registers) -> Option<u64> {
    let value = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => registers.fs_base,
        Register::GS => registers.gs_base,
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    };
    Some(if register.size() == 4 { value & u64::from(u32::MAX) } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_floating_point_exceptions() {
        assert_eq!(floating_point_code(0x01), 7);
        assert_eq!(floating_point_code(0x04 | 0x20), 3);
        assert_eq!(floating_point_code(0), SI_KERNEL);
    }
}
