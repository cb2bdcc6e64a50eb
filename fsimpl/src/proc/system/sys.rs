//! `/proc/sys` (`proc_sys(5)`): settings of the kernel.

use std::fmt::Write;

use bartizan_abi::{Capability, Errno};
use bartizan_sentry::kernel::mqueue::{HARD_MSGMAX, HARD_MSGSIZEMAX};
use bartizan_sentry::kernel::unix::{DEFAULT_BUFFER, MOST_BUFFER};
use bartizan_sentry::kernel::{Kernel, PID_MAX, UtsNames};
use bartizan_sentry::mm::{MAX_MAP_COUNT, MMAP_MIN_ADDR};
use rustix::rand::{GetRandomFlags, getrandom};

use super::System;
use super::variables::{self, IpcLimit, ipc_limit, name, queue_limit, rounded_setting, semaphores, setting};
use crate::pseudo::{Content, DirectoryBuilder, Modes};

/// Most groups of a process (`NGROUPS_MAX`).
const NGROUPS_MAX: u32 = 65_536;
/// The hard limit of descriptors of a process.
const NR_OPEN: u32 = 1 << 20;
/// The least that `msgsize_max` may be.
const LEAST_MSGSIZE: i64 = 128;
/// Least bytes of a pipe.
const PIPE_MIN_SIZE: u64 = 4096;

/// What filters of system calls may do (`seccomp(2)`).
const SECCOMP_ACTIONS: &str = "kill_process kill_thread trap errno user_notif trace log allow";

