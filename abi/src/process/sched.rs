//! Scheduling: `sched(7)`, `sched_setattr(2)`.

use crate::macros::{abi_enum, abi_named_flags, abi_structs};

abi_enum! {
    /// Scheduling policies.
    pub enum SchedPolicy: u32 {
        /// The usual one.
        SCHED_NORMAL = 0,
        /// Real time, first in first out.
        SCHED_FIFO = 1,
        /// Real time, in turns.
        SCHED_RR = 2,
        /// Like the usual one, for batch work.
        SCHED_BATCH = 3,
        /// When nothing else runs.
        SCHED_IDLE = 5,
        /// By deadline.
        SCHED_DEADLINE = 6,
        /// By a BPF program.
        SCHED_EXT = 7,
    }
}

/// A bit beside the policy: children get the usual one.
pub const SCHED_RESET_ON_FORK: u32 = 0x4000_0000;

abi_structs! {
    /// `struct sched_param`.
    pub struct SchedParam: 4 {
        /// The real-time priority, 1 to 99; zero for other policies.
        pub sched_priority: i32,
    }

    /// `struct sched_attr`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct SchedAttr: 56 {
        pub size: u32,
        pub sched_policy: u32,
        pub sched_flags: u64,
        pub sched_nice: i32,
        pub sched_priority: u32,
        pub sched_runtime: u64,
        pub sched_deadline: u64,
        pub sched_period: u64,
        pub sched_util_min: u32,
        pub sched_util_max: u32,
    }
}

abi_enum! {
    /// Classes of `ioprio_set(2)`.
    pub enum IoPriorityClass: u16 {
        /// What the nice value gives.
        IOPRIO_CLASS_NONE = 0,
        /// Before all others.
        IOPRIO_CLASS_RT = 1,
        /// The usual one.
        IOPRIO_CLASS_BE = 2,
        /// When nobody else wants anything.
        IOPRIO_CLASS_IDLE = 3,
    }
}

/// Bytes of the first version of [`SchedAttr`].
pub const SCHED_ATTR_SIZE_VER0: usize = 48;
/// Bytes of the second version.
pub const SCHED_ATTR_SIZE_VER1: usize = 56;

abi_named_flags! {
    /// `sched_flags`.
    pub struct SchedAttrFlags: u64 {
        SCHED_FLAG_RESET_ON_FORK = 0x01,
        SCHED_FLAG_RECLAIM = 0x02,
        SCHED_FLAG_DL_OVERRUN = 0x04,
        SCHED_FLAG_KEEP_POLICY = 0x08,
        SCHED_FLAG_KEEP_PARAMS = 0x10,
        SCHED_FLAG_UTIL_CLAMP_MIN = 0x20,
        SCHED_FLAG_UTIL_CLAMP_MAX = 0x40,
    }
}
