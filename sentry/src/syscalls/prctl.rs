//! `prctl` and `personality`: what a task says of itself.

use bartizan_abi::prctl::{
    PR_CAP_AMBIENT_CLEAR_ALL, PR_CAP_AMBIENT_IS_SET, PR_CAP_AMBIENT_LOWER, PR_CAP_AMBIENT_RAISE,
    PR_MCE_KILL_DEFAULT, PR_SET_VMA_ANON_NAME, PR_TSC_ENABLE, PrctlOption, SUID_DUMP_DISABLE, SUID_DUMP_USER,
    Securebits,
};
use bartizan_abi::process::Personality;
use bartizan_abi::{Capability, CapabilitySet, Errno, Signal};

use super::argument::Argument;
use crate::SysResult;
use crate::kernel::{Credentials, CurrentTask, TASK_COMM_LEN};
use crate::mm::{UserAddr, UserPtr};

impl Argument for PrctlOption {
    fn decode(raw: u64) -> Result<Self, Errno> {
        i32::decode(raw).map(Self)
    }

    fn show(raw: u64, _task: &CurrentTask, out: &mut String) {
        match Self::decode(raw).ok().and_then(Self::name) {
            Some(name) => out.push_str(name),
            None => out.push_str(&format!("{raw:#x}")),
        }
    }
}

/// `prctl(2)`.
pub fn prctl(
    task: &CurrentTask,
    option: PrctlOption,
    second: u64,
    third: u64,
    fourth: u64,
    fifth: u64,
) -> SysResult<u64> {
    let rest_is_zero = || check(third == 0 && fourth == 0 && fifth == 0);
    let all_are_zero = || check(second == 0 && third == 0 && fourth == 0 && fifth == 0);
    match option {
        PrctlOption::PR_SET_NAME => set_name(task, UserAddr(second)),
        PrctlOption::PR_GET_NAME => {
            task.write_bytes(UserAddr(second), &task.raw_name())?;
            Ok(0)
        }
        PrctlOption::PR_SET_PDEATHSIG => {
            let signal = i32::try_from(second).map_err(|_| Errno::EINVAL)?;
            check(signal == 0 || Signal::from_raw(signal).is_some())?;
            task.set_parent_death_signal(signal);
            Ok(0)
        }
        PrctlOption::PR_GET_PDEATHSIG => {
            task.write_value(UserPtr::new(UserAddr(second)), &task.parent_death_signal())?;
            Ok(0)
        }
        PrctlOption::PR_GET_DUMPABLE => Ok(u64::from(task.group().dumpable().unsigned_abs())),
        PrctlOption::PR_SET_DUMPABLE => {
            check(second == u64::from(SUID_DUMP_DISABLE) || second == u64::from(SUID_DUMP_USER))?;
            task.group().set_dumpable(i32::from(second == u64::from(SUID_DUMP_USER)));
            Ok(0)
        }
        PrctlOption::PR_SET_CHILD_SUBREAPER => {
            if let Some(process) = task.kernel().tree().process_mut(task.pid()) {
                process.subreaper = second != 0;
            }
            Ok(0)
        }
        PrctlOption::PR_GET_CHILD_SUBREAPER => {
            let subreaper = task.kernel().tree().process(task.pid()).is_some_and(|process| process.subreaper);
            task.write_value(UserPtr::new(UserAddr(second)), &i32::from(subreaper))?;
            Ok(0)
        }
        PrctlOption::PR_SET_NO_NEW_PRIVS => {
            check(second == 1)?;
            rest_is_zero()?;
            change(task, |credentials| credentials.no_new_privs = true);
            Ok(0)
        }
        PrctlOption::PR_GET_NO_NEW_PRIVS => {
            all_are_zero()?;
            Ok(task.credentials().no_new_privs.into())
        }
        PrctlOption::PR_GET_TID_ADDRESS => {
            task.write_value(UserPtr::new(UserAddr(second)), &task.clear_child_tid())?;
            Ok(0)
        }
        PrctlOption::PR_GET_KEEPCAPS => {
            Ok(task.credentials().securebits().contains(Securebits::SECBIT_KEEP_CAPS).into())
        }
        PrctlOption::PR_SET_KEEPCAPS => set_keep_capabilities(task, second),
        PrctlOption::PR_GET_SECUREBITS => Ok(task.credentials().securebits.into()),
        PrctlOption::PR_SET_SECUREBITS => set_securebits(task, second),
        PrctlOption::PR_CAPBSET_READ => Ok(task.credentials().bounding.has(capability(second)?).into()),
        PrctlOption::PR_CAPBSET_DROP => {
            require(task, Capability::CAP_SETPCAP)?;
            let dropped = capability(second)?;
            change(task, |credentials| credentials.bounding = credentials.bounding.without(dropped));
            Ok(0)
        }
        PrctlOption::PR_CAP_AMBIENT => {
            check(fourth == 0 && fifth == 0)?;
            change_ambient(task, second, third)
        }
        // Timers are as late as the host's, whatever is asked for.
        PrctlOption::PR_GET_TIMERSLACK => Ok(task.scheduling().timer_slack),
        PrctlOption::PR_SET_TIMERSLACK => {
            task.change_scheduling(|own| {
                own.timer_slack = if second == 0 { own.default_timer_slack } else { second };
            });
            Ok(0)
        }
        PrctlOption::PR_GET_TIMING => Ok(0),
        PrctlOption::PR_SET_TIMING => check(second == 0).map(|()| 0),
        PrctlOption::PR_GET_TSC => {
            task.write_value(UserPtr::new(UserAddr(second)), &(PR_TSC_ENABLE as i32))?;
            Ok(0)
        }
        PrctlOption::PR_SET_TSC => check(second == PR_TSC_ENABLE).map(|()| 0),
        PrctlOption::PR_MCE_KILL_GET => {
            all_are_zero()?;
            Ok(PR_MCE_KILL_DEFAULT)
        }
        PrctlOption::PR_GET_THP_DISABLE => {
            all_are_zero()?;
            Ok(0)
        }
        PrctlOption::PR_SET_MM => super::set_mm::set_mm(task, second, third, fourth, fifth),
        PrctlOption::PR_GET_IO_FLUSHER | PrctlOption::PR_SET_IO_FLUSHER => {
            require(task, Capability::CAP_SYS_RESOURCE)?;
            Err(Errno::EINVAL.into())
        }
        PrctlOption::PR_GET_SECCOMP => Ok(task.seccomp().mode().into()),
        PrctlOption::PR_SET_SECCOMP => {
            super::seccomp::set_mode(task, second, UserAddr(third))?;
            Ok(0)
        }
        // As a kernel without Yama, which alone would have anybody ask.
        PrctlOption::PR_SET_PTRACER => Err(Errno::EINVAL.into()),
        PrctlOption::PR_SET_VMA if second == PR_SET_VMA_ANON_NAME => {
            name_memory(task, UserAddr(third), fourth, UserAddr(fifth))
        }
        // Speculation control and the like: as a kernel without them.
        _ => Err(Errno::EINVAL.into()),
    }
}

