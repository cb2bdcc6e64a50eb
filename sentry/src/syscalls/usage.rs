//! Used time: `getrusage(2)`, `times(2)`.

use bartizan_abi::process::{Rusage, RusageWho};
use bartizan_abi::time::Tms;
use bartizan_abi::{Timeval, USER_HZ};

use crate::SysResult;
use crate::kernel::CurrentTask;
use crate::mm::UserPtr;

const NANOSECONDS: u64 = 1_000_000_000;

/// Nanoseconds as seconds and microseconds.
pub(super) fn timeval(nanoseconds: u64) -> Timeval {
    Timeval {
        tv_sec: i64::try_from(nanoseconds / NANOSECONDS).unwrap_or(i64::MAX),
        tv_usec: i64::try_from(nanoseconds % NANOSECONDS / 1000).unwrap_or(0),
    }
}

/// `getrusage(2)`.
pub fn getrusage(task: &CurrentTask, who: i32, usage: UserPtr<Rusage>) -> SysResult<()> {
    let (user, system) = match RusageWho::try_from(who)? {
        RusageWho::RUSAGE_SELF => task.group().used_time(),
        RusageWho::RUSAGE_CHILDREN => task.group().children_time(),
        RusageWho::RUSAGE_THREAD => task.usage().times(),
    };
    let peak = task.mm().sizes().resident_peak / 1024;
    let told = Rusage {
        ru_utime: timeval(user),
        ru_stime: timeval(system),
        ru_maxrss: i64::try_from(peak).unwrap_or(i64::MAX),
        ..Rusage::default()
    };
    Ok(task.write_value(usage, &told)?)
}

/// Nanoseconds in ticks of `USER_HZ`.
fn ticks(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds / (NANOSECONDS / USER_HZ)).unwrap_or(i64::MAX)
}

/// `times(2)`.
pub fn times(task: &CurrentTask, buffer: UserPtr<Tms>) -> SysResult<i64> {
    if !buffer.is_null() {
        let (own, children) = (task.group().used_time(), task.group().children_time());
        let told = Tms {
            tms_utime: ticks(own.0),
            tms_stime: ticks(own.1),
            tms_cutime: ticks(children.0),
            tms_cstime: ticks(children.1),
        };
        task.write_value(buffer, &told)?;
    }
    let uptime = task.kernel().started().elapsed().as_nanos();
    Ok(ticks(u64::try_from(uptime).unwrap_or(u64::MAX)))
}
