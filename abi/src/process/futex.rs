//! Futexes: `futex(2)`, `futex_waitv(2)`, `get_robust_list(2)`.

use crate::macros::{abi_enum, abi_named_flags, abi_structs};

abi_enum! {
    /// What `futex(2)` is to do.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub enum FutexCommand: u32 {
        FUTEX_WAIT = 0,
        FUTEX_WAKE = 1,
        FUTEX_FD = 2,
        FUTEX_REQUEUE = 3,
        FUTEX_CMP_REQUEUE = 4,
        FUTEX_WAKE_OP = 5,
        FUTEX_LOCK_PI = 6,
        FUTEX_UNLOCK_PI = 7,
        FUTEX_TRYLOCK_PI = 8,
        FUTEX_WAIT_BITSET = 9,
        FUTEX_WAKE_BITSET = 10,
        FUTEX_WAIT_REQUEUE_PI = 11,
        FUTEX_CMP_REQUEUE_PI = 12,
        FUTEX_LOCK_PI2 = 13,
    }
}

abi_named_flags! {
    /// Options beside the command.
    pub struct FutexOptions: u32 {
        FUTEX_PRIVATE_FLAG = 128,
        FUTEX_CLOCK_REALTIME = 256,
    }
}

/// The second argument of `futex(2)`, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FutexOperation {
    /// What to do.
    pub command: FutexCommand,
    /// How.
    pub options: FutexOptions,
}

impl FutexOperation {
    /// Takes the argument apart; none for a command that does not exist (`ENOSYS`).
    pub const fn from_raw(raw: u32) -> Option<Self> {
        let options = FutexOptions::from_bits_truncate(raw);
        match FutexCommand::from_raw(raw & !options.bits()) {
            Some(command) => Some(Self { command, options }),
            None => None,
        }
    }
}

/// The mask that matches every waiter.
pub const FUTEX_BITSET_MATCH_ANY: u32 = u32::MAX;
/// A bit of a priority-inheritance or robust futex: there are waiters.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// A bit of a robust futex: its owner died.
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// The bits that hold the owner's thread ID.
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// Most entries of a robust list that are walked.
pub const ROBUST_LIST_LIMIT: usize = 2048;
/// Most futexes that `futex_waitv(2)` waits for.
pub const FUTEX_WAITV_MAX: usize = 128;

abi_enum! {
    /// What `FUTEX_WAKE_OP` does to the second futex.
    pub enum FutexWakeOperation: u32 {
        /// Store the operand.
        FUTEX_OP_SET = 0,
        /// Add it.
        FUTEX_OP_ADD = 1,
        /// Or it in.
        FUTEX_OP_OR = 2,
        /// Clear its bits.
        FUTEX_OP_ANDN = 3,
        /// Exclusive-or it in.
        FUTEX_OP_XOR = 4,
    }
}

abi_enum! {
    /// How `FUTEX_WAKE_OP` compares the old value.
    pub enum FutexWakeComparison: u32 {
        /// Equal.
        FUTEX_OP_CMP_EQ = 0,
        /// Not equal.
        FUTEX_OP_CMP_NE = 1,
        /// Less.
        FUTEX_OP_CMP_LT = 2,
        /// Less or equal.
        FUTEX_OP_CMP_LE = 3,
        /// Greater.
        FUTEX_OP_CMP_GT = 4,
        /// Greater or equal.
        FUTEX_OP_CMP_GE = 5,
    }
}

impl FutexWakeOperation {
    /// A bit of the operation field: the operand is a shift.
    pub const FUTEX_OP_OPARG_SHIFT: u32 = 8;
}

abi_named_flags! {
    /// Flags of one futex of `futex_waitv(2)`, and of `futex_wait(2)` and its kin. The size is a field of two bits.
    pub struct Futex2Flags: u32 {
        FUTEX2_SIZE_MASK = 0x03,
        FUTEX2_SIZE_U16 = 0x01,
        FUTEX2_SIZE_U32 = 0x02,
        FUTEX2_NUMA = 0x04,
        FUTEX2_MPOL = 0x08,
        FUTEX2_PRIVATE = 0x80,
    }
}

abi_structs! {
    /// `struct futex_waitv`.
    pub struct FutexWaitv: 24 {
        /// The expected value.
        pub val: u64,
        /// The address of the futex.
        pub uaddr: u64,
        /// [`Futex2Flags`].
        pub flags: u32,
        /// Always zero.
        pub __reserved: u32,
    }

    /// `struct robust_list_head`.
    pub struct RobustListHead: 24 {
        /// The first entry; the list ends at the head itself.
        pub list: u64,
        /// From an entry to its futex, bytes.
        pub futex_offset: i64,
        /// The entry that is being added or removed; bit 0 marks priority inheritance.
        pub list_op_pending: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_taken_apart() {
        let raw = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME) as u32;
        let operation = FutexOperation::from_raw(raw).expect("it exists");
        assert_eq!(operation.command, FutexCommand::FUTEX_WAIT_BITSET);
        assert_eq!(operation.options, FutexOptions::all());
        assert_eq!(FutexOperation::from_raw(14), None);
        assert_eq!(FutexOperation::from_raw(0x200), None);
    }
}
