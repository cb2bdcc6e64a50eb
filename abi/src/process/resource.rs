//! Limits and use of resources: `getrlimit(2)`, `getrusage(2)`, `getpriority(2)`.

use crate::macros::{abi_enum, abi_structs};
use crate::time::Timeval;

/// No limit.
pub const RLIM_INFINITY: u64 = u64::MAX;

abi_enum! {
    /// What is limited.
    pub enum Resource: u32 {
        /// CPU time, seconds.
        RLIMIT_CPU = 0,
        /// The size of a file, bytes.
        RLIMIT_FSIZE = 1,
        /// Private writable memory, bytes.
        RLIMIT_DATA = 2,
        /// The stack, bytes.
        RLIMIT_STACK = 3,
        /// A core dump, bytes.
        RLIMIT_CORE = 4,
        /// Resident memory, bytes; without effect.
        RLIMIT_RSS = 5,
        /// Processes and threads of a user.
        RLIMIT_NPROC = 6,
        /// The highest descriptor number, plus one.
        RLIMIT_NOFILE = 7,
        /// Locked memory, bytes.
        RLIMIT_MEMLOCK = 8,
        /// Address space, bytes.
        RLIMIT_AS = 9,
        /// File locks; without effect.
        RLIMIT_LOCKS = 10,
        /// Queued signals.
        RLIMIT_SIGPENDING = 11,
        /// POSIX message queues, bytes.
        RLIMIT_MSGQUEUE = 12,
        /// How far the nice value may be lowered: 20 less it.
        RLIMIT_NICE = 13,
        /// The highest real-time priority.
        RLIMIT_RTPRIO = 14,
        /// CPU time of a real-time task without a blocking call, microseconds.
        RLIMIT_RTTIME = 15,
    }
}

abi_structs! {
    /// `struct rlimit64`, and `struct rlimit` of x86-64.
    pub struct Rlimit64: 16 {
        /// The soft limit, which counts.
        pub rlim_cur: u64,
        /// The hard limit, up to which the soft one may be raised.
        pub rlim_max: u64,
    }

    /// `struct rusage`.
    #[expect(missing_docs, reason = "the names are those of the manual page")]
    pub struct Rusage: 144 {
        pub ru_utime: Timeval,
        pub ru_stime: Timeval,
        pub ru_maxrss: i64,
        pub ru_ixrss: i64,
        pub ru_idrss: i64,
        pub ru_isrss: i64,
        pub ru_minflt: i64,
        pub ru_majflt: i64,
        pub ru_nswap: i64,
        pub ru_inblock: i64,
        pub ru_oublock: i64,
        pub ru_msgsnd: i64,
        pub ru_msgrcv: i64,
        pub ru_nsignals: i64,
        pub ru_nvcsw: i64,
        pub ru_nivcsw: i64,
    }
}

impl Rlimit64 {
    /// No limit at all.
    pub const INFINITY: Self = Self { rlim_cur: RLIM_INFINITY, rlim_max: RLIM_INFINITY };
}

abi_enum! {
    /// Whose use `getrusage(2)` tells.
    pub enum RusageWho: i32 {
        /// The process.
        RUSAGE_SELF = 0,
        /// Its waited-for children.
        RUSAGE_CHILDREN = -1,
        /// The thread.
        RUSAGE_THREAD = 1,
    }
}

abi_enum! {
    /// Whose priority `getpriority(2)` tells.
    pub enum PriorityWhich: i32 {
        /// A process.
        PRIO_PROCESS = 0,
        /// A process group.
        PRIO_PGRP = 1,
        /// A user.
        PRIO_USER = 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_values_are_those_of_the_c_library() {
        assert_eq!(size_of::<Rusage>(), size_of::<libc::rusage>());
        assert_eq!(Resource::RLIMIT_RTTIME.raw(), libc::RLIMIT_RTTIME);
        assert_eq!(Resource::RLIMIT_NOFILE.raw(), libc::RLIMIT_NOFILE);
        assert_eq!(Resource::ALL.len(), 16);
        assert_eq!(Resource::try_from(16), Err(crate::Errno::EINVAL));
    }
}
