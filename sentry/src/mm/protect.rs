//! `mprotect`.

use std::ops::Range;

use bartizan_abi::Errno;
use bartizan_platform::Access;
use smallvec::SmallVec;

use super::area::{Area, AreaFlags, permission};
use super::manager::{is_aligned, whole_pages};
use super::mappings::{MAX_MAP_COUNT, Mappings, is_data};
use super::{MemoryManager, UserAddr};

/// From where `mprotect` changes things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtectFrom {
    /// From the address that is given.
    Address,
    /// From the start of the stack that the address lies in (`PROT_GROWSDOWN`).
    StackStart,
}

impl MemoryManager {
    /// Changes what the guest may do with `length` bytes from `address`. An error leaves the areas below the one that it is
    /// about changed, as on Linux.
    ///
    /// # Errors
    /// As `mprotect(2)`: `EINVAL`, `ENOMEM`, `EACCES`.
    pub fn protect(
        &self,
        address: UserAddr,
        length: u64,
        access: Access,
        from: ProtectFrom,
    ) -> Result<(), Errno> {
        if !is_aligned(address.0) {
            return Err(Errno::EINVAL);
        }
        if length == 0 {
            return Ok(());
        }
        let end =
            whole_pages(length).and_then(|length| address.0.checked_add(length)).ok_or(Errno::ENOMEM)?;
        let mut mappings = self.mappings.write();
        let start = match from {
            ProtectFrom::Address => address.0,
            ProtectFrom::StackStart => stack_start(&mappings, address.0, end)?,
        };
        self.restore_code(&mut mappings, &(start..end));
        let parts: SmallVec<[(Range<u64>, Area); 4]> =
            mappings.areas().clipped(start..end).map(|(part, area)| (part, area.clone())).collect();
        let mut reached = start;
        for (part, area) in parts {
            if part.start > reached {
                return Err(Errno::ENOMEM);
            }
            reached = part.end;
            if area.access == access {
                continue;
            }
            self.check_protection(&mappings, &part, &area, access)?;
            self.protect_part(&mut mappings, part, access)?;
        }
        if reached < end { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    fn check_protection(
        &self,
        mappings: &Mappings,
        part: &Range<u64>,
        area: &Area,
        access: Access,
    ) -> Result<(), Errno> {
        if !area.may.contains(access) {
            return Err(Errno::EACCES);
        }
        let whole = mappings.areas().get(part.start).is_some_and(|(whole, _)| whole == *part);
        if !whole && mappings.areas().len() >= MAX_MAP_COUNT {
            return Err(Errno::ENOMEM);
        }
        let changed = Area { access, ..area.clone() };
        let bytes = part.end - part.start;
        let becomes_data = is_data(&changed) && !is_data(area);
        if becomes_data && mappings.totals().data.saturating_add(bytes) > self.limits().data {
            return Err(Errno::ENOMEM);
        }
        Ok(())
    }

    fn protect_part(&self, mappings: &mut Mappings, part: Range<u64>, access: Access) -> Result<(), Errno> {
        mappings.update(part.clone(), |_, area| area.access = access);
        let mut pages = self.pages.write();
        let mut batch = ProtectBatch::new(self);
        pages.update(part, |range, placement| {
            placement.permission = permission(access);
            if !placement.installed.is_empty() {
                let new = placement.usable();
                batch.add(range, placement.installed, new);
                placement.installed = new;
            }
        });
        batch.finish()
    }
}

/// Where the stack starts that `PROT_GROWSDOWN` is about.
fn stack_start(mappings: &Mappings, address: u64, end: u64) -> Result<u64, Errno> {
    let (range, area) = mappings.areas().overlapping(address..end).next().ok_or(Errno::ENOMEM)?;
    if area.flags.contains(AreaFlags::GROWS_DOWN) { Ok(range.start) } else { Err(Errno::EINVAL) }
}

/// Joins changes of what is installed to one operation, where neighbours get the same access.
pub(super) struct ProtectBatch<'a> {
    mm: &'a MemoryManager,
    range: Range<u64>,
    old: Access,
    new: Access,
    result: Result<(), Errno>,
}

impl<'a> ProtectBatch<'a> {
    pub fn new(mm: &'a MemoryManager) -> Self {
        Self { mm, range: 0..0, old: Access::empty(), new: Access::empty(), result: Ok(()) }
    }

    /// Changes `range`, installed with `old`, to `new`.
    pub fn add(&mut self, range: Range<u64>, old: Access, new: Access) {
        if old == new {
            return;
        }
        if self.range.end == range.start && self.new == new && !self.range.is_empty() {
            self.range.end = range.end;
            self.old |= old;
        } else {
            self.flush();
            (self.range, self.old, self.new) = (range, old, new);
        }
    }

    fn flush(&mut self) {
        let range = std::mem::take(&mut self.range);
        if !range.is_empty()
            && let Err(error) = self.mm.reinstall(&range, self.old, self.new)
        {
            self.result = Err(error);
        }
    }

    /// Queues what is left; an error if the platform refused anything.
    pub fn finish(mut self) -> Result<(), Errno> {
        self.flush();
        self.result
    }
}
