//! Making and ending tasks, their numbers, groups and sessions: `clone(2)`, `exit(2)`, `getpid(2)`, `setpgid(2)`, `setsid(2)`.

use bartizan_abi::Errno;
use bartizan_abi::arch::x86_64::{ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_FS, ARCH_SET_GS};
use bartizan_abi::process::{CLONE_ARGS_SIZE_VER0, CloneArgs, CloneFlags, WaitStatus};
use bartizan_abi::signal::Signal;

use crate::SysResult;
use crate::kernel::{CloneRequest, CurrentTask, TaskEnd};
use crate::mm::{UserAddr, UserPtr};

/// The bits of `clone`'s flags that hold the exit signal.
const CSIGNAL: u64 = 0xff;

/// The signal that `number` names; `None` for none.
fn exit_signal(number: u64) -> Result<Option<Signal>, Errno> {
    match i32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Signal::from_raw(number).map(Some).ok_or(Errno::EINVAL),
        Err(_) => Err(Errno::EINVAL),
    }
}

/// `clone(2)`.
pub fn clone(
    task: &CurrentTask,
    flags: u64,
    stack: u64,
    parent_tid: UserPtr<i32>,
    child_tid: UserPtr<i32>,
    tls: u64,
) -> SysResult<i32> {
    // As Linux, which ignores unknown signals and unknown flags here.
    let exit_signal = exit_signal(flags & CSIGNAL).unwrap_or(None);
    let flags = CloneFlags::from_bits_truncate(flags & 0xffff_ffff & !CSIGNAL);
    let apart = CloneFlags::CLONE_PARENT_SETTID | CloneFlags::CLONE_DETACHED | CloneFlags::CLONE_THREAD;
    if flags.contains(CloneFlags::CLONE_PIDFD) && flags.intersects(apart) {
        return Err(Errno::EINVAL.into());
    }
    task.clone_task(CloneRequest {
        flags,
        exit_signal,
        stack,
        tls,
        parent_tid,
        pidfd: parent_tid,
        child_tid,
        set_tid: None,
    })
}

