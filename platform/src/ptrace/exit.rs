//! From why a tracee stopped to why guest code stopped.

use super::KICK;
use super::sys::{self, SI_KERNEL, SignalInfo};
use super::tracee::{Stop, Stopped, TraceeError};
use crate::memory::PAGE_SIZE;
use crate::{Access, Exit, Fault, Registers, Trap};

/// The code segment of 64-bit user code.
const USER_CODE_64: u64 = 0x33;
/// The longest instruction, in bytes.
const LONGEST_INSTRUCTION: u64 = 15;

// Codes of `siginfo` (`<asm-generic/siginfo.h>`).
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;
const SYS_SECCOMP: i32 = 1;

/// A fetch fault that was reported: its instruction pointer and address.
pub(super) type LastFetch = Option<(u64, u64)>;

/// What to make of `stop`: the exit, with `registers` filled in, or nothing if the guest is to go on.
pub(super) fn decode(
    tracee: &Stopped,
    stop: Stop,
    registers: &mut Registers,
    last_fetch: &mut LastFetch,
) -> Result<Option<Exit>, TraceeError> {
    match stop {
        Stop::Syscall => {
            tracee.read_registers(registers)?;
            Ok(Some(system_call(tracee, registers)))
        }
        // The caller knows whether somebody asked for it.
        Stop::Signal(signal) if signal == KICK => Ok(None),
        Stop::Signal(
            signal @ (libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGTRAP
            | libc::SIGSYS),
        ) => {
            let info = tracee.signal_info()?;
            // Others were sent by somebody outside, whom guests have nothing to do with.
            if info.code <= 0 {
                return Ok(None);
            }
            tracee.read_registers(registers)?;
            Ok(Some(exception(signal, info, registers, last_fetch)))
        }
        Stop::Signal(_) | Stop::Cloned | Stop::Other => Ok(None),
    }
}

/// Tells the system calls of 64-bit code from those of 32-bit entries (`int 0x80`, `sysenter`, 32-bit code), which stop
/// in the same way. After the `syscall` instruction `rcx` and `r11` are the instruction pointer and the flags. A guest can make it
/// look like that after `int 0x80` too: then it is answered as the 64-bit call of that number, which does it no good.
fn system_call(tracee: &Stopped, registers: &mut Registers) -> Exit {
    let usual = registers.rcx == registers.rip && registers.r11 == registers.eflags;
    if registers.cs == USER_CODE_64 && (usual || sys::is_64_bit_call(tracee.tid())) {
        return Exit::Syscall;
    }
    registers.rip = registers.rip.wrapping_sub(2);
    registers.rax = registers.orig_rax;
    registers.orig_rax = u64::MAX;
    Exit::Trap(Trap { signal: libc::SIGSEGV, code: SI_KERNEL, address: 0 })
}

fn exception(signal: i32, info: SignalInfo, registers: &mut Registers, last_fetch: &mut LastFetch) -> Exit {
    match (signal, info.code) {
        (libc::SIGSEGV, SEGV_MAPERR | SEGV_ACCERR) => {
            let access = access_kind(info, registers.rip, last_fetch);
            Exit::Fault(Fault { address: info.address, access, bus_error: false })
        }
        (libc::SIGBUS, BUS_ADRERR) => {
            let access = if is_fetch(info.address, registers.rip) { Access::EXECUTE } else { Access::READ };
            Exit::Fault(Fault { address: info.address, access, bus_error: true })
        }
        (libc::SIGSYS, SYS_SECCOMP) => {
            // The legacy vsyscall page: the kernel has already returned from there, without making the call.
            registers.orig_rax = registers.rax;
            registers.rax = i64::from(-libc::ENOSYS) as u64;
            Exit::Syscall
        }
        (_, code) => {
            let address = if code == SI_KERNEL { 0 } else { info.address };
            Exit::Trap(Trap { signal, code, address })
        }
    }
}

/// Whether the access at `address` may have been the fetch of the instruction at `rip`.
fn is_fetch(address: u64, rip: u64) -> bool {
    let next_page = (rip & !(PAGE_SIZE - 1)).wrapping_add(PAGE_SIZE);
    address == rip || (address == next_page && next_page.wrapping_sub(rip) < LONGEST_INSTRUCTION)
}

/// What kind of access faulted. The kernel tells only whether the page was there; if it was, and could be read, then the access was a
/// write, or a fetch. An instruction that writes to its own first byte looks like a fetch; if that is reported and the same fault comes
/// again at once, then the page could be executed after all, and it was a write.
fn access_kind(info: SignalInfo, rip: u64, last_fetch: &mut LastFetch) -> Access {
    let fetch = is_fetch(info.address, rip);
    let again = last_fetch.take() == Some((rip, info.address));
    match (info.code, fetch) {
        (SEGV_ACCERR, true) if again => Access::WRITE,
        (_, true) => {
            *last_fetch = Some((rip, info.address));
            Access::EXECUTE
        }
        (SEGV_ACCERR, false) => Access::WRITE,
        (_, false) => Access::READ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: i32, address: u64, rip: u64, last: &mut LastFetch) -> Access {
        access_kind(SignalInfo { code, address }, rip, last)
    }

    #[test]
    fn fetches_are_told_from_data() {
        let last = &mut None;
        assert_eq!(kind(SEGV_MAPERR, 0x1000, 0x1000, last), Access::EXECUTE);
        assert_eq!(kind(SEGV_MAPERR, 0x2000, 0x1ffa, last), Access::EXECUTE);
        assert_eq!(kind(SEGV_MAPERR, 0x2000, 0x1f00, last), Access::READ);
        assert_eq!(kind(SEGV_ACCERR, 0x5000, 0x1000, last), Access::WRITE);
    }

    #[test]
    fn a_write_to_its_own_instruction_is_found_out() {
        let last = &mut None;
        assert_eq!(kind(SEGV_ACCERR, 0x1000, 0x1000, last), Access::EXECUTE);
        assert_eq!(kind(SEGV_ACCERR, 0x1000, 0x1000, last), Access::WRITE);
        assert_eq!(kind(SEGV_ACCERR, 0x1000, 0x1000, last), Access::EXECUTE);
        assert_eq!(kind(SEGV_MAPERR, 0x1000, 0x1000, last), Access::EXECUTE);
    }
}