/// Fills `/proc/sys`.
pub fn fill(sys: &mut DirectoryBuilder, system: &System) {
    sys.modes(Modes::Binding)
        .directory("fs", |fs| {
            fs.file("file-max", 0o444, number(i64::MAX))
                .file("aio-nr", 0o444, with_kernel(system, |kernel| kernel.aio_contexts().requests()))
                .file("mount-max", 0o444, number(100_000))
                .file("lease-break-time", 0o644, setting(system, |settings| &settings.lease_break_time))
                .file("leases-enable", 0o444, number(1))
                .file("dir-notify-enable", 0o444, number(1))
                .file("inode-nr", 0o444, || Ok("0\t0\n".into()))
                .file("inode-state", 0o444, || Ok("0\t0\t0\t0\t0\t0\t0\n".into()))
                .file("dentry-state", 0o444, || Ok("0\t0\t45\t0\t0\t0\n".into()))
                .file("pipe-user-pages-hard", 0o444, number(0))
                .file("pipe-user-pages-soft", 0o444, number(0))
                .file("protected_fifos", 0o444, number(0))
                .file("protected_regular", 0o444, number(0))
                .file("aio-max-nr", 0o644, setting(system, |settings| &settings.aio_requests))
                .file("file-nr", 0o444, || Ok(format!("0\t0\t{}\n", i64::MAX)))
                .file("nr_open", 0o444, number(NR_OPEN))
                .file(
                    "pipe-max-size",
                    0o644,
                    rounded_setting(system, |settings| &settings.pipe_max_size, pipe_size),
                )
                .file("overflowuid", 0o444, number(65_534))
                .file("overflowgid", 0o444, number(65_534))
                .file("suid_dumpable", 0o444, number(0))
                .file("protected_hardlinks", 0o444, number(1))
                .file("protected_symlinks", 0o444, number(1))
                .directory("inotify", |inotify| {
                    inotify
                        .file(
                            "max_queued_events",
                            0o644,
                            setting(system, |settings| &settings.inotify_events),
                        )
                        .file("max_user_instances", 0o444, number(NR_OPEN))
                        .file(
                            "max_user_watches",
                            0o644,
                            setting(system, |settings| &settings.inotify_watches),
                        );
                })
                .directory("mqueue", |mqueue| {
                    let messages = |field| queue_limit(system, field, 1, HARD_MSGMAX);
                    let size = |field| queue_limit(system, field, LEAST_MSGSIZE, HARD_MSGSIZEMAX);
                    mqueue
                        .file("msg_default", 0o644, messages(|limits| [&mut limits.msg_default]))
                        .file("msg_max", 0o644, messages(|limits| [&mut limits.msg_max]))
                        .file("msgsize_default", 0o644, size(|limits| [&mut limits.msgsize_default]))
                        .file("msgsize_max", 0o644, size(|limits| [&mut limits.msgsize_max]))
                        .file("queues_max", 0o644, variables::queues(system));
                });
        })
        .directory("kernel", |kernel| fill_kernel(kernel, system))
        .directory("net", |net| {
            net.directory("core", |core| {
                core.file("somaxconn", 0o444, number(4096))
                    .file("rmem_default", 0o444, number(DEFAULT_BUFFER))
                    .file("rmem_max", 0o444, number(MOST_BUFFER))
                    .file("wmem_default", 0o444, number(DEFAULT_BUFFER))
                    .file("wmem_max", 0o444, number(MOST_BUFFER));
            })
            .directory("unix", |unix| {
                unix.file("max_dgram_qlen", 0o444, number(512));
            });
        })
        .directory("vm", |vm| {
            vm.file("drop_caches", 0o200, Order { least: 1, most: 4 })
                .file("compact_memory", 0o200, Order { least: 1, most: 1 })
                .file("max_map_count", 0o444, number(MAX_MAP_COUNT))
                .file("mmap_min_addr", 0o444, number(MMAP_MIN_ADDR))
                .file("overcommit_memory", 0o444, number(0))
                .file("overcommit_ratio", 0o444, number(50))
                .file("overcommit_kbytes", 0o444, number(0))
                .file("admin_reserve_kbytes", 0o444, number(8192))
                .file("user_reserve_kbytes", 0o444, number(131_072))
                .file("min_free_kbytes", 0o444, number(0))
                .file("dirty_background_bytes", 0o444, number(0))
                .file("dirty_background_ratio", 0o444, number(10))
                .file("dirty_bytes", 0o444, number(0))
                .file("dirty_ratio", 0o444, number(20))
                .file("dirty_expire_centisecs", 0o444, number(3000))
                .file("dirty_writeback_centisecs", 0o444, number(500))
                .file("legacy_va_layout", 0o444, number(0))
                .file("memfd_noexec", 0o444, number(0))
                .file("nr_hugepages", 0o444, number(0))
                .file("nr_overcommit_hugepages", 0o444, number(0))
                .file("oom_kill_allocating_task", 0o444, number(0))
                .file("page-cluster", 0o444, number(3))
                .file("panic_on_oom", 0o444, number(0))
                .file("vfs_cache_pressure", 0o444, number(100))
                .file("zone_reclaim_mode", 0o444, number(0))
                .file("swappiness", 0o444, number(60));
        });
}

