//! Advisory locks: `flock(2)`, and the record locks of `fcntl(2)` and `lockf(3)`.
//!
//! All locks of one file lie in its inode's [`FileLocks`] under one lock of ours. Record locks belong to a process, or to an
//! open file description (`F_OFD_*`); `flock` locks belong to a description and do not see record locks, as on Linux.

use std::ops::Range;

use bartizan_abi::{Errno, PollEvents};

use crate::kernel::WaitQueue;
use crate::sync::{LockClass, Mutex};

/// Who holds a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOwner {
    /// A process, by number.
    Process(i32),
    /// An open file description, by its address.
    Description(usize),
}

/// What a lock keeps others from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Others may hold shared locks too.
    Shared,
    /// Nobody else may hold any.
    Exclusive,
}

/// One lock on a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLock {
    /// Who holds it.
    pub owner: LockOwner,
    /// What it keeps others from.
    pub kind: LockKind,
    /// Which bytes; an end of `u64::MAX` is the end of the file, wherever that is.
    pub range: Range<u64>,
}

/// The locks of one file.
#[derive(Debug)]
pub struct FileLocks {
    state: Mutex<State>,
    /// Told when a lock is given up.
    events: WaitQueue,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<RecordLock>,
    /// Locks of `flock(2)`, by the address of the description.
    whole: Vec<(usize, LockKind)>,
}

impl Default for FileLocks {
    fn default() -> Self {
        Self { state: Mutex::new(LockClass::Table, State::default()), events: WaitQueue::new() }
    }
}

impl FileLocks {
    /// Told when a lock is given up.
    pub fn events(&self) -> &WaitQueue {
        &self.events
    }

    /// A lock of somebody else that stands in the way of `wanted`.
    pub fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        self.state.lock().conflict(wanted).cloned()
    }

    /// Everybody else whose locks stand in the way of `wanted`, once for each lock.
    pub fn holders(&self, wanted: &RecordLock) -> Vec<LockOwner> {
        self.state.lock().conflicts(wanted).map(|held| held.owner).collect()
    }

    /// Takes `wanted`, in place of what its owner holds there.
    ///
    /// # Errors
    /// `EAGAIN` when somebody else's lock stands in the way.
    pub fn set(&self, wanted: &RecordLock) -> Result<(), Errno> {
        {
            let mut state = self.state.lock();
            if state.conflict(wanted).is_some() {
                return Err(Errno::EAGAIN);
            }
            state.cut(wanted.owner, &wanted.range);
            state.records.push(wanted.clone());
            state.join(wanted.owner);
        }
        // A lock that became shared, or smaller, may let others in.
        self.events.notify(PollEvents::POLLIN);
        Ok(())
    }

    /// Gives up what `owner` holds in `range`.
    pub fn unlock(&self, owner: LockOwner, range: &Range<u64>) {
        let held = {
            let mut state = self.state.lock();
            let before = state.records.clone();
            state.cut(owner, range);
            before != state.records
        };
        if held {
            self.events.notify(PollEvents::POLLIN);
        }
    }

    /// Takes or changes the `flock` lock of description `description`.
    ///
    /// # Errors
    /// `EAGAIN` when another description's lock stands in the way; a lock that was held is lost then, as on Linux.
    pub fn set_whole(&self, description: usize, kind: LockKind) -> Result<(), Errno> {
        let (lost, result) = {
            let mut state = self.state.lock();
            if state.whole.contains(&(description, kind)) {
                return Ok(());
            }
            let lost = state.lose_whole(description);
            let blocked = state
                .whole
                .iter()
                .any(|(_, held)| kind == LockKind::Exclusive || *held == LockKind::Exclusive);
            if blocked {
                (lost, Err(Errno::EAGAIN))
            } else {
                state.whole.push((description, kind));
                (lost, Ok(()))
            }
        };
        // Not for a try that changed nothing: those who wait would wake themselves and each other for ever.
        if lost {
            self.events.notify(PollEvents::POLLIN);
        }
        result
    }

    /// Gives up the `flock` lock of description `description`.
    pub fn unlock_whole(&self, description: usize) {
        let lost = self.state.lock().lose_whole(description);
        if lost {
            self.events.notify(PollEvents::POLLIN);
        }
    }

    /// All that description `description` holds is given up: it is closed.
    pub fn release(&self, description: usize) {
        self.unlock(LockOwner::Description(description), &(0..u64::MAX));
        self.unlock_whole(description);
    }
}

impl State {
    /// Takes away the `flock` lock of a description; whether there was one.
    fn lose_whole(&mut self, description: usize) -> bool {
        let before = self.whole.len();
        self.whole.retain(|(holder, _)| *holder != description);
        self.whole.len() != before
    }

    fn conflict(&self, wanted: &RecordLock) -> Option<&RecordLock> {
        self.conflicts(wanted).next()
    }

    fn conflicts(&self, wanted: &RecordLock) -> impl Iterator<Item = &RecordLock> {
        self.records.iter().filter(|held| {
            held.owner != wanted.owner
                && held.range.start < wanted.range.end
                && wanted.range.start < held.range.end
                && (held.kind == LockKind::Exclusive || wanted.kind == LockKind::Exclusive)
        })
    }

