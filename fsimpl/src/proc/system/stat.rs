//! `/proc/stat`, `/proc/uptime` and `/proc/loadavg` (`proc_stat(5)`, `proc_uptime(5)`, `proc_loadavg(5)`).

use std::fmt::Write;

use bartizan_abi::{Errno, USER_HZ};

use super::{System, boot_time, processors, since_boot};
use crate::proc::process::{self, TaskCount};

/// What all processors did since the start, in ticks of `USER_HZ`.
struct Processors {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
}

/// Nanoseconds in a tick.
const TICK: u64 = 1_000_000_000 / USER_HZ;

/// What all processors did: what tasks have not used they were idle.
fn used(tasks: &TaskCount) -> Processors {
    let up = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
    let whole = up.saturating_mul(processors() as u64) / TICK;
    let [user, nice, system] = [tasks.used.user, tasks.used.nice, tasks.used.system].map(|time| time / TICK);
    Processors { user, nice, system, idle: whole.saturating_sub(user + nice + system) }
}

/// `/proc/stat`. Which task ran on which processor is not counted: each has its share.
pub fn stat(system: &System) -> Result<String, Errno> {
    let kernel = system.kernel()?;
    let tasks = process::count(&kernel);
    let all = used(&tasks);
    let mut text = format!("cpu  {} {} {} {} 0 0 0 0 0 0\n", all.user, all.nice, all.system, all.idle);
    let count = processors() as u64;
    for number in 0..count {
        let share = |ticks: u64| ticks / count + u64::from(number < ticks % count);
        let [user, nice, kernel, idle] = [all.user, all.nice, all.system, all.idle].map(share);
        let _infallible = writeln!(text, "cpu{number} {user} {nice} {kernel} {idle} 0 0 0 0 0 0");
    }
    let _infallible = write!(
        text,
        "intr 0\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        tasks.used.switches,
        boot_time(),
        tasks.made,
        tasks.running
    );
    Ok(text)
}

/// `/proc/uptime`: seconds of `CLOCK_BOOTTIME`, and seconds that its processors were idle.
pub fn uptime(system: &System) -> Result<String, Errno> {
    let up = since_boot();
    let up = up.as_secs() * 100 + u64::from(up.subsec_millis() / 10);
    let idle = used(&process::count(&*system.kernel()?)).idle * 100 / USER_HZ;
    Ok(format!("{}.{:02} {}.{:02}\n", up / 100, up % 100, idle / 100, idle % 100))
}

/// `/proc/loadavg`.
pub fn loadavg(system: &System) -> Result<String, Errno> {
    let kernel = system.kernel()?;
    let tasks = process::count(&kernel);
    let [one, five, fifteen] = kernel.load_averages();
    Ok(format!("{one:.2} {five:.2} {fifteen:.2} {}/{} {}\n", tasks.running, tasks.all, tasks.last))
}
