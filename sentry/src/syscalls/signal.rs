//! Signals: `rt_sigaction(2)`, `rt_sigprocmask(2)`, `kill(2)`, `sigaltstack(2)` and their kin.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::signal::{MaskHow, SigAction, SigActionFlags, SigCode, SigInfo, SigSet, Signal, StackT};
use bartizan_abi::{Errno, Timespec};

use crate::kernel::signal::{Sender, Target, may_signal};
use crate::kernel::{CurrentTask, IdKind, OVERFLOW_ID, Process, Task, TaskTree, deadline_after};
use crate::mm::UserPtr;
use crate::{Restart, SysError, SysResult, WaitError};

fn check_size(size: usize) -> Result<(), Errno> {
    if size as u64 == SigSet::SIZE { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `sigaction(2)`.
pub fn rt_sigaction(
    task: &CurrentTask,
    signal: i32,
    new: UserPtr<SigAction>,
    old: UserPtr<SigAction>,
    size: usize,
) -> SysResult<()> {
    check_size(size)?;
    let new = new.optional().map(|new| task.read_value(new)).transpose()?;
    let signal = Signal::from_raw(signal).ok_or(Errno::EINVAL)?;
    if new.is_some() && signal.is_unstoppable() {
        return Err(Errno::EINVAL.into());
    }
    let actions = task.actions();
    let before = match new {
        Some(mut action) => {
            action.flags &= SigActionFlags::KEPT.bits();
            action.mask = SigSet(action.mask).difference(SigSet::UNBLOCKABLE).bits();
            let before = actions.set(signal, action);
            if actions.ignores(signal) {
                task.discard_signal(signal);
            }
            before
        }
        None => actions.get(signal),
    };
    match old.optional() {
        Some(old) => Ok(task.write_value(old, &before)?),
        None => Ok(()),
    }
}

/// `sigprocmask(2)`.
pub fn rt_sigprocmask(
    task: &CurrentTask,
    how: i32,
    new: UserPtr<SigSet>,
    old: UserPtr<SigSet>,
    size: usize,
) -> SysResult<()> {
    check_size(size)?;
    let new = new.optional().map(|new| task.read_value(new)).transpose()?;
    let before = task.with_signals(|signals| signals.mask);
    if let Some(set) = new {
        let mask = match MaskHow::try_from(how)? {
            MaskHow::SIG_BLOCK => before.union(set),
            MaskHow::SIG_UNBLOCK => before.difference(set),
            MaskHow::SIG_SETMASK => set,
        };
        task.set_signal_mask(mask);
    }
    match old.optional() {
        Some(old) => Ok(task.write_value(old, &before)?),
        None => Ok(()),
    }
}

/// `sigpending(2)`.
pub fn rt_sigpending(task: &CurrentTask, set: UserPtr<SigSet>, size: usize) -> SysResult<()> {
    if size as u64 > SigSet::SIZE {
        return Err(Errno::EINVAL.into());
    }
    let tid = task.tid();
    let pending = {
        let signals = task.group().signals();
        let own = signals.tasks.get(&tid);
        let set = own.map_or(SigSet::EMPTY, |own| own.pending.set()).union(signals.pending.set());
        own.map_or(SigSet::EMPTY, |own| set.intersection(own.mask))
    };
    task.write_bytes(set.address(), &pending.bits().to_ne_bytes()[..size])?;
    Ok(())
}

/// `sigsuspend(2)`.
pub fn rt_sigsuspend(task: &CurrentTask, set: UserPtr<SigSet>, size: usize) -> SysResult<()> {
    check_size(size)?;
    let set = task.read_value(set)?;
    task.replace_mask_until_delivery(set);
    pause(task)
}

/// `pause(2)`.
pub fn pause(task: &CurrentTask) -> SysResult<()> {
    match task.wait_until(None, || None::<()>) {
        Ok(()) => Ok(()),
        Err(WaitError::Interrupted | WaitError::TimedOut) => Err(SysError::Restart(Restart::WithoutHandler)),
    }
}

/// `sigtimedwait(2)`.
pub fn rt_sigtimedwait(
    task: &CurrentTask,
    set: UserPtr<SigSet>,
    info: UserPtr<SigInfo>,
    timeout: UserPtr<Timespec>,
    size: usize,
) -> SysResult<i32> {
    check_size(size)?;
    let wanted = task.read_value(set)?.difference(SigSet::UNBLOCKABLE);
    let deadline = match timeout.optional() {
        Some(timeout) => {
            let timeout = task.read_value(timeout)?.to_duration().ok_or(Errno::EINVAL)?;
            deadline_after(timeout)
        }
        None => None,
    };
    let (signal, taken) = wait_for_signal(task, wanted, deadline)?;
    if let Some(info) = info.optional() {
        task.write_value(info, &taken)?;
    }
    Ok(signal.raw())
}

/// Takes a signal of `wanted`, waiting for it until `deadline`.
fn wait_for_signal(
    task: &CurrentTask,
    wanted: SigSet,
    deadline: Option<Instant>,
) -> SysResult<(Signal, SigInfo)> {
    if let Some(taken) = task.take_signal_of(wanted) {
        return Ok(taken);
    }
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return Err(Errno::EAGAIN.into());
    }
    task.with_signals(|signals| signals.waiting_for = wanted);
    let result = task.wait_until(deadline, || task.take_signal_of(wanted));
    task.with_signals(|signals| signals.waiting_for = SigSet::EMPTY);
    match result {
        Ok(taken) => Ok(taken),
        Err(WaitError::TimedOut) => Err(Errno::EAGAIN.into()),
        Err(WaitError::Interrupted) => task.take_signal_of(wanted).ok_or(Errno::EINTR.into()),
    }
}

/// `sigreturn(2)`.
pub fn rt_sigreturn(task: &CurrentTask) -> SysResult<u64> {
    match task.pop_signal_frame() {
        Ok(result) => Ok(result),
        Err(_) => {
            task.force_signal(SigInfo::kernel(Signal::SIGSEGV));
            Ok(0)
        }
    }
}

/// `sigaltstack(2)`.
pub fn sigaltstack(task: &CurrentTask, new: UserPtr<StackT>, old: UserPtr<StackT>) -> SysResult<()> {
    let rsp = task.registers().rsp;
    let new = new.optional().map(|new| task.read_value(new)).transpose()?;
    let before = task.alternate_stack(rsp);
    if let Some(new) = new {
        task.set_alternate_stack(&new, rsp)?;
    }
    match old.optional() {
        Some(old) => Ok(task.write_value(old, &before)?),
        None => Ok(()),
    }
}

/// The signal `number`; `None` for 0, which only asks whether it could be sent.
fn signal_or_test(number: i32) -> Result<Option<Signal>, Errno> {
    match number {
        0 => Ok(None),
        number => Signal::from_raw(number).map(Some).ok_or(Errno::EINVAL),
    }
}

/// Sends to one task or process, if that is allowed.
fn send(
    task: &CurrentTask,
    to: &Task,
    signal: Option<Signal>,
    target: Target,
    info: impl FnOnce(Signal) -> SigInfo,
) -> Result<(), Errno> {
    let tree = task.kernel().tree();
    send_in(&tree, task, to, signal, target, info)
}

/// As [`send`], for a caller that has locked the tree.
fn send_in(
    tree: &TaskTree,
    task: &CurrentTask,
    to: &Task,
    signal: Option<Signal>,
    target: Target,
    info: impl FnOnce(Signal) -> SigInfo,
) -> Result<(), Errno> {
    let own = task.pid() == to.pid();
    if !own && !may_signal(&task.credentials(), &to.credentials()) {
        let session = |pid| tree.process(pid).map(|process: &Process| process.session);
        let same_session = session(task.pid()) == session(to.pid());
        if signal != Some(Signal::SIGCONT) || !same_session {
            return Err(Errno::EPERM);
        }
    }
    match signal {
        Some(signal) => to.send_signal(info(signal), target, Sender::Guest),
        None => Ok(()),
    }
}

/// The `siginfo` of `kill` and `tgkill`.
fn from_caller(task: &CurrentTask, code: SigCode) -> impl Fn(Signal) -> SigInfo {
    let (pid, uid) = (task.pid(), task.credentials().uid);
    move |signal| SigInfo::kill(signal, code, pid, uid)
}

/// A task of process `pid`.
fn task_of(task: &CurrentTask, pid: i32) -> Option<Arc<Task>> {
    let tree = task.kernel().tree();
    let pid = tree.task(pid).map_or(pid, |task| task.pid());
    tree.process(pid)?.tasks.first().cloned()
}

/// `kill(2)`.
pub fn kill(task: &CurrentTask, pid: i32, signal: i32) -> SysResult<()> {
    let signal = signal_or_test(signal)?;
    let info = from_caller(task, SigCode::SI_USER);
    if pid > 0 {
        let exists = task.kernel().tree().process(pid).is_some();
        return match task_of(task, pid) {
            Some(to) => Ok(send(task, &to, signal, Target::Process, info)?),
            // A process that has ended but has not been waited for.
            None if exists => Ok(()),
            None => Err(Errno::ESRCH.into()),
        };
    }
    // The tree stays locked, so that no child that is being forked is missed.
    let tree = task.kernel().tree();
    let own_group = tree.process(task.pid()).map_or(0, |process| process.process_group);
    let meant = |number: i32, process: &Process| match pid {
        0 => process.process_group == own_group,
        -1 => number != task.pid() && number != crate::kernel::INIT,
        pid => pid.checked_neg() == Some(process.process_group),
    };
    let (mut any, mut sent, mut last) = (false, false, Ok(()));
    for (_, process) in tree.processes().filter(|(number, process)| meant(*number, process)) {
        any = true;
        let result = match process.tasks.first() {
            Some(to) => send_in(&tree, task, to, signal, Target::Process, &info),
            // It has ended but has not been waited for.
            None => Ok(()),
        };
        if let (Ok(()), Some(signal)) = (result, signal) {
            process.group.tell_forked(signal);
        }
        sent |= result.is_ok();
        // Linux does not tell whoever signals everybody of those that he may not signal.
        if pid != -1 || result != Err(Errno::EPERM) {
            last = result;
        }
    }
    match (any, sent && pid != -1) {
        (false, _) => Err(Errno::ESRCH.into()),
        (true, true) => Ok(()),
        (true, false) => Ok(last?),
    }
}

/// `tkill(2)`.
pub fn tkill(task: &CurrentTask, tid: i32, signal: i32) -> SysResult<()> {
    if tid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_task(task, None, tid, signal, from_caller(task, SigCode::SI_TKILL))
}

/// `tgkill(2)`.
pub fn tgkill(task: &CurrentTask, pid: i32, tid: i32, signal: i32) -> SysResult<()> {
    if tid <= 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    send_to_task(task, Some(pid), tid, signal, from_caller(task, SigCode::SI_TKILL))
}

/// Sends to one task, which must belong to process `pid` if that is given.
fn send_to_task(
    task: &CurrentTask,
    pid: Option<i32>,
    tid: i32,
    signal: i32,
    info: impl FnOnce(Signal) -> SigInfo,
) -> SysResult<()> {
    let to = task.kernel().tree().task(tid).cloned();
    let to = to.filter(|to| pid.is_none_or(|pid| to.pid() == pid)).ok_or(Errno::ESRCH)?;
    Ok(send(task, &to, signal_or_test(signal)?, Target::Task, info)?)
}

/// What a caller of `rt_sigqueueinfo` gives, if it may: only a task itself may claim that the kernel or `kill` sent it.
fn read_info(task: &CurrentTask, info: UserPtr<SigInfo>, signal: i32, own: bool) -> SysResult<SigInfo> {
    let mut info = task.read_value(info)?;
    info.si_signo = signal;
    if info.has_sender() {
        // As all ids that are kept; those of the receiver's namespace come when it is sent.
        let uid = task.user_namespace().resolve(IdKind::User, info.uid());
        info.set_sender(info.pid(), uid.unwrap_or(OVERFLOW_ID));
    }
    if !own && (info.si_code >= 0 || info.code() == SigCode::SI_TKILL) {
        return Err(Errno::EPERM.into());
    }
    Ok(info)
}

/// `rt_sigqueueinfo(2)`.
pub fn rt_sigqueueinfo(task: &CurrentTask, pid: i32, signal: i32, info: UserPtr<SigInfo>) -> SysResult<()> {
    let info = read_info(task, info, signal, pid == task.pid())?;
    let to = task_of(task, pid).ok_or(Errno::ESRCH)?;
    Ok(send(task, &to, signal_or_test(signal)?, Target::Process, |_| info)?)
}

/// `rt_tgsigqueueinfo(2)`.
pub fn rt_tgsigqueueinfo(
    task: &CurrentTask,
    pid: i32,
    tid: i32,
    signal: i32,
    info: UserPtr<SigInfo>,
) -> SysResult<()> {
    if tid <= 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let info = read_info(task, info, signal, pid == task.pid())?;
    send_to_task(task, Some(pid), tid, signal, |_| info)
}
