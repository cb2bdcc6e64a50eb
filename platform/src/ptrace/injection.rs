//! Calls that the sentry makes through a tracee: it is stopped, so its registers are set up for the stub's `inject` code, and it runs
//! up to the breakpoint there. Two calls fit into the registers, and so into one crossing.

use std::io;
use std::os::fd::AsRawFd;

use super::stub;
use super::tracee::{Stopped, TraceeError, injected_registers};
use crate::operations::Operation;
use crate::{Access, Mapping, PlatformError, Populate, Registers};

/// How many calls one crossing makes.
pub(super) const MOST_CALLS: usize = 2;

/// A call: its name, number and arguments.
#[derive(Debug, Clone, Copy)]
struct Call {
    name: &'static str,
    number: libc::c_long,
    arguments: [u64; 6],
}

impl Call {
    fn of(operation: &Operation) -> Self {
        let range = operation.range();
        let (start, length) = (range.start, range.end - range.start);
        match operation {
            Operation::Map(mapping) => Self {
                name: "mmap",
                number: libc::SYS_mmap,
                arguments: [
                    start,
                    length,
                    protection(mapping.access),
                    map_flags(mapping),
                    u64::from(mapping.file.descriptor().as_raw_fd() as u32),
                    mapping.offset,
                ],
            },
            Operation::Unmap(_) => {
                Self { name: "munmap", number: libc::SYS_munmap, arguments: [start, length, 0, 0, 0, 0] }
            }
            Operation::Protect(_, access) => Self {
                name: "mprotect",
                number: libc::SYS_mprotect,
                arguments: [start, length, protection(*access), 0, 0, 0],
            },
        }
    }
}

fn map_flags(mapping: &Mapping) -> u64 {
    let populate = match mapping.populate {
        Populate::Now => libc::MAP_POPULATE,
        Populate::Lazily => 0,
    };
    u64::from((libc::MAP_SHARED | libc::MAP_FIXED | libc::MAP_NORESERVE | populate) as u32)
}

/// Pages that can be used at all can be read: execute-only memory would need a protection key, and fault differently.
fn protection(access: Access) -> u64 {
    let mut protection = if access.is_empty() { libc::PROT_NONE } else { libc::PROT_READ };
    if access.contains(Access::WRITE) {
        protection |= libc::PROT_WRITE;
    }
    if access.contains(Access::EXECUTE) {
        protection |= libc::PROT_EXEC;
    }
    u64::from(protection as u32)
}

/// Applies `operations`, at most [`MOST_CALLS`] of them, in order. Gives the tracee back with the outcome:
/// [`PlatformError::Exhausted`] if the host has no room for a mapping, [`PlatformError::Host`] for other refusals.
///
/// # Errors
/// If the tracee cannot be used any more.
pub(super) fn inject(
    mut tracee: Stopped,
    operations: &[Operation],
) -> Result<(Stopped, Result<(), PlatformError>), TraceeError> {
    let (first, second) = match operations {
        [] => return Ok((tracee, Ok(()))),
        [only] => (Call::of(only), None),
        [first, second, ..] => (Call::of(first), Some(Call::of(second))),
    };
    tracee.write_registers(&registers_for(first, second))?;
    let tracee = tracee.run_stub()?;
    let result = tracee.registers()?;
    let last = second.filter(|_| result.rip != stub::after_failure()).unwrap_or(first);
    let outcome = match errno(result.rax) {
        None => Ok(()),
        Some(source) if source.raw_os_error() == Some(libc::ENOMEM) => {
            Err(PlatformError::Exhausted { what: last.name, source })
        }
        Some(source) => Err(PlatformError::Host { call: last.name, source }),
    };
    Ok((tracee, outcome))
}

fn errno(result: u64) -> Option<io::Error> {
    let code = (result as i64).checked_neg().filter(|code| (1..4096).contains(code))?;
    i32::try_from(code).ok().map(io::Error::from_raw_os_error)
}

fn registers_for(first: Call, second: Option<Call>) -> Registers {
    let [rdi, rsi, rdx, r10, r8, r9] = first.arguments;
    let mut registers = Registers {
        rip: stub::inject_last(),
        rax: first.number as u64,
        rdi,
        rsi,
        rdx,
        r10,
        r8,
        r9,
        ..injected_registers()
    };
    if let Some(second) = second {
        let [rbp, r12, r13, r14, r15, rsp] = second.arguments;
        let rbx = second.number as u64;
        registers = Registers { rip: stub::inject(), rbx, rbp, r12, r13, r14, r15, rsp, ..registers };
    }
    registers
}
