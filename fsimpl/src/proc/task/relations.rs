//! Files of a task about others and about how the kernel treats it: `children`, `personality`, `timers`,
//! `oom_score_adj` (`proc_pid_*(5)`, `proc_tid_children(5)`).

use bartizan_abi::{Capability, Errno, SigEventNotify};
use bartizan_sentry::kernel::timer::PosixReport;
use bartizan_sentry::kernel::{Credentials, INIT};

use crate::proc::process::Subject;

/// The lowest and highest `oom_score_adj`.
const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// `children`: the numbers of the processes that this task has made, each with a blank behind it.
pub fn children(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(subject.children()?.iter().map(|pid| format!("{pid} ")).collect::<String>().into_bytes())
}

/// `timers`: the POSIX timers, the newest first.
pub fn timers(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let group = subject.group()?;
    let reports = group.timers().reports();
    Ok(reports.iter().rev().map(|report| timer(report, group.pid())).collect::<String>().into_bytes())
}

/// The lines of one timer of process `pid`.
fn timer(report: &PosixReport, pid: i32) -> String {
    let notice = &report.notice;
    let method = match notice.method {
        SigEventNotify::SIGEV_NONE => "none",
        SigEventNotify::SIGEV_THREAD => "thread",
        SigEventNotify::SIGEV_SIGNAL | SigEventNotify::SIGEV_THREAD_ID => "signal",
    };
    let (kind, target) = notice.tid.map_or(("pid", pid), |tid| ("tid", tid));
    format!(
        "ID: {}\nsignal: {}/{:016x}\nnotify: {method}/{kind}.{target}\nClockID: {}\n",
        report.id, notice.number, notice.value, report.clock
    )
}

/// `timerslack_ns`: how late timers of the leader may be.
pub fn timer_slack(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", subject.task()?.scheduling().timer_slack).into_bytes())
}

/// `personality`, in hexadecimal.
pub fn personality(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(format!("{:08x}\n", subject.task()?.personality().bits()).into_bytes())
}

/// `cgroup` (`cgroups(7)`): the path of the group in the tree of version 2.
pub fn cgroup(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok([b"0::", &subject.task()?.cgroup().path()[..], b"\n"].concat())
}

/// `oom_score`: how likely it is killed when memory runs out, by its share of that and what was set.
pub fn oom_score(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let group = subject.group()?;
    let adjustment = i64::from(group.oom_score_adj());
    let resident = subject.memory()?.map_or(0, |memory| memory.sizes().resident());
    let all = i64::try_from(subject.kernel()?.memory().limit()).unwrap_or(i64::MAX).max(1000);
    let badness = i64::try_from(resident).unwrap_or(i64::MAX).saturating_add(adjustment * (all / 1000));
    let share = i64::try_from(i128::from(badness) * 1000 / i128::from(all)).unwrap_or(0);
    let spared = adjustment == LEAST_ADJUSTMENT || group.pid() == INIT;
    let score = if spared { 0 } else { (1000 + share).max(0) * 2 / 3 };
    Ok(format!("{score}\n").into_bytes())
}

/// `oom_score_adj`.
pub fn oom_score_adj(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", subject.group()?.oom_score_adj()).into_bytes())
}

/// How much rather, or less, the process is killed when memory runs out.
///
/// # Errors
/// `EINVAL` for what is no number from -1000 to 1000, `EACCES` for one that is lower than the last of somebody with `CAP_SYS_RESOURCE`, for others.
pub fn set_oom_score_adj(subject: &Subject, data: &[u8], opener: Option<&Credentials>) -> Result<(), Errno> {
    let text = std::str::from_utf8(data).map_err(|_| Errno::EINVAL)?;
    let value: i32 = text.trim().parse().map_err(|_| Errno::EINVAL)?;
    if !OOM_SCORE_ADJ.contains(&value) {
        return Err(Errno::EINVAL);
    }
    let group = subject.group()?;
    let privileged = opener.is_none_or(|opener| opener.has_capability(Capability::CAP_SYS_RESOURCE));
    match privileged {
        true => group.set_oom_score_adj_min(value),
        false if value < group.oom_score_adj_min() => return Err(Errno::EACCES),
        false => {}
    }
    group.set_oom_score_adj(value);
    Ok(())
}

/// Of `oom_score_adj`: never to be killed.
const LEAST_ADJUSTMENT: i64 = -1000;

#[cfg(test)]
mod tests {
    use bartizan_abi::Signal;
    use bartizan_sentry::kernel::timer::PosixNotice;

    use super::*;

    #[test]
    fn timers_are_shown_as_linux_does() {
        let notice = PosixNotice {
            signal: Some(Signal::SIGUSR2),
            tid: Some(8),
            value: 0x1234,
            method: SigEventNotify::SIGEV_THREAD_ID,
            number: 12,
        };
        let mut report = PosixReport { id: 3, notice, clock: -2 };
        assert_eq!(
            timer(&report, 7),
            "ID: 3\nsignal: 12/0000000000001234\nnotify: signal/tid.8\nClockID: -2\n"
        );
        report.notice = PosixNotice { tid: None, method: SigEventNotify::SIGEV_NONE, ..notice };
        assert!(timer(&report, 7).contains("\nnotify: none/pid.7\n"));
    }
}
