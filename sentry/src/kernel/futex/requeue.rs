//! Operations on two futexes at once.

use bartizan_abi::{Errno, FutexWakeComparison, FutexWakeOperation};

use super::bucket::{Waiter, Woken};
use super::{BucketPair, Futexes};
use crate::mm::{FutexKey, MemoryManager, UserAddr};

/// What [`Futexes::requeue`] does.
#[derive(Debug)]
pub struct Requeue<'a> {
    /// Whose waiters.
    pub from: &'a FutexKey,
    /// Where the others wait from now on.
    pub to: &'a FutexKey,
    /// How many are woken.
    pub wake: usize,
    /// How many are moved at most.
    pub requeue: usize,
    /// An address that has to hold this value.
    pub expected: Option<(UserAddr, u32)>,
}

/// The third value of `FUTEX_WAKE_OP`: how the second futex changes and what of its old value wakes its waiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeOperation {
    operation: FutexWakeOperation,
    operand: u32,
    comparison: FutexWakeComparison,
    compared: i32,
}

impl WakeOperation {
    /// Takes the argument apart.
    ///
    /// # Errors
    /// `ENOSYS` for an operation or a comparison that does not exist.
    pub fn from_raw(raw: u32) -> Result<Self, Errno> {
        let field = |shift: u32, bits: u32| (raw >> shift) & ((1 << bits) - 1);
        // Operands are 12 bits with sign.
        let signed = |shift: u32| ((field(shift, 12) << 20).cast_signed()) >> 20;
        let operand = signed(12).cast_unsigned();
        let shifted = field(28, 4) & FutexWakeOperation::FUTEX_OP_OPARG_SHIFT != 0;
        Ok(Self {
            operation: FutexWakeOperation::from_raw(field(28, 3)).ok_or(Errno::ENOSYS)?,
            operand: if shifted { 1 << (operand & 31) } else { operand },
            comparison: FutexWakeComparison::from_raw(field(24, 4)).ok_or(Errno::ENOSYS)?,
            compared: signed(0),
        })
    }

    fn apply(self, old: u32) -> u32 {
        match self.operation {
            FutexWakeOperation::FUTEX_OP_SET => self.operand,
            FutexWakeOperation::FUTEX_OP_ADD => old.wrapping_add(self.operand),
            FutexWakeOperation::FUTEX_OP_OR => old | self.operand,
            FutexWakeOperation::FUTEX_OP_ANDN => old & !self.operand,
            FutexWakeOperation::FUTEX_OP_XOR => old ^ self.operand,
        }
    }

    fn holds(self, old: u32) -> bool {
        let old = old.cast_signed();
        match self.comparison {
            FutexWakeComparison::FUTEX_OP_CMP_EQ => old == self.compared,
            FutexWakeComparison::FUTEX_OP_CMP_NE => old != self.compared,
            FutexWakeComparison::FUTEX_OP_CMP_LT => old < self.compared,
            FutexWakeComparison::FUTEX_OP_CMP_LE => old <= self.compared,
            FutexWakeComparison::FUTEX_OP_CMP_GT => old > self.compared,
            FutexWakeComparison::FUTEX_OP_CMP_GE => old >= self.compared,
        }
    }
}

impl Futexes {
    /// Wakes some waiters of one futex and has others wait at another; gives how many were woken or moved.
    ///
    /// # Errors
    /// `EAGAIN` if the expected value is not there, `EINVAL` at one who waits for an ownership, `EFAULT`.
    pub fn requeue(&self, mm: &MemoryManager, request: &Requeue<'_>) -> Result<usize, Errno> {
        let mut woken = Woken::default();
        let moved = loop {
            let mut pair = self.lock_pair(request.from, request.to);
            if let Some((address, expected)) = request.expected {
                match mm.load_u32_in_place(address) {
                    Some(value) if value == expected => {}
                    Some(_) => return Err(Errno::EAGAIN),
                    None => {
                        drop(pair);
                        mm.load_u32(address)?;
                        continue;
                    }
                }
            }
            break self.requeue_locked(&mut pair, request, &mut woken);
        };
        let woken = woken.unpark();
        moved.map(|moved| woken + moved)
    }

    fn requeue_locked(
        &self,
        pair: &mut BucketPair<'_>,
        request: &Requeue<'_>,
        woken: &mut Woken,
    ) -> Result<usize, Errno> {
        pair.one().wake(request.from, request.wake, u32::MAX, woken)?;
        let ordinary = |waiter: &Waiter| if waiter.claim.is_none() { Ok(()) } else { Err(Errno::EINVAL) };
        let (moved, result) = pair.one().take(request.from, request.requeue, ordinary);
        let count = moved.len();
        let index = self.index(request.to);
        for waiter in moved {
            pair.other().push(index, request.to.clone(), waiter);
        }
        result.map(|()| count)
    }

    /// Changes the futex at `address`, known by `changed`, as `operation` says; wakes `wake` waiters of `key` and, if its old value
    /// asks for that, `wake_changed` of `changed`. Gives how many were woken.
    ///
    /// # Errors
    /// `EFAULT`, `EINVAL` at one who waits for an ownership.
    pub fn wake_operation(
        &self,
        mm: &MemoryManager,
        (key, wake): (&FutexKey, usize),
        (changed, wake_changed): (&FutexKey, usize),
        address: UserAddr,
        operation: WakeOperation,
    ) -> Result<usize, Errno> {
        let mut woken = Woken::default();
        let result = loop {
            {
                let mut pair = self.lock_pair(key, changed);
                if let Some(old) = mm.fetch_update_u32_in_place(address, |old| operation.apply(old)) {
                    let first = pair.one().wake(key, wake, u32::MAX, &mut woken);
                    break match operation.holds(old) {
                        true => first
                            .and_then(|()| pair.other().wake(changed, wake_changed, u32::MAX, &mut woken)),
                        false => first,
                    };
                }
            }
            mm.fetch_update_u32(address, |old| old)?;
        };
        let woken = woken.unpark();
        result.map(|()| woken)
    }
}

impl std::fmt::Debug for BucketPair<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("BucketPair").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn raw(operation: u32, comparison: u32, operand: i32, compared: i32) -> u32 {
        operation << 28
            | comparison << 24
            | (operand.cast_unsigned() & 0xfff) << 12
            | compared.cast_unsigned() & 0xfff
    }

    #[test]
    fn operands_are_signed_and_may_be_shifts() {
        let add = WakeOperation::from_raw(raw(1, 0, -1, -5)).expect("it exists");
        assert_eq!(add.apply(7), 6);
        assert!(add.holds((-5_i32).cast_unsigned()) && !add.holds(5));
        let shift = WakeOperation::from_raw(raw(2 | 8, 4, 4, 0)).expect("it exists");
        assert_eq!(shift.apply(1), 17);
        assert!(shift.holds(1) && !shift.holds(u32::MAX));
        assert_eq!(WakeOperation::from_raw(raw(5, 0, 0, 0)), Err(Errno::ENOSYS));
        assert_eq!(WakeOperation::from_raw(raw(0, 6, 0, 0)), Err(Errno::ENOSYS));
    }

    #[test]
    fn requeue_keeps_identity_of_waiters() {
        // The pair of one bucket is that bucket, twice.
        let futexes = Futexes::default();
        assert_eq!(futexes.buckets.len(), super::super::BUCKETS);
        let waiter = Waiter::with_parker(&Arc::new(crate::kernel::Parker::new()), 0, 1, None);
        assert!(waiter.is_woken());
        assert!(!futexes.unqueue(&waiter));
    }
}
