//! What tracers see of registers: `struct user` (`<sys/user.h>`), and what they may put there.

use bartizan_abi::Errno;
use bartizan_abi::arch::x86_64::{Eflags, FPX_SW_BYTES_OFFSET, FXSAVE_SIZE};
use bartizan_abi::process::ptrace::{USER_DEBUG_REGISTERS, USER_SIZE};
use bartizan_platform::arch::{enabled_components, extended_state_size};
use bartizan_platform::{FpuState, Registers};

use super::{StoppedTask, request::Change};

/// Bytes of `struct user_regs_struct`, which `struct user` starts with.
pub const USER_REGISTERS_SIZE: usize = Registers::COUNT * size_of::<u64>();

/// Behind the debug registers in `struct user`.
const USER_DEBUG_REGISTERS_END: u64 = USER_DEBUG_REGISTERS + 64;

/// Where `struct user_regs_struct` has registers that do not take any value.
mod index {
    pub const CS: usize = 17;
    pub const EFLAGS: usize = 18;
    pub const SS: usize = 20;
    pub const FS_BASE: usize = 21;
    pub const GS_BASE: usize = 22;
    pub const LAST: usize = 26;
}

/// Puts `value` into register `index` of a tracee (`putreg`); `end` is behind the highest address. Segments of programs are fixed: what would be a
/// valid selector is taken without effect.
///
/// # Errors
/// `EIO` for what the register cannot hold.
pub fn put_register(
    registers: &mut [u64; Registers::COUNT],
    index: usize,
    value: u64,
    end: u64,
) -> Result<(), Errno> {
    const CHANGEABLE: u64 = Eflags::RESTORED.union(Eflags::NT).bits();
    const USER_LEVEL: u64 = 3;
    let register = registers.get_mut(index).ok_or(Errno::EIO)?;
    match index {
        index::CS | index::SS if value & USER_LEVEL != USER_LEVEL => return Err(Errno::EIO),
        index::FS_BASE | index::GS_BASE if value >= end => return Err(Errno::EIO),
        index::FS_BASE | index::GS_BASE => *register = value,
        index::CS | index::SS => {}
        index if index > index::GS_BASE && index <= index::LAST => {
            if value != 0 && value & USER_LEVEL != USER_LEVEL {
                return Err(Errno::EIO);
            }
        }
        index::EFLAGS => *register = *register & !CHANGEABLE | value & CHANGEABLE,
        _ => *register = value,
    }
    Ok(())
}

