//! How often guest code was left, and why. Each processor counts for itself, in a cache line of its own; whoever wants to know adds up.

use std::sync::atomic::{AtomicU64, Ordering};

use super::vcpu::Stop;

/// Why `KVM_RUN` returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Syscall,
    PageFault,
    Exception,
    Interruption,
    Refusal,
}

impl Reason {
    /// All, with their names.
    const ALL: [(Self, &'static str); 5] = [
        (Self::Syscall, "system calls"),
        (Self::PageFault, "page faults"),
        (Self::Exception, "other exceptions"),
        (Self::Interruption, "interruptions"),
        (Self::Refusal, "refused pages"),
    ];

    /// What `stop` is counted as.
    pub(super) fn of(stop: Stop) -> Self {
        const PAGE_FAULT: u64 = 14;
        match stop {
            Stop::Syscall | Stop::Syscall32 => Self::Syscall,
            Stop::Exception { vector: PAGE_FAULT, .. } => Self::PageFault,
            Stop::Exception { .. } | Stop::Impossible => Self::Exception,
            Stop::Refused { .. } => Self::Refusal,
            Stop::Kicked | Stop::NotEntered => Self::Interruption,
        }
    }
}

/// The exits of one processor.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Counts([AtomicU64; Reason::ALL.len()]);

impl Counts {
    /// Counts one. Called only by whoever has the processor, so that no other write can come between.
    pub(super) fn add(&self, reason: Reason) {
        let count = &self.0[reason as usize];
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }
}

/// The exits of all processors, by the names of their reasons.
pub(super) fn sum<'a>(all: impl IntoIterator<Item = &'a Counts>) -> Vec<(&'static str, u64)> {
    let mut sums = Reason::ALL.map(|(_, name)| (name, 0));
    for counts in all {
        for ((reason, _), (_, sum)) in Reason::ALL.iter().zip(&mut sums) {
            *sum += counts.0[*reason as usize].load(Ordering::Relaxed);
        }
    }
    sums.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_added_up() {
        let (one, other) = (Counts::default(), Counts::default());
        one.add(Reason::of(Stop::Syscall));
        other.add(Reason::of(Stop::Syscall));
        other.add(Reason::of(Stop::Exception { vector: 14, error: 0, address: 0 }));
        other.add(Reason::of(Stop::Exception { vector: 6, error: 0, address: 0 }));
        let sums = sum([&one, &other]);
        assert_eq!(
            sums[..4],
            [("system calls", 2), ("page faults", 1), ("other exceptions", 1), ("interruptions", 0)]
        );
    }
}
