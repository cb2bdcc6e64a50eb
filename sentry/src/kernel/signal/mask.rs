//! Signal masks, and taking signals out of order.

use bartizan_abi::signal::{SigInfo, SigSet, Signal};

use crate::kernel::CurrentTask;

impl CurrentTask {
    /// Replaces the mask of the task. What becomes deliverable is delivered before guest code runs.
    pub fn set_signal_mask(&self, mask: SigSet) {
        self.group().signals().set_mask(self.tid(), mask);
        self.look_for_signals();
    }

    /// Replaces the mask until a signal has been delivered or the call returns (`sigsuspend`, `ppoll`, `pselect`, `epoll_pwait`).
    pub fn replace_mask_until_delivery(&self, mask: SigSet) {
        {
            let mut signals = self.group().signals();
            if let Some(task) = signals.tasks.get_mut(&self.tid()) {
                task.saved_mask.get_or_insert(task.mask);
            }
            signals.set_mask(self.tid(), mask);
        }
        self.look_for_signals();
    }

    /// Comes back to the mask from before [`replace_mask_until_delivery`](Self::replace_mask_until_delivery), if no handler's return
    /// will.
    pub fn restore_mask(&self) {
        {
            let mut signals = self.group().signals();
            let saved = signals.tasks.get_mut(&self.tid()).and_then(|task| task.saved_mask.take());
            let Some(saved) = saved else { return };
            signals.set_mask(self.tid(), saved);
        }
        self.look_for_signals();
    }

    /// Notes what has become deliverable.
    fn look_for_signals(&self) {
        if self.group().signals().has_work(self.tid()) {
            self.note_work();
        }
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
