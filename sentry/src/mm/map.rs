//! `mmap`, `munmap` and `brk`.

use std::ops::Range;
use std::sync::Arc;

use bartizan_abi::Errno;
use bartizan_platform::Access;

use super::area::{Area, AreaFlags, Backing, SourceMapping};
use super::interval_map::Removed;
use super::limits::LockPrivilege;
use super::manager::{is_aligned, whole_pages};
use super::mappings::{MAX_MAP_COUNT, MMAP_MIN_ADDR, Mappings};
use super::patch::Patches;
use super::{MemoryManager, PageSource, UserAddr};
use crate::vfs::File;

/// Where `mmap` puts an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapPlacement {
    /// At the address if there is room, else anywhere; zero is no wish.
    Anywhere(u64),
    /// In the first 2 GiB (`MAP_32BIT`).
    Low(u64),
    /// There, in place of whatever is there (`MAP_FIXED`).
    Fixed(u64),
    /// There, or not at all (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(u64),
}

/// What is mapped.
#[derive(Debug, Clone)]
pub enum MapBacking {
    /// Zeros.
    Anonymous,
    /// Pages of a source, from byte `offset` on.
    Source {
        /// The pages.
        source: Arc<dyn PageSource>,
        /// The file that they belong to, if there is one.
        file: Option<Arc<File>>,
        /// Page-aligned.
        offset: u64,
    },
}

/// When pages come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapPopulate {
    /// As they are accessed.
    Later,
    /// Now (`MAP_POPULATE`).
    Now,
}

/// What `mmap` is asked for. File permissions are the caller's to check; they end up in `may`.
#[derive(Debug, Clone)]
pub struct MapRequest {
    /// Where.
    pub placement: MapPlacement,
    /// How many bytes; rounded up to pages.
    pub length: u64,
    /// What the guest may do.
    pub access: Access,
    /// What `mprotect` may allow later.
    pub may: Access,
    /// What else the area is. Shared anonymous memory is a [`SharedMemory`](super::SharedMemory) as source.
    pub flags: AreaFlags,
    /// What is mapped.
    pub backing: MapBacking,
    /// When pages come in.
    pub populate: MapPopulate,
    /// What `/proc/[pid]/maps` calls it.
    pub name: Option<&'static str>,
    /// Whether `RLIMIT_MEMLOCK` binds the caller.
    pub privilege: LockPrivilege,
}

impl MapRequest {
    /// Private anonymous memory of `length` bytes, the kind that everything else is a variation of.
    pub fn anonymous(placement: MapPlacement, length: u64, access: Access) -> Self {
        Self {
            placement,
            length,
            access,
            may: Access::all(),
            flags: AreaFlags::empty(),
            backing: MapBacking::Anonymous,
            populate: MapPopulate::Later,
            name: None,
            privilege: LockPrivilege::Unlimited,
        }
    }
}

impl MemoryManager {
    /// Maps what `request` says and gives the address.
    ///
    /// # Errors
    /// As `mmap(2)`: `EINVAL`, `ENOMEM`, `EEXIST`, `EPERM`, `EAGAIN`, `EOVERFLOW`.
    pub fn map(&self, request: &MapRequest) -> Result<UserAddr, Errno> {
        if request.length == 0 {
            return Err(Errno::EINVAL);
        }
        let length = whole_pages(request.length).ok_or(Errno::ENOMEM)?;
        if let MapBacking::Source { offset, .. } = request.backing {
            if !is_aligned(offset) {
                return Err(Errno::EINVAL);
            }
            offset.checked_add(length).filter(|&end| i64::try_from(end).is_ok()).ok_or(Errno::EOVERFLOW)?;
        }
        let mut mappings = self.mappings.write();
        let range = place(&mut mappings, request.placement, length)?;
        let area = self.new_area(&mappings, request, range.start);
        let replaced: u64 =
            mappings.areas().clipped(range.clone()).map(|(part, _)| part.end - part.start).sum();
        self.check_room(&mappings, &area, length, replaced, request.privilege)?;
        if let Some(mapping) = area.source() {
            mapping.source.mappings().join(self.weak());
        }
        let locked = area.flags.contains(AreaFlags::LOCKED) && !area.flags.contains(AreaFlags::LOCK_ON_FAULT);
        let removed = self.replace(&mut mappings, range.clone(), area);
        drop(mappings);
        // Files are closed without locks.
        drop(removed);
        if locked || request.populate == MapPopulate::Now {
            // Best effort, as `mmap(2)` has it.
            let _ignored = self.populate(range.clone(), request.access);
        }
        Ok(UserAddr(range.start))
    }

