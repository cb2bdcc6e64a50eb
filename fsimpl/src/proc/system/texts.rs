//! Files of `/proc` that say little here.

use bartizan_abi::Errno;
use bartizan_sentry::kernel::UtsNames;

use super::System;

/// `/proc/cmdline` (`proc_cmdline(5)`): what the kernel was booted with.
pub fn cmdline() -> Result<String, Errno> {
    Ok("console=none\n".into())
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
