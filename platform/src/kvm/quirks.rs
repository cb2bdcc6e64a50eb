//! What is special about the hypervisor at hand, with the reasons. Everything that asks for a quirk asks here.
//!
//! **Shadow paging.** Without EPT or NPT the host makes page tables of its own out of the guest's. It learns of a change when the guest
//! writes to its tables, but not when the host program does, as ours. New entries are no problem: the guest faults, and the host looks. For an entry that
//! goes or gives less, the page itself is unmapped from the host program for a moment (`MADV_DONTNEED` of shared memory, which loses nothing): that the host
//! passes on. Tables that are given up are reused only after the host has been made to forget all of them.
//!
//! **`SYSCALL` that stays in ring 3.** PVM, a hypervisor for machines without hardware virtualisation, runs both rings of the guest in ring 3 of the
//! processor. There `SYSCALL` at ring 3 of the guest jumps to `LSTAR` with `RCX` and `R11` set, but without a change of rings, so that the next thing is
//! a page fault of user code at that address. It stands for the call. A program that jumps there by itself makes a call too, with what it has in `RCX` as the place where it
//! goes on: it could do the same with the instruction.
//!
//! **`INT n` that is an invalid opcode.** On PVM too; so an invalid opcode with the bytes of `INT n` is taken for what it should have been.

//!
//! **No `FSGSBASE`.** Neither does PVM let the guest have that. Then the stub's instructions for it are left out, and the segment bases are set with the
//! other system registers when they change. A guest that loads a null selector into `FS` or `GS` has base zero there until the sentry sets it again.

use std::fs;

/// What the host's hypervisor does differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quirks {
    /// The processor itself walks the guest's tables, so changes are in effect when translations have been flushed.
    pub follows_tables: bool,
}

impl Quirks {
    /// Asks the modules of the host's kernel. Where they do not tell, the careful way is right as well.
    pub(super) fn of_host() -> Self {
        let yes = |path| fs::read_to_string(path).is_ok_and(|value| matches!(value.trim(), "Y" | "1"));
        let follows_tables =
            yes("/sys/module/kvm_intel/parameters/ept") || yes("/sys/module/kvm_amd/parameters/npt");
        Self { follows_tables }
    }
}
