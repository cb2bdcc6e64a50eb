//! Signal masks, and taking signals out of order.

use bartizan_abi::signal::{SigInfo, SigSet, Signal};

use crate::kernel::CurrentTask;

impl CurrentTask {
    /// Replaces the mask of the task. What becomes deliverable is delivered before guest code runs.
    pub fn set_signal_mask(&self, mask: SigSet) {
        self.with_signals(|task| task.mask = mask.difference(SigSet::UNBLOCKABLE));
        self.set_work();
    }

    /// Replaces the mask until a signal has been delivered or the call returns (`sigsuspend`, `ppoll`, `pselect`, `epoll_pwait`).
    pub fn replace_mask_until_delivery(&self, mask: SigSet) {
        self.with_signals(|task| {
            task.saved_mask.get_or_insert(task.mask);
            task.mask = mask.difference(SigSet::UNBLOCKABLE);
        });
        self.set_work();
    }

    /// Comes back to the mask from before [`replace_mask_until_delivery`](Self::replace_mask_until_delivery), for a call that returns
    /// without having been interrupted.
    pub fn restore_mask(&self) {
        self.with_signals(|task| {
            if let Some(mask) = task.saved_mask.take() {
                task.mask = mask;
            }
        });
        self.set_work();
    }

    /// Takes a pending signal of `wanted`, blocked or not (`sigtimedwait`, `signalfd`).
    pub fn take_signal_of(&self, wanted: SigSet) -> Option<(Signal, SigInfo)> {
        let mut signals = self.group().signals();
        let own = signals.tasks.get_mut(&self.tid())?.pending.take(wanted);
        own.or_else(|| signals.pending.take(wanted))
    }

    /// Drops pending instances of a signal that is ignored from now on.
    pub fn discard_signal(&self, signal: Signal) {
        let unwanted = SigSet::EMPTY.with(signal);
        let mut signals = self.group().signals();
        signals.pending.discard(unwanted);
        for task in signals.tasks.values_mut() {
            task.pending.discard(unwanted);
        }
    }
}
