//! Signals, as `signal(7)` has them.
//!
//! Everything about the signals of a process lies in [`GroupSignals`] under the one lock of its thread group. A task learns that there is something for
//! it from its `work` flag, which is set whenever its own state or the group's changes in a way that may concern it, and looks before it
//! goes back to guest code and before it sleeps.

mod actions;
mod deliver;
mod frame;
mod mask;
mod queue;
mod send;
mod stop;

use std::collections::BTreeMap;
use std::sync::Weak;

use bartizan_abi::process::WaitStatus;
use bartizan_abi::signal::{SigSet, Signal, StackT};

pub use actions::SignalActions;
pub use frame::LastFault;
pub use queue::SignalQueue;
pub use send::{Sender, Target, is_fatal_by_default, may_signal};
pub(super) use stop::wake_waiters;

use super::Task;

/// The signal state of a thread group and its tasks, guarded by the group's lock.
#[derive(Debug, Default)]
pub struct GroupSignals {
    /// Signals for whichever task takes them.
    pub pending: SignalQueue,
    /// What each task has of its own, by task number.
    pub tasks: BTreeMap<i32, TaskSignals>,
    /// All tasks have to end, with this status.
    pub exit: Option<WaitStatus>,
    /// All tasks have to stop, or have stopped, because of this signal.
    pub stop: Option<Signal>,
    /// Whether the stop has been told to the parent.
    pub stop_told: bool,
    /// Whether the parent has to be told that the group goes on.
    pub tell_continued: bool,
    /// Whether a task has taken a signal that stops, and no `SIGCONT` has come since (`JOBCTL_STOP_DEQUEUED`).
    pub stop_taken: bool,
    /// What only guests have sent to the first process of a sandbox, which is protected from it.
    pub harmless: SigSet,
}

/// The signal state of one task.
#[derive(Debug, Default)]
pub struct TaskSignals {
    /// Signals that do not reach it now.
    pub mask: SigSet,
    /// The mask to come back to after the next delivery or return (`rt_sigsuspend`, `ppoll`).
    pub saved_mask: Option<SigSet>,
    /// Signals for this task alone.
    pub pending: SignalQueue,
    /// What it waits for in `rt_sigtimedwait`: not delivered to others, though blocked.
    pub waiting_for: SigSet,
    /// Whether it stands still because of a stop.
    pub stopped: bool,
    /// Whether it has to stop for its tracer (`JOBCTL_TRAP_STOP`).
    pub trap: bool,
    /// Whether its tracer has to hear that its process has stopped or goes on (`JOBCTL_TRAP_NOTIFY`).
    pub trap_notify: bool,
    /// Whether its tracer has let it go on although its process is stopped.
    pub passed_stop: bool,
    /// Whether it has to end alone, because another task executes a program.
    pub die: bool,
    /// While it forks: what was sent to its whole process group meanwhile, which the child gets as well.
    pub forking: Option<SigSet>,
    /// Its alternate stack.
    pub stack: StackT,
    /// The task itself.
    pub owner: Weak<Task>,
}

impl GroupSignals {
    /// Replaces the mask of task `tid`. What the task could have taken for the group and now blocks is left to others.
    pub fn set_mask(&mut self, tid: i32, mask: SigSet) {
        let Some(task) = self.tasks.get_mut(&tid) else { return };
        let mask = mask.difference(SigSet::UNBLOCKABLE);
        let blocked = mask.difference(task.mask);
        task.mask = mask;
        self.hand_over(tid, blocked);
    }

    /// Makes other tasks than `tid` look at signals of `which` that are pending for the group (`retarget_shared_pending`).
    pub fn hand_over(&self, tid: i32, which: SigSet) {
        let pending = self.pending.set().intersection(which);
        if pending.is_empty() {
            return;
        }
        let takers = self
            .tasks
            .iter()
            .filter(|(other, task)| **other != tid && !pending.difference(task.mask).is_empty());
        for task in takers.filter_map(|(_, task)| task.owner.upgrade()) {
            task.set_work();
        }
    }
    /// Makes all tasks look at their signals.
    pub fn wake_all(&self) {
        for task in self.tasks.values().filter_map(|task| task.owner.upgrade()) {
            task.set_work();
        }
    }

    /// The signals that task `tid` could take now.
    pub fn deliverable(&self, tid: i32) -> SigSet {
        self.tasks
            .get(&tid)
            .map_or(SigSet::EMPTY, |task| task.pending.set().union(self.pending.set()).difference(task.mask))
    }

    /// Whether task `tid` has to end.
    pub fn has_to_end(&self, tid: i32) -> bool {
        self.exit.is_some() || self.tasks.get(&tid).is_some_and(|task| task.die)
    }

    /// Whether task `tid` has something to do before it may run or sleep.
    pub fn has_work(&self, tid: i32) -> bool {
        let task = self.tasks.get(&tid);
        self.exit.is_some()
            || self.tell_continued
            || task.is_some_and(|task| {
                let stops = self.stop.is_some() && !task.stopped && !task.passed_stop;
                task.die || task.trap || task.trap_notify || stops
            })
            || !self.deliverable(tid).is_empty()
    }
}