fn check(valid: bool) -> SysResult<()> {
    if valid { Ok(()) } else { Err(Errno::EINVAL.into()) }
}

fn require(task: &CurrentTask, capability: Capability) -> SysResult<()> {
    if task.credentials().has_own_capability(capability) { Ok(()) } else { Err(Errno::EPERM.into()) }
}

/// The capability with this number.
fn capability(number: u64) -> Result<Capability, Errno> {
    Capability::ALL.iter().copied().find(|known| *known as u64 == number).ok_or(Errno::EINVAL)
}

/// Changes a copy of who the caller is, and makes it that.
fn change(task: &CurrentTask, change: impl FnOnce(&mut Credentials)) {
    let mut credentials = (*task.credentials()).clone();
    change(&mut credentials);
    task.set_credentials(credentials);
}

fn set_name(task: &CurrentTask, address: UserAddr) -> SysResult<u64> {
    // Up to the NUL or what fits, whatever follows.
    let mut name = Vec::with_capacity(TASK_COMM_LEN);
    while name.len() < TASK_COMM_LEN - 1 {
        let byte: u8 = task.read_value(UserPtr::new(address.checked_add(name.len() as u64)?))?;
        if byte == 0 {
            break;
        }
        name.push(byte);
    }
    task.set_name(&name);
    Ok(0)
}