    fn new_area(&self, mappings: &Mappings, request: &MapRequest, start: u64) -> Area {
        let backing = match &request.backing {
            MapBacking::Anonymous => Backing::Anonymous,
            MapBacking::Source { source, file, offset } => Backing::Source(SourceMapping {
                source: Arc::clone(source),
                file: file.clone(),
                delta: offset.wrapping_sub(start),
                attachment: source.attach(),
            }),
        };
        Area {
            access: request.access,
            may: request.may,
            flags: request.flags | mappings.future_flags,
            backing,
            name: request.name,
            given_name: None,
        }
    }

    /// Whether limits allow `length` more bytes of `area`, when `replaced` bytes go.
    fn check_room(
        &self,
        mappings: &Mappings,
        area: &Area,
        length: u64,
        replaced: u64,
        privilege: LockPrivilege,
    ) -> Result<(), Errno> {
        if mappings.areas().len() >= MAX_MAP_COUNT || !self.may_expand(mappings, area, length, replaced) {
            return Err(Errno::ENOMEM);
        }
        // What can never be had at once is refused, as `vm.overcommit_memory=0` has it.
        if super::mappings::is_data(area)
            && !area.flags.contains(AreaFlags::NO_RESERVE)
            && length > self.memory.limit()
        {
            return Err(Errno::ENOMEM);
        }
        if area.flags.contains(AreaFlags::LOCKED) && privilege == LockPrivilege::Limited {
            let limit = self.limits().locked;
            if limit == 0 {
                return Err(Errno::EPERM);
            }
            if mappings.totals().locked.saturating_add(length) > limit {
                return Err(Errno::EAGAIN);
            }
        }
        Ok(())
    }

    /// Makes `area`, and takes away what was there.
    #[must_use = "files are closed without locks"]
    pub(super) fn replace(&self, mappings: &mut Mappings, range: Range<u64>, area: Area) -> Removed<Area> {
        self.restore_code(mappings, &range);
        self.discard(&mut self.pages.write(), range.clone());
        mappings.insert(range, area)
    }

    /// Takes away what is in `range`.
    #[must_use = "files are closed without locks"]
    pub(super) fn take_away(&self, mappings: &mut Mappings, range: Range<u64>) -> Removed<Area> {
        self.restore_code(mappings, &range);
        self.discard(&mut self.pages.write(), range.clone());
        mappings.remove(range)
    }

    /// Unmaps `length` bytes from `address`; holes are fine.
    ///
    /// # Errors
    /// As `munmap(2)`: `EINVAL`; `ENOMEM` when there would be too many areas.
    pub fn unmap(&self, address: UserAddr, length: u64) -> Result<(), Errno> {
        let mut mappings = self.mappings.write();
        let range = checked_range(mappings.bounds(), address.0, length)?;
        check_split(&mappings, &range)?;
        let removed = self.take_away(&mut mappings, range);
        drop(mappings);
        drop(removed);
        Ok(())
    }

    /// Unmaps everything, as `execve` does to an address space that it uses again.
    pub fn unmap_all(&self) {
        let mut mappings = self.mappings.write();
        let all = mappings.bounds().clone();
        mappings.patches = Patches::default();
        let removed = self.take_away(&mut mappings, all);
        drop(mappings);
        drop(removed);
    }

    /// Brings in the pages of `range`, as far as there are areas.
    ///
    /// # Errors
    /// `ENOMEM` when memory is short or nothing is mapped, `EFAULT` when the file has no such page.
    pub(super) fn populate(&self, range: Range<u64>, access: Access) -> Result<(), Errno> {
        let access = if access.is_empty() { return Ok(()) } else { access };
        let mut at = range.start;
        while at < range.end {
            let (placed, private) = {
                let mappings = self.mappings.read();
                let private = mappings.areas().get(at).is_some_and(|(_, area)| !area.is_shared());
                let pages = self.pages.read();
                let placed = pages.get(at).map(|(run, placement)| (run.end, placement.usable()));
                (placed, private)
            };
            // Private pages that may be written are made at once, so that the first write finds them.
            let wanted = if private { access } else { access.difference(Access::WRITE) | Access::READ };
            match placed {
                Some((end, usable)) if usable.contains(wanted) => at = end,
                _ => self.bring_in(at, range.end - at, wanted).map_err(|outcome| match outcome {
                    super::FaultOutcome::BusAdrErr => Errno::EFAULT,
                    _ => Errno::ENOMEM,
                })?,
            }
        }
        Ok(())
    }

    /// Sets where the heap starts, empty, as the loader does.
    pub fn set_brk_start(&self, address: u64) {
        let layout = &mut self.mappings.write().layout;
        layout.start_brk = address;
        layout.brk = address;
    }

    /// Moves the end of the heap, and gives where it is then; what cannot be done leaves it where it was (`brk(2)`).
    pub fn set_brk(&self, wanted: u64, privilege: LockPrivilege) -> u64 {
        let mut mappings = self.mappings.write();
        let mut removed = Removed::new();
        let end = self.move_brk(&mut mappings, wanted, privilege, &mut removed);
        let populate = match end {
            Some(grown) if mappings.future_flags.contains(AreaFlags::LOCKED) => Some(grown),
            _ => None,
        };
        let brk = mappings.layout.brk;
        drop(mappings);
        drop(removed);
        if let Some(range) = populate {
            let _best_effort = self.populate(range, Access::READ | Access::WRITE);
        }
        brk
    }

