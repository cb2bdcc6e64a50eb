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
    /// Whether it has to end alone, because another task executes a program.
    pub die: bool,
    /// Its alternate stack.
    pub stack: StackT,
    /// The task itself.
    pub owner: Weak<Task>,
}

impl GroupSignals {
    /// The signals that task `tid` could take now.
    pub fn deliverable(&self, tid: i32) -> SigSet {
        self.tasks
            .get(&tid)
            .map_or(SigSet::EMPTY, |task| task.pending.set().union(self.pending.set()).difference(task.mask))
    }

    /// Whether task `tid` has something to do before it may run or sleep.
    pub fn has_work(&self, tid: i32) -> bool {
        let task = self.tasks.get(&tid);
        self.exit.is_some()
            || self.tell_continued
            || task.is_some_and(|task| task.die || self.stop.is_some() && !task.stopped)
            || !self.deliverable(tid).is_empty()
    }
}
