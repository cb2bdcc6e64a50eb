//! Operations on an address space that wait to be applied: neighbours are joined, and what is overwritten is dropped.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::{Access, Mapping};

/// Something to be done.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Map(Mapping),
    Unmap(Range<u64>),
    Protect(Range<u64>, Access),
}

impl Operation {
    /// What it is about.
    pub(crate) fn range(&self) -> &Range<u64> {
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
pub(crate) type Batch = SmallVec<[Operation; 4]>;

/// What waits, in order.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Operation>,
}

impl Queue {
    /// How many operations wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds `operation` at the end; returns operations that need not be done any more, to be dropped without a lock.
    pub(crate) fn push(&mut self, operation: Operation) -> SmallVec<[Operation; 1]> {
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

    /// Takes the first operations, at most `most`: as many as one crossing can apply.
    pub(crate) fn take_batch(&mut self, most: usize) -> Batch {
        let count = self.waiting.len().min(most);
        self.waiting.drain(..count).collect()
    }

    /// Puts a batch back that could not be applied.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        for operation in batch.into_iter().rev() {
            self.waiting.push_front(operation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::{MemoryFile, PAGE_SIZE};
    use crate::{BackingFile, Populate};

    const PAGES: u64 = 24;

    /// What is mapped, page by page: offset and access.
    type Model = BTreeMap<u64, (u64, Access)>;

    /// Does what the host would do; false if it would refuse.
    fn apply(model: &mut Model, operation: &Operation) -> bool {
        let range = operation.range().clone();
        for page in range.clone().step_by(PAGE_SIZE as usize) {
            match operation {
                Operation::Map(mapping) => {
                    model.insert(page, (mapping.offset + page - range.start, mapping.access));
                }
                Operation::Unmap(_) => {
                    model.remove(&page);
                }
                Operation::Protect(_, access) => match model.get_mut(&page) {
                    Some(found) => found.1 = *access,
                    None => return false,
                },
            }
        }
        true
    }

    fn operation(file: &Arc<MemoryFile>, (kind, start, length, what): (u8, u64, u64, u8)) -> Operation {
        let range = start * PAGE_SIZE..(start + length).min(PAGES) * PAGE_SIZE;
        let access = if what % 2 == 0 { Access::READ } else { Access::READ | Access::WRITE };
        match kind {
            0 | 1 => Operation::Map(Mapping {
                offset: range.start + u64::from(what / 2) * PAGES * PAGE_SIZE,
                range,
                file: Arc::clone(file) as Arc<dyn BackingFile>,
                access,
                populate: Populate::Lazily,
            }),
            2 => Operation::Unmap(range),
            _ => Operation::Protect(range, access),
        }
    }

    proptest! {
        #[test]
        fn joined_operations_do_the_same(
            steps in prop::collection::vec((0u8..4, 0..PAGES, 1u64..10, 0u8..4), 1..60),
            batches in prop::collection::vec(0usize..8, 60),
        ) {
            let file = MemoryFile::new(PAGE_SIZE).unwrap();
            let (mut naive, mut queued) = (Model::new(), Model::new());
            let mut queue = Queue::default();
            for (step, batch) in steps.into_iter().zip(batches) {
                let operation = operation(&file, step);
                let mut after = naive.clone();
                // The sentry does not protect what is not mapped.
                if !apply(&mut after, &operation) {
                    continue;
                }
                naive = after;
                queue.push(operation);
                if batch == 0 {
                    for operation in queue.take_batch(2) {
                        prop_assert!(apply(&mut queued, &operation));
                    }
                }
            }
            while queue.len() > 0 {
                for operation in queue.take_batch(2) {
                    prop_assert!(apply(&mut queued, &operation));
                }
            }
            prop_assert_eq!(naive, queued);
        }
    }

    #[test]
    fn neighbours_become_one() {
        let file = MemoryFile::new(PAGE_SIZE).unwrap();
        let mut queue = Queue::default();
        for start in 0..10 {
            queue.push(operation(&file, (0, start, 1, 0)));
        }
        assert_eq!(queue.len(), 1);
        queue.push(operation(&file, (2, 3, 1, 0)));
        queue.push(operation(&file, (2, 4, 3, 0)));
        assert_eq!(queue.len(), 2);
        queue.push(operation(&file, (2, 0, 20, 0)));
        assert_eq!(queue.len(), 1);
        let batch = queue.take_batch(2);
        queue.put_back(batch);
        assert_eq!(queue.len(), 1);
    }
}
