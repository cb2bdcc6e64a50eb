//! Debug registers in software: a task with breakpoints is looked at after each instruction.
//!
//! What a breakpoint for data notices is that the data has changed, so that reads, writes of the value that was there and writes by system calls
//! go unnoticed (the last also with a processor's own).

use bartizan_abi::Errno;
use bartizan_abi::signal::{SigCode, SigInfo, Signal};

use crate::kernel::CurrentTask;
use crate::mm::UserAddr;

/// How many addresses there are.
const BREAKPOINTS: usize = 4;
const DR6: usize = 6;
const DR7: usize = 7;
/// Bits of DR6 that read as ones.
const DR6_FIXED: u64 = 0xffff_0ff0;
/// Bits of DR7 that can be set: enabling, exactness, conditions and lengths.
const DR7_DEFINED: u64 = 0xffff_03ff;
/// DR6: an instruction was stepped over.
const DR6_STEP: u64 = 1 << 14;

/// What a breakpoint watches for (`R/W` in DR7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Execution,
    Change,
}

/// The debug registers of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DebugRegisters {
    addresses: [u64; BREAKPOINTS],
    /// What lay there when it was last looked at.
    contents: [u64; BREAKPOINTS],
    /// DR6, without the bits that are always set.
    status: u64,
    control: u64,
}

impl DebugRegisters {
    /// Register `index`.
    pub fn get(&self, index: usize) -> u64 {
        match index {
            DR6 => self.status ^ DR6_FIXED,
            DR7 => self.control,
            index => self.addresses.get(index).copied().unwrap_or(0),
        }
    }

    /// Changes register `index`; `end` is behind the highest address.
    ///
    /// # Errors
    /// `EIO` for what there is not; `EINVAL` for what no processor does.
    pub fn set(&mut self, index: usize, value: u64, end: u64) -> Result<(), Errno> {
        match index {
            DR6 => self.status = value ^ DR6_FIXED,
            DR7 => {
                let new = Self { control: value & DR7_DEFINED, ..*self };
                (0..BREAKPOINTS).try_for_each(|number| new.check(number))?;
                *self = new;
            }
            index => {
                let address = self.addresses.get_mut(index).ok_or(Errno::EIO)?;
                if value >= end {
                    return Err(Errno::EINVAL);
                }
                *address = value;
            }
        }
        Ok(())
    }

    /// Whether any breakpoint is enabled.
    pub fn is_armed(&self) -> bool {
        (0..BREAKPOINTS).any(|number| self.is_enabled(number))
    }

    fn is_enabled(&self, number: usize) -> bool {
        self.control >> (2 * number) & 3 != 0
    }

    fn field(&self, number: usize) -> u64 {
        self.control >> (16 + 4 * number) & 0xf
    }

    fn check(&self, number: usize) -> Result<(), Errno> {
        let field = self.field(number);
        // Breakpoints at ports are for the kernel; an instruction has one byte.
        let impossible = field & 3 == 2 || field & 3 == 0 && field >> 2 != 0;
        if self.is_enabled(number) && impossible { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn condition(&self, number: usize) -> Condition {
        if self.field(number) & 3 == 0 { Condition::Execution } else { Condition::Change }
    }

    /// How many bytes breakpoint `number` watches.
    fn length(&self, number: usize) -> usize {
        match self.field(number) >> 2 {
            0 => 1,
            1 => 2,
            2 => 8,
            _ => 4,
        }
    }

    /// Looks at all breakpoints with the instruction at `rip` to be executed next; returns those that have been reached.
    fn look(&mut self, rip: u64, read: impl Fn(u64, &mut [u8])) -> u64 {
        let mut reached = 0;
        for number in (0..BREAKPOINTS).filter(|&number| self.control >> (2 * number) & 3 != 0) {
            let address = self.addresses[number];
            let hit = match self.condition(number) {
                Condition::Execution => rip == address,
                Condition::Change => {
                    let mut bytes = [0; 8];
                    read(address, &mut bytes[..self.length(number)]);
                    let old = std::mem::replace(&mut self.contents[number], u64::from_le_bytes(bytes));
                    old != self.contents[number]
                }
            };
            reached |= u64::from(hit) << number;
        }
        reached
    }

    /// Notes what lies at the watched addresses.
    pub(super) fn refresh(&mut self, read: impl Fn(u64, &mut [u8])) {
        let _nothing = self.look(0, read);
    }
}

impl CurrentTask {
    /// Looks at the task's breakpoints after an instruction; `stepped` says whether its tracer steps it as well. Sends `SIGTRAP` if there is
    /// something to tell, and returns whether that was so.
    pub(in crate::kernel) fn check_breakpoints(&self, stepped: bool) -> bool {
        let rip = self.instruction_pointer();
        let memory = self.mm();
        let mut debug = self.ptrace().state().debug;
        let reached = debug.look(rip, |address, bytes| {
            // What cannot be read does not change.
            let _unreadable = memory.read_forced(UserAddr(address), bytes);
        });
        debug.status |= reached | if stepped { DR6_STEP } else { 0 };
        self.ptrace().state().debug = debug;
        if reached == 0 && !stepped {
            return false;
        }
        let code = if reached == 0 { SigCode::TRAP_TRACE } else { SigCode::TRAP_HWBKPT };
        self.force_signal(SigInfo::fault(Signal::SIGTRAP, code, rip));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const END: u64 = 0x7fff_ffff_f000;

    #[test]
    fn a_watched_word_is_noticed_when_it_changes() {
        let word = Cell::new(7u32);
        let read = |_: u64, bytes: &mut [u8]| bytes.copy_from_slice(&word.get().to_le_bytes());
        let mut debug = DebugRegisters::default();
        debug.set(1, 0x5000, END).expect("an address of the guest's");
        // Breakpoint 1, locally enabled, on writes of four bytes.
        debug.set(DR7, 1 << 2 | 0xd << 20, END).expect("a breakpoint for data");
        assert!(debug.is_armed());
        debug.refresh(read);
        assert_eq!(debug.look(0, read), 0);
        word.set(8);
        assert_eq!(debug.look(0, read), 1 << 1);
        assert_eq!(debug.look(0, read), 0);
    }

    #[test]
    fn what_no_processor_does_is_refused() {
        let mut debug = DebugRegisters::default();
        assert_eq!(debug.set(0, END, END), Err(Errno::EINVAL));
        assert_eq!(debug.set(4, 0, END), Err(Errno::EIO));
        assert_eq!(debug.set(DR7, 1 | 2 << 16, END), Err(Errno::EINVAL));
        assert_eq!(debug.get(DR6), DR6_FIXED);
    }
}
