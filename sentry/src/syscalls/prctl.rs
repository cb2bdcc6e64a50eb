//! `prctl(2)`, `personality(2)`.

use bartizan_abi::Errno;
use bartizan_abi::prctl::{PrctlOption, Securebits, TASK_COMM_LEN};
use bartizan_abi::process::{Capability, CapabilitySet};
use bartizan_abi::signal::Signal;

use crate::SysResult;
use crate::kernel::{Credentials, CurrentTask};
use crate::mm::{UserAddr, UserPtr};

/// The slack of timers that tasks start with, nanoseconds; it has no effect here.
const DEFAULT_TIMER_SLACK: u64 = 50_000;

/// `prctl(2)`.
pub fn prctl(
    task: &CurrentTask,
    option: i32,
    first: u64,
    second: u64,
    third: u64,
    fourth: u64,
) -> SysResult<u64> {
    let no_more = second | third | fourth == 0;
    match PrctlOption(option) {
        PrctlOption::PR_SET_NAME => set_name(task, UserAddr(first)),
        PrctlOption::PR_GET_NAME => Ok(task.write_bytes(UserAddr(first), &task.raw_name()).map(|()| 0)?),
        PrctlOption::PR_SET_PDEATHSIG => {
            let number = i32::try_from(first).map_err(|_| Errno::EINVAL)?;
            if number != 0 && Signal::from_raw(number).is_none() {
                return Err(Errno::EINVAL.into());
            }
            task.set_parent_death_signal(number);
            Ok(0)
        }
        PrctlOption::PR_GET_PDEATHSIG => {
            Ok(task.write_value(UserPtr::new(UserAddr(first)), &task.parent_death_signal()).map(|()| 0)?)
        }
        PrctlOption::PR_GET_DUMPABLE => Ok(u64::from(task.group().dumpable().cast_unsigned())),
        PrctlOption::PR_SET_DUMPABLE if first <= 1 => {
            task.group().set_dumpable(i32::from(first == 1));
            Ok(0)
        }
        PrctlOption::PR_SET_CHILD_SUBREAPER => {
            if let Some(process) = task.kernel().tree().process_mut(task.pid()) {
                process.subreaper = first != 0;
            }
            Ok(0)
        }
        PrctlOption::PR_GET_CHILD_SUBREAPER => {
            let on = task.kernel().tree().process(task.pid()).is_some_and(|process| process.subreaper);
            Ok(task.write_value(UserPtr::new(UserAddr(first)), &i32::from(on)).map(|()| 0)?)
        }
        PrctlOption::PR_SET_NO_NEW_PRIVS if first == 1 && no_more => {
            change(task, |credentials| credentials.no_new_privs = true)
        }
        PrctlOption::PR_GET_NO_NEW_PRIVS if first == 0 && no_more => {
            Ok(u64::from(task.credentials().no_new_privs))
        }
        PrctlOption::PR_GET_TIMERSLACK => Ok(DEFAULT_TIMER_SLACK),
        PrctlOption::PR_SET_TIMERSLACK => Ok(0),
        // Names of anonymous memory are for people who read /proc/[pid]/maps; a kernel may ignore them.
        PrctlOption::PR_SET_VMA if first == 0 => Ok(0),
        option => security(task, option, first),
    }
}

/// The options about capabilities.
fn security(task: &CurrentTask, option: PrctlOption, first: u64) -> SysResult<u64> {
    let credentials = task.credentials();
    let bits = credentials.securebits();
    match option {
        PrctlOption::PR_GET_KEEPCAPS => Ok(u64::from(bits.contains(Securebits::SECBIT_KEEP_CAPS))),
        PrctlOption::PR_SET_KEEPCAPS => {
            if first > 1 {
                return Err(Errno::EINVAL.into());
            }
            if bits.contains(Securebits::SECBIT_KEEP_CAPS_LOCKED) {
                return Err(Errno::EPERM.into());
            }
            let mut new = bits;
            new.set(Securebits::SECBIT_KEEP_CAPS, first == 1);
            change(task, |credentials| credentials.securebits = new.bits())
        }
        PrctlOption::PR_GET_SECUREBITS => Ok(u64::from(bits.bits())),
        PrctlOption::PR_SET_SECUREBITS => {
            let new = u32::try_from(first).ok().and_then(Securebits::from_bits).ok_or(Errno::EPERM)?;
            let locked = Securebits::from_bits_truncate(bits.bits() >> 1);
            let changes_locked = !((bits ^ new) & locked).is_empty();
            if changes_locked || !credentials.has_capability(Capability::CAP_SETPCAP) {
                return Err(Errno::EPERM.into());
            }
            change(task, |credentials| credentials.securebits = new.bits())
        }
        PrctlOption::PR_CAPBSET_READ => Ok(u64::from(credentials.bounding.has(capability(first)?))),
        PrctlOption::PR_CAPBSET_DROP => {
            let dropped = capability(first)?;
            if !credentials.has_capability(Capability::CAP_SETPCAP) {
                return Err(Errno::EPERM.into());
            }
            change(task, |credentials| credentials.bounding = credentials.bounding.without(dropped))
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn capability(number: u64) -> Result<Capability, Errno> {
    CapabilitySet::full().iter().find(|capability| *capability as u64 == number).ok_or(Errno::EINVAL)
}

fn change(task: &CurrentTask, change: impl FnOnce(&mut Credentials)) -> SysResult<u64> {
    let mut credentials = (*task.credentials()).clone();
    change(&mut credentials);
    task.set_credentials(credentials);
    Ok(0)
}

/// `PR_SET_NAME`: what is longer than a name is cut.
fn set_name(task: &CurrentTask, address: UserAddr) -> SysResult<u64> {
    let name = match task.read_c_string(address, TASK_COMM_LEN - 1) {
        Ok(name) => name,
        Err(Errno::ENAMETOOLONG) => {
            let mut name = [0; TASK_COMM_LEN - 1];
            task.read_bytes(address, &mut name)?;
            name.to_vec()
        }
        Err(errno) => return Err(errno.into()),
    };
    task.set_name(&name);
    Ok(0)
}
