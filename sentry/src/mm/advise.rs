//! `madvise`, `mincore` and `msync`.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::{Errno, FallocateFlags, MINCORE_RESIDENT, MadviseAdvice};
use bartizan_platform::Access;
use bartizan_platform::memory::PAGE_SIZE;

use super::area::{Area, AreaFlags};
use super::manager::{is_aligned, whole_pages};
use super::mappings::{MAX_MAP_COUNT, Mappings};
use super::{MemoryManager, PageSource, UserAddr};
use crate::vfs::File;

/// Part of a shared mapping of a file, to be written back or cut out without locks.
#[derive(Debug)]
struct FilePart {
    source: Arc<dyn PageSource>,
    file: Option<Arc<File>>,
    /// In bytes of the file.
    range: Range<u64>,
}

/// How `msync` goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncMode {
    /// Nothing is waited for (`MS_ASYNC`, or nothing).
    Later,
    /// Until it is written (`MS_SYNC`).
    Now,
}

impl MemoryManager {
    /// Tells how `length` bytes from `address` will be used; some advice changes their contents. Holes are skipped, and
    /// reported at the end.
    ///
    /// # Errors
    /// As `madvise(2)`: `EINVAL`, `ENOMEM`, `EACCES`, `EPERM`, `EFAULT`.
    pub fn advise(&self, address: UserAddr, length: u64, advice: MadviseAdvice) -> Result<(), Errno> {
        use MadviseAdvice as Advice;
        if matches!(advice, Advice::MADV_HWPOISON | Advice::MADV_SOFT_OFFLINE) {
            return Err(Errno::EPERM);
        }
        let range = advised_range(address, length)?;
        if range.is_empty() {
            return Ok(());
        }
        self.restore_code_unlocked(&range);
        match advice {
            Advice::MADV_DONTNEED | Advice::MADV_DONTNEED_LOCKED | Advice::MADV_FREE => {
                self.forget(range, advice)
            }
            Advice::MADV_POPULATE_READ => self.populate_advised(range, Access::READ),
            Advice::MADV_POPULATE_WRITE => self.populate_advised(range, Access::WRITE),
            Advice::MADV_REMOVE => self.punch(range),
            Advice::MADV_WILLNEED | Advice::MADV_COLD | Advice::MADV_PAGEOUT => self.check_covered(range),
            Advice::MADV_COLLAPSE | Advice::MADV_GUARD_INSTALL | Advice::MADV_GUARD_REMOVE => {
                Err(Errno::EINVAL)
            }
            _ => self.change_flags(range, advice),
        }
    }

