//! Waiting at futexes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bartizan_abi::Errno;

use super::Futexes;
use super::bucket::{NOWHERE, Waiter};
use crate::WaitError;
use crate::kernel::CurrentTask;
use crate::mm::{FutexKey, MemoryManager, UserAddr};

/// One futex to wait at.
#[derive(Debug, Clone)]
pub struct WaitRequest {
    /// What it is known by.
    pub key: FutexKey,
    /// Where it is in the caller's memory.
    pub address: UserAddr,
    /// What it has to hold for the wait to begin.
    pub expected: u32,
    /// Which wake-ups count.
    pub bitset: u32,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// Somebody woke the waiter, at the futex with this index.
    Woken(usize),
    /// The deadline passed.
    TimedOut,
    /// A signal came.
    Interrupted,
}

impl Futexes {
    /// Waits until somebody wakes `task` at one of the futexes, which belong to its memory.
    ///
    /// # Errors
    /// `EAGAIN` if one of them does not hold what is expected, `EFAULT`.
    pub fn wait(
        &self,
        task: &CurrentTask,
        requests: &[WaitRequest],
        deadline: Option<Instant>,
    ) -> Result<Waited, Errno> {
        let mm = task.mm();
        let mut waiters = Vec::with_capacity(requests.len());
        for request in requests {
            let waiter = Waiter::new(task, request.bitset, None);
            if let Err(errno) = self.enqueue(&mm, request, &waiter) {
                // A wake-up that came meanwhile must not be lost.
                return self.withdraw(&waiters).map(Waited::Woken).ok_or(errno);
            }
            waiters.push(waiter);
        }
        let slept =
            task.wait_until(deadline, || waiters.iter().any(|waiter| waiter.is_woken()).then_some(()));
        Ok(match (self.withdraw(&waiters), slept) {
            (Some(index), _) => Waited::Woken(index),
            (None, Err(WaitError::TimedOut)) => Waited::TimedOut,
            (None, Err(WaitError::Interrupted) | Ok(())) => Waited::Interrupted,
        })
    }

    pub(super) fn enqueue(
        &self,
        mm: &MemoryManager,
        request: &WaitRequest,
        waiter: &Arc<Waiter>,
    ) -> Result<(), Errno> {
        let index = self.index(&request.key);
        loop {
            {
                let mut bucket = self.buckets[index].lock();
                match mm.load_u32_in_place(request.address) {
                    Some(value) if value == request.expected => {
                        bucket.push(index, request.key.clone(), Arc::clone(waiter));
                        return Ok(());
                    }
                    Some(_) => return Err(Errno::EAGAIN),
                    None => {}
                }
            }
            mm.load_u32(request.address)?;
        }
    }

    /// Takes waiters out of their buckets; the index of the last that had been woken.
    fn withdraw(&self, waiters: &[Arc<Waiter>]) -> Option<usize> {
        let mut woken = None;
        for (index, waiter) in waiters.iter().enumerate() {
            if !self.unqueue(waiter) {
                woken = Some(index);
            }
        }
        woken
    }

    /// Takes a waiter out of its bucket; whether it was still there, that is, was not woken.
    pub(super) fn unqueue(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            let index = waiter.bucket.load(Ordering::Acquire);
            if index == NOWHERE {
                return false;
            }
            // It may have been moved to another bucket before this one was locked.
            let mut bucket = self.buckets[index].lock();
            if bucket.remove(waiter) {
                self.abandon_claim(&bucket, waiter);
                return true;
            }
        }
    }
}
