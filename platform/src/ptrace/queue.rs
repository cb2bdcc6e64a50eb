//! Operations on an address space that wait for a tracee: neighbours are joined, and what is overwritten is dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::injection::MOST_CALLS;
use crate::{Access, Mapping};

/// Something to be done.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Map(Mapping),
    Unmap(Range<u64>),
    Protect(Range<u64>, Access),
}

impl Operation {
    /// What it is about.
    pub(super) fn range(&self) -> &Range<u64> {
        match self {
            Self::Map(mapping) => &mapping.range,
            Self::Unmap(range) | Self::Protect(range, _) => range,
        }
    }

    /// Whether everything in its range is as it says afterwards, whatever was there.
    fn replaces(&self) -> bool {
        !matches!(self, Self::Protect(..))
    }

    /// Makes this one operation of the two, if they can be one.
    fn join(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Map(first), Self::Map(next)) => {
                let length = first.range.end - first.range.start;
                let neighbours = first.range.end == next.range.start && first.offset + length == next.offset;
                let alike = first.access == next.access
                    && first.populate == next.populate
                    && Arc::ptr_eq(&first.file, &next.file);
                if neighbours && alike {
                    first.range.end = next.range.end;
                }
                neighbours && alike
            }
            (Self::Unmap(first), Self::Unmap(next)) => join_ranges(first, next),
            (Self::Protect(first, access), Self::Protect(next, other)) => {
                access == other && join_ranges(first, next)
            }
            _ => false,
        }
    }
}

fn join_ranges(first: &mut Range<u64>, next: &Range<u64>) -> bool {
    let touch = first.start <= next.end && next.start <= first.end;
    if touch {
        *first = first.start.min(next.start)..first.end.max(next.end);
    }
    touch
}

/// Operations that one crossing applies.
pub(super) type Batch = SmallVec<[Operation; MOST_CALLS]>;

/// What waits, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Operation>,
}

impl Queue {
    /// How many operations wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds `operation` at the end; returns operations that need not be done any more, to be dropped without a lock.
    pub(super) fn push(&mut self, operation: Operation) -> SmallVec<[Operation; 1]> {
        let mut dropped = SmallVec::new();
        if operation.replaces() {
            let range = operation.range().clone();
            while let Some(last) = self.waiting.back()
                && range.start <= last.range().start
                && last.range().end <= range.end
            {
                dropped.extend(self.waiting.pop_back());
            }
        }
        if let Some(last) = self.waiting.back_mut()
            && last.join(&operation)
        {
            dropped.push(operation);
        } else {
            self.waiting.push_back(operation);
        }
        dropped
    }

    /// Takes as many of the first operations as one crossing can apply.
    pub(super) fn take_batch(&mut self) -> Batch {
        let count = self.waiting.len().min(MOST_CALLS);
        self.waiting.drain(..count).collect()
    }

    /// Puts a batch back that could not be applied.
    pub(super) fn put_back(&mut self, batch: Batch) {
        for operation in batch.into_iter().rev() {
            self.waiting.push_front(operation);
        }
    }
}
