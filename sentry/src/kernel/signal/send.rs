//! Sending signals.

use std::sync::Arc;

use bartizan_abi::process::{Capability, Resource, WaitStatus};
use bartizan_abi::signal::{DefaultAction, SIG_DFL, SIG_IGN, SigAction, SigCode, SigInfo, SigSet, Signal};
use bartizan_abi::{Errno, PollEvents};

use super::GroupSignals;
use crate::kernel::tree::INIT;
use crate::kernel::{Credentials, CurrentTask, Task, ThreadGroup};

/// To whom a signal goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Whichever task of the process takes it.
    Process,
    /// This task alone.
    Task,
}

/// Who sends a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The kernel, or the host: nobody is protected.
    Kernel,
    /// A process of the sandbox: the first process is protected from signals without handlers.
    Guest,
}

impl Task {
    /// Sends a signal to this task or to its process.
    ///
    /// # Errors
    /// `EAGAIN` when a real-time signal does not fit into the queue.
    pub fn send_signal(&self, info: SigInfo, target: Target, sender: Sender) -> Result<(), Errno> {
        let Some(signal) = info.signal() else { return Ok(()) };
        let info = self.as_told(info);
        let group = self.group();
        let mut signals = group.signals();
        if signals.exit.is_some() && signal != Signal::SIGKILL {
            return Ok(());
        }
        self.prepare(&mut signals, signal);
        if self.drops(&signals, signal, target, sender) {
            return Ok(());
        }
        if group.pid() == INIT {
            signals.protect(signal, sender);
        }
        let limit = group.limits().soft(Resource::RLIMIT_SIGPENDING);
        let full = signals.queued() as u64 >= limit;
        let queue = match target {
            Target::Process => &mut signals.pending,
            Target::Task => match signals.tasks.get_mut(&self.tid()) {
                Some(task) => &mut task.pending,
                None => return Ok(()),
            },
        };
        if full && signal.is_realtime() {
            if info.code() != SigCode::SI_USER {
                return Err(Errno::EAGAIN);
            }
            queue.push_bare(signal);
        } else {
            queue.push(signal, info);
        }
        if signal == Signal::SIGKILL {
            // One that tells its tracer of its end goes on.
            if signals.exit.is_some() {
                signals.wake_all();
            }
            signals.begin_exit(WaitStatus::Signaled { signal, core_dumped: false });
            return Ok(());
        }
        let chosen = match target {
            Target::Task => Some(self.tid()),
            Target::Process => choose(&signals, self.tid(), signal),
        };
        drop(signals);
        group.signal_events().notify(PollEvents::READABLE);
        if let Some(task) = chosen.and_then(|tid| self.sibling(tid)) {
            task.set_work();
        }
        Ok(())
    }

    /// `info` with the ids that the sender has in the namespaces of this task.
    fn as_told(&self, mut info: SigInfo) -> SigInfo {
        let ids = self.user_namespace();
        if !ids.is_initial() && info.has_sender() {
            info.set_sender(info.pid(), ids.uid(info.uid()));
        }
        info
    }

    /// What happens to pending signals and to a stop before the signal itself is looked at (`prepare_signal`).
    fn prepare(&self, signals: &mut GroupSignals, signal: Signal) {
        let discard = |signals: &mut GroupSignals, unwanted: SigSet| {
            signals.pending.discard(unwanted);
            for task in signals.tasks.values_mut() {
                task.pending.discard(unwanted);
            }
        };
        if SigSet::STOP.has(signal) {
            discard(signals, SigSet::EMPTY.with(Signal::SIGCONT));
        } else if signal == Signal::SIGCONT || signal == Signal::SIGKILL {
            if signal == Signal::SIGCONT {
                discard(signals, SigSet::STOP);
            }
            signals.stop_taken = false;
            if signals.stop.take().is_some() {
                signals.tell_continued = signal == Signal::SIGCONT && signals.stop_told;
                signals.stop_told = false;
                for task in signals.tasks.values_mut() {
                    task.stopped = false;
                    task.passed_stop = false;
                    task.trap_notify |= task.owner.upgrade().is_some_and(|task| task.ptrace().is_seized());
                }
                signals.wake_all();
            }
        }
    }

    /// Whether nobody would ever notice the signal (`sig_ignored`).
    fn drops(&self, signals: &GroupSignals, signal: Signal, target: Target, sender: Sender) -> bool {
        let blocked = match target {
            Target::Task => signals.tasks.get(&self.tid()).is_some_and(|task| holds(task, signal)),
            Target::Process => signals.tasks.values().any(|task| holds(task, signal)),
        };
        if blocked || self.ptrace().is_traced() {
            return false;
        }
        let actions = self.actions();
        let unhandled = actions.get(signal).handler == SIG_DFL;
        unhandled && self.group().pid() == INIT && sender == Sender::Guest || actions.ignores(signal)
    }

