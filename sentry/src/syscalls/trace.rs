//! `--strace`: each system call with its decoded arguments, its result and its time.
//!
//! The format is that of `strace -f -T`. Arguments are shown as they are before the call; a call that never returns is shown
//! with `= ?`.

use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use bartizan_abi::Sysno;

use super::table;
use crate::kernel::CurrentTask;
use crate::sync::{LockClass, Mutex};
use crate::{Restart, SysError, SysResult};

/// Writes the trace of one sandbox.
pub struct Tracer {
    sink: Mutex<Box<dyn std::io::Write + Send>>,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tracer").finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer that writes whole lines to `sink`.
    pub fn new(sink: Box<dyn std::io::Write + Send>) -> Self {
        Self { sink: Mutex::new(LockClass::Table, sink) }
    }

    /// Makes `call`, which is number `number`, and writes its line.
    pub fn trace(
        &self,
        task: &CurrentTask,
        number: u64,
        arguments: &[u64; 6],
        call: impl FnOnce() -> SysResult<u64>,
    ) -> SysResult<u64> {
        let mut line = format!("[pid {}] ", task.tid());
        show_call(task, number, arguments, &mut line);
        if matches!(Sysno::from_raw(number), Some(Sysno::exit | Sysno::exit_group | Sysno::rt_sigreturn)) {
            line.push_str(" = ?\n");
            self.write(&line);
            return call();
        }
        let start = Instant::now();
        let result = call();
        show_result(number, result, start.elapsed(), &mut line);
        self.write(&line);
        result
    }

    /// Writes a line about something other than a call: a signal, an exit.
    pub fn note(&self, task: &CurrentTask, what: fmt::Arguments<'_>) {
        self.write(&format!("[pid {}] {what}\n", task.tid()));
    }

    fn write(&self, line: &str) {
        // The trace is a convenience of the operator: a full disk must not change what the guest does.
        let _unwritable = self.sink.lock().write_all(line.as_bytes());
    }
}

/// Appends the name of call `number` with its arguments in parentheses.
fn show_call(task: &CurrentTask, number: u64, arguments: &[u64; 6], line: &mut String) {
    match (table::entry(number), Sysno::from_raw(number)) {
        (Some(entry), _) => {
            line.push_str(entry.number.name());
            line.push('(');
            (entry.show)(task, arguments, line);
        }
        (None, known) => {
            match known {
                Some(known) => line.push_str(known.name()),
                None => {
                    let _infallible = write!(line, "syscall_{number:#x}");
                }
            }
            line.push('(');
            for (index, argument) in arguments.iter().enumerate() {
                let separator = if index == 0 { "" } else { ", " };
                let _infallible = write!(line, "{separator}{argument:#x}");
            }
        }
    }
    line.push(')');
}

/// Appends the result and the time that the call took.
fn show_result(number: u64, result: SysResult<u64>, elapsed: Duration, line: &mut String) {
    let _infallible = match result {
        Ok(value) if returns_address(number) => write!(line, " = {value:#x}"),
        #[expect(clippy::cast_possible_wrap, reason = "results are signed in the ABI")]
        Ok(value) => write!(line, " = {}", value as i64),
        Err(SysError::Errno(errno)) => write!(line, " = -1 {} ({})", errno.name(), errno.description()),
        Err(SysError::Restart(restart)) => write!(line, " = ? {} (interrupted)", restart_name(restart)),
    };
    let _infallible = writeln!(line, " <{}.{:06}>", elapsed.as_secs(), elapsed.subsec_micros());
}

/// Whether the result of the call is an address.
fn returns_address(number: u64) -> bool {
    matches!(Sysno::from_raw(number), Some(Sysno::mmap | Sysno::mremap | Sysno::brk | Sysno::shmat))
}

/// The names that `strace` has for restarts.
fn restart_name(restart: Restart) -> &'static str {
    match restart {
        Restart::IfAsked => "ERESTARTSYS",
        Restart::Always => "ERESTARTNOINTR",
        Restart::WithoutHandler => "ERESTARTNOHAND",
        Restart::Continue => "ERESTART_RESTARTBLOCK",
    }
}

#[cfg(test)]
mod tests {
    use bartizan_abi::Errno;

    use super::*;

    #[test]
    fn result_shows_errors_by_name_and_addresses_in_hexadecimal() {
        let mut line = String::new();
        show_result(Sysno::open as u64, Err(Errno::ENOENT.into()), Duration::from_micros(12), &mut line);
        assert_eq!(line, " = -1 ENOENT (No such file or directory) <0.000012>\n");
        line.clear();
        show_result(Sysno::mmap as u64, Ok(0x7000), Duration::ZERO, &mut line);
        assert_eq!(line, " = 0x7000 <0.000000>\n");
        line.clear();
        show_result(Sysno::read as u64, Err(SysError::Restart(Restart::IfAsked)), Duration::ZERO, &mut line);
        assert_eq!(line, " = ? ERESTARTSYS (interrupted) <0.000000>\n");
    }
}
