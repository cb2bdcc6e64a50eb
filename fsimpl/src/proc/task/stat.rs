//! `/proc/[pid]/stat` and `statm` (`proc_pid_stat(5)`, `proc_pid_statm(5)`).

use bartizan_abi::USER_HZ;
use bartizan_platform::memory::PAGE_SIZE;
use bartizan_sentry::kernel::{Scheduling, is_realtime};

use super::snapshot::Snapshot;

/// Nanoseconds in a tick of `USER_HZ`.
const TICK: u64 = 1_000_000_000 / USER_HZ;

/// The line of `stat`: 52 fields.
pub fn stat(task: &Snapshot) -> Vec<u8> {
    let times = &task.times;
    let (sizes, layout) = task.memory.unzip();
    let (sizes, layout) = (sizes.unwrap_or_default(), layout.unwrap_or_default());
    let (terminal, foreground) =
        task.terminal.map_or((0, -1), |(device, foreground)| (device.to_u64(), foreground));
    let signals = [task.signals.pending, task.signals.blocked, task.signals.ignored, task.signals.caught];
    let fields = [
        // ppid, pgrp, session, tty_nr, tpgid, flags, minflt, cminflt, majflt, cmajflt
        format!(
            "{} {} {} {terminal} {foreground} 4194304 0 0 0 0",
            task.parent, task.process_group, task.session
        ),
        // utime, stime, cutime, cstime
        [times.user, times.system, times.children_user, times.children_system]
            .map(|time| (time / TICK).to_string())
            .join(" "),
        // priority, nice, num_threads, itrealvalue, starttime
        format!(
            "{} {} {} 0 {}",
            priority(&task.scheduling),
            task.scheduling.nice,
            task.threads,
            times.start / TICK
        ),
        // vsize, rss, rsslim
        format!("{} {} {}", sizes.totals.all, sizes.resident() / PAGE_SIZE, task.resident_limit),
        // startcode, endcode, startstack, kstkesp, kstkeip
        format!("{} {} {} 0 0", layout.start_code, layout.end_code, layout.start_stack),
        // signal, blocked, sigignore, sigcatch: the first 31
        signals.map(|set| (set.bits() & 0x7fff_ffff).to_string()).join(" "),
        // wchan, nswap, cnswap, exit_signal, processor, rt_priority, policy, delayacct_blkio_ticks, guest_time, cguest_time
        format!("0 0 0 17 0 {} {} 0 0 0", task.scheduling.priority, task.scheduling.policy as u32),
        // start_data, end_data, start_brk, arg_start, arg_end, env_start, env_end, exit_code
        [layout.start_data, layout.end_data, layout.start_brk, layout.arg_start, layout.arg_end]
            .map(|address| address.to_string())
            .join(" "),
        format!("{} {} {}", layout.env_start, layout.env_end, task.exit_code),
    ];
    let mut line = format!("{} (", task.tid).into_bytes();
    line.extend_from_slice(&task.name);
    line.extend_from_slice(format!(") {} {}\n", task.state.letter(), fields.join(" ")).as_bytes());
    line
}

/// How urgent a task is, as `stat` shows it: real-time ones are below zero.
fn priority(scheduling: &Scheduling) -> i32 {
    if is_realtime(scheduling.policy) {
        -1 - i32::try_from(scheduling.priority).unwrap_or(0)
    } else {
        20 + scheduling.nice
    }
}

/// The line of `statm`: size, resident, shared, text, lib, data, dt; in pages.
pub fn statm(task: &Snapshot) -> Vec<u8> {
    let (sizes, layout) = task.memory.unzip();
    let (sizes, layout) = (sizes.unwrap_or_default(), layout.unwrap_or_default());
    let text =
        layout.end_code.next_multiple_of(PAGE_SIZE).saturating_sub(layout.start_code & !(PAGE_SIZE - 1));
    format!(
        "{} {} {} {} 0 {} 0\n",
        sizes.totals.all / PAGE_SIZE,
        sizes.resident() / PAGE_SIZE,
        sizes.source_bytes / PAGE_SIZE,
        text / PAGE_SIZE,
        (sizes.totals.data + sizes.totals.stack) / PAGE_SIZE
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc::task::tests::snapshot;

    #[test]
    fn stat_has_the_fields_of_the_host_s() {
        let ours = String::from_utf8(stat(&snapshot())).unwrap();
        let host = std::fs::read_to_string("/proc/self/stat").unwrap();
        let count = |line: &str| line.rsplit(") ").next().unwrap().split(' ').count();
        assert_eq!(count(&ours), count(&host));
        assert!(ours.starts_with("8 (a) b) S 1 7 7 0 -1 "), "{ours}");
        assert_eq!(statm(&snapshot()), b"0 0 0 0 0 0 0\n");
    }
}