    /// Takes `range` out of what `owner` holds.
    fn cut(&mut self, owner: LockOwner, range: &Range<u64>) {
        let mut rest = Vec::with_capacity(self.records.len());
        for record in self.records.drain(..) {
            if record.owner != owner {
                rest.push(record);
                continue;
            }
            let before = record.range.start..record.range.end.min(range.start);
            let after = record.range.start.max(range.end)..record.range.end;
            rest.extend(
                [before, after]
                    .into_iter()
                    .filter(|part| part.start < part.end)
                    .map(|range| RecordLock { range, ..record.clone() }),
            );
        }
        self.records = rest;
    }

    /// Joins neighbouring locks of one kind that `owner` holds.
    fn join(&mut self, owner: LockOwner) {
        self.records.sort_by_key(|record| record.range.start);
        let mut joined: Vec<RecordLock> = Vec::with_capacity(self.records.len());
        for record in self.records.drain(..) {
            let last = joined.iter_mut().rev().find(|last| last.owner == owner);
            match last {
                Some(last)
                    if record.owner == owner
                        && last.kind == record.kind
                        && last.range.end >= record.range.start =>
                {
                    last.range.end = last.range.end.max(record.range.end);
                }
                _ => joined.push(record),
            }
        }
        self.records = joined;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lock(owner: i32, kind: LockKind, range: Range<u64>) -> RecordLock {
        RecordLock { owner: LockOwner::Process(owner), kind, range }
    }

    #[test]
    fn unlocking_the_middle_leaves_both_ends() {
        let locks = FileLocks::default();
        assert_eq!(locks.set(&lock(1, LockKind::Exclusive, 0..100)), Ok(()));
        locks.unlock(LockOwner::Process(1), &(40..60));
        assert_eq!(locks.conflict(&lock(2, LockKind::Shared, 40..60)), None);
        assert_eq!(locks.set(&lock(2, LockKind::Shared, 39..41)), Err(Errno::EAGAIN));
        assert_eq!(locks.set(&lock(2, LockKind::Shared, 60..61)), Err(Errno::EAGAIN));
    }

    #[derive(Debug, Default)]
    struct Count(std::sync::atomic::AtomicU32);

    impl crate::kernel::Wake for Count {
        fn wake(&self, _events: PollEvents) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn only_what_may_let_others_in_wakes_those_who_wait() {
        let locks = FileLocks::default();
        assert_eq!(locks.set_whole(1, LockKind::Exclusive), Ok(()));
        let count = std::sync::Arc::new(Count::default());
        locks.events().register(count.clone(), PollEvents::POLLIN);
        let woken = || count.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(locks.set_whole(2, LockKind::Shared), Err(Errno::EAGAIN));
        assert_eq!(locks.set(&lock(1, LockKind::Exclusive, 0..10)), Ok(()));
        let before = woken();
        assert_eq!(locks.set_whole(2, LockKind::Shared), Err(Errno::EAGAIN));
        assert_eq!(locks.set(&lock(2, LockKind::Exclusive, 0..10)), Err(Errno::EAGAIN));
        assert_eq!(woken(), before);
        locks.unlock_whole(1);
        assert_eq!(woken(), before + 1);
        // A conversion that has to wait loses the old lock.
        assert_eq!(locks.set_whole(1, LockKind::Shared), Ok(()));
        assert_eq!(locks.set_whole(2, LockKind::Shared), Ok(()));
        assert_eq!(locks.set_whole(1, LockKind::Exclusive), Err(Errno::EAGAIN));
        assert_eq!(locks.set_whole(2, LockKind::Exclusive), Ok(()));
    }

    /// A lock for each byte: what the ranges have to amount to.
    type Bytes = [[Option<LockKind>; 16]; 3];

    proptest! {
        #[test]
        fn ranges_agree_with_a_lock_for_each_byte(
            steps in prop::collection::vec((0..3usize, 0..3u8, 0..15u64, 1..16u64), 1..60)
        ) {
            let locks = FileLocks::default();
            let mut model: Bytes = [[None; 16]; 3];
            for (owner, action, start, length) in steps {
                let range = start..(start + length).min(16);
                let kind = if action == 1 { LockKind::Shared } else { LockKind::Exclusive };
                let bytes = range.start as usize..range.end as usize;
                let number = i32::try_from(owner).unwrap_or(0);
                if action == 0 {
                    locks.unlock(LockOwner::Process(number), &range);
                    model[owner][bytes].fill(None);
                    continue;
                }
                let free = bytes.clone().all(|byte| (0..3).filter(|other| *other != owner).all(|other| {
                    model[other][byte].is_none_or(|held| held == LockKind::Shared && kind == LockKind::Shared)
                }));
                prop_assert_eq!(locks.set(&lock(number, kind, range)).is_ok(), free);
                if free {
                    model[owner][bytes].fill(Some(kind));
                }
            }
        }
    }
}
