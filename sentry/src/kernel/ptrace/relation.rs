//! How tasks become tracees, and how they are let go.

use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_abi::process::CloneFlags;
use bartizan_abi::process::ptrace::{
    PTRACE_EVENT_CLONE, PTRACE_EVENT_FORK, PTRACE_EVENT_VFORK, PtraceOptions,
};
use bartizan_abi::signal::{SigInfo, Signal};

use super::{AccessMode, DebugRegisters, Flags};
use crate::kernel::signal::{Sender, Target};
use crate::kernel::tree::TaskTree;
use crate::kernel::{CloneRequest, CurrentTask, Task};

/// How a task is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeizeMode {
    /// `PTRACE_ATTACH`: it gets a `SIGSTOP`.
    Attach,
    /// `PTRACE_SEIZE` with these options: it goes on.
    Seize(PtraceOptions),
}

impl CurrentTask {
    /// `PTRACE_TRACEME`.
    ///
    /// # Errors
    /// `EPERM` with a tracer already, or with a parent that may not trace the caller.
    pub fn trace_me(&self) -> Result<(), Errno> {
        let mut tree = self.kernel().tree();
        if tree.tracer_of(self.tid()).is_some() {
            return Err(Errno::EPERM);
        }
        let tracer = tree.parent_task(self.pid()).cloned().ok_or(Errno::EPERM)?;
        let (theirs, own) = (tracer.credentials(), self.credentials());
        let may = theirs.user_namespace == own.user_namespace && theirs.permitted.contains(own.permitted)
            || theirs.has_capability_in(bartizan_abi::Capability::CAP_SYS_PTRACE, &own.user_namespace);
        if !may {
            return Err(Errno::EPERM);
        }
        self.link(&mut tree, tracer.tid(), PtraceOptions::empty(), Flags::empty());
        drop(tree);
        self.mm().stop_patching();
        Ok(())
    }

    /// `PTRACE_ATTACH`, `PTRACE_SEIZE`: makes task `tid` a tracee of the caller.
    ///
    /// # Errors
    /// `ESRCH` without such a task; `EPERM` if it may not be traced, is of the caller's own process or has a tracer.
    pub fn attach_to(&self, tid: i32, mode: SeizeMode) -> Result<(), Errno> {
        let task = self.kernel().tree().task(tid).cloned().ok_or(Errno::ESRCH)?;
        if task.pid() == self.pid() || !self.may_trace(&task, AccessMode::Real) {
            return Err(Errno::EPERM);
        }
        let memory = task.memory().ok_or(Errno::EPERM)?;
        {
            let mut tree = self.kernel().tree();
            let alive = tree.task(tid).is_some_and(|known| Arc::ptr_eq(known, &task));
            if !alive || tree.tracer_of(tid).is_some() {
                return Err(Errno::EPERM);
            }
            let (options, flags) = match mode {
                SeizeMode::Attach => (PtraceOptions::empty(), Flags::empty()),
                SeizeMode::Seize(options) => (options, Flags::SEIZED),
            };
            task.link(&mut tree, self.tid(), options, flags);
        }
        memory.stop_patching();
        if mode == SeizeMode::Attach {
            // A standard signal is never refused.
            let _standard = task.send_signal(SigInfo::kernel(Signal::SIGSTOP), Target::Task, Sender::Kernel);
        }
        // One that is stopped already stops for its tracer now.
        task.set_work();
        Ok(())
    }