/// Gives memory without a file a name, which `/proc/[pid]/maps` shows, or takes it away (`PR_SET_VMA_ANON_NAME`).
fn name_memory(task: &CurrentTask, address: UserAddr, length: u64, name: UserAddr) -> SysResult<u64> {
    /// With the NUL.
    const LONGEST: usize = 80;
    let name = match name.0 {
        0 => None,
        _ => {
            let name = task.read_c_string(name, LONGEST).map_err(|errno| match errno {
                Errno::ENAMETOOLONG => Errno::EINVAL,
                errno => errno,
            })?;
            let valid = |byte: &u8| (b' '..=b'~').contains(byte) && !b"\\`$[]".contains(byte);
            check(name.as_slice().iter().all(valid))?;
            Some(std::sync::Arc::from(name.as_slice()))
        }
    };
    task.mm().name_anonymous(address, length, name.as_ref())?;
    Ok(0)
}

fn set_keep_capabilities(task: &CurrentTask, value: u64) -> SysResult<u64> {
    check(value <= 1)?;
    let bits = task.credentials().securebits();
    if bits.contains(Securebits::SECBIT_KEEP_CAPS_LOCKED) {
        return Err(Errno::EPERM.into());
    }
    let mut new = bits;
    new.set(Securebits::SECBIT_KEEP_CAPS, value == 1);
    change(task, |credentials| credentials.securebits = new.bits());
    Ok(0)
}

/// Bits that lock others stay, and what they lock stays as it is.
fn set_securebits(task: &CurrentTask, value: u64) -> SysResult<u64> {
    require(task, Capability::CAP_SETPCAP)?;
    let old = task.credentials().securebits();
    let new = u32::try_from(value).ok().and_then(Securebits::from_bits).ok_or(Errno::EPERM)?;
    let locks = [
        (Securebits::SECBIT_NOROOT, Securebits::SECBIT_NOROOT_LOCKED),
        (Securebits::SECBIT_NO_SETUID_FIXUP, Securebits::SECBIT_NO_SETUID_FIXUP_LOCKED),
        (Securebits::SECBIT_KEEP_CAPS, Securebits::SECBIT_KEEP_CAPS_LOCKED),
        (Securebits::SECBIT_NO_CAP_AMBIENT_RAISE, Securebits::SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED),
        (Securebits::SECBIT_EXEC_RESTRICT_FILE, Securebits::SECBIT_EXEC_RESTRICT_FILE_LOCKED),
        (Securebits::SECBIT_EXEC_DENY_INTERACTIVE, Securebits::SECBIT_EXEC_DENY_INTERACTIVE_LOCKED),
    ];
    let broken = locks.iter().any(|&(bit, lock)| {
        old.contains(lock) && (!new.contains(lock) || old.contains(bit) != new.contains(bit))
    });
    if broken {
        return Err(Errno::EPERM.into());
    }
    change(task, |credentials| credentials.securebits = new.bits());
    Ok(0)
}

fn change_ambient(task: &CurrentTask, operation: u64, number: u64) -> SysResult<u64> {
    if operation == PR_CAP_AMBIENT_CLEAR_ALL {
        check(number == 0)?;
        change(task, |credentials| credentials.ambient = CapabilitySet::EMPTY);
        return Ok(0);
    }
    let named = capability(number)?;
    let credentials = task.credentials();
    match operation {
        PR_CAP_AMBIENT_IS_SET => Ok(credentials.ambient.has(named).into()),
        PR_CAP_AMBIENT_LOWER => {
            change(task, |credentials| credentials.ambient = credentials.ambient.without(named));
            Ok(0)
        }
        PR_CAP_AMBIENT_RAISE => {
            let allowed = credentials.permitted.has(named)
                && credentials.inheritable.has(named)
                && !credentials.securebits().contains(Securebits::SECBIT_NO_CAP_AMBIENT_RAISE);
            if !allowed {
                return Err(Errno::EPERM.into());
            }
            change(task, |credentials| credentials.ambient = credentials.ambient.with(named));
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

/// `personality(2)`: tells the old one. Numbers that a later kernel may know are kept as they are.
pub fn personality(task: &CurrentTask, wanted: u32) -> SysResult<u32> {
    const ASK: u32 = 0xffff_ffff;
    let old = task.personality().bits();
    if wanted != ASK {
        task.set_personality(Personality::from_bits_retain(wanted));
    }
    Ok(old)
}
