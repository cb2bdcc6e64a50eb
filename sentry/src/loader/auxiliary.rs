//! The auxiliary vector: `getauxval(3)`.

use bartizan_abi::USER_HZ;
use bartizan_abi::elf::{AuxEntry, AuxType, ProgramHeader};
use bartizan_platform::memory::PAGE_SIZE;

/// As whom the program runs, after set-ID bits have had their effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity {
    /// Real user ID, in the program's user namespace.
    pub uid: u32,
    /// Effective user ID.
    pub euid: u32,
    /// Real group ID.
    pub gid: u32,
    /// Effective group ID.
    pub egid: u32,
    /// Whether the program has gained privileges by being executed, so that the dynamic linker must distrust its environment.
    pub secure: bool,
}

/// What the program is told about itself.
#[derive(Debug, Clone, Copy)]
pub struct ProgramFacts {
    /// The image of the vDSO.
    pub vdso: u64,
    /// The program headers in memory.
    pub table: u64,
    /// How many there are.
    pub table_length: u64,
    /// By how much the interpreter was moved; zero without one.
    pub interpreter_base: u64,
    /// The program's own entry point.
    pub entry: u64,
    /// As whom it runs.
    pub identity: Identity,
}

/// Addresses of strings on the new stack.
#[derive(Debug, Clone, Copy)]
pub struct StackAddresses {
    /// Sixteen random bytes.
    pub random: u64,
    /// The name by which the program was executed.
    pub name: u64,
    /// The name of the machine.
    pub platform: u64,
}

/// How many entries [`vector`] gives.
pub const LENGTH: usize = 21;

/// The vector, in the order in which Linux gives it, with its end.
pub fn vector(facts: &ProgramFacts, stack: &StackAddresses) -> [AuxEntry; LENGTH] {
    let (hwcap, hwcap2) = rustix::param::linux_hwcap();
    let identity = &facts.identity;
    [
        (AuxType::AT_SYSINFO_EHDR, facts.vdso),
        (AuxType::AT_MINSIGSTKSZ, rustix::param::linux_minsigstksz() as u64),
        (AuxType::AT_HWCAP, hwcap as u64),
        (AuxType::AT_PAGESZ, PAGE_SIZE),
        (AuxType::AT_CLKTCK, USER_HZ),
        (AuxType::AT_PHDR, facts.table),
        (AuxType::AT_PHENT, size_of::<ProgramHeader>() as u64),
        (AuxType::AT_PHNUM, facts.table_length),
        (AuxType::AT_BASE, facts.interpreter_base),
        (AuxType::AT_FLAGS, 0),
        (AuxType::AT_ENTRY, facts.entry),
        (AuxType::AT_UID, u64::from(identity.uid)),
        (AuxType::AT_EUID, u64::from(identity.euid)),
        (AuxType::AT_GID, u64::from(identity.gid)),
        (AuxType::AT_EGID, u64::from(identity.egid)),
        (AuxType::AT_SECURE, u64::from(identity.secure)),
        (AuxType::AT_RANDOM, stack.random),
        (AuxType::AT_HWCAP2, hwcap2 as u64),
        (AuxType::AT_EXECFN, stack.name),
        (AuxType::AT_PLATFORM, stack.platform),
        (AuxType::AT_NULL, 0),
    ]
    .map(|(kind, a_val)| AuxEntry { a_type: kind.0, a_val })
}
