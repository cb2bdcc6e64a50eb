//! The table of system calls: the one list from which everything about them is made.

use bartizan_abi::Sysno;

use super::dispatch::Handler;
use super::{
    aio, attributes, copy, credentials, descriptor, directory, epoll, event, exec, futex, handle, inotify,
    kcmp, limits, lock, membarrier, memfd, memory, mount, mount_filesystem, mount_query, mount_tree, mqueue,
    namespace, open, pidfd, pipe, poll, prctl, priority, process, process_memory, ptrace, read_write,
    refused, restart, schedule, seccomp, signal, socket, stat, statfs, sync, system, sysv_message,
    sysv_semaphore, sysv_shared_memory, time, timer, usage, wait, xattr, xattr_at,
};
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
    read => read_write::read, Full;
    write => read_write::write, Full;
    open => open::open, Full;
    close => open::close, Full;
    stat => stat::stat, Full;
    fstat => stat::fstat, Full;
    lstat => stat::lstat, Full;
    poll => poll::poll, Full;
    lseek => read_write::lseek, Full;
    mmap => memory::mmap, Full;
    mprotect => memory::mprotect, Full;
    munmap => memory::munmap, Full;
    brk => memory::brk, Full;
    rt_sigaction => signal::rt_sigaction, Full;
    rt_sigprocmask => signal::rt_sigprocmask, Full;
    rt_sigreturn => signal::rt_sigreturn, Full;
    ioctl => descriptor::ioctl, Partial("those that the files know");
    pread64 => read_write::pread64, Full;
    pwrite64 => read_write::pwrite64, Full;
    readv => read_write::readv, Full;
    writev => read_write::writev, Full;
    access => stat::access, Full;
    pipe => pipe::pipe, Full;
    select => poll::select, Full;
    sched_yield => schedule::sched_yield, Full;
    mremap => memory::mremap, Full;
    msync => memory::msync, Full;
    mincore => memory::mincore, Partial("pages of files are always reported as resident");
    madvise => memory::madvise, Partial("MADV_FREE frees at once; MADV_COLLAPSE and MADV_GUARD_INSTALL are EINVAL; advice on paging is noted only");
    shmget => sysv_shared_memory::shmget, Full;
    shmat => sysv_shared_memory::shmat, Full;
    shmctl => sysv_shared_memory::shmctl, Full;
    dup => descriptor::dup, Full;
    dup2 => descriptor::dup2, Full;
    pause => signal::pause, Full;
    nanosleep => time::nanosleep, Full;
    getitimer => timer::getitimer, Full;
    alarm => timer::alarm, Full;
    setitimer => timer::setitimer, Partial("timers by processor time are looked at every 1 to 50 ms");
    getpid => process::getpid, Full;
    sendfile => copy::sendfile, Full;
    socket => socket::socket, Partial("AF_UNIX alone; EAFNOSUPPORT for others");
    connect => socket::connect, Full;
    accept => socket::accept, Full;
    sendto => socket::sendto, Full;
    recvfrom => socket::recvfrom, Full;
    sendmsg => socket::sendmsg, Full;
    recvmsg => socket::recvmsg, Full;
    shutdown => socket::shutdown, Partial("SHUT_WR of datagrams is not heeded");
    bind => socket::bind, Full;
    listen => socket::listen, Full;
    getsockname => socket::getsockname, Full;
    getpeername => socket::getpeername, Full;
    socketpair => socket::socketpair, Full;
    setsockopt => socket::setsockopt, Partial("SO_RCVTIMEO and SO_SNDTIMEO do not hold for read and write; no SO_PASSPIDFD, SO_PEEK_OFF or filters");
    getsockopt => socket::getsockopt, Partial("no SO_PEERPIDFD, SO_PEERGROUPS, SO_COOKIE");
    clone => process::clone, Partial("of namespaces, those of users, mounts, UTS and IPC");
    fork => process::fork, Full;
    vfork => process::vfork, Full;
    execve => exec::execve, Partial("file capabilities are not looked at");
    exit => process::exit, Full;
    wait4 => wait::wait4, Partial("ru_maxrss and the like are zero");
    kill => signal::kill, Full;
    uname => system::uname, Full;
    semget => sysv_semaphore::semget, Full;
    semop => sysv_semaphore::semop, Full;
    semctl => sysv_semaphore::semctl, Full;
    shmdt => sysv_shared_memory::shmdt, Full;
    msgget => sysv_message::msgget, Full;
    msgsnd => sysv_message::msgsnd, Full;
    msgrcv => sysv_message::msgrcv, Full;
    msgctl => sysv_message::msgctl, Full;
    fcntl => descriptor::fcntl, Partial("no hints of lifetime");
    flock => lock::flock, Full;
    fsync => sync::fsync, Full;
    fdatasync => sync::fdatasync, Full;
    truncate => attributes::truncate, Full;
    ftruncate => attributes::ftruncate, Full;
    getdents => directory::getdents, Full;
    getcwd => stat::getcwd, Full;
    chdir => directory::chdir, Full;
    fchdir => directory::fchdir, Full;
    rename => directory::rename, Full;
    mkdir => directory::mkdir, Full;
    rmdir => directory::rmdir, Full;
    creat => open::creat, Full;
    link => directory::link, Full;
    unlink => directory::unlink, Full;
    symlink => directory::symlink, Full;
    readlink => stat::readlink, Full;
    chmod => attributes::chmod, Full;
    fchmod => attributes::fchmod, Full;
    chown => attributes::chown, Full;
    fchown => attributes::fchown, Full;
    lchown => attributes::lchown, Full;
    umask => attributes::umask, Full;
    gettimeofday => time::gettimeofday, Full;
    getrlimit => limits::getrlimit, Full;
    getrusage => usage::getrusage, Partial("times and ru_maxrss; the other counts are zero");
    sysinfo => system::sysinfo, Partial("no load averages, buffers or swap");
    times => usage::times, Full;
    ptrace => ptrace::ptrace, Partial("no PTRACE_SECCOMP_GET_FILTER, PTRACE_ARCH_PRCTL, PTRACE_GET_RSEQ_CONFIGURATION, PTRACE_SET_SYSCALL_INFO");
    getuid => credentials::getuid, Full;
    syslog => system::syslog, Partial("the log is empty");
    getgid => credentials::getgid, Full;
    setuid => credentials::setuid, Full;
    setgid => credentials::setgid, Full;
    geteuid => credentials::geteuid, Full;
    getegid => credentials::getegid, Full;
    setpgid => process::setpgid, Full;
    getppid => process::getppid, Full;
    getpgrp => process::getpgrp, Full;
    setsid => process::setsid, Full;
    setreuid => credentials::setreuid, Full;
    setregid => credentials::setregid, Full;
    getgroups => credentials::getgroups, Full;
    setgroups => credentials::setgroups, Full;
    setresuid => credentials::setresuid, Full;
    getresuid => credentials::getresuid, Full;
    setresgid => credentials::setresgid, Full;
    getresgid => credentials::getresgid, Full;
    getpgid => process::getpgid, Full;
    setfsuid => credentials::setfsuid, Full;
    setfsgid => credentials::setfsgid, Full;
    getsid => process::getsid, Full;
    capget => credentials::capget, Full;
    capset => credentials::capset, Full;
    rt_sigpending => signal::rt_sigpending, Full;
    rt_sigtimedwait => signal::rt_sigtimedwait, Full;
    rt_sigqueueinfo => signal::rt_sigqueueinfo, Full;
    rt_sigsuspend => signal::rt_sigsuspend, Full;
    sigaltstack => signal::sigaltstack, Full;
    utime => attributes::utime, Full;
    mknod => directory::mknod, Full;
    uselib => refused::not_built, Refused("ENOSYS: as without CONFIG_USELIB");
    personality => prctl::personality, Partial("ADDR_NO_RANDOMIZE and MMAP_PAGE_ZERO have an effect; other flags are kept and reported");
    statfs => statfs::statfs, Full;
    fstatfs => statfs::fstatfs, Full;
    getpriority => priority::getpriority, Full;
    setpriority => priority::setpriority, Partial("nice values are kept and reported, without effect");
    sched_setparam => schedule::sched_setparam, Partial("policies and priorities are kept and reported, without effect; SCHED_DEADLINE is EBUSY");
    sched_getparam => schedule::sched_getparam, Full;
    sched_setscheduler => schedule::sched_setscheduler, Partial("policies and priorities are kept and reported, without effect; SCHED_DEADLINE is EBUSY");
    sched_getscheduler => schedule::sched_getscheduler, Full;
    sched_get_priority_max => schedule::sched_get_priority_max, Full;
    sched_get_priority_min => schedule::sched_get_priority_min, Full;
    sched_rr_get_interval => schedule::sched_rr_get_interval, Full;
    mlock => memory::mlock, Full;
    munlock => memory::munlock, Full;
    mlockall => memory::mlockall, Full;
    munlockall => memory::munlockall, Full;
    vhangup => refused::not_permitted, Refused("EPERM: as without CAP_SYS_TTY_CONFIG");
    modify_ldt => refused::not_built, Refused("ENOSYS: as without CONFIG_MODIFY_LDT_SYSCALL");
    pivot_root => mount::pivot_root, Full;
    _sysctl => refused::not_built, Refused("ENOSYS, as since Linux 5.5");
    prctl => prctl::prctl, Partial("no speculation control or PR_SET_THP_DISABLE; timer slack has no effect");
    arch_prctl => process::arch_prctl, Partial("FS and GS only");
    adjtimex => time::adjtimex, Partial("tells of a clock that nobody synchronises; changes are EPERM");
    setrlimit => limits::setrlimit, Partial("RLIMIT_CORE is kept without effect");
    chroot => directory::chroot, Full;
    sync => sync::sync, Full;
    acct => refused::not_built, Refused("ENOSYS: as without CONFIG_BSD_PROCESS_ACCT");
    mount => mount::mount, Partial("synchronous writes are not asked for");
    umount2 => mount::umount2, Partial("use after MNT_EXPIRE does not unmark");
    settimeofday => time::settimeofday, Refused("EPERM: the clocks are the host's");
    swapon => refused::not_permitted, Refused("EPERM: memory is the host's");
    swapoff => refused::not_permitted, Refused("EPERM: memory is the host's");
    reboot => system::reboot, Refused("EPERM, after the checks of the arguments: the machine is not the sandbox's");
    sethostname => system::sethostname, Full;
    setdomainname => system::setdomainname, Full;
    iopl => refused::not_permitted, Refused("EPERM: no ports");
    ioperm => refused::not_permitted, Refused("EPERM: no ports");
    create_module => refused::not_built, Refused("ENOSYS, as since Linux 2.6");
    init_module => refused::not_permitted, Refused("EPERM: no modules");
    delete_module => refused::not_permitted, Refused("EPERM: no modules");
    get_kernel_syms => refused::not_built, Refused("ENOSYS, as since Linux 2.6");
    query_module => refused::not_built, Refused("ENOSYS, as since Linux 2.6");
    quotactl => refused::not_built, Refused("ENOSYS: as without CONFIG_QUOTA");
    nfsservctl => refused::not_built, Refused("ENOSYS, as since Linux 3.1");
    getpmsg => refused::not_built, Refused("ENOSYS: never built into Linux");
    putpmsg => refused::not_built, Refused("ENOSYS: never built into Linux");
    afs_syscall => refused::not_built, Refused("ENOSYS: never built into Linux");
    tuxcall => refused::not_built, Refused("ENOSYS: never built into Linux");
    security => refused::not_built, Refused("ENOSYS: never built into Linux");
    gettid => process::gettid, Full;
    readahead => sync::readahead, Full;
    setxattr => xattr::setxattr, Full;
    lsetxattr => xattr::lsetxattr, Full;
    fsetxattr => xattr::fsetxattr, Full;
    getxattr => xattr::getxattr, Full;
    lgetxattr => xattr::lgetxattr, Full;
    fgetxattr => xattr::fgetxattr, Full;
    listxattr => xattr::listxattr, Full;
    llistxattr => xattr::llistxattr, Full;
    flistxattr => xattr::flistxattr, Full;
    removexattr => xattr::removexattr, Full;
    lremovexattr => xattr::lremovexattr, Full;
    fremovexattr => xattr::fremovexattr, Full;
    tkill => signal::tkill, Full;
    time => time::time, Full;
    futex => futex::futex, Partial("owners of priority-inheritance futexes inherit nothing");
    sched_setaffinity => schedule::sched_setaffinity, Partial("kept and reported, without effect");
    sched_getaffinity => schedule::sched_getaffinity, Full;
    set_thread_area => refused::not_built, Refused("ENOSYS: for 32-bit programs");
    io_setup => aio::io_setup, Full;
    io_destroy => aio::io_destroy, Full;
    io_getevents => aio::io_getevents, Full;
    io_submit => aio::io_submit, Partial("files are read and written when requests are submitted; aio_rw_flags are ignored");
    io_cancel => aio::io_cancel, Full;
    get_thread_area => refused::not_built, Refused("ENOSYS: for 32-bit programs");
    lookup_dcookie => refused::not_built, Refused("ENOSYS, as since Linux 6.7");
    epoll_create => epoll::epoll_create, Full;
    epoll_ctl_old => refused::not_built, Refused("ENOSYS: never built into Linux");
    epoll_wait_old => refused::not_built, Refused("ENOSYS: never built into Linux");
    remap_file_pages => memory::remap_file_pages, Partial("within one area");
    getdents64 => directory::getdents64, Full;
    set_tid_address => process::set_tid_address, Full;
    restart_syscall => restart::restart_syscall, Full;
    semtimedop => sysv_semaphore::semtimedop, Full;
    fadvise64 => sync::fadvise64, Full;
    timer_create => timer::timer_create, Partial("timers by processor time are looked at every 1 to 50 ms; steps of the wall clock are not followed");
    timer_settime => timer::timer_settime, Full;
    timer_gettime => timer::timer_gettime, Full;
    timer_getoverrun => timer::timer_getoverrun, Full;
    timer_delete => timer::timer_delete, Full;
    clock_settime => time::clock_settime, Refused("EPERM: the clocks are the host's");
    clock_gettime => time::clock_gettime, Partial("no clocks of devices; processor time includes what the host gave to others meanwhile");
    clock_getres => time::clock_getres, Full;
    clock_nanosleep => time::clock_nanosleep, Partial("steps of the wall clock during a sleep are not followed");
    exit_group => process::exit_group, Full;
    epoll_wait => epoll::epoll_wait, Full;
    epoll_ctl => epoll::epoll_ctl, Full;
    tgkill => signal::tgkill, Full;
    utimes => attributes::utimes, Full;
    vserver => refused::not_built, Refused("ENOSYS: never built into Linux");
    mbind => memory::without_numa, Refused("as a kernel without NUMA");
    set_mempolicy => memory::without_numa, Refused("as a kernel without NUMA");
    get_mempolicy => memory::without_numa, Refused("as a kernel without NUMA");
    mq_open => mqueue::mq_open, Full;
    mq_unlink => mqueue::mq_unlink, Full;
    mq_timedsend => mqueue::mq_timedsend, Full;
    mq_timedreceive => mqueue::mq_timedreceive, Full;
    mq_notify => mqueue::mq_notify, Partial("SIGEV_THREAD needs netlink sockets");
    mq_getsetattr => mqueue::mq_getsetattr, Full;
    kexec_load => refused::not_permitted, Refused("EPERM: the machine is not the sandbox's");
    waitid => wait::waitid, Full;
    add_key => refused::not_built, Refused("ENOSYS: as without CONFIG_KEYS");
    request_key => refused::not_built, Refused("ENOSYS: as without CONFIG_KEYS");
    keyctl => refused::not_built, Refused("ENOSYS: as without CONFIG_KEYS");
    ioprio_set => priority::ioprio_set, Partial("kept and reported, without effect");
    ioprio_get => priority::ioprio_get, Full;
    inotify_init => inotify::inotify_init, Full;
    inotify_add_watch => inotify::inotify_add_watch, Partial("the limit of watches is each instance's; splice and tee tell nothing");
    inotify_rm_watch => inotify::inotify_rm_watch, Full;
    migrate_pages => memory::without_numa, Refused("as a kernel without NUMA");
    openat => open::openat, Full;
    mkdirat => directory::mkdirat, Full;
    mknodat => directory::mknodat, Full;
    fchownat => attributes::fchownat, Full;
    futimesat => attributes::futimesat, Full;
    newfstatat => stat::newfstatat, Full;
    unlinkat => directory::unlinkat, Full;
    renameat => directory::renameat, Full;
    linkat => directory::linkat, Full;
    symlinkat => directory::symlinkat, Full;
    readlinkat => stat::readlinkat, Full;
    fchmodat => attributes::fchmodat, Full;
    faccessat => stat::faccessat, Full;
    pselect6 => poll::pselect6, Full;
    ppoll => poll::ppoll, Full;
    unshare => namespace::unshare, Partial("of namespaces, those of users, mounts, UTS and IPC; `CLONE_VM` does not notice processes that share memory");
    set_robust_list => process::set_robust_list, Full;
    get_robust_list => process::get_robust_list, Full;
    splice => pipe::splice, Partial("copies");
    tee => pipe::tee, Partial("copies");
    sync_file_range => sync::sync_file_range, Full;
    vmsplice => pipe::vmsplice, Partial("copies");
    move_pages => memory::without_numa, Refused("as a kernel without NUMA");
    utimensat => attributes::utimensat, Full;
    epoll_pwait => epoll::epoll_pwait, Full;
    signalfd => pidfd::signalfd, Partial("reads the signals of the process that made it, whoever reads");
    timerfd_create => event::timerfd_create, Full;
    eventfd => event::eventfd, Full;
    fallocate => sync::fallocate, Full;
    timerfd_settime => event::timerfd_settime, Partial("steps of the wall clock are not followed");
    timerfd_gettime => event::timerfd_gettime, Full;
    accept4 => socket::accept4, Full;
    signalfd4 => pidfd::signalfd4, Partial("reads the signals of the process that made it, whoever reads");
    eventfd2 => event::eventfd2, Full;
    epoll_create1 => epoll::epoll_create1, Full;
    dup3 => descriptor::dup3, Full;
    pipe2 => pipe::pipe2, Full;
    inotify_init1 => inotify::inotify_init1, Full;
    preadv => read_write::preadv, Full;
    pwritev => read_write::pwritev, Full;
    rt_tgsigqueueinfo => signal::rt_tgsigqueueinfo, Full;
    perf_event_open => refused::not_built, Refused("ENOSYS: as without CONFIG_PERF_EVENTS");
    recvmmsg => socket::recvmmsg, Full;
    fanotify_init => refused::not_built, Refused("ENOSYS: as without CONFIG_FANOTIFY");
    fanotify_mark => refused::not_built, Refused("ENOSYS: as without CONFIG_FANOTIFY");
    prlimit64 => limits::prlimit64, Partial("RLIMIT_CORE is kept without effect");
    name_to_handle_at => handle::name_to_handle_at, Refused("EOPNOTSUPP: as with file systems without handles");
    open_by_handle_at => handle::open_by_handle_at, Refused("ESTALE: as with file systems without handles");
    clock_adjtime => time::clock_adjtime, Partial("as adjtimex");
    syncfs => sync::syncfs, Full;
    sendmmsg => socket::sendmmsg, Full;
    setns => namespace::setns, Partial("as `unshare`");
    getcpu => schedule::getcpu, Full;
    process_vm_readv => process_memory::process_vm_readv, Full;
    process_vm_writev => process_memory::process_vm_writev, Full;
    kcmp => kcmp::kcmp, Full;
    finit_module => refused::not_permitted, Refused("EPERM: no modules");
    sched_setattr => schedule::sched_setattr, Partial("policies and priorities are kept and reported, without effect; SCHED_DEADLINE is EBUSY");
    sched_getattr => schedule::sched_getattr, Full;
    renameat2 => directory::renameat2, Full;
    seccomp => seccomp::seccomp, Partial("SECCOMP_RET_TRACE gives ENOSYS; nothing is logged");
    getrandom => system::getrandom, Full;
    memfd_create => memfd::memfd_create, Partial("no huge pages");
    kexec_file_load => refused::not_permitted, Refused("EPERM: the machine is not the sandbox's");
    bpf => refused::not_built, Refused("ENOSYS: as without CONFIG_BPF_SYSCALL");
    execveat => exec::execveat, Partial("file capabilities are not looked at");
    userfaultfd => refused::not_built, Refused("ENOSYS: as without CONFIG_USERFAULTFD");
    membarrier => membarrier::membarrier, Partial("no SYNC_CORE and RSEQ commands");
    mlock2 => memory::mlock2, Full;
    copy_file_range => copy::copy_file_range, Full;
    preadv2 => read_write::preadv2, Partial("no RWF_NOWAIT");
    pwritev2 => read_write::pwritev2, Partial("no RWF_APPEND, RWF_NOAPPEND and RWF_NOWAIT");
    pkey_mprotect => memory::pkey_mprotect, Refused("as on a processor without protection keys, where the key -1 works");
    pkey_alloc => memory::pkey_alloc, Refused("as on a processor without protection keys");
    pkey_free => memory::pkey_free, Refused("as on a processor without protection keys");
    statx => stat::statx, Full;
    io_pgetevents => aio::io_pgetevents, Full;
    rseq => refused::not_built, Refused("ENOSYS: as without CONFIG_RSEQ; a process cannot see when the host moves its tasks between processors");
    pidfd_send_signal => pidfd::pidfd_send_signal, Partial("no flags");
    io_uring_setup => refused::not_built, Refused("ENOSYS: as without CONFIG_IO_URING");
    io_uring_enter => refused::not_built, Refused("ENOSYS: as without CONFIG_IO_URING");
    io_uring_register => refused::not_built, Refused("ENOSYS: as without CONFIG_IO_URING");
    open_tree => mount_tree::open_tree, Full;
    move_mount => mount_tree::move_mount, Full;
    fsopen => mount_filesystem::fsopen, Full;
    fsconfig => mount_filesystem::fsconfig, Partial("no file system takes bytes, places or files");
    fsmount => mount_filesystem::fsmount, Full;
    fspick => mount_filesystem::fspick, Full;
    pidfd_open => pidfd::pidfd_open, Partial("no PIDFD_THREAD");
    clone3 => process::clone3, Partial("of namespaces, those of users, mounts, UTS and IPC");
    close_range => open::close_range, Full;
    openat2 => open::openat2, Partial("RESOLVE_CACHED is always EAGAIN");
    pidfd_getfd => pidfd::pidfd_getfd, Full;
    faccessat2 => stat::faccessat2, Full;
    epoll_pwait2 => epoll::epoll_pwait2, Full;
    mount_setattr => mount_tree::mount_setattr, Partial("no mounts that map identities");
    quotactl_fd => refused::not_built, Refused("ENOSYS: as without CONFIG_QUOTA");
    landlock_create_ruleset => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY_LANDLOCK");
    landlock_add_rule => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY_LANDLOCK");
    landlock_restrict_self => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY_LANDLOCK");
    memfd_secret => refused::not_built, Refused("ENOSYS: as without CONFIG_SECRETMEM");
    futex_waitv => futex::futex_waitv, Full;
    set_mempolicy_home_node => memory::without_numa, Refused("as a kernel without NUMA");
    fchmodat2 => attributes::fchmodat2, Full;
    map_shadow_stack => refused::not_supported, Refused("EOPNOTSUPP: as on a processor without shadow stacks");
    futex_wake => futex::futex_wake, Full;
    futex_wait => futex::futex_wait, Full;
    futex_requeue => futex::futex_requeue, Full;
    statmount => mount_query::statmount, Partial("of the caller's namespace");
    listmount => mount_query::listmount, Partial("of the caller's namespace");
    lsm_get_self_attr => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY");
    lsm_set_self_attr => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY");
    lsm_list_modules => refused::not_built, Refused("ENOSYS: as without CONFIG_SECURITY");
    setxattrat => xattr_at::setxattrat, Full;
    getxattrat => xattr_at::getxattrat, Full;
    listxattrat => xattr_at::listxattrat, Full;
    removexattrat => xattr_at::removexattrat, Full;
    open_tree_attr => mount_tree::open_tree_attr, Partial("no mounts that map identities");
}

/// The table line of call `number`, if it is implemented or refused with a reason.
pub fn entry(number: u64) -> Option<&'static Entry> {
    TABLE.get(usize::try_from(number).ok()?)?.as_ref()
}
