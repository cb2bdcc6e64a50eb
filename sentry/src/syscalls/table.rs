//! The table of system calls: the one list from which everything about them is made.

use bartizan_abi::Sysno;

use super::dispatch::Handler;
use super::memory;
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
    mmap => memory::mmap, Full;
    mprotect => memory::mprotect, Full;
    munmap => memory::munmap, Full;
    brk => memory::brk, Full;
    mremap => memory::mremap, Full;
    msync => memory::msync, Full;
    mincore => memory::mincore, Partial("pages of files are always reported as resident");
    madvise => memory::madvise, Partial("MADV_FREE frees at once; MADV_COLLAPSE and MADV_GUARD_INSTALL are EINVAL; advice on paging is noted only");
    mlock => memory::mlock, Full;
    munlock => memory::munlock, Full;
    mlockall => memory::mlockall, Full;
    munlockall => memory::munlockall, Full;
    remap_file_pages => memory::remap_file_pages, Partial("within one area");
    mbind => memory::without_numa, Refused("as a kernel without NUMA");
    set_mempolicy => memory::without_numa, Refused("as a kernel without NUMA");
    get_mempolicy => memory::without_numa, Refused("as a kernel without NUMA");
    migrate_pages => memory::without_numa, Refused("as a kernel without NUMA");
    move_pages => memory::without_numa, Refused("as a kernel without NUMA");
    mlock2 => memory::mlock2, Full;
    pkey_mprotect => memory::pkey_mprotect, Refused("as on a processor without protection keys, where the key -1 works");
    pkey_alloc => memory::pkey_alloc, Refused("as on a processor without protection keys");
    pkey_free => memory::pkey_free, Refused("as on a processor without protection keys");
    set_mempolicy_home_node => memory::without_numa, Refused("as a kernel without NUMA");
}

/// The table line of call `number`, if it is implemented or refused with a reason.
pub fn entry(number: u64) -> Option<&'static Entry> {
    TABLE.get(usize::try_from(number).ok()?)?.as_ref()
}