    /// Makes `child`, which does not run yet, a tracee of the caller's tracer if that wants it. Returns the event that the tracer is told.
    pub(in crate::kernel) fn share_tracer(&self, child: &Task, request: &CloneRequest) -> Option<u8> {
        if !self.ptrace().is_traced() {
            return None;
        }
        let (options, debug) = {
            let state = self.ptrace().state();
            (state.options, state.debug)
        };
        let event = traceable_event(request, options);
        if event.is_none() && !request.flags.contains(CloneFlags::CLONE_PTRACE) {
            return None;
        }
        let mut tree = self.kernel().tree();
        let tracer = tree.tracer_of(self.tid())?;
        let seized = self.ptrace().is_seized();
        child.link(&mut tree, tracer, options, if seized { Flags::SEIZED } else { Flags::empty() });
        if request.flags.contains(CloneFlags::CLONE_THREAD) {
            child.set_debug_registers(debug);
        }
        let mut signals = child.group().signals();
        if let Some(own) = signals.tasks.get_mut(&child.tid()) {
            if seized {
                own.trap = true;
            } else {
                own.pending.push(
                    Signal::SIGSTOP,
                    SigInfo::kill(Signal::SIGSTOP, bartizan_abi::signal::SigCode::SI_USER, 0, 0),
                );
            }
        }
        event
    }

    /// `PTRACE_DETACH` of a tracee that has stopped: it goes on with `signal`.
    pub(super) fn detach_from(&self, tracee: &Task, signal: i32) {
        tracee.detach(&mut self.kernel().tree(), Some(signal));
    }
}

/// Which event a tracer with `options` is told of this clone.
pub fn traceable_event(request: &CloneRequest, options: PtraceOptions) -> Option<u8> {
    if request.flags.contains(CloneFlags::CLONE_UNTRACED) {
        return None;
    }
    let (option, event) = if request.flags.contains(CloneFlags::CLONE_VFORK) {
        (PtraceOptions::PTRACE_O_TRACEVFORK, PTRACE_EVENT_VFORK)
    } else if request.exit_signal != Some(Signal::SIGCHLD) {
        (PtraceOptions::PTRACE_O_TRACECLONE, PTRACE_EVENT_CLONE)
    } else {
        (PtraceOptions::PTRACE_O_TRACEFORK, PTRACE_EVENT_FORK)
    };
    options.contains(option).then_some(event)
}

impl Task {
    /// Notes that `tracer` traces this task.
    fn link(&self, tree: &mut TaskTree, tracer: i32, options: PtraceOptions, flags: Flags) {
        tree.add_tracing(self.tid(), tracer);
        let mut state = self.ptrace().state();
        state.options = options;
        state.message = 0;
        self.ptrace().set(Flags::TRACED | flags);
    }

    /// Lets this task, a tracee, go on without its tracer: with `signal` instead of the one that it stopped for; without one said, with that signal unless
    /// the tracer has heard of it.
    pub(super) fn detach(&self, tree: &mut TaskTree, signal: Option<i32>) {
        tree.remove_tracing(self.tid());
        {
            let mut state = self.ptrace().state();
            state.options = PtraceOptions::empty();
            state.debug = DebugRegisters::default();
            self.set_trace_mode(Flags::empty());
            self.ptrace().clear(Flags::TRACED | Flags::SEIZED | Flags::BREAKPOINTS);
            if let Some(stop) = &mut state.stop {
                let own = if stop.told { 0 } else { i32::from(stop.code & 0x7f) };
                stop.resumed.get_or_insert(signal.unwrap_or(own));
            }
        }
        {
            let mut signals = self.group().signals();
            // If its process is stopped, so is the task from now on.
            if let Some(own) = signals.tasks.get_mut(&self.tid()) {
                own.passed_stop = false;
                own.trap = false;
                own.trap_notify = false;
            }
        }
        self.set_work();
    }

    /// Replaces the debug registers.
    pub(super) fn set_debug_registers(&self, debug: DebugRegisters) {
        self.ptrace().state().debug = debug;
        self.note_breakpoints(&debug);
    }

    /// Has the task looked at after each instruction as long as there are breakpoints.
    pub(super) fn note_breakpoints(&self, debug: &DebugRegisters) {
        match debug.is_armed() {
            true => self.ptrace().set(Flags::BREAKPOINTS),
            false => self.ptrace().clear(Flags::BREAKPOINTS),
        }
    }
}
