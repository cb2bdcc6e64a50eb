//! `wait4(2)`, `waitid(2)`.

use bartizan_abi::process::{IdType, Rusage, WaitOptions, WaitStatus};
use bartizan_abi::signal::{ChildInfo, SigCode, SigInfo, Signal};
use bartizan_abi::{Errno, Timeval};

use crate::SysResult;
use crate::kernel::{Children, CurrentTask, Waited, child_info};
use crate::mm::UserPtr;

/// `wait4(2)`.
pub fn wait4(
    task: &CurrentTask,
    pid: i32,
    status: UserPtr<i32>,
    options: u32,
    usage: UserPtr<Rusage>,
) -> SysResult<i32> {
    let options = WaitOptions::from_bits(options)
        .filter(|options| WaitOptions::WAIT4.contains(*options))
        .ok_or(Errno::EINVAL)?;
    let children = match pid {
        -1 => Children::All,
        0 => Children::Group(own_group(task)),
        i32::MIN => return Err(Errno::ESRCH.into()),
        pid if pid < 0 => Children::Group(-pid),
        pid => Children::Process(pid),
    };
    let Some(waited) = task.wait_for_child(children, options | WaitOptions::WEXITED)? else { return Ok(0) };
    if !status.is_null() {
        task.write_value(status, &waited.status.encode())?;
    }
    write_usage(task, usage, &waited)?;
    Ok(waited.pid)
}

/// `waitid(2)`.
pub fn waitid(
    task: &CurrentTask,
    kind: i32,
    id: i32,
    info: UserPtr<SigInfo>,
    options: u32,
    usage: UserPtr<Rusage>,
) -> SysResult<()> {
    let options = WaitOptions::from_bits(options).ok_or(Errno::EINVAL)?;
    if !options.intersects(WaitOptions::WEXITED | WaitOptions::WSTOPPED | WaitOptions::WCONTINUED) {
        return Err(Errno::EINVAL.into());
    }
    let children = match IdType::try_from(kind)? {
        IdType::P_ALL => Children::All,
        IdType::P_PID if id > 0 => Children::Process(id),
        IdType::P_PGID if id == 0 => Children::Group(own_group(task)),
        IdType::P_PGID if id > 0 => Children::Group(id),
        IdType::P_PIDFD => Children::Process(super::pidfd::pid_of(task, crate::vfs::FdNumber(id))?),
        IdType::P_PID | IdType::P_PGID => return Err(Errno::EINVAL.into()),
    };
    // As Linux, which fills the structure with zeros where there is nothing to tell, errors among it.
    let waited = match task.wait_for_child(children, options) {
        Err(crate::SysError::Errno(errno)) if !info.is_null() => {
            task.write_value(info, &SigInfo::default())?;
            return Err(errno.into());
        }
        waited => waited?,
    };
    if let Some(waited) = &waited {
        write_usage(task, usage, waited)?;
    }
    if !info.is_null() {
        let seen = waited.map(|waited| Waited { uid: task.user_namespace().uid(waited.uid), ..waited });
        let told = seen.as_ref().map_or_else(SigInfo::default, told_of);
        task.write_value(info, &told)?;
    }
    Ok(())
}

/// What `waitid` tells of what was found.
fn told_of(waited: &Waited) -> SigInfo {
    match waited.status {
        WaitStatus::Stopped { .. } if waited.trapped => {
            let status = waited.status.encode() >> 8;
            let child = ChildInfo { pid: waited.pid, uid: waited.uid, status, ..ChildInfo::default() };
            SigInfo::child(Signal::SIGCHLD, SigCode::CLD_TRAPPED, child)
        }
        status => child_info(Signal::SIGCHLD, waited.pid, waited.uid, status),
    }
}

fn own_group(task: &CurrentTask) -> i32 {
    task.kernel().tree().process(task.pid()).map_or(0, |process| process.process_group)
}

/// Tells how much time the child used, if the caller wants to know.
fn write_usage(task: &CurrentTask, usage: UserPtr<Rusage>, waited: &Waited) -> SysResult<()> {
    if usage.is_null() {
        return Ok(());
    }
    let (user, system) = waited.times;
    let told = Rusage { ru_utime: timeval(user), ru_stime: timeval(system), ..Rusage::default() };
    Ok(task.write_value(usage, &told)?)
}

/// Nanoseconds as seconds and microseconds.
fn timeval(nanoseconds: u64) -> Timeval {
    Timeval {
        tv_sec: i64::try_from(nanoseconds / 1_000_000_000).unwrap_or(i64::MAX),
        tv_usec: i64::try_from(nanoseconds % 1_000_000_000 / 1000).unwrap_or(0),
    }
}