/// `clone3(2)`.
pub fn clone3(task: &CurrentTask, arguments: UserAddr, size: usize) -> SysResult<i32> {
    if size < CLONE_ARGS_SIZE_VER0 {
        return Err(Errno::EINVAL.into());
    }
    let arguments: CloneArgs = task.read_versioned(arguments, size)?;
    let flags = CloneFlags::from_bits(arguments.flags).ok_or(Errno::EINVAL)?;
    let refused = CloneFlags::CLONE_DETACHED | CloneFlags::CLONE_INTO_CGROUP;
    if flags.intersects(refused) || arguments.flags & CSIGNAL != 0 {
        return Err(Errno::EINVAL.into());
    }
    if flags.intersects(CloneFlags::CLONE_THREAD | CloneFlags::CLONE_PARENT) && arguments.exit_signal != 0 {
        return Err(Errno::EINVAL.into());
    }
    if (arguments.stack == 0) != (arguments.stack_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    let stack = arguments.stack.checked_add(arguments.stack_size).ok_or(Errno::EINVAL)?;
    if stack > task.kernel().platform().user_addresses().end {
        return Err(Errno::EINVAL.into());
    }
    task.clone_task(CloneRequest {
        flags,
        exit_signal: exit_signal(arguments.exit_signal)?,
        stack,
        tls: arguments.tls,
        parent_tid: UserPtr::new(UserAddr(arguments.parent_tid)),
        pidfd: UserPtr::new(UserAddr(arguments.pidfd)),
        child_tid: UserPtr::new(UserAddr(arguments.child_tid)),
        set_tid: chosen_number(task, &arguments)?,
    })
}

/// The number that `clone3` shall give the child. There is one namespace of them, so that the list may have one.
fn chosen_number(task: &CurrentTask, arguments: &CloneArgs) -> SysResult<Option<i32>> {
    match (arguments.set_tid_size, UserPtr::<i32>::new(UserAddr(arguments.set_tid))) {
        (0, list) if list.is_null() => Ok(None),
        (1, list) if !list.is_null() => Ok(Some(task.read_value(list)?)),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// A clone without addresses.
fn plain(flags: CloneFlags) -> CloneRequest {
    CloneRequest {
        flags,
        exit_signal: Some(Signal::SIGCHLD),
        stack: 0,
        tls: 0,
        parent_tid: UserPtr::new(UserAddr::NULL),
        pidfd: UserPtr::new(UserAddr::NULL),
        child_tid: UserPtr::new(UserAddr::NULL),
        set_tid: None,
    }
}

/// `fork(2)`.
pub fn fork(task: &CurrentTask) -> SysResult<i32> {
    task.clone_task(plain(CloneFlags::empty()))
}

/// `vfork(2)`.
pub fn vfork(task: &CurrentTask) -> SysResult<i32> {
    task.clone_task(plain(CloneFlags::CLONE_VFORK | CloneFlags::CLONE_VM))
}

/// `_exit(2)` of one thread.
pub fn exit(task: &CurrentTask, code: i32) -> SysResult<()> {
    task.request_end(TaskEnd::Task((code & 0xff) as u8));
    Ok(())
}

/// `exit_group(2)`.
pub fn exit_group(task: &CurrentTask, code: i32) -> SysResult<()> {
    task.request_end(TaskEnd::Process(WaitStatus::Exited((code & 0xff) as u8)));
    Ok(())
}

/// `getpid(2)`.
pub fn getpid(task: &CurrentTask) -> SysResult<i32> {
    Ok(task.pid())
}

/// `gettid(2)`.
pub fn gettid(task: &CurrentTask) -> SysResult<i32> {
    Ok(task.tid())
}

/// `getppid(2)`.
pub fn getppid(task: &CurrentTask) -> SysResult<i32> {
    Ok(task.kernel().tree().process(task.pid()).map_or(0, |process| process.parent))
}

/// `set_tid_address(2)`.
pub fn set_tid_address(task: &CurrentTask, address: UserAddr) -> SysResult<i32> {
    task.set_clear_child_tid(address.0);
    Ok(task.tid())
}

/// Bytes of `struct robust_list_head`.
const ROBUST_LIST_HEAD_SIZE: usize = 24;

/// `set_robust_list(2)`.
pub fn set_robust_list(task: &CurrentTask, head: UserAddr, length: usize) -> SysResult<()> {
    if length != ROBUST_LIST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    task.set_robust_list(head.0);
    Ok(())
}

/// `get_robust_list(2)`.
pub fn get_robust_list(
    task: &CurrentTask,
    tid: i32,
    head: UserPtr<u64>,
    length: UserPtr<u64>,
) -> SysResult<()> {
    let list = if tid == 0 {
        task.robust_list()
    } else {
        let other = task.kernel().tree().task(tid).cloned().ok_or(Errno::ESRCH)?;
        let own = other.pid() == task.pid() || task.credentials().matches(&other.credentials());
        if !own {
            return Err(Errno::EPERM.into());
        }
        other.robust_list()
    };
    task.write_value(length, &(ROBUST_LIST_HEAD_SIZE as u64))?;
    Ok(task.write_value(head, &list)?)
}

/// `arch_prctl(2)`.
pub fn arch_prctl(task: &CurrentTask, code: u32, address: UserAddr) -> SysResult<()> {
    let mut registers = task.registers();
    let end = task.kernel().platform().user_addresses().end;
    match code {
        ARCH_SET_FS | ARCH_SET_GS if address.0 >= end => return Err(Errno::EPERM.into()),
        ARCH_SET_FS => registers.fs_base = address.0,
        ARCH_SET_GS => registers.gs_base = address.0,
        ARCH_GET_FS => return Ok(task.write_value(UserPtr::new(address), &registers.fs_base)?),
        ARCH_GET_GS => return Ok(task.write_value(UserPtr::new(address), &registers.gs_base)?),
        _ => return Err(Errno::EINVAL.into()),
    }
    task.set_registers(registers);
    Ok(())
}

/// `setpgid(2)`.
pub fn setpgid(task: &CurrentTask, pid: i32, group: i32) -> SysResult<()> {
    let own = task.pid();
    let pid = if pid == 0 { own } else { pid };
    let group = if group == 0 { pid } else { group };
    if group < 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut tree = task.kernel().tree();
    let own_session = tree.process(own).map_or(0, |process| process.session);
    let target =
        tree.process(pid).filter(|process| pid == own || process.parent == own).ok_or(Errno::ESRCH)?;
    if pid != own && target.session != own_session {
        return Err(Errno::EPERM.into());
    }
    if pid != own && target.has_executed {
        return Err(Errno::EACCES.into());
    }
    if target.session == pid {
        return Err(Errno::EPERM.into());
    }
    if group != pid && !tree.group_in_session(group, own_session) {
        return Err(Errno::EPERM.into());
    }
    if let Some(process) = tree.process_mut(pid) {
        process.process_group = group;
    }
    Ok(())
}

/// The process `pid`, or the caller's for 0.
fn of_process(
    task: &CurrentTask,
    pid: i32,
    field: impl Fn(&crate::kernel::Process) -> i32,
) -> SysResult<i32> {
    let pid = if pid == 0 { task.pid() } else { pid };
    let tree = task.kernel().tree();
    let pid = tree.task(pid).map_or(pid, |task| task.pid());
    Ok(tree.process(pid).map(field).ok_or(Errno::ESRCH)?)
}

/// `getpgid(2)`.
pub fn getpgid(task: &CurrentTask, pid: i32) -> SysResult<i32> {
    of_process(task, pid, |process| process.process_group)
}

/// `getpgrp(2)`.
pub fn getpgrp(task: &CurrentTask) -> SysResult<i32> {
    getpgid(task, 0)
}

/// `getsid(2)`.
pub fn getsid(task: &CurrentTask, pid: i32) -> SysResult<i32> {
    of_process(task, pid, |process| process.session)
}

/// `setsid(2)`.
pub fn setsid(task: &CurrentTask) -> SysResult<i32> {
    let pid = task.pid();
    let mut tree = task.kernel().tree();
    if tree.process_group(pid).next().is_some() {
        return Err(Errno::EPERM.into());
    }
    if let Some(process) = tree.process_mut(pid) {
        process.session = pid;
        process.terminal = None;
        process.process_group = pid;
    }
    Ok(pid)
}