    /// Moves the end of the heap; the new part if it grew by pages.
    fn move_brk(
        &self,
        mappings: &mut Mappings,
        wanted: u64,
        privilege: LockPrivilege,
        removed: &mut Removed<Area>,
    ) -> Option<Range<u64>> {
        let layout = mappings.layout;
        if wanted < layout.start_brk {
            return None;
        }
        let data = (wanted - layout.start_brk).saturating_add(layout.end_data - layout.start_data);
        if data > self.limits().data {
            return None;
        }
        let (old, new) = (whole_pages(layout.brk)?, whole_pages(wanted)?);
        if new < old {
            check_split(mappings, &(new..old)).ok()?;
            *removed = self.take_away(mappings, new..old);
        } else if new > old {
            let area = heap_area(mappings);
            let fits = new <= mappings.bounds().end
                && mappings.is_free(old..new)
                && self.check_room(mappings, &area, new - old, 0, privilege).is_ok();
            if !fits {
                return None;
            }
            *removed = mappings.insert(old..new, area);
        }
        mappings.layout.brk = wanted;
        (new > old).then_some(old..new)
    }
}

fn heap_area(mappings: &Mappings) -> Area {
    Area {
        access: Access::READ | Access::WRITE,
        may: Access::all(),
        flags: mappings.future_flags,
        backing: Backing::Anonymous,
        name: None,
        given_name: None,
    }
}

/// Where an area of `length` goes.
fn place(mappings: &mut Mappings, placement: MapPlacement, length: u64) -> Result<Range<u64>, Errno> {
    let bounds = mappings.bounds().clone();
    if length > bounds.end - bounds.start {
        return Err(Errno::ENOMEM);
    }
    match placement {
        MapPlacement::Fixed(address) => fixed(&bounds, address, length),
        MapPlacement::FixedNoReplace(address) => {
            let range = fixed(&bounds, address, length)?;
            if mappings.areas().is_vacant(range.clone()) { Ok(range) } else { Err(Errno::EEXIST) }
        }
        MapPlacement::Low(hint) => {
            const LOW: Range<u64> = 0x4000_0000..0x8000_0000;
            if let Some(range) = at_hint(mappings, &(bounds.start..LOW.end), hint, length) {
                return Ok(range);
            }
            let start = mappings.find_room_upwards(length, LOW)?;
            Ok(start..start + length)
        }
        MapPlacement::Anywhere(hint) => {
            if let Some(range) = at_hint(mappings, &bounds, hint, length) {
                return Ok(range);
            }
            let start = mappings.find_room(length)?;
            Ok(start..start + length)
        }
    }
}

fn fixed(bounds: &Range<u64>, address: u64, length: u64) -> Result<Range<u64>, Errno> {
    if !is_aligned(address) {
        return Err(Errno::EINVAL);
    }
    let end = address.checked_add(length).filter(|&end| end <= bounds.end).ok_or(Errno::ENOMEM)?;
    if address < MMAP_MIN_ADDR.max(bounds.start) {
        return Err(Errno::EPERM);
    }
    Ok(address..end)
}

/// The wished place, if it is free.
fn at_hint(mappings: &Mappings, bounds: &Range<u64>, hint: u64, length: u64) -> Option<Range<u64>> {
    if hint == 0 {
        return None;
    }
    let start = whole_pages(hint)?.max(bounds.start);
    let end = start.checked_add(length).filter(|&end| end <= bounds.end)?;
    mappings.is_free(start..end).then_some(start..end)
}

/// The range that `munmap` is asked for.
fn checked_range(bounds: &Range<u64>, address: u64, length: u64) -> Result<Range<u64>, Errno> {
    if !is_aligned(address) || length == 0 || address > bounds.end {
        return Err(Errno::EINVAL);
    }
    let length = whole_pages(length).filter(|&length| length <= bounds.end - address).ok_or(Errno::EINVAL)?;
    // What lies below the lowest address that can be mapped is vacant in any case.
    Ok(address.max(bounds.start)..(address + length).max(bounds.start))
}

/// `ENOMEM` when taking `range` out splits an area although there are as many as there may be.
fn check_split(mappings: &Mappings, range: &Range<u64>) -> Result<(), Errno> {
    let splits = mappings
        .areas()
        .get(range.start)
        .is_some_and(|(whole, _)| whole.start < range.start && whole.end > range.end);
    if splits && mappings.areas().len() >= MAX_MAP_COUNT { Err(Errno::ENOMEM) } else { Ok(()) }
}
