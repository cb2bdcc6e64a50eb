//! The system as a whole: `uname`, `sethostname`, `setdomainname`, `sysinfo`, `getrandom`, `syslog`, `reboot` and what only its
//! owner may do.

use bartizan_abi::{
    Capability, Errno, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B,
    LINUX_REBOOT_MAGIC2C, RandomFlags, RebootCommand, Sysinfo, SyslogAction, UTS_FIELD_LENGTH, UtsName,
};
use bartizan_platform::memory::PAGE_SIZE;
use rustix::rand::{GetRandomFlags, getrandom as host_random};
use rustix::time::ClockId;

use crate::SysResult;
use crate::kernel::{CurrentTask, UtsNames, host_time};
use crate::mm::{UserAddr, UserPtr};

/// Bytes of random data that are fetched at once.
const RANDOM_CHUNK: usize = 256;
/// Bytes of the log's buffer, which is always empty.
const LOG_SIZE: i32 = 1 << 17;

fn field(text: &[u8]) -> [u8; UTS_FIELD_LENGTH] {
    let mut field = [0; UTS_FIELD_LENGTH];
    let length = text.len().min(UTS_FIELD_LENGTH - 1);
    field[..length].copy_from_slice(&text[..length]);
    field
}

/// `uname(2)`.
pub fn uname(task: &CurrentTask, pointer: UserPtr<UtsName>) -> SysResult<()> {
    let names = task.uts();
    let answer = UtsName {
        sysname: field(UtsNames::SYSNAME.as_bytes()),
        nodename: field(&names.hostname()),
        release: field(UtsNames::RELEASE.as_bytes()),
        version: field(UtsNames::VERSION.as_bytes()),
        machine: field(b"x86_64"),
        domainname: field(&names.domainname()),
    };
    Ok(task.write_value(pointer, &answer)?)
}

/// A new name of the machine, if the caller may set one.
fn read_name(task: &CurrentTask, name: UserAddr, length: i32) -> SysResult<Vec<u8>> {
    if !task.credentials().has_capability_in(Capability::CAP_SYS_ADMIN, task.uts().owner()) {
        return Err(Errno::EPERM.into());
    }
    let length = usize::try_from(length).map_err(|_| Errno::EINVAL)?;
    if length > UtsNames::NAME_MAX {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = vec![0; length];
    task.read_bytes(name, &mut bytes)?;
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(length));
    Ok(bytes)
}

/// `EPERM` unless the caller has the capability.
fn require(task: &CurrentTask, capability: Capability) -> Result<(), Errno> {
    if task.credentials().has_capability(capability) { Ok(()) } else { Err(Errno::EPERM) }
}

/// `sethostname(2)`.
pub fn sethostname(task: &CurrentTask, name: UserAddr, length: i32) -> SysResult<()> {
    let name = read_name(task, name, length)?;
    task.uts().set_hostname(name);
    Ok(())
}

/// `setdomainname(2)`.
pub fn setdomainname(task: &CurrentTask, name: UserAddr, length: i32) -> SysResult<()> {
    let name = read_name(task, name, length)?;
    task.uts().set_domainname(name);
    Ok(())
}

/// `sysinfo(2)`: memory of the sandbox; time since the boot, as `/proc/uptime` tells it.
pub fn sysinfo(task: &CurrentTask, pointer: UserPtr<Sysinfo>) -> SysResult<()> {
    let kernel = task.kernel();
    let (limit, used) = (kernel.memory().limit(), kernel.memory().used());
    // Fixed-point numbers with 16 bits behind the point.
    let loads = kernel.load_averages().map(|load| (load * f64::from(1 << 16)) as u64);
    let answer = Sysinfo {
        uptime: host_time(ClockId::Boottime).tv_sec,
        loads,
        totalram: limit / PAGE_SIZE,
        freeram: limit.saturating_sub(used) / PAGE_SIZE,
        procs: u16::try_from(kernel.tree().task_count()).unwrap_or(u16::MAX),
        mem_unit: PAGE_SIZE as u32,
        ..Sysinfo::default()
    };
    Ok(task.write_value(pointer, &answer)?)
}

/// `getrandom(2)`: the host's.
pub fn getrandom(
    task: &CurrentTask,
    buffer: UserAddr,
    length: usize,
    flags: RandomFlags,
) -> SysResult<usize> {
    if flags.contains(RandomFlags::GRND_RANDOM | RandomFlags::GRND_INSECURE) {
        return Err(Errno::EINVAL.into());
    }
    // As Linux, which counts in an int.
    let length = length.min(i32::MAX as usize);
    let mut chunk = [0; RANDOM_CHUNK];
    let mut done = 0;
    while done < length {
        let part = &mut chunk[..RANDOM_CHUNK.min(length - done)];
        fill_random(part)?;
        let stored = buffer.checked_add(done as u64).and_then(|at| task.write_bytes(at, part));
        match stored {
            Ok(()) => done += part.len(),
            Err(errno) if done == 0 => return Err(errno.into()),
            Err(_) => break,
        }
        if done < length && task.signal_pending() {
            break;
        }
    }
    Ok(done)
}

/// Fills a buffer from the host's source of random numbers.
fn fill_random(buffer: &mut [u8]) -> Result<(), Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match host_random(&mut buffer[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Errno::EAGAIN),
        }
    }
    Ok(())
}

/// `syslog(2)`: the log is empty, and for those with the capability alone.
pub fn syslog(task: &CurrentTask, action: i32, buffer: UserAddr, length: i32) -> SysResult<i32> {
    let action = SyslogAction::try_from(action)?;
    if !matches!(action, SyslogAction::SYSLOG_ACTION_READ_ALL | SyslogAction::SYSLOG_ACTION_SIZE_BUFFER) {
        require(task, Capability::CAP_SYSLOG)?;
    }
    match action {
        SyslogAction::SYSLOG_ACTION_READ
        | SyslogAction::SYSLOG_ACTION_READ_ALL
        | SyslogAction::SYSLOG_ACTION_READ_CLEAR => {
            if buffer.is_null() || length < 0 {
                return Err(Errno::EINVAL.into());
            }
            Ok(0)
        }
        SyslogAction::SYSLOG_ACTION_CONSOLE_LEVEL if !(1..=8).contains(&length) => Err(Errno::EINVAL.into()),
        SyslogAction::SYSLOG_ACTION_SIZE_BUFFER => Ok(LOG_SIZE),
        _ => Ok(0),
    }
}

/// `reboot(2)`: the machine is not the sandbox's, so that not even its superuser may.
pub fn reboot(task: &CurrentTask, magic: u32, magic2: u32, command: u32) -> SysResult<()> {
    require(task, Capability::CAP_SYS_BOOT)?;
    let second = [LINUX_REBOOT_MAGIC2, LINUX_REBOOT_MAGIC2A, LINUX_REBOOT_MAGIC2B, LINUX_REBOOT_MAGIC2C];
    if magic != LINUX_REBOOT_MAGIC1 || !second.contains(&magic2) {
        return Err(Errno::EINVAL.into());
    }
    match RebootCommand::from_raw(command) {
        Some(RebootCommand::LINUX_REBOOT_CMD_CAD_ON | RebootCommand::LINUX_REBOOT_CMD_CAD_OFF) => Ok(()),
        Some(_) => Err(Errno::EPERM.into()),
        None => Err(Errno::EINVAL.into()),
    }
}
