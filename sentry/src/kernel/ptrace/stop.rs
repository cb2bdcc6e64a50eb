//! How a tracee stops: for a signal, before and after calls, for events, and together with its process.

use bartizan_abi::process::ptrace::{
    PTRACE_EVENT_EXEC, PTRACE_EVENT_EXIT, PTRACE_EVENT_SECCOMP, PTRACE_EVENT_STOP, PtraceOptions,
};
use bartizan_abi::signal::{ChildInfo, SigActionFlags, SigCode, SigInfo, SigSet, Signal};

use super::{Flags, Stop, StopKind};
use crate::kernel::signal::{Sender, Target, wake_waiters};
use crate::kernel::task::TaskState;
use crate::kernel::tree::TaskTree;
use crate::kernel::usage::Mode;
use crate::kernel::{CurrentTask, TaskEnd};
use crate::{Restart, SysError, SysResult};

/// What a call at which the task stopped left in the status: `SIGTRAP`, with this bit where that was asked for.
const CALL_MARK: u16 = 0x80;
const SIGTRAP: u16 = libc_number(Signal::SIGTRAP);
/// What `PTRACE_GETEVENTMSG` says at a call.
const ENTRY_MESSAGE: u64 = 1;
const EXIT_MESSAGE: u64 = 2;

const fn libc_number(signal: Signal) -> u16 {
    signal.raw() as u16
}

/// A stop to be made.
#[derive(Debug, Clone, Copy)]
struct NewStop {
    kind: StopKind,
    /// See [`Stop::code`].
    code: u16,
    info: Option<SigInfo>,
    message: Option<u64>,
    /// What `SIGCHLD` says.
    why: SigCode,
}

impl NewStop {
    /// A stop that the task tells of itself (`ptrace_notify`).
    fn event(task: &CurrentTask, kind: StopKind, code: u16, message: u64) -> Self {
        let info = SigInfo::kill(
            Signal::SIGTRAP,
            SigCode(0),
            task.tid(),
            task.user_namespace().uid(task.credentials().uid),
        );
        let mut new =
            Self { kind, code, info: Some(info), message: Some(message), why: SigCode::CLD_TRAPPED };
        new.set_code(code);
        new
    }

    fn set_code(&mut self, code: u16) {
        self.code = code;
        if let Some(info) = &mut self.info {
            info.si_signo = i32::from(code & 0x7f);
            info.si_code = code.into();
        }
    }
}

/// With what a task goes on after a stop.
#[derive(Debug, Clone, Copy)]
struct Resumed {
    /// The signal that the tracer wants it to take; 0 for none.
    signal: i32,
    info: Option<SigInfo>,
}

impl CurrentTask {
    /// Stands still until the tracer lets the task go. `None` if there is no tracer, or if the task has to end.
    fn stop_for_tracer(&self, mut new: NewStop) -> Option<Resumed> {
        let fpu = self.save_fpu().map_err(|error| self.refuse(&error)).ok()?;
        let registers = self.registers();
        {
            let tree = self.kernel().tree();
            let tracer = tree.tracer_of(self.tid())?;
            if !self.prepare_stop(&mut new) {
                return None;
            }
            let stop = Stop {
                kind: new.kind,
                code: new.code,
                told: false,
                listening: false,
                resumed: None,
                info: new.info,
                registers,
                fpu,
                registers_changed: false,
                fpu_changed: false,
            };
            {
                let mut state = self.ptrace().state();
                state.message = new.message.unwrap_or(state.message);
                state.stop = Some(Box::new(stop));
            }
            self.set_state(TaskState::Traced);
            self.tell_tracer_of_stop(&tree, tracer, new);
        }
        self.usage().enter(Mode::Idle);
        let resumed = self.wait_for_tracer(new.code);
        self.usage().enter(Mode::System);
        self.set_state(TaskState::Running);
        resumed
    }

    /// A stop does what traps were asked for, and says how the process stands at this moment. Returns whether the task may stop: not if it has to end,
    /// but for telling just that.
    fn prepare_stop(&self, new: &mut NewStop) -> bool {
        if self.kernel().is_dead() {
            return false;
        }
        let mut signals = self.group().signals();
        if is_exit(new.code) {
            let killed = SigSet::EMPTY.with(Signal::SIGKILL);
            signals.pending.discard(killed);
            if let Some(own) = signals.tasks.get_mut(&self.tid()) {
                own.pending.discard(killed);
            }
        } else if signals.has_to_end(self.tid()) {
            return false;
        }
        let stopped_by = signals.stop;
        if new.kind == StopKind::Group {
            match stopped_by {
                Some(signal) if !self.ptrace().is_seized() => {
                    (new.code, new.info) = (libc_number(signal), None);
                }
                None if !self.ptrace().is_seized() => return false,
                stopped_by => new.set_code(
                    libc_number(stopped_by.unwrap_or(Signal::SIGTRAP)) | u16::from(PTRACE_EVENT_STOP) << 8,
                ),
            }
        }
        if let Some(own) = signals.tasks.get_mut(&self.tid()) {
            own.trap = false;
            own.trap_notify &= u16::from(PTRACE_EVENT_STOP) != new.code >> 8;
            own.passed_stop |= new.kind == StopKind::Group && stopped_by.is_some();
        }
        true
    }

