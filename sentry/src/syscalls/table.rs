//! The table of system calls: the one list from which everything about them is made.

use bartizan_abi::Sysno;

use super::dispatch::Handler;
use crate::SysResult;
use crate::kernel::CurrentTask;

/// One system call.
#[derive(Debug)]
pub struct Entry {
    /// Its number and name.
    pub number: Sysno,
    /// How complete it is.
    pub support: Support,
    /// Decodes the arguments and makes the call.
    pub(super) invoke: fn(&CurrentTask, &[u64; 6]) -> SysResult<u64>,
    /// Appends the arguments as `strace(1)` shows them.
    pub(super) show: fn(&CurrentTask, &[u64; 6], &mut String),
}

/// How complete the implementation of a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As Linux has it.
    Full,
    /// Usable, with what is missing.
    Partial(&'static str),
    /// Answered as a kernel without the feature, or without the permission, does; with the reason.
    Refused(&'static str),
}

/// One more than the highest number in the table.
const TABLE_SIZE: usize = 512;

macro_rules! syscalls {
    ($($name:ident => $handler:path, $support:expr;)*) => {
        const fn build() -> [Option<Entry>; TABLE_SIZE] {
            let mut table = [const { None }; TABLE_SIZE];
            $(
                table[Sysno::$name as usize] = Some(Entry {
                    number: Sysno::$name,
                    support: $support,
                    invoke: |task, raw| Handler::invoke($handler, task, raw),
                    show: |task, raw, out| Handler::show($handler, task, raw, out),
                });
            )*
            table
        }
    };
}

use Support::{Full, Partial, Refused};

/// The table, by number.
static TABLE: [Option<Entry>; TABLE_SIZE] = build();

syscalls! {
}

/// The table line of call `number`, if it is implemented or refused with a reason.
pub fn entry(number: u64) -> Option<&'static Entry> {
    TABLE.get(usize::try_from(number).ok()?)?.as_ref()
}
