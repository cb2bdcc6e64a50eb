//! Taking pending signals and acting on them, before a task goes back to guest code.

use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{
    DefaultAction, SIG_DFL, SIG_IGN, SigAction, SigActionFlags, SigInfo, SigSet, Signal,
};

use super::GroupSignals;
use crate::Restart;
use crate::kernel::{CurrentTask, TaskEnd};

/// What a task has to do next on account of signals.
enum Next {
    /// Nothing: it may go on.
    Nothing,
    /// End.
    End(TaskEnd),
    /// Tell the parent that the process goes on.
    TellContinued,
    /// Stand still until it is continued.
    Stop,
    /// Look again: something was dropped.
    Again,
    /// Begin to stop the process if its group is not orphaned.
    MaybeStop(Signal),
    /// Ask the tracer about a signal.
    Ask(Signal, SigInfo),
    /// Run a handler.
    Handle(Signal, SigInfo, SigAction),
}

impl CurrentTask {
    /// Does all that signals ask for. `interrupted` is the system call that a signal ended before it did anything; it is
    /// restarted or fails with `EINTR`.
    ///
    /// Afterwards the task may run guest code, unless its end is noted.
    pub(in crate::kernel) fn handle_signals(&self, mut interrupted: Option<Restart>) {
        loop {
            self.clear_work();
            let next = match self.next_signal_event() {
                Next::Ask(signal, info) => {
                    let taken = self.shown_interrupted(&mut interrupted, || self.ask_tracer(signal, info));
                    taken.map_or(Next::Again, |(signal, info)| self.take(signal, info))
                }
                next => next,
            };
            match next {
                Next::Nothing => break,
                Next::End(end) => {
                    self.request_end(end);
                    return;
                }
                Next::TellContinued => self.tell_parent_continued(),
                Next::Stop => self.shown_interrupted(&mut interrupted, || self.stand_still()),
                Next::Again | Next::Ask(..) => {}
                Next::MaybeStop(signal) => self.begin_stop(signal),
                Next::Handle(signal, info, action) => {
                    if let Some(restart) = interrupted.take() {
                        self.end_interrupted_call(restart, Some(&action));
                    }
                    self.run_handler(signal, &info, &action);
                }
            }
        }
        if let Some(restart) = interrupted {
            self.end_interrupted_call(restart, None);
        }
        self.restore_mask();
    }

    /// Calls `stop`, in which a tracer may look at the registers and change them, with the interruption of a call shown there.
    fn shown_interrupted<T>(&self, interrupted: &mut Option<Restart>, stop: impl FnOnce() -> T) -> T {
        if !self.ptrace().is_traced() {
            return stop();
        }
        if let Some(restart) = *interrupted {
            self.show_restart(restart);
        }
        let value = stop();
        *interrupted = self.shown_restart();
        value
    }

    /// What `signal`, which the tracer lets the task take, asks for.
    fn take(&self, signal: Signal, info: SigInfo) -> Next {
        self.act_on(&mut self.group().signals(), signal, info)
    }

    fn next_signal_event(&self) -> Next {
        let mut signals = self.group().signals();
        let tid = self.tid();
        if signals.tasks.get(&tid).is_some_and(|task| task.die) {
            return Next::End(TaskEnd::Task(0));
        }
        if let Some(status) = signals.exit {
            return Next::End(TaskEnd::Process(status));
        }
        if std::mem::take(&mut signals.tell_continued) {
            return Next::TellContinued;
        }
        let stopped = signals.stop.is_some();
        let own = signals.tasks.get(&tid);
        if own.is_some_and(|task| task.trap || task.trap_notify || stopped && !task.passed_stop) {
            return Next::Stop;
        }
        match take_signal(&mut signals, tid) {
            Some((signal, info)) if self.ptrace().is_traced() && signal != Signal::SIGKILL => {
                Next::Ask(signal, info)
            }
            Some((signal, info)) => self.act_on(&mut signals, signal, info),
            None => Next::Nothing,
        }
    }

    /// What `signal`, just taken, asks for.
    fn act_on(&self, signals: &mut GroupSignals, signal: Signal, info: SigInfo) -> Next {
        let action = self.actions().get(signal);
        match action.handler {
            SIG_IGN => Next::Again,
            SIG_DFL if signals.harmless.has(signal) => Next::Again,
            SIG_DFL => match signal.default_action() {
                DefaultAction::Ignore | DefaultAction::Continue => Next::Again,
                DefaultAction::Stop => {
                    signals.stop_taken = true;
                    Next::MaybeStop(signal)
                }
                DefaultAction::Terminate | DefaultAction::Core => {
                    let status = WaitStatus::Signaled { signal, core_dumped: false };
                    signals.begin_exit(status);
                    Next::End(TaskEnd::Process(status))
                }
            },
            _ => {
                if action.flags & SigActionFlags::SA_RESETHAND.bits() != 0 {
                    self.actions().set(signal, SigAction { handler: SIG_DFL, ..action });
                }
                Next::Handle(signal, info, action)
            }
        }
    }

    /// Makes the guest run the handler next, or ends it if there is no room for the frame.
    fn run_handler(&self, signal: Signal, info: &SigInfo, action: &SigAction) {
        let old_mask = self.with_signals(|task| task.saved_mask.unwrap_or(task.mask));
        if self.push_signal_frame(signal, info, action, old_mask).is_err() {
            if signal == Signal::SIGSEGV {
                // A handler for SIGSEGV that cannot be entered would be entered again for ever.
                self.actions().set(signal, SigAction { handler: SIG_DFL, ..*action });
            }
            self.force_signal(SigInfo::kernel(Signal::SIGSEGV));
            return;
        }
        let mut signals = self.group().signals();
        let Some(task) = signals.tasks.get_mut(&self.tid()) else { return };
        task.saved_mask = None;
        let mut mask = task.mask.union(SigSet(action.mask));
        if action.flags & SigActionFlags::SA_NODEFER.bits() == 0 {
            mask.insert(signal);
        }
        signals.set_mask(self.tid(), mask);
        drop(signals);
        self.stop_at_handler();
    }

    /// Gives the interrupted call its result, or goes back to its instruction.
    fn end_interrupted_call(&self, restart: Restart, action: Option<&SigAction>) {
        let again = match (restart, action) {
            (Restart::Always, _) | (_, None) => true,
            (Restart::IfAsked, Some(action)) => action.flags & SigActionFlags::SA_RESTART.bits() != 0,
            (Restart::WithoutHandler | Restart::Continue, Some(_)) => false,
        };
        let mut registers = self.registers();
        if again {
            registers.rip = registers.rip.wrapping_sub(2);
            registers.rax = match restart {
                Restart::Continue => bartizan_abi::Sysno::restart_syscall as u64,
                _ => registers.orig_rax,
            };
        } else {
            registers.rax = bartizan_abi::Errno::EINTR.to_return_value();
        }
        self.set_registers(registers);
    }
}

/// The next signal for task `tid`: its own before the group's, synchronous ones first.
fn take_signal(signals: &mut GroupSignals, tid: i32) -> Option<(Signal, SigInfo)> {
    let task = signals.tasks.get_mut(&tid)?;
    let wanted = SigSet::FULL.difference(task.mask);
    task.pending.take(wanted).or_else(|| signals.pending.take(wanted))
}
