//! Sending signals.

use std::sync::Arc;

use bartizan_abi::process::{Capability, Resource, WaitStatus};
use bartizan_abi::signal::{DefaultAction, SIG_DFL, SigCode, SigInfo, SigSet, Signal};
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
        let group = self.group();
        let mut signals = group.signals();
        if signals.exit.is_some() && signal != Signal::SIGKILL {
            return Ok(());
        }
        self.prepare(&mut signals, signal);
        if self.drops(&signals, signal, target, sender) {
            return Ok(());
        }
        let limit = group.limits().soft(Resource::RLIMIT_SIGPENDING);
        let full = signals.pending.len() as u64 >= limit;
        let queue = match target {
            Target::Process => &mut signals.pending,
            Target::Task => match signals.tasks.get_mut(&self.tid()) {
                Some(task) => &mut task.pending,
                None => return Ok(()),
            },
        };
        if full && signal.is_realtime() {
            if info.code() != SigCode::SI_USER && info.code().0 < 0 {
                return Err(Errno::EAGAIN);
            }
            queue.push_bare(signal);
        } else {
            queue.push(signal, info);
        }
        if signal == Signal::SIGKILL {
            let core_dumped = false;
            signals.exit.get_or_insert(WaitStatus::Signaled { signal, core_dumped });
            // Not by the tree, whose lock the caller may hold.
            self.wake_all_of(&signals);
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
            if signals.stop.take().is_some() {
                signals.tell_continued = signal == Signal::SIGCONT && signals.stop_told;
                signals.stop_told = false;
                for task in signals.tasks.values_mut() {
                    task.stopped = false;
                }
                self.wake_all_of(signals);
            }
        }
    }

    /// Whether nobody would ever notice the signal (`sig_ignored`).
    fn drops(&self, signals: &GroupSignals, signal: Signal, target: Target, sender: Sender) -> bool {
        let blocked = match target {
            Target::Task => signals.tasks.get(&self.tid()).is_some_and(|task| holds(task, signal)),
            Target::Process => signals.tasks.values().any(|task| holds(task, signal)),
        };
        if blocked {
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

impl ThreadGroup {
    /// Ends all tasks of the group with `status`, unless they are ending already. The caller wakes them.
    pub fn begin_exit(&self, status: WaitStatus) {
        self.signals().exit.get_or_insert(status);
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
                if blocked || action.handler == bartizan_abi::signal::SIG_IGN {
                    action.handler = SIG_DFL;
                    self.actions().set(signal, action);
                }
                task.pending.push(signal, info);
            }
        }
        self.set_work();
    }
}

/// Whether a holder of `sender` may send `signal` to a holder of `target` (`kill(2)`).
pub fn may_signal(sender: &Credentials, target: &Credentials) -> bool {
    let ids = [target.suid, target.uid];
    ids.contains(&sender.euid) || ids.contains(&sender.uid) || sender.has_capability(Capability::CAP_KILL)
}

/// Whether `signal` ends a process that does nothing about it.
pub fn is_fatal_by_default(signal: Signal) -> bool {
    matches!(signal.default_action(), DefaultAction::Terminate | DefaultAction::Core)
}
