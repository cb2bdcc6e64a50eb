//! How much a task has read and written (`proc_pid_io(5)`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Calls that read and write, and the bytes that they moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoCounts {
    /// Bytes that were read (`rchar`).
    pub read_bytes: u64,
    /// Bytes that were written (`wchar`).
    pub written_bytes: u64,
    /// Calls like `read(2)` (`syscr`).
    pub reads: u64,
    /// Calls like `write(2)` (`syscw`).
    pub writes: u64,
}

/// What a task has read and written so far. Its own thread alone counts, so that it needs no read-modify-write; any may read it.
#[derive(Debug, Default)]
pub struct IoUsage {
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
}

/// Adds to a counter that this thread alone changes.
#[inline]
fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl IoUsage {
    /// Counts a call that has read `bytes`; for the task's own thread.
    #[inline]
    pub fn count_read(&self, bytes: usize) {
        count(&self.read_bytes, bytes as u64);
        count(&self.reads, 1);
    }

    /// Counts a call that has written `bytes`; for the task's own thread.
    #[inline]
    pub fn count_write(&self, bytes: usize) {
        count(&self.written_bytes, bytes as u64);
        count(&self.writes, 1);
    }

    /// Adds what another has counted; any thread may.
    pub fn add(&self, other: IoCounts) {
        self.read_bytes.fetch_add(other.read_bytes, Ordering::Relaxed);
        self.written_bytes.fetch_add(other.written_bytes, Ordering::Relaxed);
        self.reads.fetch_add(other.reads, Ordering::Relaxed);
        self.writes.fetch_add(other.writes, Ordering::Relaxed);
    }

    /// What it has counted so far.
    pub fn counts(&self) -> IoCounts {
        IoCounts {
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            writes: self.writes.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_add_up() {
        let (usage, sum) = (IoUsage::default(), IoUsage::default());
        usage.count_read(10);
        usage.count_read(0);
        usage.count_write(7);
        sum.add(usage.counts());
        sum.add(usage.counts());
        let expected = IoCounts { read_bytes: 20, written_bytes: 14, reads: 4, writes: 2 };
        assert_eq!(sum.counts(), expected);
    }
}