    /// Takes pages away, so that the next access finds zeros, or the file.
    fn forget(&self, range: Range<u64>, advice: MadviseAdvice) -> Result<(), Errno> {
        let mappings = self.mappings.read();
        let covered = mappings.areas().is_covered(range.clone());
        let mut pages = self.pages.write();
        for (part, area) in mappings.areas().clipped(range) {
            let locked = area.flags.contains(AreaFlags::LOCKED);
            let refused = match advice {
                MadviseAdvice::MADV_DONTNEED_LOCKED => false,
                MadviseAdvice::MADV_FREE => locked || !area.is_private_anonymous(),
                _ => locked,
            };
            if refused {
                return Err(Errno::EINVAL);
            }
            self.discard(&mut pages, part);
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn populate_advised(&self, range: Range<u64>, access: Access) -> Result<(), Errno> {
        {
            let mappings = self.mappings.read();
            if !mappings.areas().is_covered(range.clone()) {
                return Err(Errno::ENOMEM);
            }
            let mut areas = mappings.areas().clipped(range.clone());
            if areas.any(|(_, area)| !area.permission().contains(access)) {
                return Err(Errno::EINVAL);
            }
        }
        let mut at = range.start;
        while at < range.end {
            let next = {
                let pages = self.pages.read();
                pages
                    .get(at)
                    .filter(|(_, placement)| placement.usable().contains(access))
                    .map(|(run, _)| run.end)
            };
            match next {
                Some(end) => at = end,
                None => self.bring_in(at, range.end - at, access).map_err(|outcome| match outcome {
                    super::FaultOutcome::BusAdrErr => Errno::EFAULT,
                    _ => Errno::ENOMEM,
                })?,
            }
        }
        Ok(())
    }

    /// Cuts shared mappings' part of their files out.
    fn punch(&self, range: Range<u64>) -> Result<(), Errno> {
        let parts = {
            let mappings = self.mappings.read();
            if !mappings.areas().is_covered(range.clone()) {
                return Err(Errno::ENOMEM);
            }
            let mut parts = Vec::new();
            for (part, area) in mappings.areas().clipped(range) {
                let mapping = area.source().ok_or(Errno::EINVAL)?;
                if area.flags.contains(AreaFlags::LOCKED) {
                    return Err(Errno::EINVAL);
                }
                if !area.is_shared() || !area.may.contains(Access::WRITE) {
                    return Err(Errno::EACCES);
                }
                parts.push(FilePart {
                    source: Arc::clone(&mapping.source),
                    file: mapping.file.clone(),
                    range: mapping.offset(part.start)..mapping.offset(part.start) + (part.end - part.start),
                });
            }
            parts
        };
        for part in parts {
            match &part.file {
                None => part.source.remove(part.range)?,
                Some(file) => {
                    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                    let length = part.range.end - part.range.start;
                    file.ops().allocate(file, mode, part.range.start, length)?;
                }
            }
        }
        Ok(())
    }

    fn check_covered(&self, range: Range<u64>) -> Result<(), Errno> {
        if self.mappings.read().areas().is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Notes advice that only changes what an area is.
    fn change_flags(&self, range: Range<u64>, advice: MadviseAdvice) -> Result<(), Errno> {
        let mut mappings = self.mappings.write();
        let covered = mappings.areas().is_covered(range.clone());
        let parts: Vec<Range<u64>> = mappings.areas().clipped(range).map(|(part, _)| part).collect();
        for part in parts {
            let Some((_, area)) = mappings.areas().get(part.start) else { continue };
            let flags = flags_after(area, advice)?;
            set_flags(&mut mappings, part, flags)?;
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// For each page of `length` bytes from `address`, whether it is in memory.
    ///
    /// # Errors
    /// As `mincore(2)`: `EINVAL`, `ENOMEM`.
    pub fn resident_pages(&self, address: UserAddr, length: u64) -> Result<Vec<u8>, Errno> {
        if !is_aligned(address.0) {
            return Err(Errno::EINVAL);
        }
        let length = whole_pages(length).ok_or(Errno::ENOMEM)?;
        let end = address.0.checked_add(length).ok_or(Errno::ENOMEM)?;
        let mappings = self.mappings.read();
        if !mappings.areas().is_covered(address.0..end) {
            return Err(Errno::ENOMEM);
        }
        let pages = self.pages.read();
        let mut resident = Vec::with_capacity((length / PAGE_SIZE) as usize);
        for (part, area) in mappings.areas().clipped(address.0..end) {
            for page in part.step_by(PAGE_SIZE as usize) {
                // What a file has is taken to be in the host's page cache.
                let there = area.source().is_some() || pages.get(page).is_some();
                resident.push(if there { MINCORE_RESIDENT } else { 0 });
            }
        }
        Ok(resident)
    }

    /// Gives the anonymous memory in `length` bytes from `address` a name, or takes it away. Holes are skipped, and reported at the end.
    ///
    /// # Errors
    /// As `PR_SET_VMA(2const)`: `EINVAL`, `ENOMEM`, `EBADF` for memory of a file.
    pub fn name_anonymous(
        &self,
        address: UserAddr,
        length: u64,
        name: Option<&Arc<[u8]>>,
    ) -> Result<(), Errno> {
        let end = whole_pages(length).and_then(|length| address.0.checked_add(length));
        let end = end.filter(|_| is_aligned(address.0)).ok_or(Errno::EINVAL)?;
        let range = address.0..end;
        if range.is_empty() {
            return Ok(());
        }
        let mut mappings = self.mappings.write();
        let parts: Vec<(Range<u64>, bool)> = mappings
            .areas()
            .clipped(range.clone())
            .map(|(part, area)| (part, area.source().is_some_and(|mapping| mapping.file.is_some())))
            .collect();
        for (part, of_file) in parts {
            if of_file {
                return Err(Errno::EBADF);
            }
            if mappings.areas().len() >= MAX_MAP_COUNT {
                return Err(Errno::ENOMEM);
            }
            mappings.update(part, |_, area| area.given_name = name.cloned());
        }
        if mappings.areas().is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Writes shared mappings' files back.
    ///
    /// # Errors
    /// As `msync(2)`: `EINVAL`, `ENOMEM`, `EIO`.
    pub fn sync(&self, address: UserAddr, length: u64, mode: SyncMode) -> Result<(), Errno> {
        if !is_aligned(address.0) {
            return Err(Errno::EINVAL);
        }
        let end =
            whole_pages(length).and_then(|length| address.0.checked_add(length)).ok_or(Errno::ENOMEM)?;
        let range = address.0..end;
        if range.is_empty() {
            return Ok(());
        }
        let (covered, files) = {
            let mappings = self.mappings.read();
            let files: Vec<Arc<File>> = mappings
                .areas()
                .overlapping(range.clone())
                .filter(|(_, area)| area.is_shared())
                .filter_map(|(_, area)| area.source().and_then(|mapping| mapping.file.clone()))
                .collect();
            (mappings.areas().is_covered(range), files)
        };
        if mode == SyncMode::Now {
            for file in files {
                file.ops().sync(&file)?;
            }
        }
        if covered { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether any area of `length` bytes from `address` is locked: `msync(MS_INVALIDATE)` refuses that.
    pub fn any_locked(&self, address: UserAddr, length: u64) -> bool {
        let end = address.0.saturating_add(length);
        self.mappings
            .read()
            .areas()
            .overlapping(address.0..end)
            .any(|(_, area)| area.flags.contains(AreaFlags::LOCKED))
    }
}

/// Changes what the area that `part` lies in is, in `part`.
pub(super) fn set_flags(mappings: &mut Mappings, part: Range<u64>, flags: AreaFlags) -> Result<(), Errno> {
    let Some((whole, area)) = mappings.areas().get(part.start) else { return Ok(()) };
    if area.flags == flags {
        return Ok(());
    }
    if whole != part && mappings.areas().len() >= MAX_MAP_COUNT {
        return Err(Errno::ENOMEM);
    }
    mappings.update(part, |_, area| area.flags = flags);
    Ok(())
}

/// What the area is after `advice`.
fn flags_after(area: &Area, advice: MadviseAdvice) -> Result<AreaFlags, Errno> {
    use MadviseAdvice as Advice;
    let order = AreaFlags::SEQUENTIAL | AreaFlags::RANDOM;
    let huge = AreaFlags::HUGE_PAGE | AreaFlags::NO_HUGE_PAGE;
    let (clear, set) = match advice {
        Advice::MADV_NORMAL => (order, AreaFlags::empty()),
        Advice::MADV_RANDOM => (order, AreaFlags::RANDOM),
        Advice::MADV_SEQUENTIAL => (order, AreaFlags::SEQUENTIAL),
        Advice::MADV_DONTFORK => (AreaFlags::empty(), AreaFlags::DONT_FORK),
        Advice::MADV_DOFORK => (AreaFlags::DONT_FORK, AreaFlags::empty()),
        Advice::MADV_WIPEONFORK if !area.is_private_anonymous() => return Err(Errno::EINVAL),
        Advice::MADV_WIPEONFORK => (AreaFlags::empty(), AreaFlags::WIPE_ON_FORK),
        Advice::MADV_KEEPONFORK => (AreaFlags::WIPE_ON_FORK, AreaFlags::empty()),
        Advice::MADV_DONTDUMP => (AreaFlags::empty(), AreaFlags::DONT_DUMP),
        Advice::MADV_DODUMP => (AreaFlags::DONT_DUMP, AreaFlags::empty()),
        Advice::MADV_HUGEPAGE => (huge, AreaFlags::HUGE_PAGE),
        Advice::MADV_NOHUGEPAGE => (huge, AreaFlags::NO_HUGE_PAGE),
        Advice::MADV_MERGEABLE => (AreaFlags::empty(), AreaFlags::MERGEABLE),
        Advice::MADV_UNMERGEABLE => (AreaFlags::MERGEABLE, AreaFlags::empty()),
        _ => return Err(Errno::EINVAL),
    };
    Ok(area.flags.difference(clear) | set)
}

/// The range that advice is about.
fn advised_range(address: UserAddr, length: u64) -> Result<Range<u64>, Errno> {
    if !is_aligned(address.0) {
        return Err(Errno::EINVAL);
    }
    let length = whole_pages(length).ok_or(Errno::EINVAL)?;
    let end = address.0.checked_add(length).ok_or(Errno::EINVAL)?;
    Ok(address.0..end)
}