    fn wait_for_tracer(&self, code: u16) -> Option<Resumed> {
        let stop = loop {
            let listening = {
                let mut state = self.ptrace().state();
                let stop = state.stop.as_ref()?;
                if stop.resumed.is_some() {
                    break state.stop.take()?;
                }
                stop.listening
            };
            if self.is_woken_from_stop(code, listening) {
                let stop = self.ptrace().state().stop.take()?;
                break stop;
            }
            self.parker().park(None);
        };
        let Stop { resumed, info, registers, fpu, registers_changed, fpu_changed, .. } = *stop;
        if registers_changed {
            self.set_registers(registers);
        }
        if fpu_changed && let Err(error) = self.load_fpu(&fpu) {
            self.refuse(&error);
        }
        Some(Resumed { signal: resumed.unwrap_or(0), info })
    }

    /// Whether something else than its tracer ends the stop.
    fn is_woken_from_stop(&self, code: u16, listening: bool) -> bool {
        let signals = self.group().signals();
        let Some(own) = signals.tasks.get(&self.tid()) else { return true };
        let killed = match is_exit(code) {
            true => own.pending.set().union(signals.pending.set()).has(Signal::SIGKILL),
            false => signals.has_to_end(self.tid()),
        };
        killed || self.kernel().is_dead() || listening && own.trap_notify
    }

    /// Sends the tracer `SIGCHLD` and wakes it.
    fn tell_tracer_of_stop(&self, tree: &TaskTree, tracer: i32, stop: NewStop) {
        let Some(tracer) = tree.task(tracer) else { return };
        let quiet = tracer.actions().get(Signal::SIGCHLD).flags & SigActionFlags::SA_NOCLDSTOP.bits() != 0;
        if !quiet {
            let child = ChildInfo {
                pid: self.tid(),
                uid: self.credentials().uid,
                status: i32::from(stop.code & 0x7f),
                ..ChildInfo::default()
            };
            // A standard signal is never refused.
            let _standard = tracer.send_signal(
                SigInfo::child(Signal::SIGCHLD, stop.why, child),
                Target::Process,
                Sender::Kernel,
            );
        }
        wake_waiters(tracer);
    }

    /// Lets the tracer decide about `signal`, which was just taken (`ptrace_signal`): what is to be taken instead, if anything.
    pub(in crate::kernel) fn ask_tracer(&self, signal: Signal, info: SigInfo) -> Option<(Signal, SigInfo)> {
        let new = NewStop {
            kind: StopKind::Signal,
            code: libc_number(signal),
            info: Some(info),
            message: Some(0),
            why: SigCode::CLD_TRAPPED,
        };
        let Some(resumed) = self.stop_for_tracer(new) else { return Some((signal, info)) };
        let taken = Signal::from_raw(resumed.signal)?;
        let mut info = resumed.info.unwrap_or(info);
        if info.si_signo != taken.raw() {
            let tracer = self.kernel().tree().tracer_of(self.tid());
            info = SigInfo::kill(taken, SigCode::SI_USER, tracer.unwrap_or(0), 0);
        }
        if self.with_signals(|own| own.mask.has(taken)) {
            // It is pending again; a full queue loses it.
            let _lost = self.send_signal(info, Target::Task, Sender::Kernel);
            return None;
        }
        Some((taken, info))
    }

    /// Stops because its process is stopped by `signal`, or because its tracer wants it to (`do_jobctl_trap`). Returns whether it has a tracer.
    pub(in crate::kernel) fn stop_for_group(&self) -> bool {
        if !self.ptrace().is_traced() {
            return false;
        }
        // The code is known when it stops.
        let new = NewStop { why: SigCode::CLD_STOPPED, ..NewStop::event(self, StopKind::Group, 0, 0) };
        if self.stop_for_tracer(new).is_none() {
            self.with_signals(|own| {
                own.trap = false;
                own.trap_notify = false;
            });
        }
        true
    }

    /// Tells the tracer of `event`, if it wants to know of `option`. Returns whether it did.
    pub(in crate::kernel) fn tell_event(&self, option: PtraceOptions, event: u8, message: u64) -> bool {
        if !self.ptrace().wants(option) {
            return false;
        }
        self.stop_for_event(event, message);
        true
    }

