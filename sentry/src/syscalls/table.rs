//! The table of system calls: the one list from which everything about them is made.

use bartizan_abi::Sysno;

use super::attributes;
use super::descriptor;
use super::directory;
use super::dispatch::Handler;
use super::exec;
use super::memory;
use super::open;
use super::process;
use super::read_write;
use super::signal;
use super::stat;
use super::wait;
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
    lseek => read_write::lseek, Full;
    ioctl => descriptor::ioctl, Partial("those that the files know; no FIOASYNC");
    pread64 => read_write::pread64, Full;
    pwrite64 => read_write::pwrite64, Full;
    readv => read_write::readv, Full;
    writev => read_write::writev, Full;
    access => stat::access, Full;
    dup => descriptor::dup, Full;
    dup2 => descriptor::dup2, Full;
    fcntl => descriptor::fcntl, Partial("no leases, no signals about readiness");
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
    utime => attributes::utime, Full;
    mknod => directory::mknod, Full;
    chroot => directory::chroot, Full;
    getdents64 => directory::getdents64, Full;
    utimes => attributes::utimes, Full;
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
    utimensat => attributes::utimensat, Full;
    dup3 => descriptor::dup3, Full;
    preadv => read_write::preadv, Full;
    pwritev => read_write::pwritev, Full;
    renameat2 => directory::renameat2, Partial("no RENAME_WHITEOUT");
    preadv2 => read_write::preadv2, Partial("no RWF_NOWAIT");
    pwritev2 => read_write::pwritev2, Partial("no RWF_APPEND, RWF_NOAPPEND and RWF_NOWAIT");
    statx => stat::statx, Full;
    close_range => open::close_range, Full;
    openat2 => open::openat2, Partial("RESOLVE_CACHED is always EAGAIN");
    faccessat2 => stat::faccessat2, Full;
    fchmodat2 => attributes::fchmodat2, Full;
    rt_sigaction => signal::rt_sigaction, Full;
    rt_sigprocmask => signal::rt_sigprocmask, Full;
    rt_sigreturn => signal::rt_sigreturn, Full;
    pause => signal::pause, Full;
    getpid => process::getpid, Full;
    clone => process::clone, Partial("no CLONE_PIDFD, no new namespaces");
    fork => process::fork, Full;
    vfork => process::vfork, Full;
    execve => exec::execve, Partial("file capabilities are not looked at");
    exit => process::exit, Full;
    wait4 => wait::wait4, Partial("ru_maxrss and the like are zero");
    kill => signal::kill, Full;
    setpgid => process::setpgid, Full;
    getppid => process::getppid, Full;
    getpgrp => process::getpgrp, Full;
    setsid => process::setsid, Full;
    getpgid => process::getpgid, Full;
    getsid => process::getsid, Full;
    rt_sigpending => signal::rt_sigpending, Full;
    rt_sigtimedwait => signal::rt_sigtimedwait, Full;
    rt_sigqueueinfo => signal::rt_sigqueueinfo, Full;
    rt_sigsuspend => signal::rt_sigsuspend, Full;
    sigaltstack => signal::sigaltstack, Full;
    arch_prctl => process::arch_prctl, Partial("FS and GS only");
    gettid => process::gettid, Full;
    tkill => signal::tkill, Full;
    set_tid_address => process::set_tid_address, Full;
    exit_group => process::exit_group, Full;
    tgkill => signal::tgkill, Full;
    waitid => wait::waitid, Partial("no P_PIDFD");
    set_robust_list => process::set_robust_list, Full;
    get_robust_list => process::get_robust_list, Full;
    rt_tgsigqueueinfo => signal::rt_tgsigqueueinfo, Full;
    execveat => exec::execveat, Partial("file capabilities are not looked at");
    clone3 => process::clone3, Partial("no CLONE_PIDFD, no set_tid, no new namespaces");
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
