//! Signals that are pending.

use std::collections::VecDeque;

use bartizan_abi::signal::{SigCode, SigInfo, SigSet, Signal};

/// The pending signals of a task or of a thread group (`struct sigpending`).
///
/// Standard signals are pending at most once; real-time signals queue in the order of their sending.
#[derive(Debug, Default)]
pub struct SignalQueue {
    set: SigSet,
    queue: VecDeque<SigInfo>,
}

impl SignalQueue {
    /// Which signals are pending.
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// How many entries are queued, which `RLIMIT_SIGPENDING` bounds.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a signal. Returns whether it was not pending before or is a real-time signal, that is, whether anything changed.
    pub fn push(&mut self, signal: Signal, info: SigInfo) -> bool {
        if !signal.is_realtime() && self.set.has(signal) {
            return false;
        }
        self.set.insert(signal);
        self.queue.push_back(info);
        true
    }

    /// Makes a signal pending without its information, where the queue is full: it will be delivered as if sent by nobody.
    pub fn push_bare(&mut self, signal: Signal) {
        self.set.insert(signal);
    }

    /// Takes the next signal of `wanted`: synchronous ones first, then the lowest number, of equals the oldest.
    pub fn take(&mut self, wanted: SigSet) -> Option<(Signal, SigInfo)> {
        let ready = self.set.intersection(wanted);
        let signal = ready.intersection(SigSet::SYNCHRONOUS).first().or_else(|| ready.first())?;
        let position = self.queue.iter().position(|info| info.si_signo == signal.raw());
        let info = match position.and_then(|position| self.queue.remove(position)) {
            Some(info) => info,
            None => SigInfo::kill(signal, SigCode::SI_USER, 0, 0),
        };
        if !self.queue.iter().any(|info| info.si_signo == signal.raw()) {
            self.set.remove(signal);
        }
        Some((signal, info))
    }

    /// What is queued, oldest first.
    pub fn queued(&self) -> impl Iterator<Item = &SigInfo> {
        self.queue.iter()
    }

    /// Calls `change` with what comes with queued signals until it says that it was the right one; whether it said so.
    pub fn change_queued(&mut self, change: impl FnMut(&mut SigInfo) -> bool) -> bool {
        self.queue.iter_mut().any(change)
    }

    /// Drops all pending signals of `unwanted`.
    pub fn discard(&mut self, unwanted: SigSet) {
        if self.set.intersection(unwanted).is_empty() {
            return;
        }
        self.set = self.set.difference(unwanted);
        let set = self.set;
        self.queue.retain(|info| info.signal().is_some_and(|signal| set.has(signal)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(signal: Signal, pid: i32) -> SigInfo {
        SigInfo::kill(signal, SigCode::SI_USER, pid, 0)
    }

    #[test]
    fn standard_signals_are_pending_once_and_realtime_ones_queue_in_order() {
        let realtime = Signal::from_raw(40).expect("40 is a signal");
        let mut queue = SignalQueue::default();
        assert!(queue.push(realtime, user(realtime, 1)));
        assert!(queue.push(Signal::SIGUSR1, user(Signal::SIGUSR1, 2)));
        assert!(!queue.push(Signal::SIGUSR1, user(Signal::SIGUSR1, 3)));
        assert!(queue.push(realtime, user(realtime, 4)));
        let taken: Vec<i32> =
            std::iter::from_fn(|| queue.take(SigSet::FULL)).map(|(_, info)| info.pid()).collect();
        assert_eq!(taken, [2, 1, 4]);
        assert!(queue.set().is_empty());
    }

    #[test]
    fn synchronous_signals_come_first() {
        let mut queue = SignalQueue::default();
        queue.push(Signal::SIGHUP, user(Signal::SIGHUP, 1));
        queue.push(Signal::SIGSEGV, user(Signal::SIGSEGV, 2));
        assert_eq!(queue.take(SigSet::FULL).map(|(signal, _)| signal), Some(Signal::SIGSEGV));
    }
}
