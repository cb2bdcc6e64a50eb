//! Files of `/proc` that say little here.

use bartizan_abi::Errno;
use bartizan_platform::memory::PAGE_SIZE;
use bartizan_sentry::kernel::UtsNames;

use super::System;

/// `/proc/cmdline` (`proc_cmdline(5)`): what the kernel was booted with.
pub fn cmdline() -> Result<String, Errno> {
    Ok("console=none\n".into())
}

/// `/proc/cgroups` (`cgroups(7)`): the controllers, none of which has a hierarchy of version 1.
pub fn cgroups(system: &System) -> Result<String, Errno> {
    let groups = system.kernel()?.cgroups().root().descendants() + 1;
    let lines =
        ["cpuset", "cpu", "cpuacct", "memory", "pids"].map(|name| format!("{name}\t0\t{groups}\t1\n"));
    Ok(format!("#subsys_name\thierarchy\tnum_cgroups\tenabled\n{}", lines.concat()))
}

/// `/proc/tty/drivers`: which devices are terminals; `ps` names them by it.
pub fn terminal_drivers() -> Result<String, Errno> {
    let drivers = [
        ("/dev/tty", "/dev/tty", 5, "0", "system:/dev/tty"),
        ("/dev/console", "/dev/console", 5, "1", "system:console"),
        ("/dev/ptmx", "/dev/ptmx", 5, "2", "system"),
        ("pty_slave", "/dev/pts", 136, "0-1048575", "pty:slave"),
        ("pty_master", "/dev/ptm", 128, "0-1048575", "pty:master"),
    ];
    let line = |(name, device, major, minors, kind)| {
        format!("{name:<20} {device:<13} {major:3} {minors:>7} {kind}\n")
    };
    Ok(drivers.map(line).concat())
}

/// `/proc/tty/ldiscs`: the line discipline that there is.
pub fn line_disciplines() -> Result<String, Errno> {
    Ok("n_tty       0\n".into())
}

/// `/proc/swaps` (`proc_swaps(5)`): none.
pub fn swaps() -> Result<String, Errno> {
    Ok("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".into())
}

/// `/proc/partitions` (`proc_partitions(5)`): none.
pub fn partitions() -> Result<String, Errno> {
    Ok("major minor  #blocks  name\n\n".into())
}

/// `/proc/devices` (`proc_devices(5)`): the drivers whose devices can be opened.
pub fn devices() -> Result<String, Errno> {
    Ok("Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n136 pts\n\nBlock devices:\n".into())
}

/// `/proc/filesystems` (`proc_filesystems(5)`): what can be mounted by name.
pub fn filesystems(system: &System) -> Result<String, Errno> {
    let names = system.kernel()?.filesystem_types().names();
    Ok(names.iter().map(|name| format!("nodev\t{name}\n")).collect())
}

/// `/proc/version` (`proc_version(5)`).
pub fn version() -> Result<String, Errno> {
    let (system, release, version) = (UtsNames::SYSNAME, UtsNames::RELEASE, UtsNames::VERSION);
    Ok(format!("{system} version {release} (bartizan@bartizan) (rustc) {version}\n"))
}

/// What there is nothing to tell in: `consoles`, `diskstats`, `modules`; `kmsg`, since nothing is logged.
pub fn empty() -> Result<String, Errno> {
    Ok(String::new())
}

/// `/proc/interrupts` (`proc_interrupts(5)`): the columns, and no line.
pub fn interrupts() -> Result<String, Errno> {
    let columns: String =
        (0..super::processors()).map(|cpu| format!("{:<11}", format!("CPU{cpu}"))).collect();
    Ok(format!("           {columns}\n"))
}

/// `/proc/vmstat` (`proc_vmstat(5)`): pages in use. What is not counted is zero.
pub fn vmstat(system: &System) -> Result<String, Errno> {
    let kernel = system.kernel()?;
    let (limit, used) = (kernel.memory().limit(), kernel.memory().used());
    let lines = [
        ("nr_free_pages", limit.saturating_sub(used) / PAGE_SIZE),
        ("nr_active_anon", used / PAGE_SIZE),
        ("nr_anon_pages", used / PAGE_SIZE),
        ("nr_mapped", 0),
        ("nr_file_pages", 0),
        ("nr_dirty", 0),
        ("nr_writeback", 0),
        ("nr_shmem", 0),
        ("pgpgin", 0),
        ("pgpgout", 0),
        ("pswpin", 0),
        ("pswpout", 0),
        ("pgfault", 0),
        ("pgmajfault", 0),
        ("oom_kill", kernel.statistics().out_of_memory()),
    ];
    Ok(lines.iter().map(|(name, value)| format!("{name} {value}\n")).collect())
}
