//! Priority-inheritance futexes: the kernel hands the ownership over. Nothing is inherited, since all tasks run at the host's choice;
//! ownership goes to waiters of real-time policies by priority and to others in the order of their coming.

use std::sync::Arc;
use std::time::Instant;

use bartizan_abi::{Errno, FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};

use super::bucket::{Bucket, Claim, Waiter, Woken};
use super::owners::TaskIdentity;
use super::wait::{WaitRequest, Waited};
use super::{BucketPair, Futexes};
use crate::WaitError;
use crate::kernel::{CurrentTask, Task};
use crate::mm::{FutexKey, MemoryManager, UserAddr};

/// What one try to become the owner came to.
enum Attempt {
    /// The claimant owns it.
    Owned,
    /// This task owns it and will hand it over.
    Taken(TaskIdentity),
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

/// A futex that a caller wants to own.
#[derive(Debug, Clone)]
pub struct Ownership {
    /// What it is known by.
    pub key: FutexKey,
    /// Where it is in the caller's memory.
    pub address: UserAddr,
    /// The caller's number, as the owner's word holds it.
    pub number: u32,
}

impl Ownership {
    fn claim(&self, task: &CurrentTask) -> Claim {
        Claim {
            task: Arc::clone(task.task()),
            number: self.number,
            key: self.key.clone(),
            memory: task.mm(),
            address: self.address,
        }
    }
}

/// What [`Futexes::requeue_claims`] does.
#[derive(Debug)]
pub struct ClaimRequeue<'a> {
    /// Whose waiters.
    pub from: (&'a FutexKey, UserAddr),
    /// What they want to own.
    pub to: (&'a FutexKey, UserAddr),
    /// How many are moved at most, beside the first.
    pub requeue: usize,
    /// What the first futex has to hold.
    pub expected: u32,
}

impl Futexes {
    /// Makes the caller the owner of a futex. `find` gives the task of a number.
    ///
    /// # Errors
    /// `EDEADLK` if it is that already or its owner waits for it, `EAGAIN` if another is and the caller does not wait, `ESRCH` if the owner does not
    /// live, `EINVAL` if the word is not that of such a futex, `EFAULT`.
    pub fn lock_ownership(
        &self,
        task: &CurrentTask,
        wanted: &Ownership,
        (mode, deadline): (LockMode, Option<Instant>),
        find: impl Fn(u32) -> Option<Arc<Task>>,
    ) -> Result<Waited, Errno> {
        let mm = task.mm();
        let waiter = Waiter::new(task, 0, Some(wanted.claim(task)));
        let Some(claim) = &waiter.claim else { return Err(Errno::EINVAL) };
        let index = self.index(&wanted.key);
        loop {
            let owner = Owner::look_up(&mm, wanted.address, &find)?;
            let mut bucket = self.buckets[index].lock();
            match self.try_claim(&mut bucket, (&mm, wanted.address), claim, 0, &owner)? {
                Attempt::Owned => return Ok(Waited::Woken(0)),
                Attempt::Taken(_) if mode == LockMode::Try => return Err(Errno::EAGAIN),
                Attempt::Taken(owner) => {
                    self.owners.lock().block(TaskIdentity::from(&claim.task), &wanted.key, owner)?;
                    waiter.start_to_claim();
                    bucket.push(index, wanted.key.clone(), Arc::clone(&waiter));
                    break;
                }
                Attempt::Missing => {
                    drop(bucket);
                    mm.fetch_update_u32(wanted.address, |old| old)?;
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

    /// One try to own the futex whose bucket is locked (`futex_lock_pi_atomic`); `extra` is set in the word of a new owner.
    fn try_claim(
        &self,
        bucket: &mut Bucket,
        (mm, address): (&MemoryManager, UserAddr),
        claim: &Claim,
        extra: u32,
        owner: &Owner,
    ) -> Result<Attempt, Errno> {
        let Some(old) = mm.load_u32_in_place(address) else { return Ok(Attempt::Missing) };
        let number = old & FUTEX_TID_MASK;
        if number == claim.number {
            return Err(Errno::EDEADLK);
        }
        if number != owner.number {
            return Ok(Attempt::Again);
        }
        if let Some(first) = bucket.first(&claim.key) {
            let known = self.owners.lock().owner(&claim.key).filter(|_| first.claims());
            let known = known.ok_or(Errno::EINVAL)?;
            let left = old & FUTEX_OWNER_DIED != 0 && number == 0;
            let same = owner.task.as_ref().is_some_and(|owner| TaskIdentity::from(owner) == known);
            return if left || same { Ok(Attempt::Taken(known)) } else { Err(Errno::EINVAL) };
        }
        let replace = |new: u32| mm.compare_exchange_u32_in_place(address, old, new);
        let new = match number {
            0 => claim.number | old & FUTEX_OWNER_DIED | extra,
            _ => old | FUTEX_WAITERS,
        };
        match replace(new) {
            None => return Ok(Attempt::Missing),
            Some(seen) if seen != old => return Ok(Attempt::Again),
            Some(_) if number == 0 => return Ok(Attempt::Owned),
            Some(_) => {}
        }
        match &owner.task {
            Some(task) if task.futex_owner().claim() => Ok(Attempt::Taken(TaskIdentity::from(task))),
            // It may have given the futex up at its end.
            _ if mm.load_u32_in_place(address) != Some(new) => Ok(Attempt::Again),
            _ => Err(Errno::ESRCH),
        }
    }

    /// Gives the ownership of a futex of `task` up, or to the next waiter.
    ///
    /// # Errors
    /// `EPERM` if the caller, which has this `number`, is not the owner, `EINVAL` if somebody else is known as that, `EFAULT`.
    pub fn unlock_ownership(&self, task: &CurrentTask, own: &Ownership) -> Result<(), Errno> {
        let mm = task.mm();
        let mut woken = Woken::default();
        loop {
            let old = mm.load_u32(own.address)?;
            if old & FUTEX_TID_MASK != own.number {
                return Err(Errno::EPERM);
            }
            let mut bucket = self.lock(&own.key);
            let next = bucket.first(&own.key).cloned();
            let new = match next.as_ref().map(|next| (next.claims(), next.claim.as_ref())) {
                None => 0,
                Some((true, Some(claim))) => {
                    let known = self.owners.lock().owner(&own.key);
                    if known != Some(TaskIdentity::from(task.task())) {
                        return Err(Errno::EINVAL);
                    }
                    claim.number | FUTEX_WAITERS
                }
                Some(_) => return Err(Errno::EINVAL),
            };
            match mm.compare_exchange_u32_in_place(own.address, old, new) {
                Some(seen) if seen == old => {
                    if let Some(next) = next {
                        self.make_owner(&mut bucket, next, &mut woken);
                    }
                    break;
                }
                Some(_) => {}
                None => {
                    drop(bucket);
                    mm.fetch_update_u32(own.address, |old| old)?;
                }
            }
        }
        woken.unpark();
        Ok(())
    }

    /// Takes `next` out of the bucket of the futex that it waits for and makes it the owner, which the word says already.
    fn make_owner(&self, bucket: &mut Bucket, next: Arc<Waiter>, woken: &mut Woken) {
        bucket.remove(&next);
        if let Some(claim) = &next.claim {
            self.owners.lock().hand_over(claim, !bucket.has(&claim.key));
        }
        woken.push(next);
    }

    /// Hands all futexes that `task` owns and others wait for to those, with the mark that their owner died; it owns none afterwards
    /// (`exit_pi_state_list`).
    pub(crate) fn release_ownerships(&self, task: &Arc<Task>) {
        if !task.futex_owner().end() {
            return;
        }
        let identity = TaskIdentity::from(task);
        loop {
            let Some(key) = self.owners.lock().owned_by(identity) else { return };
            let mut woken = Woken::default();
            let missing = {
                let mut bucket = self.lock(&key);
                let still = self.owners.lock().owner(&key) == Some(identity);
                match bucket.first(&key).filter(|_| still).cloned() {
                    Some(next) => self.bequeath(&mut bucket, next, &mut woken),
                    None => None,
                }
            };
            woken.unpark();
            if let Some(next) = missing
                && let Some(claim) = &next.claim
                && claim.memory.fetch_update_u32(claim.address, |old| old).is_err()
            {
                // The waiter has unmapped the word; it is told nevertheless.
                let mut woken = Woken::default();
                let mut bucket = self.lock(&key);
                if bucket.first(&key).is_some_and(|first| Arc::ptr_eq(first, &next)) {
                    self.make_owner(&mut bucket, next, &mut woken);
                }
                drop(bucket);
                woken.unpark();
            }
        }
    }

    /// Makes `next` the owner in place of one that died. Gives it back if its word is not in place.
    fn bequeath(&self, bucket: &mut Bucket, next: Arc<Waiter>, woken: &mut Woken) -> Option<Arc<Waiter>> {
        if let Some(claim) = &next.claim {
            let new = claim.number | FUTEX_WAITERS | FUTEX_OWNER_DIED;
            if claim.memory.fetch_update_u32_in_place(claim.address, |_| new).is_none() {
                return Some(next);
            }
        }
        self.make_owner(bucket, next, woken);
        None
    }

    /// Waits at a futex until another task moves the caller on to `wanted` and it owns that (`FUTEX_WAIT_REQUEUE_PI`).
    ///
    /// # Errors
    /// `EAGAIN` if the first does not hold what is expected, or after a signal that came when the caller had been moved; `EINVAL` if both are
    /// the same, `EFAULT`.
    pub fn wait_for_claim(
        &self,
        task: &CurrentTask,
        (key, address, expected): (&FutexKey, UserAddr, u32),
        wanted: &Ownership,
        deadline: Option<Instant>,
    ) -> Result<Waited, Errno> {
        if *key == wanted.key {
            return Err(Errno::EINVAL);
        }
        let waiter = Waiter::new(task, FUTEX_BITSET_MATCH_ANY, Some(wanted.claim(task)));
        let request = WaitRequest { key: key.clone(), address, expected, bitset: FUTEX_BITSET_MATCH_ANY };
        self.enqueue(&task.mm(), &request, &waiter)?;
        let slept = task.wait_until(deadline, || waiter.is_woken().then_some(()));
        match (self.unqueue(&waiter), slept) {
            (false, _) => Ok(Waited::Woken(0)),
            (true, Err(WaitError::TimedOut)) => Ok(Waited::TimedOut),
            (true, _) if waiter.claims() => Err(Errno::EAGAIN),
            (true, _) => Ok(Waited::Interrupted),
        }
    }

    /// Moves those that wait at one futex to be moved to another on to that, where the first of them becomes the owner if there is none
    /// (`FUTEX_CMP_REQUEUE_PI`). Gives how many became owners or were moved. `find` gives the task of a number.
    ///
    /// # Errors
    /// `EAGAIN` if the first does not hold what is expected, `EINVAL` for waiters that want something else, `EDEADLK`, `ESRCH`, `EFAULT`.
    pub fn requeue_claims(
        &self,
        mm: &MemoryManager,
        request: &ClaimRequeue<'_>,
        find: impl Fn(u32) -> Option<Arc<Task>>,
    ) -> Result<usize, Errno> {
        let ((from, from_address), (to, to_address)) = (request.from, request.to);
        if from == to {
            return Err(Errno::EINVAL);
        }
        loop {
            let owner = Owner::look_up(mm, to_address, &find)?;
            let mut pair = self.lock_pair(from, to);
            match mm.load_u32_in_place(from_address) {
                Some(value) if value == request.expected => {}
                Some(_) => return Err(Errno::EAGAIN),
                None => {
                    drop(pair);
                    mm.load_u32(from_address)?;
                    continue;
                }
            }
            let Some(first) = pair.one().first(from).cloned() else { return Ok(0) };
            let claim = wants(&first, to)?;
            let extra = if request.requeue > 0 { FUTEX_WAITERS } else { 0 };
            let mut woken = Woken::default();
            let owner = match self.try_claim(pair.other(), (mm, to_address), claim, extra, &owner)? {
                Attempt::Taken(owner) => owner,
                Attempt::Owned => {
                    pair.one().remove(&first);
                    claim.task.futex_owner().claim();
                    let owner = TaskIdentity::from(&claim.task);
                    woken.push(first);
                    owner
                }
                Attempt::Again => continue,
                Attempt::Missing => {
                    drop(pair);
                    mm.fetch_update_u32(to_address, |old| old)?;
                    continue;
                }
            };
            let owned = usize::from(!woken.is_empty());
            let moved = self.move_claims(&mut pair, (from, to), request.requeue + 1 - owned, owner);
            drop(pair);
            woken.unpark();
            return moved.map(|moved| moved + owned);
        }
    }

    /// Moves up to `count` waiters to the futex that they want to own.
    fn move_claims(
        &self,
        pair: &mut BucketPair<'_>,
        (from, to): (&FutexKey, &FutexKey),
        count: usize,
        owner: TaskIdentity,
    ) -> Result<usize, Errno> {
        let (index, mut owners) = (self.index(to), self.owners.lock());
        let (moved, result) = {
            let owners = std::cell::RefCell::new(&mut *owners);
            pair.one().take(from, count, |waiter| {
                let claim = wants(waiter, to)?;
                owners.borrow_mut().block(TaskIdentity::from(&claim.task), to, owner)
            })
        };
        let count = moved.len();
        for waiter in moved {
            waiter.start_to_claim();
            pair.other().push(index, to.clone(), waiter);
        }
        result.map(|()| count)
    }

    /// Notes that `waiter`, which was taken out of the locked bucket of the futex that it waited for, does not want it any more.
    pub(super) fn abandon_claim(&self, bucket: &Bucket, waiter: &Waiter) {
        if let Some(claim) = waiter.claim.as_ref().filter(|_| waiter.claims()) {
            self.owners.lock().unblock(claim, !bucket.has(&claim.key));
        }
    }
}

/// Who owns a futex by what its word says.
struct Owner {
    number: u32,
    task: Option<Arc<Task>>,
}

impl Owner {
    fn look_up(
        mm: &MemoryManager,
        address: UserAddr,
        find: impl Fn(u32) -> Option<Arc<Task>>,
    ) -> Result<Self, Errno> {
        let number = mm.load_u32(address)? & FUTEX_TID_MASK;
        let task = if number == 0 { None } else { find(number) };
        Ok(Self { number, task })
    }
}

/// What `waiter` wants, if it waits to be moved to `key`; `EINVAL` otherwise.
fn wants<'a>(waiter: &'a Waiter, key: &FutexKey) -> Result<&'a Claim, Errno> {
    let claim = waiter.claim.as_ref().filter(|claim| !waiter.claims() && claim.key == *key);
    claim.ok_or(Errno::EINVAL)
}