fn fill_kernel(kernel: &mut DirectoryBuilder, system: &System) {
    let text = |text: &'static str| move || Ok(format!("{text}\n"));
    let boot_id = uuid();
    kernel
        .file("cap_last_cap", 0o444, number(Capability::ALL.len() - 1))
        .file("domainname", 0o644, name(system, UtsNames::domainname, UtsNames::set_domainname))
        .file("hostname", 0o644, name(system, UtsNames::hostname, UtsNames::set_hostname))
        .file("ngroups_max", 0o444, number(NGROUPS_MAX))
        .file("osrelease", 0o444, text(UtsNames::RELEASE))
        .file("ostype", 0o444, text(UtsNames::SYSNAME))
        .file("overflowuid", 0o444, number(65_534))
        .file("overflowgid", 0o444, number(65_534))
        .file("pid_max", 0o444, number(PID_MAX))
        .file("randomize_va_space", 0o444, number(2))
        .file("sched_child_runs_first", 0o444, number(0))
        .file("shmall", 0o644, ipc_limit(system, IpcLimit::Shmall))
        .file("shmmax", 0o644, ipc_limit(system, IpcLimit::Shmmax))
        .file("shmmni", 0o644, ipc_limit(system, IpcLimit::Shmmni))
        .file("msgmax", 0o644, ipc_limit(system, IpcLimit::Msgmax))
        .file("msgmnb", 0o644, ipc_limit(system, IpcLimit::Msgmnb))
        .file("msgmni", 0o644, ipc_limit(system, IpcLimit::Msgmni))
        .file("sem", 0o644, semaphores(system))
        .file("threads-max", 0o444, number(PID_MAX))
        .file("version", 0o444, text(UtsNames::VERSION))
        .file("core_pattern", 0o444, || Ok("core\n".into()))
        .file("core_pipe_limit", 0o444, number(0))
        .file("core_uses_pid", 0o444, number(0))
        .file("arch", 0o444, text("x86_64"))
        .file("auto_msgmni", 0o444, number(0))
        .file("ctrl-alt-del", 0o444, number(0))
        .file("dmesg_restrict", 0o444, number(1))
        .file("kptr_restrict", 0o444, number(0))
        .file("msg_next_id", 0o444, number(-1))
        .file("sem_next_id", 0o444, number(-1))
        .file("shm_next_id", 0o444, number(-1))
        .file("shm_rmid_forced", 0o444, number(0))
        .file("panic", 0o444, number(0))
        .file("panic_on_oops", 0o444, number(0))
        .file("print-fatal-signals", 0o444, number(0))
        .file("sched_rr_timeslice_ms", 0o444, number(100))
        .file("sched_rt_period_us", 0o444, number(1_000_000))
        .file("sched_rt_runtime_us", 0o444, number(950_000))
        .file("sysctl_writes_strict", 0o444, number(1))
        .file("tainted", 0o444, number(0))
        .file("printk", 0o444, || Ok("4\t4\t1\t7\n".into()))
        .directory("seccomp", |seccomp| {
            seccomp.file("actions_avail", 0o444, text(SECCOMP_ACTIONS)).file(
                "actions_logged",
                0o444,
                text("kill_process kill_thread trap errno user_notif trace log"),
            );
        })
        .directory("random", |random| {
            random
                .file("boot_id", 0o444, move || boot_id.clone().map(|id| format!("{id}\n")))
                .file("entropy_avail", 0o444, number(256))
                .file("poolsize", 0o444, number(256))
                .file("uuid", 0o444, || uuid().map(|id| format!("{id}\n")));
        });
}

/// A line with a number that never changes.
fn number(value: impl std::fmt::Display + Send + Sync + 'static) -> impl Content {
    move || Ok(format!("{value}\n"))
}

/// What has nothing to show, and takes a number as an order to tidy up, for which there is nothing to do here: no memory is used that
/// could be given back.
struct Order {
    least: i128,
    most: i128,
}

impl Content for Order {
    fn generate(&self) -> Result<Vec<u8>, Errno> {
        Ok(Vec::new())
    }

    fn store(&self, data: &[u8]) -> Result<(), Errno> {
        let numbers = variables::parse(data, 1)?;
        let possible = numbers.iter().all(|number| (self.least..=self.most).contains(number));
        if possible { Ok(()) } else { Err(Errno::EINVAL) }
    }
}

/// A line with a number that the kernel tells.
fn with_kernel(system: &System, tell: fn(&Kernel) -> u64) -> impl Content + use<> {
    let system = system.clone();
    move || Ok(format!("{}\n", tell(&*system.kernel()?)))
}

/// How large a pipe is for which `size` bytes are asked for: pages by a power of two.
fn pipe_size(size: u64) -> Option<u64> {
    if size == 0 { None } else { size.max(PIPE_MIN_SIZE).checked_next_power_of_two() }
}

/// A random UUID of version 4.
fn uuid() -> Result<String, Errno> {
    let mut bytes = [0; 16];
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|_| Errno::EIO)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _infallible = write!(text, "{byte:02x}");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_form_and_differ() {
        let (one, two) = (uuid().unwrap(), uuid().unwrap());
        assert_ne!(one, two);
        let lengths: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(one[14..].starts_with('4'));
    }
}
