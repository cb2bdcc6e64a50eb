//! Sets of signals.

use std::ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, Not};

use super::Signal;
use crate::macros::abi_enum;

/// `sigset_t` of the kernel: bit `n - 1` is signal `n`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
)]
#[repr(transparent)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: Self = Self(0);
    /// All signals.
    pub const FULL: Self = Self(u64::MAX);
    /// `SIGKILL` and `SIGSTOP`, which cannot be blocked.
    pub const UNBLOCKABLE: Self = Self::EMPTY.with(Signal::SIGKILL).with(Signal::SIGSTOP);
    /// What the processor raises for an instruction; delivered before all others.
    pub const SYNCHRONOUS: Self = Self::EMPTY
        .with(Signal::SIGSEGV)
        .with(Signal::SIGBUS)
        .with(Signal::SIGILL)
        .with(Signal::SIGTRAP)
        .with(Signal::SIGFPE)
        .with(Signal::SIGSYS);
    /// What stops a process by default.
    pub const STOP: Self =
        Self::EMPTY.with(Signal::SIGSTOP).with(Signal::SIGTSTP).with(Signal::SIGTTIN).with(Signal::SIGTTOU);

    /// The size that system calls with a `sigsetsize` want, bytes.
    pub const SIZE: u64 = size_of::<Self>() as u64;

    const fn bit(signal: Signal) -> u64 {
        1 << signal.index()
    }

    /// The bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it holds this one.
    pub const fn has(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set with this one as well.
    pub const fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::bit(signal))
    }

    /// The set without this one.
    pub const fn without(self, signal: Signal) -> Self {
        Self(self.0 & !Self::bit(signal))
    }

    /// Adds this one.
    pub fn insert(&mut self, signal: Signal) {
        *self = self.with(signal);
    }

    /// Removes this one.
    pub fn remove(&mut self, signal: Signal) {
        *self = self.without(signal);
    }

    /// What is in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one alone.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The signal with the lowest number.
    pub const fn first(self) -> Option<Signal> {
        if self.0 == 0 { None } else { Signal::from_raw(self.0.trailing_zeros() as i32 + 1) }
    }

    /// The signals in it, by ascending number.
    pub fn iter(self) -> impl Iterator<Item = Signal> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let signal = rest.first()?;
            rest.remove(signal);
            Some(signal)
        })
    }
}

impl BitOr for SigSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for SigSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl BitAnd for SigSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        self.intersection(other)
    }
}

impl BitAndAssign for SigSet {
    fn bitand_assign(&mut self, other: Self) {
        *self = self.intersection(other);
    }
}

impl Not for SigSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl FromIterator<Signal> for SigSet {
    fn from_iter<I: IntoIterator<Item = Signal>>(signals: I) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl From<Signal> for SigSet {
    fn from(signal: Signal) -> Self {
        Self::EMPTY.with(signal)
    }
}

abi_enum! {
    /// What `sigprocmask(2)` does with the set.
    pub enum MaskHow: i32 {
        /// Block these as well.
        SIG_BLOCK = 0,
        /// Unblock these.
        SIG_UNBLOCK = 1,
        /// Block exactly these.
        SIG_SETMASK = 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_as_sets() {
        let set: SigSet = [Signal::SIGHUP, Signal::SIGRTMAX].into_iter().collect();
        assert_eq!(set.bits(), 1 | 1 << 63);
        assert_eq!(set.first(), Some(Signal::SIGHUP));
        assert_eq!(set.iter().collect::<Vec<_>>(), [Signal::SIGHUP, Signal::SIGRTMAX]);
        assert!(!(!set).has(Signal::SIGHUP));
        assert_eq!(SigSet::EMPTY.first(), None);
        assert_eq!(SigSet::UNBLOCKABLE.bits(), 1 << 8 | 1 << 18);
    }
}
