//! stress-ng, which checks itself (`--verify`): each stressor ends on the host as it does in a sandbox.
//!
//! A few operations of each are made in every run of the tests, and five seconds of each in long runs.

use crate::case::Case;

/// Runs `--verify` of each stressor of a list, with these limits, and tells how it ends and whether it has done anything. What it says goes
/// to the standard error if it fails.
macro_rules! stressors {
    ($name:literal, $limits:literal, $list:literal) => {
        Case::bash(
            $name,
            &["bash", "stress-ng"],
            concat!(
                "for s in ",
                $list,
                "; do limits='",
                $limits,
                "'; ",
                "stress-ng --verify --metrics --yaml figures --temp-path /tmp --$s 1 ${limits//OPS/--$s-ops} > log 2>&1; ",
                "code=$?; echo $s $code $(grep -c 'bogo-ops: [1-9]' figures); [ $code = 0 ] || cat log >&2; done"
            ),
        )
    };
}

/// Twenty operations or a second of each.
pub const SHORT: &[Case] = &[
    stressors!("stress_processes", "-t 1 OPS 20", "clone fork vfork wait kill pthread zombie daemon context"),
    stressors!(
        "stress_signals",
        "-t 1 OPS 20",
        "sigq sigsegv sigtrap sigrt sigpending sigsuspend sigfd sigio sigabrt sigchld sigfpe signest sigpipe pidfd"
    ),
    stressors!("stress_time", "-t 1 OPS 20", "timer timerfd itimer clock nanosleep alarm sleep"),
    stressors!(
        "stress_synchronisation",
        "-t 1 OPS 20",
        "futex mutex sem sem-sysv eventfd membarrier kcmp switch dekker affinity schedpolicy"
    ),
    stressors!(
        "stress_communication",
        "-t 5 OPS 20",
        "shm shm-sysv msg mq epoll poll pipe fifo splice tee vm-splice sockpair sockfd"
    ),
    stressors!("stress_memory", "-t 1 OPS 20", "madvise mprotect brk mlock msync mincore"),
    stressors!("stress_state", "-t 1 OPS 20", "get set prctl rlimit seccomp env personality cap"),
    stressors!(
        "stress_files",
        "-t 1 OPS 20",
        "lockf flock lease lockofd locka aio procfs chdir chmod dentry dir dup fcntl link rename utime"
    ),
];

/// Five seconds of each.
pub const LONG: &[Case] = &[
    stressors!("long_stress_processes", "-t 5", "clone fork vfork wait kill pthread zombie daemon context").within(300),
    stressors!(
        "long_stress_signals",
        "-t 5",
        "sigq sigsegv sigtrap sigrt sigpending sigsuspend sigfd sigio sigabrt sigchld sigfpe signest sigpipe pidfd"
    )
    .within(300),
    stressors!("long_stress_time", "-t 5", "timer timerfd itimer clock nanosleep alarm sleep").within(300),
    stressors!(
        "long_stress_synchronisation",
        "-t 5",
        "futex mutex sem sem-sysv eventfd membarrier kcmp switch dekker affinity schedpolicy yield"
    )
    .within(300),
    stressors!(
        "long_stress_communication",
        "-t 5",
        "shm shm-sysv msg mq epoll poll pipe fifo splice tee vm-splice sockpair sockfd"
    )
    .within(300),
    stressors!(
        "long_stress_memory",
        "-t 5",
        "mmap mremap madvise mprotect brk stack mlock msync mincore memfd mmapfork munmap vm-rw"
    )
    .within(300),
    stressors!("long_stress_state", "-t 5", "get set prctl rlimit seccomp env personality cap").within(300),
    stressors!(
        "long_stress_files",
        "-t 5",
        "lockf flock lease lockofd locka aio procfs chdir chmod dentry dir dup fcntl link rename utime"
    )
    .within(300),
];
