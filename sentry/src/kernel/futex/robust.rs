//! Robust futexes: what a task held when it died is marked, and the next waiter is told (`get_robust_list(2)`).

use bartizan_abi::{
    Errno, FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT,
    RobustListHead,
};

use super::Futexes;
use crate::mm::{FutexKey, FutexScope, MemoryManager, UserAddr, UserPtr};

/// Bit 0 of a pointer in the list: a priority-inheritance futex.
const PRIORITY_BIT: u64 = 1;

/// What kind of entry is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// It is in the list.
    Listed,
    /// It was being added or removed.
    Pending,
}

impl Futexes {
    /// Wakes whoever waits at `address` of `mm`, as for a futex shared between processes.
    ///
    /// # Errors
    /// `EINVAL` for an address that is not aligned, `EFAULT`.
    pub fn wake_address(&self, mm: &MemoryManager, address: UserAddr, count: usize) -> Result<usize, Errno> {
        let key = mm.futex_key(address, FutexScope::Shared)?;
        self.wake(&key, count, FUTEX_BITSET_MATCH_ANY)
    }

    /// Marks all futexes of the list at `head` that task number `tid` of `mm` holds as left by a dead owner, and wakes one waiter of
    /// each. What cannot be read ends the walk, as the list is the guest's.
    pub fn release_robust_list(&self, mm: &MemoryManager, head: UserAddr, tid: u32) {
        let _guest_broke_it = self.walk_robust_list(mm, head, tid);
    }

    fn walk_robust_list(&self, mm: &MemoryManager, head: UserAddr, tid: u32) -> Result<(), Errno> {
        let list: RobustListHead = mm.read_value(UserPtr::new(head))?;
        let word = |entry: u64| UserAddr((entry & !PRIORITY_BIT).wrapping_add_signed(list.futex_offset));
        let mut entry = list.list;
        for _ in 0..ROBUST_LIST_LIMIT {
            if entry & !PRIORITY_BIT == head.0 {
                break;
            }
            // The next one is fetched first: whoever is woken may free this one.
            let next = mm.read_value(UserPtr::<u64>::new(UserAddr(entry & !PRIORITY_BIT)));
            if entry != list.list_op_pending {
                self.mark_dead(mm, word(entry), entry & PRIORITY_BIT != 0, Entry::Listed, tid)?;
            }
            entry = next?;
        }
        if list.list_op_pending & !PRIORITY_BIT != 0 {
            let pending = list.list_op_pending;
            self.mark_dead(mm, word(pending), pending & PRIORITY_BIT != 0, Entry::Pending, tid)?;
        }
        Ok(())
    }

    fn mark_dead(
        &self,
        mm: &MemoryManager,
        address: UserAddr,
        inherits_priority: bool,
        entry: Entry,
        tid: u32,
    ) -> Result<(), Errno> {
        let key = mm.futex_key(address, FutexScope::Shared)?;
        let old = mm.load_u32(address)?;
        if entry == Entry::Pending && !inherits_priority && old == 0 {
            // It was unlocked, but its owner died before it could wake a waiter.
            return self.wake_one(&key);
        }
        if old & FUTEX_TID_MASK != tid {
            return Ok(());
        }
        let marked = |old: u32| match old & FUTEX_TID_MASK == tid {
            true => old & FUTEX_WAITERS | FUTEX_OWNER_DIED,
            false => old,
        };
        let old = mm.fetch_update_u32(address, marked)?;
        // Who waits for an ownership hears of it when the task gives all of them up.
        if !inherits_priority && old & FUTEX_TID_MASK == tid && old & FUTEX_WAITERS != 0 {
            self.wake_one(&key)?;
        }
        Ok(())
    }

    /// Wakes one waiter, if there is one that can be woken.
    fn wake_one(&self, key: &FutexKey) -> Result<(), Errno> {
        match self.wake(key, 1, FUTEX_BITSET_MATCH_ANY) {
            Ok(_) | Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}
