//! Priority-inheritance futexes: the kernel hands the ownership over. Nothing is inherited, since all tasks run at the host's choice;
//! ownership goes to waiters in the order of their coming.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::{Errno, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};

use super::Futexes;
use super::bucket::{Waiter, Woken};
use super::wait::Waited;
use crate::WaitError;
use crate::kernel::CurrentTask;
use crate::mm::{FutexKey, MemoryManager, UserAddr};

/// What one try to become the owner came to.
enum Attempt {
    /// The caller owns it.
    Owned,
    /// The caller is queued.
    Queued,
    /// This task owns it, and the caller did not want to wait.
    Taken,
    /// The page is not in place.
    Missing,
    /// The word changed meanwhile.
    Again,
}

/// Whether a caller waits for the ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// `FUTEX_LOCK_PI`.
    Wait,
    /// `FUTEX_TRYLOCK_PI`.
    Try,
}

impl Futexes {
    /// Makes task number `tid`, the caller, the owner of a futex. `exists` tells whether a task lives.
    ///
    /// # Errors
    /// `EDEADLK` if it is that already, `EAGAIN` if another is and the caller does not wait, `ESRCH` if the owner does not live, `EFAULT`.
    pub fn lock_ownership(
        &self,
        task: &CurrentTask,
        tid: u32,
        (key, address): (&FutexKey, UserAddr),
        (mode, deadline): (LockMode, Option<Instant>),
        exists: impl Fn(u32) -> bool,
    ) -> Result<Waited, Errno> {
        let mm = task.mm();
        let waiter = Waiter::new(task.parker(), 0, Some(tid));
        loop {
            let owner = mm.load_u32(address)? & FUTEX_TID_MASK;
            if owner != 0 && owner != tid && !exists(owner) {
                return Err(Errno::ESRCH);
            }
            match self.try_lock_ownership(&mm, key, address, mode, &waiter, tid)? {
                Attempt::Owned => return Ok(Waited::Woken(0)),
                Attempt::Taken => return Err(Errno::EAGAIN),
                Attempt::Queued => break,
                Attempt::Missing => {
                    mm.fetch_update_u32(address, |old| old)?;
                }
                Attempt::Again => {}
            }
        }
        let slept = task.wait_until(deadline, || waiter.is_woken().then_some(()));
        Ok(match (self.unqueue(&waiter), slept) {
            (false, _) => Waited::Woken(0),
            (true, Err(WaitError::TimedOut)) => Waited::TimedOut,
            (true, Err(WaitError::Interrupted) | Ok(())) => Waited::Interrupted,
        })
    }

    fn try_lock_ownership(
        &self,
        mm: &MemoryManager,
        key: &FutexKey,
        address: UserAddr,
        mode: LockMode,
        waiter: &Arc<Waiter>,
        tid: u32,
    ) -> Result<Attempt, Errno> {
        let index = self.index(key);
        let mut bucket = self.buckets[index].lock();
        let Some(old) = mm.load_u32_in_place(address) else { return Ok(Attempt::Missing) };
        let replace = |new: u32| mm.compare_exchange_u32_in_place(address, old, new);
        if old & FUTEX_TID_MASK == tid {
            return Err(Errno::EDEADLK);
        }
        if old & FUTEX_TID_MASK == 0 {
            let waiters = if bucket.has_owner_to_be(key) { FUTEX_WAITERS } else { 0 };
            return Ok(match replace(tid | old & FUTEX_OWNER_DIED | waiters) {
                None => Attempt::Missing,
                Some(seen) if seen == old => Attempt::Owned,
                Some(_) => Attempt::Again,
            });
        }
        if mode == LockMode::Try {
            return Ok(Attempt::Taken);
        }
        match replace(old | FUTEX_WAITERS) {
            None => Ok(Attempt::Missing),
            Some(seen) if seen == old => {
                bucket.push(index, key.clone(), Arc::clone(waiter));
                Ok(Attempt::Queued)
            }
            Some(_) => Ok(Attempt::Again),
        }
    }

    /// Gives the ownership of a futex up, or to the next waiter.
    ///
    /// # Errors
    /// `EPERM` if task number `tid` is not the owner, `EFAULT`.
    pub fn unlock_ownership(
        &self,
        mm: &MemoryManager,
        key: &FutexKey,
        address: UserAddr,
        tid: u32,
    ) -> Result<(), Errno> {
        loop {
            if self.hand_over(mm, key, address, tid, 0)? {
                return Ok(());
            }
            mm.fetch_update_u32(address, |old| old)?;
        }
    }

    /// Hands a futex of task `tid` to the next waiter, or frees it, with `mark` set in the word. Whether the page was in place.
    pub(super) fn hand_over(
        &self,
        mm: &MemoryManager,
        key: &FutexKey,
        address: UserAddr,
        tid: u32,
        mark: u32,
    ) -> Result<bool, Errno> {
        let mut woken = Woken::default();
        {
            let mut bucket = self.lock(key);
            loop {
                let Some(old) = mm.load_u32_in_place(address) else { return Ok(false) };
                if old & FUTEX_TID_MASK != tid {
                    return Err(Errno::EPERM);
                }
                let new = match bucket.first_owner_to_be(key) {
                    Some(next) => next | FUTEX_WAITERS | mark,
                    None => mark,
                };
                match mm.compare_exchange_u32_in_place(address, old, new) {
                    None => return Ok(false),
                    Some(seen) if seen == old => break,
                    Some(_) => {}
                }
            }
            bucket.wake_owner_to_be(key, &mut woken);
        }
        woken.unpark();
        Ok(true)
    }
}
