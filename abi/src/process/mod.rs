//! Processes and threads.

mod capability;
mod clone;
mod futex;
pub mod prctl;
pub mod ptrace;
mod resource;
mod sched;
pub mod seccomp;
mod system;
mod wait;

pub use capability::{
    CapUserData, CapUserHeader, Capability, CapabilitySet, LINUX_CAPABILITY_VERSION_1,
    LINUX_CAPABILITY_VERSION_2, LINUX_CAPABILITY_VERSION_3, VFS_CAP_FLAGS_EFFECTIVE, VFS_CAP_REVISION_2,
    VFS_CAP_REVISION_3, VFS_CAP_REVISION_MASK, VfsNsCapData,
};
pub use clone::{
    CLONE_ARGS_SIZE_VER0, CLONE_ARGS_SIZE_VER1, CLONE_ARGS_SIZE_VER2, CSIGNAL, CloneArgs, CloneFlags,
    KcmpEpollSlot, KcmpType, PidfdFlags, PidfdSignalFlags,
};
pub use futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, FUTEX_WAITV_MAX, Futex2Flags,
    FutexCommand, FutexOperation, FutexOptions, FutexWaitv, FutexWakeComparison, FutexWakeOperation,
    ROBUST_LIST_LIMIT, RobustListHead,
};
pub use resource::{PriorityWhich, RLIM_INFINITY, Resource, Rlimit64, Rusage, RusageWho};
pub use sched::{
    IoPriorityClass, SCHED_ATTR_SIZE_VER0, SCHED_ATTR_SIZE_VER1, SCHED_RESET_ON_FORK, SchedAttr,
    SchedAttrFlags, SchedParam, SchedPolicy,
};
pub use system::{
    LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B,
    LINUX_REBOOT_MAGIC2C, MembarrierCommand, MembarrierFlags, Personality, RSEQ_CPU_ID_REGISTRATION_FAILED,
    RSEQ_CPU_ID_UNINITIALIZED, RSEQ_FEATURE_SIZE, RSEQ_FLAG_UNREGISTER, RSEQ_ORIG_SIZE, RandomFlags,
    RebootCommand, Rseq, RseqCs, Sysinfo, SyslogAction, UTS_FIELD_LENGTH, UtsName,
};
pub use wait::{IdType, WaitOptions, WaitStatus};