    /// Another task of the group by number, or this one.
    fn sibling(&self, tid: i32) -> Option<Arc<Task>> {
        self.group_task(tid)
    }
}

/// Whether a task blocks a signal or waits for it.
fn holds(task: &super::TaskSignals, signal: Signal) -> bool {
    task.mask.has(signal) || task.waiting_for.has(signal)
}

/// Which task takes a signal for the group: `preferred` if it can, else any.
fn choose(signals: &GroupSignals, preferred: i32, signal: Signal) -> Option<i32> {
    let wants = |task: &super::TaskSignals| {
        (!task.mask.has(signal) || task.waiting_for.has(signal)) && !task.stopped && !task.die
    };
    match signals.tasks.get(&preferred) {
        Some(task) if wants(task) => Some(preferred),
        _ => signals.tasks.iter().find(|(_, task)| wants(task)).map(|(&tid, _)| tid),
    }
}

impl GroupSignals {
    /// Ends all tasks with `status`, unless they are ending already.
    pub fn begin_exit(&mut self, status: WaitStatus) {
        if self.exit.is_none() {
            self.exit = Some(status);
            self.wake_all();
        }
    }

    /// How many signals are queued for the group and all its tasks, which `RLIMIT_SIGPENDING` bounds.
    fn queued(&self) -> usize {
        self.pending.len() + self.tasks.values().map(|task| task.pending.len()).sum::<usize>()
    }

    /// Notes who has sent a signal to the first process, so that one of a guest does nothing if it has no handler when it is taken.
    fn protect(&mut self, signal: Signal, sender: Sender) {
        match sender {
            Sender::Guest if !signal.is_unstoppable() => self.harmless.insert(signal),
            Sender::Guest | Sender::Kernel => self.harmless.remove(signal),
        }
    }
}

impl ThreadGroup {
    /// Ends all tasks of the group with `status`, unless they are ending already.
    pub fn begin_exit(&self, status: WaitStatus) {
        self.signals().begin_exit(status);
    }

    /// Has a child that a task of the group is forking get `signal` as well, which was sent to the whole process group.
    pub fn tell_forked(&self, signal: Signal) {
        for task in self.signals().tasks.values_mut() {
            if let Some(set) = &mut task.forking {
                // A stop undoes a continuation, and the other way round.
                match signal {
                    Signal::SIGCONT => *set = set.difference(SigSet::STOP),
                    stop if SigSet::STOP.has(stop) => set.remove(Signal::SIGCONT),
                    _ => {}
                }
                set.insert(signal);
            }
        }
    }
}

impl CurrentTask {
    /// Sends the caller a signal as the kernel does for what the caller did (`SIGPIPE`, `SIGXFSZ`).
    pub fn send_self(&self, signal: Signal) {
        // Only real-time signals can be refused.
        let info = SigInfo::kill(signal, SigCode::SI_USER, self.pid(), self.credentials().uid);
        let _standard = self.send_signal(info, Target::Task, Sender::Kernel);
    }

    /// Sends the caller a signal for an instruction that it executed: if it is blocked or ignored, the default action is taken all the same
    /// (`force_sig_info`).
    pub fn force_signal(&self, info: SigInfo) {
        let Some(signal) = info.signal() else { return };
        {
            let mut signals = self.group().signals();
            if let Some(task) = signals.tasks.get_mut(&self.tid()) {
                let blocked = task.mask.has(signal);
                task.mask.remove(signal);
                let mut action = self.actions().get(signal);
                if blocked || action.handler == SIG_IGN {
                    action.handler = SIG_DFL;
                    self.actions().set(signal, action);
                }
                task.pending.push(signal, info);
            }
            signals.harmless.remove(signal);
        }
        self.note_work();
    }

    /// As [`force_signal`](Self::force_signal), whatever handler there is (`force_fatal_sig`).
    pub fn force_fatal_signal(&self, signal: Signal) {
        self.actions().set(signal, SigAction::default());
        self.force_signal(SigInfo::kernel(signal));
    }
}

/// Whether a holder of `sender` may send `signal` to a holder of `target` (`kill(2)`).
pub fn may_signal(sender: &Credentials, target: &Credentials) -> bool {
    let ids = [target.suid, target.uid];
    ids.contains(&sender.euid)
        || ids.contains(&sender.uid)
        || sender.has_capability_in(Capability::CAP_KILL, &target.user_namespace)
}

/// Whether `signal` ends a process that does nothing about it.
pub fn is_fatal_by_default(signal: Signal) -> bool {
    matches!(signal.default_action(), DefaultAction::Terminate | DefaultAction::Core)
}
