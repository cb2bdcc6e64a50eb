//! Tries a new machine out: one system call, by guest code in a page of its own.
//!
//! It tells, too, whether `SYSCALL` enters ring 0 (see [`quirks`](super::quirks)).

use std::io;
use std::sync::Arc;

use super::{KvmPlatform, unavailable};
use crate::memory::{MemoryFile, PAGE_SIZE, write};
use crate::{
    Access, BackingFile, Context, Exit, Fault, Mapping, Platform, PlatformError, Populate, Registers,
};

/// Where the code is.
const CODE_AT: u64 = 0x40_0000;
/// `syscall`, and what is behind it.
const CODE: [u8; 4] = [0x0f, 0x05, 0x0f, 0x0b];
const NUMBER: u64 = 39;

/// See the module.
///
/// # Errors
/// [`PlatformError::Unavailable`] if the machine does not do what it should.
pub(super) fn try_out(platform: &Arc<KvmPlatform>) -> Result<(), PlatformError> {
    let refused = |error: io::Error| unavailable(format!("no memory to try it out ({error})"));
    let memory = MemoryFile::new(PAGE_SIZE).map_err(refused)?;
    let page = memory.allocate(PAGE_SIZE).map_err(|error| refused(io::Error::other(error)))?;
    write(&CODE, &memory.view(page.start, CODE.len()).map_err(refused)?);
    let space = platform.new_address_space()?;
    space.map(Mapping {
        range: CODE_AT..CODE_AT + PAGE_SIZE,
        file: memory as Arc<dyn BackingFile>,
        offset: page.start,
        access: Access::READ | Access::EXECUTE,
        populate: Populate::Now,
    })?;
    let mut context = platform.new_context()?;
    let start = Registers { rip: CODE_AT, cs: 0x33, ss: 0x2b, rax: NUMBER, ..Registers::default() };
    let mut registers = start;
    let mut exit = switch(&mut *context, &space, &mut registers)?;
    if let Exit::Fault(Fault { address, access: Access::EXECUTE | Access::READ, .. }) = exit
        && address == registers.rip
        && address > CODE_AT + PAGE_SIZE
    {
        platform.shared.machine.set_syscall_stays(true);
        registers = start;
        exit = switch(&mut *context, &space, &mut registers)?;
    }
    let came_back = registers.rip == CODE_AT + 2 && registers.orig_rax == NUMBER;
    if exit != Exit::Syscall || !came_back {
        return Err(unavailable(format!(
            "a first system call ended with {exit:?} at {:#x}; use platform systrap or ptrace",
            registers.rip
        )));
    }
    Ok(())
}

fn switch(
    context: &mut dyn Context,
    space: &Arc<dyn crate::AddressSpace>,
    registers: &mut Registers,
) -> Result<Exit, PlatformError> {
    context.switch(space, registers).map_err(|error| {
        unavailable(format!("a first system call failed ({error}); use platform systrap or ptrace"))
    })
}
