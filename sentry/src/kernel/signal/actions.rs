//! What a process does with each signal (`struct sighand_struct`).

use bartizan_abi::signal::{DefaultAction, SIG_DFL, SIG_IGN, SigAction, SigActionFlags, Signal};

use crate::sync::{LockClass, Mutex};

/// The actions for all signals, shared by tasks that were cloned with `CLONE_SIGHAND`.
#[derive(Debug)]
pub struct SignalActions {
    table: Mutex<[SigAction; Signal::COUNT as usize]>,
}

impl Default for SignalActions {
    fn default() -> Self {
        Self::with([SigAction::default(); Signal::COUNT as usize])
    }
}

impl SignalActions {
    fn with(table: [SigAction; Signal::COUNT as usize]) -> Self {
        Self { table: Mutex::new(LockClass::SignalActions, table) }
    }

    /// A copy, for a child that does not share them.
    pub fn duplicate(&self) -> Self {
        Self::with(*self.table.lock())
    }

    /// The copy for a program that is executed: handlers become the default, what is ignored stays so.
    pub fn for_exec(&self) -> Self {
        let mut table = *self.table.lock();
        for action in &mut table {
            *action = SigAction {
                handler: if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL },
                ..SigAction::default()
            };
        }
        Self::with(table)
    }

    /// The action for `signal`.
    pub fn get(&self, signal: Signal) -> SigAction {
        self.table.lock()[signal.index()]
    }

    /// Replaces the action for `signal` and returns the old one.
    pub fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.table.lock()[signal.index()], action)
    }

    /// Whether `signal` would be dropped: ignored, or ignored by default.
    pub fn ignores(&self, signal: Signal) -> bool {
        let handler = self.get(signal).handler;
        handler == SIG_IGN || handler == SIG_DFL && signal.default_action() == DefaultAction::Ignore
    }

    /// Whether `signal` has a handler.
    pub fn handles(&self, signal: Signal) -> bool {
        let handler = self.get(signal).handler;
        handler != SIG_DFL && handler != SIG_IGN
    }

    /// Whether the end of children is not to be waited for: `SIGCHLD` ignored, or `SA_NOCLDWAIT`.
    pub fn reaps_children(&self) -> bool {
        let action = self.get(Signal::SIGCHLD);
        action.handler == SIG_IGN || action.flags & SigActionFlags::SA_NOCLDWAIT.bits() != 0
    }
}