impl StoppedTask<'_> {
    /// The general registers.
    ///
    /// # Errors
    /// `ESRCH` if the task does not stand still any more.
    pub fn registers(&self) -> Result<[u64; Registers::COUNT], Errno> {
        self.with_stop(|stop| Ok(stop.registers.to_array()))
    }

    /// Replaces general registers from the first on.
    ///
    /// # Errors
    /// `EIO` for what a register cannot hold; those before it have changed.
    pub fn set_registers(&self, values: &[u64]) -> Result<(), Errno> {
        self.change_registers(values.iter().copied().enumerate())
    }

    fn change_registers(&self, changes: impl Iterator<Item = (usize, u64)>) -> Result<(), Errno> {
        let end = self.end_of_addresses();
        self.with_stop(|stop| {
            let mut registers = stop.registers.to_array();
            let mut changes = changes;
            let result =
                changes.try_for_each(|(index, value)| put_register(&mut registers, index, value, end));
            stop.replace(Change::Registers(Registers::from_array(registers)));
            result
        })
    }

    /// The extended state with all components that the machine has, as `NT_X86_XSTATE`.
    ///
    /// # Errors
    /// `ESRCH` if the task does not stand still any more.
    pub fn extended_state(&self) -> Result<Vec<u8>, Errno> {
        let mut area = self.with_stop(|stop| Ok(stop.fpu.area.to_vec()))?;
        area.resize(area.len().max(extended_state_size()), 0);
        area[FPX_SW_BYTES_OFFSET..FXSAVE_SIZE].fill(0);
        area[FPX_SW_BYTES_OFFSET..][..8].copy_from_slice(&enabled_components().to_ne_bytes());
        Ok(area)
    }

    /// Replaces the extended state.
    ///
    /// # Errors
    /// `EFAULT` for less than header and legacy region.
    pub fn set_extended_state(&self, area: &[u8]) -> Result<(), Errno> {
        if area.len() < bartizan_platform::arch::SMALLEST_FPU_STATE {
            return Err(Errno::EFAULT);
        }
        self.with_stop(|stop| {
            stop.replace(Change::Fpu(FpuState { area: area.into() }));
            Ok(())
        })
    }

    /// The legacy region of the extended state (`struct user_fpregs_struct`).
    ///
    /// # Errors
    /// `ESRCH` if the task does not stand still any more.
    pub fn legacy_state(&self) -> Result<Vec<u8>, Errno> {
        let mut area = self.extended_state()?;
        area.truncate(FXSAVE_SIZE);
        area[FPX_SW_BYTES_OFFSET..].fill(0);
        Ok(area)
    }

    /// Replaces the beginning of the legacy region.
    ///
    /// # Errors
    /// `EINVAL` for more than there is.
    pub fn set_legacy_state(&self, part: &[u8]) -> Result<(), Errno> {
        const X87_AND_SSE: u8 = 3;
        if part.len() > FXSAVE_SIZE {
            return Err(Errno::EINVAL);
        }
        self.with_stop(|stop| {
            let mut area = stop.fpu.area.to_vec();
            area.resize(area.len().max(bartizan_platform::arch::SMALLEST_FPU_STATE), 0);
            area[..part.len()].copy_from_slice(part);
            // Both components are in use now.
            area[FXSAVE_SIZE] |= X87_AND_SSE;
            stop.replace(Change::Fpu(FpuState { area: area.into() }));
            Ok(())
        })
    }

    /// The word at `offset` of `struct user` (`PTRACE_PEEKUSER`).
    ///
    /// # Errors
    /// `EIO` for what is not aligned or outside.
    pub fn user_word(&self, offset: u64) -> Result<u64, Errno> {
        let place = Place::of(offset)?;
        match place {
            Place::Register(index) => Ok(self.registers()?.get(index).copied().unwrap_or(0)),
            Place::Debug(index) => self.with_debug_registers(|debug| Ok(debug.get(index))),
            Place::Other => Ok(0),
        }
    }

    /// Replaces the word at `offset` of `struct user` (`PTRACE_POKEUSER`).
    ///
    /// # Errors
    /// `EIO` for what is not aligned, outside, or cannot be changed, or cannot have the value; `EINVAL` for impossible breakpoints.
    pub fn set_user_word(&self, offset: u64, value: u64) -> Result<(), Errno> {
        let place = Place::of(offset)?;
        match place {
            Place::Register(index) => self.change_registers(std::iter::once((index, value))),
            Place::Debug(index) => {
                let end = self.end_of_addresses();
                self.with_debug_registers(|debug| debug.set(index, value, end))
            }
            Place::Other => Err(Errno::EIO),
        }
    }
}

/// What is at an offset of `struct user`.
enum Place {
    Register(usize),
    Debug(usize),
    Other,
}

impl Place {
    fn of(offset: u64) -> Result<Self, Errno> {
        if !offset.is_multiple_of(8) || offset >= USER_SIZE {
            return Err(Errno::EIO);
        }
        let word = |from: u64| usize::try_from((offset - from) / 8).unwrap_or(0);
        Ok(match offset {
            offset if offset < USER_REGISTERS_SIZE as u64 => Self::Register(word(0)),
            USER_DEBUG_REGISTERS..USER_DEBUG_REGISTERS_END => Self::Debug(word(USER_DEBUG_REGISTERS)),
            _ => Self::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u64 = 0x7fff_ffff_f000;

    #[test]
    fn registers_take_what_programs_may_have() {
        let mut registers = [0; Registers::COUNT];
        assert_eq!(put_register(&mut registers, index::EFLAGS, u64::MAX, END), Ok(()));
        assert_eq!(registers[index::EFLAGS], Eflags::RESTORED.union(Eflags::NT).bits());
        assert_eq!(put_register(&mut registers, index::CS, 0x10, END), Err(Errno::EIO));
        assert_eq!(put_register(&mut registers, index::CS, 0x33, END), Ok(()));
        assert_eq!(put_register(&mut registers, index::FS_BASE, END, END), Err(Errno::EIO));
        assert_eq!(put_register(&mut registers, index::LAST + 1, 0, END), Err(Errno::EIO));
    }
}
