//! `mlock` and its kin. Guest memory is never swapped by the sentry; locking brings pages in and is counted.

use std::ops::Range;

use bartizan_abi::Errno;
use bartizan_platform::memory::PAGE_SIZE;

use super::advise::set_flags;
use super::area::AreaFlags;
use super::limits::LockPrivilege;
use super::manager::whole_pages;
use super::{MemoryManager, UserAddr};

/// When locked pages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// At once.
    Now,
    /// As they are accessed (`MLOCK_ONFAULT`, `MCL_ONFAULT`).
    OnFault,
}

impl LockMode {
    fn flags(self) -> AreaFlags {
        match self {
            Self::Now => AreaFlags::LOCKED,
            Self::OnFault => AreaFlags::LOCKED | AreaFlags::LOCK_ON_FAULT,
        }
    }
}

/// What `mlockall` locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockAll {
    /// What is mapped (`MCL_CURRENT`).
    Current,
    /// What will be mapped (`MCL_FUTURE`).
    Future,
    /// Both.
    CurrentAndFuture,
}

const LOCK_FLAGS: AreaFlags = AreaFlags::LOCKED.union(AreaFlags::LOCK_ON_FAULT);

impl MemoryManager {
    /// Locks the pages that `length` bytes from `address` lie in.
    ///
    /// # Errors
    /// As `mlock(2)`: `ENOMEM`, `EPERM`, `EINVAL`.
    pub fn lock(
        &self,
        address: UserAddr,
        length: u64,
        mode: LockMode,
        privilege: LockPrivilege,
    ) -> Result<(), Errno> {
        let limit = self.limits().locked;
        if privilege == LockPrivilege::Limited && limit == 0 {
            return Err(Errno::EPERM);
        }
        let range = locked_range(address, length)?;
        let (result, parts) = {
            let mut mappings = self.mappings.write();
            let already: u64 = mappings
                .areas()
                .clipped(range.clone())
                .filter(|(_, area)| area.flags.contains(AreaFlags::LOCKED))
                .map(|(part, _)| part.end - part.start)
                .sum();
            let wanted = mappings.totals().locked - already + (range.end - range.start);
            if privilege == LockPrivilege::Limited && wanted > limit {
                return Err(Errno::ENOMEM);
            }
            self.set_locked(&mut mappings, range, mode.flags())
        };
        if mode == LockMode::Now {
            self.populate_locked(parts)?;
        }
        result
    }

    /// Unlocks the pages that `length` bytes from `address` lie in.
    ///
    /// # Errors
    /// As `munlock(2)`: `ENOMEM`, `EINVAL`.
    pub fn unlock(&self, address: UserAddr, length: u64) -> Result<(), Errno> {
        let range = locked_range(address, length)?;
        self.set_locked(&mut self.mappings.write(), range, AreaFlags::empty()).0
    }

    /// Locks what is mapped, what will be, or both.
    ///
    /// # Errors
    /// As `mlockall(2)`: `ENOMEM`, `EPERM`.
    pub fn lock_all(&self, which: LockAll, mode: LockMode, privilege: LockPrivilege) -> Result<(), Errno> {
        let limit = self.limits().locked;
        if privilege == LockPrivilege::Limited && limit == 0 {
            return Err(Errno::EPERM);
        }
        let parts = {
            let mut mappings = self.mappings.write();
            let too_much = privilege == LockPrivilege::Limited && mappings.totals().all > limit;
            if which != LockAll::Future && too_much {
                return Err(Errno::ENOMEM);
            }
            mappings.future_flags = if which == LockAll::Current { AreaFlags::empty() } else { mode.flags() };
            if which == LockAll::Future {
                return Ok(());
            }
            let all = mappings.bounds().clone();
            self.set_locked(&mut mappings, all, mode.flags()).1
        };
        if mode == LockMode::Now {
            // As Linux has it, what cannot be brought in stays out.
            let _best_effort = self.populate_locked(parts);
        }
        Ok(())
    }

    /// Unlocks everything, also what will be mapped.
    pub fn unlock_all(&self) {
        let mut mappings = self.mappings.write();
        mappings.future_flags = AreaFlags::empty();
        let all = mappings.bounds().clone();
        let _holes_are_fine = self.set_locked(&mut mappings, all, AreaFlags::empty());
    }

    /// Gives the areas of `range` these lock flags; `ENOMEM` at the first hole. Also the parts that were changed.
    fn set_locked(
        &self,
        mappings: &mut super::mappings::Mappings,
        range: Range<u64>,
        flags: AreaFlags,
    ) -> (Result<(), Errno>, Vec<Range<u64>>) {
        let result = if mappings.areas().is_covered(range.clone()) { Ok(()) } else { Err(Errno::ENOMEM) };
        let parts: Vec<Range<u64>> = mappings.areas().clipped(range).map(|(part, _)| part).collect();
        for part in &parts {
            let old = mappings.areas().get(part.start).map(|(_, area)| area.flags).unwrap_or_default();
            if let Err(error) = set_flags(mappings, part.clone(), old.difference(LOCK_FLAGS) | flags) {
                return (Err(error), parts);
            }
        }
        (result, parts)
    }

    fn populate_locked(&self, parts: Vec<Range<u64>>) -> Result<(), Errno> {
        for part in parts {
            let Some(area) = self.area_at(UserAddr(part.start)) else { continue };
            self.populate(part, area.access).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }
}

/// The whole pages that a locking call is about.
fn locked_range(address: UserAddr, length: u64) -> Result<Range<u64>, Errno> {
    let start = address.page().0;
    let length =
        whole_pages(length.checked_add(address.0 - start).ok_or(Errno::ENOMEM)?).ok_or(Errno::ENOMEM)?;
    let end = start.checked_add(length).ok_or(Errno::EINVAL)?;
    debug_assert!(end.is_multiple_of(PAGE_SIZE), "whole pages");
    Ok(start..end)
}