    /// Stops with `event` (`ptrace_event`).
    pub(in crate::kernel) fn stop_for_event(&self, event: u8, message: u64) {
        let code = SIGTRAP | u16::from(event) << 8;
        let kind = match event {
            PTRACE_EVENT_SECCOMP => StopKind::Seccomp(message as u16),
            _ => StopKind::Event,
        };
        self.stopped_in_call.set(true);
        let _ignored = self.stop_for_tracer(NewStop::event(self, kind, code, message));
    }

    /// Tells the tracer that a program was executed by the task, which had the number `old_tid`.
    pub(in crate::kernel) fn tell_exec(&self, old_tid: i32) {
        if !self.ptrace().is_traced() {
            return;
        }
        self.mm().stop_patching();
        let message = u64::from(old_tid.unsigned_abs());
        if !self.tell_event(PtraceOptions::PTRACE_O_TRACEEXEC, PTRACE_EVENT_EXEC, message)
            && !self.ptrace().is_seized()
        {
            self.send_self(Signal::SIGTRAP);
        }
    }

    /// Tells the tracer that the task ends.
    pub(in crate::kernel) fn tell_end_to_tracer(&self, end: TaskEnd) {
        if self.ptrace().is_traced() {
            let message = u64::from(end.status().encode().unsigned_abs());
            let _wanted = self.tell_event(PtraceOptions::PTRACE_O_TRACEEXIT, PTRACE_EVENT_EXIT, message);
        }
    }

    /// A tracer that steps the task into a handler gets to see its first instruction.
    pub(in crate::kernel) fn stop_at_handler(&self) {
        if self.ptrace().has(Flags::STEP) {
            let _ignored = self.stop_for_tracer(NewStop::event(self, StopKind::Event, SIGTRAP, 0));
        }
    }

    /// Makes a call of which a tracer may want to know: stops before, calls `make` with what the tracer has made of it, and leaves
    /// the stop after it to [`finish_watched_call`](Self::finish_watched_call). `None` if the call was not made.
    pub(in crate::kernel) fn make_watched_call(
        &self,
        make: impl FnOnce(u64, &[u64; 6]) -> SysResult<u64>,
    ) -> Option<SysResult<u64>> {
        let emulated = self.ptrace().has(Flags::EMULATE);
        if emulated || self.ptrace().has(Flags::CALLS) {
            let _complete = self.registers();
            self.set_result(bartizan_abi::Errno::ENOSYS.to_return_value());
            self.stop_at_call(StopKind::Entry, ENTRY_MESSAGE);
            if emulated || self.group().signals().has_to_end(self.tid()) {
                self.note_work();
                return None;
            }
        }
        let (number, arguments) = self.system_call();
        // No call: the tracer has set the result.
        if i32::try_from(number.cast_signed()).is_ok_and(|number| number < 0) {
            return Some(Ok(self.registers().rax));
        }
        Some(make(number, &arguments))
    }

    /// Stops after a call, whose result is in its register. An interrupted call shows why, and the tracer may make it another result.
    pub(in crate::kernel) fn finish_watched_call(&self, result: SysResult<u64>) -> Option<Restart> {
        let value = match result {
            Ok(value) => value,
            Err(SysError::Errno(errno)) => errno.to_return_value(),
            Err(SysError::Restart(restart)) => restart.to_register(),
        };
        let _complete = self.registers();
        self.set_result(value);
        if self.ptrace().has(Flags::CALLS) {
            self.stop_at_call(StopKind::Exit, EXIT_MESSAGE);
        } else if self.ptrace().has(Flags::STEP) {
            let rip = self.instruction_pointer();
            self.force_signal(SigInfo::fault(Signal::SIGTRAP, SigCode::TRAP_BRKPT, rip));
        }
        matches!(result, Err(SysError::Restart(_))).then(|| self.shown_restart()).flatten()
    }

    fn stop_at_call(&self, kind: StopKind, message: u64) {
        let good = self.ptrace().wants(PtraceOptions::PTRACE_O_TRACESYSGOOD);
        let code = SIGTRAP | if good { CALL_MARK } else { 0 };
        let Some(resumed) = self.stop_for_tracer(NewStop::event(self, kind, code, message)) else { return };
        if let Some(signal) = Signal::from_raw(resumed.signal) {
            let info = SigInfo::kernel(signal);
            // A full queue loses it.
            let _lost = self.send_signal(info, Target::Task, Sender::Kernel);
        }
    }

    /// Shows the tracer, in the registers, that a call was interrupted.
    pub(in crate::kernel) fn show_restart(&self, restart: Restart) {
        let _complete = self.registers();
        self.set_result(restart.to_register());
    }

    /// How the call that the registers show was interrupted, if it was.
    pub(in crate::kernel) fn shown_restart(&self) -> Option<Restart> {
        let registers = self.registers();
        if registers.orig_rax.cast_signed() < 0 { None } else { Restart::from_register(registers.rax) }
    }
}

fn is_exit(code: u16) -> bool {
    code >> 8 == u16::from(PTRACE_EVENT_EXIT)
}
