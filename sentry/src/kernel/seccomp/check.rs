//! What becomes of a call of a task that has filters.

use std::sync::Arc;

use bartizan_abi::arch::x86_64::AUDIT_ARCH_X86_64;
use bartizan_abi::process::WaitStatus;
use bartizan_abi::process::ptrace::{PTRACE_EVENT_SECCOMP, PtraceOptions};
use bartizan_abi::seccomp::{SECCOMP_MODE_STRICT, SeccompData};
use bartizan_abi::signal::{SigCode, SigInfo, Signal};
use bartizan_abi::{Errno, Sysno};

use super::notification::Answer;
use super::{Action, Filter, Words};
use crate::kernel::{CurrentTask, TaskEnd};
use crate::{Restart, SysError, SysResult};

/// The highest number that a filter gives as an error (`MAX_ERRNO`).
const MAX_ERRNO: u16 = 4095;

/// Checks call `number` of a task with filters: `None` if it is made, else its result. A tracer that is asked may have changed the call.
#[cold]
pub fn check(task: &CurrentTask, number: u64, arguments: &[u64; 6]) -> Option<SysResult<u64>> {
    check_with(task, number, arguments, Tracer::Ask)
}

/// What becomes of a call about which the tracer is to be asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracer {
    Ask,
    /// It has been: the call is made.
    Asked,
}

fn check_with(
    task: &CurrentTask,
    number: u64,
    arguments: &[u64; 6],
    tracer: Tracer,
) -> Option<SysResult<u64>> {
    if task.seccomp().mode() == SECCOMP_MODE_STRICT {
        return check_strict(task, number);
    }
    let newest = task.seccomp().filter()?;
    let data = SeccompData {
        // The number is an `int` to everybody.
        nr: (number as u32).cast_signed(),
        arch: AUDIT_ARCH_X86_64,
        instruction_pointer: task.instruction_pointer(),
        args: *arguments,
    };
    let (action, decisive) = Filter::evaluate(&newest, &Words::from(&data));
    match action {
        Action::Allow | Action::Log => None,
        Action::Errno(errno) => Some(Ok((-i64::from(errno.min(MAX_ERRNO))).cast_unsigned())),
        Action::Trap(reason) => {
            let mut info = SigInfo::sys(
                Signal::SIGSYS,
                SigCode::SYS_SECCOMP,
                data.instruction_pointer,
                data.nr,
                data.arch,
            );
            info.si_errno = reason.into();
            task.force_signal(info);
            // The handler finds the number where it was.
            Some(Ok(number))
        }
        Action::Trace(_) if tracer == Tracer::Asked => None,
        Action::Trace(data) => ask_tracer(task, data),
        Action::UserNotification => ask(task, &decisive, data),
        Action::KillThread if task.group().signals().tasks.len() > 1 => {
            Some(end(task, TaskEnd::Killed(Signal::SIGSYS)))
        }
        Action::KillThread | Action::KillProcess => {
            let status = WaitStatus::Signaled { signal: Signal::SIGSYS, core_dumped: false };
            task.group().begin_exit(status);
            Some(end(task, TaskEnd::Process(status)))
        }
    }
}

fn end(task: &CurrentTask, end: TaskEnd) -> SysResult<u64> {
    task.request_end(end);
    Err(Errno::ENOSYS.into())
}

/// `SECCOMP_MODE_STRICT`: anything but a few calls kills the task.
fn check_strict(task: &CurrentTask, number: u64) -> Option<SysResult<u64>> {
    const ALLOWED: [Sysno; 4] = [Sysno::read, Sysno::write, Sysno::exit, Sysno::rt_sigreturn];
    if ALLOWED.iter().any(|allowed| *allowed as u64 == number) {
        return None;
    }
    Some(end(task, TaskEnd::Killed(Signal::SIGKILL)))
}

/// Lets the tracer decide: `None` if the call, as the tracer has left it, is made.
fn ask_tracer(task: &CurrentTask, data: u16) -> Option<SysResult<u64>> {
    let _complete = task.registers();
    let told = task.tell_event(PtraceOptions::PTRACE_O_TRACESECCOMP, PTRACE_EVENT_SECCOMP, data.into());
    if !told || task.group().signals().has_to_end(task.tid()) {
        return Some(Err(Errno::ENOSYS.into()));
    }
    let (number, arguments) = task.system_call();
    if number.cast_signed() < 0 {
        return Some(Ok(task.registers().rax));
    }
    check_with(task, number, &arguments, Tracer::Asked)
}

/// Lets the listener of `filter` answer.
fn ask(task: &CurrentTask, filter: &Arc<Filter>, data: SeccompData) -> Option<SysResult<u64>> {
    let Some(listener) = filter.listener() else { return Some(Err(Errno::ENOSYS.into())) };
    match listener.ask(task, data) {
        Ok(Answer::Proceed) => None,
        Ok(Answer::Result(value)) => Some(Ok(value.cast_unsigned())),
        Err(_) => Some(Err(SysError::Restart(Restart::IfAsked))),
    }
}
