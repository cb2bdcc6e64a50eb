//! Who owns priority-inheritance futexes that others wait for, and who waits for which: what finds circles of waiters, and what a
//! dying owner leaves behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bartizan_abi::Errno;

use super::bucket::Claim;
use crate::kernel::Task;
use crate::mm::FutexKey;

/// Bit of [`FutexOwner`]: somebody has waited for a futex of the task.
const CLAIMED: u8 = 1;
/// Bit of [`FutexOwner`]: the task owns no futexes any more.
const DEAD: u8 = 2;

/// What a task keeps about futexes that it owns. Bits are set in one step, so that either the one who comes to wait sees that the task
/// has ended, or the task sees at its end that somebody waits.
#[derive(Debug, Default)]
pub struct FutexOwner(AtomicU8);

impl FutexOwner {
    /// Notes that somebody waits for a futex of the task. Whether the task can still hand it over.
    pub(super) fn claim(&self) -> bool {
        self.0.fetch_or(CLAIMED, Ordering::AcqRel) & DEAD == 0
    }

    /// Notes that the task hands nothing over from now on. Whether anybody has waited.
    pub(super) fn end(&self) -> bool {
        self.0.fetch_or(DEAD, Ordering::AcqRel) & CLAIMED != 0
    }

    /// Begins anew, in another program.
    pub(crate) fn restart(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// A task, by the address of its [`Task`]: who owns or waits is alive, and its number may not be the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TaskIdentity(usize);

impl From<&Arc<Task>> for TaskIdentity {
    fn from(task: &Arc<Task>) -> Self {
        Self(Arc::as_ptr(task).addr())
    }
}

/// See the module. Futexes without waiters are not in it.
#[derive(Debug, Default)]
pub(super) struct Owners {
    owned: HashMap<FutexKey, TaskIdentity>,
    blocked: HashMap<TaskIdentity, FutexKey>,
}

impl Owners {
    /// Who owns `key`.
    pub(super) fn owner(&self, key: &FutexKey) -> Option<TaskIdentity> {
        self.owned.get(key).copied()
    }

    /// A futex that `task` owns.
    pub(super) fn owned_by(&self, task: TaskIdentity) -> Option<FutexKey> {
        self.owned.iter().find(|(_, owner)| **owner == task).map(|(key, _)| key.clone())
    }

    /// Lets `task` wait for `key`, which `owner` owns.
    ///
    /// # Errors
    /// `EDEADLK` if the owner waits for `task`, by way of others perhaps.
    pub(super) fn block(
        &mut self,
        task: TaskIdentity,
        key: &FutexKey,
        owner: TaskIdentity,
    ) -> Result<(), Errno> {
        let mut next = Some(owner);
        // Each step is another futex: a circle without the caller was refused when it was about to be closed.
        for _ in 0..=self.owned.len() {
            match next {
                Some(current) if current == task => return Err(Errno::EDEADLK),
                Some(current) => next = self.blocked.get(&current).and_then(|key| self.owner(key)),
                None => break,
            }
        }
        self.owned.insert(key.clone(), owner);
        self.blocked.insert(task, key.clone());
        Ok(())
    }

    /// Notes that the task of `claim` waits no more; `last` tells whether nobody else waits for the futex.
    pub(super) fn unblock(&mut self, claim: &Claim, last: bool) {
        self.blocked.remove(&TaskIdentity::from(&claim.task));
        if last {
            self.owned.remove(&claim.key);
        }
    }

    /// Makes the task of `claim` the owner.
    pub(super) fn hand_over(&mut self, claim: &Claim, last: bool) {
        self.unblock(claim, last);
        if !last {
            claim.task.futex_owner().claim();
            self.owned.insert(claim.key.clone(), TaskIdentity::from(&claim.task));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found() {
        let mut owners = Owners::default();
        let [a, b, c] = [1, 2, 3].map(TaskIdentity);
        let [one, two, three] = [4, 8, 12].map(FutexKey::of_nobody);
        assert_eq!(owners.block(b, &one, a), Ok(()));
        assert_eq!(owners.block(c, &two, b), Ok(()));
        assert_eq!(owners.block(a, &three, c), Err(Errno::EDEADLK));
        assert_eq!(owners.block(a, &one, a), Err(Errno::EDEADLK));
        assert_eq!(owners.owned_by(c), None);
        assert_eq!(owners.owned_by(b), Some(two));
    }

    #[test]
    fn either_side_sees_the_other() {
        let owner = FutexOwner::default();
        assert!(owner.claim());
        assert!(owner.end() && !owner.claim());
        owner.restart();
        assert!(!owner.end());
    }
}
