//! `/proc/stat`, `/proc/uptime` and `/proc/loadavg` (`proc_stat(5)`, `proc_uptime(5)`, `proc_loadavg(5)`).

use std::fmt::Write;

use bartizan_abi::Errno;

use super::{System, processors};
use crate::proc::process;

/// `/proc/stat`. Which task ran on which processor is not counted: all of the time is idle.
pub fn stat(system: &System) -> Result<String, Errno> {
    let kernel = system.kernel()?;
    let idle = system.booted.elapsed().as_millis() / 10;
    let count = processors();
    let mut text = format!("cpu  0 0 0 {} 0 0 0 0 0 0\n", idle * count as u128);
    for number in 0..count {
        let _infallible = writeln!(text, "cpu{number} 0 0 0 {idle} 0 0 0 0 0 0");
    }
    let tasks = process::count(&kernel);
    let _infallible = write!(
        text,
        "intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        system.boot_time, tasks.last, tasks.running
    );
    Ok(text)
}

/// `/proc/uptime`: seconds of `CLOCK_BOOTTIME`, and seconds that its processors were idle.
pub fn uptime(_system: &System) -> Result<String, Errno> {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let up = boot.tv_sec.cast_unsigned() * 100 + boot.tv_nsec.cast_unsigned() / 10_000_000;
    let idle = up * processors() as u64;
    Ok(format!("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100))
}

/// `/proc/loadavg`. Averages are not kept.
pub fn loadavg(system: &System) -> Result<String, Errno> {
    let tasks = process::count(&*system.kernel()?);
    Ok(format!("0.00 0.00 0.00 {}/{} {}\n", tasks.running, tasks.all, tasks.last))
}
